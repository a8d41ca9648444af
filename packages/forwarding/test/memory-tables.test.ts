import { parseIp } from '@weft/packet';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MemoryTables, type RouteEntry, RouteKind, rowKey, type TableChange } from '../src/index.ts';
import { createWorld, tablesOf } from '../src/testing/index.ts';
import { A, BASE, BLUE, C, RED, route, tables, X } from './fixture.ts';

describe('MemoryTables', () => {
  it('keys every table by network or VSID, never by address alone', () => {
    const all = tables();
    expect(all.lookup(RED, A.ip4)?.ifindexOrShard).toBe(11);
    expect(all.lookup(BLUE, A.ip4)?.ifindexOrShard).toBe(13);
    expect(all.l2(5001, X.mac)?.ifindexOrShard).toBe(11);
    expect(all.l2(6001, A.mac)?.ifindexOrShard).toBe(13);
    expect(all.lookup(9, A.ip4)).toBeUndefined();
    expect(all.l2(5002, A.mac)).toBeUndefined();
  });

  it('replaces a row by put, and takes it out by delete', () => {
    const all = tables();
    const { size } = all;
    const [change] = BASE.filter((row) => row.table === 'port');
    if (change?.table !== 'port') throw new Error('the fixture has no port');
    all.apply([change, change]);
    expect(all.size).toBe(size);
    all.apply([{ op: 'delete', table: 'port', key: change.key }]);
    expect(all.size).toBe(size - 1);
    expect(all.port(change.key.ifindex)).toBeUndefined();
    all.apply([{ op: 'delete', table: 'port', key: change.key }]);
    expect(all.size).toBe(size - 1);
  });

  it('is empty again after every row is deleted', () => {
    const world = createWorld(3, { portIfindexes: [11, 12, 13, 14], underlayIfindex: 10 });
    const all = tablesOf(world);
    expect(all.size).toBe(new Set(world.changes.map((row) => rowKey(row))).size);
    all.apply([...all.entries()].map(({ table, key }) => ({ op: 'delete', table, key }) as TableChange));
    expect(all.size).toBe(0);
    for (const { networkId } of world.subnets) {
      for (const address of [...world.addresses4, ...world.addresses6]) {
        expect(all.lookup(networkId, address)).toBeUndefined();
        expect(all.route(networkId, address)).toBeUndefined();
      }
    }
  });

  it('lists its rows so that they make the same tables', () => {
    const world = createWorld(4, { portIfindexes: [11, 12, 13, 14], underlayIfindex: 10 });
    const first = tablesOf(world);
    const second = new MemoryTables([...first.entries()].map((entry) => ({ op: 'put', ...entry }) as TableChange));
    expect([...second.entries()]).toEqual([...first.entries()]);
  });

  it('ignores the bits of a route beyond its prefix', () => {
    const all = new MemoryTables([route(RED, '10.1.2.3', 112, RouteKind.BLACKHOLE)]);
    expect(all.route(RED, parseIp('10.1.200.1'))?.kind).toBe(RouteKind.BLACKHOLE);
    all.apply([{ op: 'delete', table: 'route', key: { networkId: RED, prefix: parseIp('10.1.0.0'), prefixLength: 112 } }]);
    expect(all.route(RED, parseIp('10.1.200.1'))).toBeUndefined();
    expect(all.size).toBe(0);
  });

  it('finds the longest route, as a search through all of them does', () => {
    const bits = fc.array(fc.constantFrom(0x00, 0x0f, 0x80, 0xff), { minLength: 16, maxLength: 16 }).map((bytes) => Uint8Array.from(bytes));
    const rows = fc.array(fc.record({ prefix: bits, prefixLength: fc.nat(128), networkId: fc.constantFrom(RED, BLUE) }), { maxLength: 20 });
    fc.assert(
      fc.property(rows, bits, (keys, address) => {
        const put = keys.map((key, i): TableChange => ({ op: 'put', table: 'route', key, value: entry(i) }));
        const all = new MemoryTables(put);
        let best: { length: number; value: RouteEntry } | undefined;
        keys.forEach(({ prefix, prefixLength, networkId }, i) => {
          if (networkId !== RED || !covers(prefix, prefixLength, address)) return;
          if (best === undefined || prefixLength >= best.length) best = { length: prefixLength, value: entry(i) };
        });
        expect(all.route(RED, address)).toEqual(best?.value);
      }),
    );
  });

  it('leaves the record of one network alone when another changes', () => {
    const all = tables();
    const before = all.lookup(BLUE, C.ip4);
    all.apply([{ op: 'delete', table: 'lookup', key: { networkId: RED, ca: C.ip4 } }]);
    expect(all.lookup(RED, C.ip4)).toBeUndefined();
    expect(all.lookup(BLUE, C.ip4)).toBe(before);
  });
});

function entry(vsid: number): RouteEntry {
  return { kind: RouteKind.ON_LINK, vsid, nextHop: new Uint8Array(16) };
}

function covers(prefix: Uint8Array, length: number, address: Uint8Array): boolean {
  for (let bit = 0; bit < length; bit++) {
    const mask = 0x80 >> (bit & 7);
    if (((prefix[bit >> 3]! ^ address[bit >> 3]!) & mask) !== 0) return false;
  }
  return true;
}
