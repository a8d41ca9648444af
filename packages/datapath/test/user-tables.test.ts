import { RouteKind, type TableChange } from '@weft/forwarding';
import { createWorld } from '@weft/forwarding/testing';
import { DropReason } from '@weft/model';
import { parseIp } from '@weft/packet';
import { describe, expect, test } from 'vitest';
import { DropTable } from '../src/user/drop-table.ts';
import { TABLE_CAPACITY, TableStore } from '../src/user/table-store.ts';

describe('TableStore', () => {
  test('gives back what was applied, whatever becomes of the buffers', () => {
    const { changes } = createWorld(7, { portIfindexes: [11, 12, 13, 14], underlayIfindex: 10 });
    const store = new TableStore();
    store.apply(changes);
    const rows = changes.map((change) => ({ table: change.table, key: change.key, value: change.op === 'put' ? change.value : undefined }));
    expect(store.entries()).toEqual(expect.arrayContaining(rows));
    expect(store.entries()).toHaveLength(rows.length);
    const before = structuredClone(store.entries('lookup'));
    for (const change of changes) if (change.table === 'lookup') change.key.ca.fill(0xee);
    expect(store.entries('lookup')).toEqual(before);
  });

  test('the last change of a row counts', () => {
    const store = new TableStore();
    const put = (kind: RouteKind): TableChange => ({
      op: 'put',
      table: 'route',
      key: { networkId: 1, prefix: parseIp('10.0.0.0'), prefixLength: 120 },
      value: { kind, vsid: 0, nextHop: new Uint8Array(16) },
    });
    store.apply([put(RouteKind.DENY), { op: 'delete', table: 'route', key: put(0).key as never }, put(RouteKind.BLACKHOLE)]);
    expect(store.entries().map((row) => (row.table === 'route' ? row.value.kind : undefined))).toEqual([RouteKind.BLACKHOLE]);
    store.apply([put(RouteKind.DENY), { op: 'delete', table: 'route', key: put(0).key as never }]);
    expect(store.entries()).toEqual([]);
  });

  test('refuses a bad row before it writes any', () => {
    const store = new TableStore();
    const good: TableChange = { op: 'put', table: 'speaker', key: { pa: parseIp('192.0.2.2'), networkId: 1 }, value: 1 };
    const bad: TableChange = { op: 'put', table: 'speaker', key: { pa: new Uint8Array(4), networkId: 1 }, value: 1 };
    expect(() => store.apply([good, bad])).toThrow(expect.objectContaining({ code: 'WEFT_ERR_DATAPATH_BAD_ROW' }));
    expect(() => store.apply([{ ...good, table: 'nothing' } as never])).toThrow(/Cannot write to table nothing/);
    expect(store.entries()).toEqual([]);
  });

  test('refuses more rows than a table holds, and has room again after a delete', () => {
    const store = new TableStore();
    const row = (ifindex: number): TableChange => ({
      op: 'put',
      table: 'port',
      key: { ifindex },
      value: { networkId: 1, vsid: 1, mtuBytes: 1450, flags: 1, mac: new Uint8Array(6) },
    });
    store.apply(Array.from({ length: TABLE_CAPACITY.port }, (_, i) => row(i)));
    expect(() => store.apply([row(1_000_000)])).toThrow(expect.objectContaining({ code: 'WEFT_ERR_DATAPATH_TABLE_FULL' }));
    expect(store.entries('port')).toHaveLength(TABLE_CAPACITY.port);
    store.apply([row(7)]);
    store.apply([row(1_000_000), { op: 'delete', table: 'port', key: { ifindex: 7 } }]);
    expect(store.entries('port')).toHaveLength(TABLE_CAPACITY.port);
  });
});

describe('DropTable', () => {
  test('counts by device, subnet and reason, with the last frame as sample', () => {
    const drops = new DropTable();
    drops.count(3, 5001, DropReason.NO_ROUTE, new Uint8Array(100).fill(1), 10n);
    drops.count(3, 5001, DropReason.NO_ROUTE, new Uint8Array(40).fill(2), 20n);
    drops.count(3, 5001, DropReason.SOURCE_MAC_SPOOFED, new Uint8Array(200).fill(3), 30n);
    const counters = drops.read();
    expect(counters).toEqual([
      {
        ifindex: 3,
        vsid: 5001,
        reason: DropReason.NO_ROUTE,
        packets: 2n,
        bytes: 140n,
        lastBootNs: 20n,
        sample: new Uint8Array(40).fill(2),
      },
      {
        ifindex: 3,
        vsid: 5001,
        reason: DropReason.SOURCE_MAC_SPOOFED,
        packets: 1n,
        bytes: 200n,
        lastBootNs: 30n,
        sample: new Uint8Array(64).fill(3),
      },
    ]);
    expect(drops.packets).toBe(3n);
    drops.forget(3);
    expect(drops.read()).toEqual([]);
  });

  test('keeps a copy of the sample', () => {
    const drops = new DropTable();
    const frame = new Uint8Array(100).fill(1);
    drops.count(3, 5001, DropReason.NO_ROUTE, frame, 10n);
    frame.fill(9);
    expect(drops.read()[0]!.sample).toEqual(new Uint8Array(64).fill(1));
  });

  test('keeps a bounded number of counters: the rest is counted by reason', () => {
    const drops = new DropTable();
    for (let i = 0; i < 20_000; i++) drops.count(1 + i, 1, DropReason.NO_PORT, new Uint8Array(60), 1n);
    const counters = drops.read();
    expect(counters.length).toBeLessThan(16_500);
    expect(drops.packets).toBe(20_000n);
    expect(counters.find(({ ifindex }) => ifindex === 0)).toMatchObject({ vsid: 0, reason: DropReason.NO_PORT });
  });
});
