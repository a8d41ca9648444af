import { gatewayMac, gatewayPortMac, MemoryTables, RouteKind, type TableEntry, type Target, TargetKind } from '@weft/forwarding';
import { formatIp, parseIp, parseMac } from '@weft/packet';
import { describe, expect, it } from 'vitest';
import { compile, describeDifferences, type NetworkView, putOf } from '../src/index.ts';
import {
  assignment,
  binding,
  bindingRecord,
  CREATED,
  gatewayPart,
  gatewaySubnet,
  network,
  networkRecord,
  port,
  portId,
  portRecord,
  viewOf,
} from './records.ts';

const tables = (view: NetworkView): MemoryTables =>
  new MemoryTables([...view.entries()].map((entry) => ({ op: 'put' as const, ...entry })));
const lookup = (view: NetworkView, ca: string) => tables(view).lookup(7, parseIp(ca));

function bound(hostId = 'host-a'): NetworkView {
  const view = viewOf(hostId);
  view.apply(networkRecord(1), 0);
  view.apply(portRecord(2, 1, port(1)), 0);
  view.apply(portRecord(3, 2, port(2)), 0);
  return view;
}

describe('rows of a network', () => {
  it('gives subnets, on-link routes and customer routes', () => {
    const view = viewOf('host-a');
    view.apply(
      networkRecord(
        1,
        network({
          routes: [
            { prefix: '203.0.113.0/24', kind: 'next-hop', nextHop: '192.0.2.11' },
            { prefix: '203.0.113.128/25', kind: 'blackhole', nextHop: '' },
          ],
        }),
      ),
      0,
    );
    const t = tables(view);
    expect(t.subnet(5001)).toMatchObject({ networkId: 7, gateway4: parseIp('192.0.2.1'), gateway6: parseIp('2001:db8:1::1') });
    expect(t.subnet(5002)?.gateway6).toEqual(new Uint8Array(16));
    expect(t.route(7, parseIp('192.0.2.70'))).toMatchObject({ kind: RouteKind.ON_LINK, vsid: 5002 });
    expect(t.route(7, parseIp('203.0.113.5'))).toMatchObject({ kind: RouteKind.NEXT_HOP, nextHop: parseIp('192.0.2.11') });
    expect(t.route(7, parseIp('203.0.113.200'))?.kind).toBe(RouteKind.BLACKHOLE);
    expect(t.route(7, parseIp('198.18.0.1'))).toBeUndefined();
  });

  it('keeps an IPv6 default route from covering IPv4', () => {
    const view = viewOf('host-a');
    view.apply(networkRecord(1, network({ routes: [{ prefix: '::/0', kind: 'next-hop', nextHop: '2001:db8:1::9' }] })), 0);
    expect(tables(view).route(7, parseIp('198.18.0.1'))?.kind).toBe(RouteKind.DENY);
    expect(tables(view).route(7, parseIp('2001:db8:ffff::1'))?.kind).toBe(RouteKind.NEXT_HOP);
  });

  it('does not let a customer route replace a subnet', () => {
    const view = viewOf('host-a');
    view.apply(networkRecord(1, network({ routes: [{ prefix: '192.0.2.64/26', kind: 'blackhole', nextHop: '' }] })), 0);
    expect(tables(view).route(7, parseIp('192.0.2.70'))?.kind).toBe(RouteKind.ON_LINK);
  });

  it('denies a VSID whose claim does not name this network', () => {
    const view = viewOf('host-a', [5002]);
    view.apply(networkRecord(1), 0);
    view.apply(portRecord(2, 1, port(1)), 0);
    view.apply(bindingRecord(1, 1, binding(1, 'host-b', 1)), 0);
    expect(tables(view).subnet(5001)).toBeUndefined();
    expect(lookup(view, '192.0.2.11')).toBeUndefined();
    expect(view.setClaimedVsids(new Set([5001, 5002]), 0).length).toBeGreaterThan(0);
    expect(lookup(view, '192.0.2.11')?.kind).toBe(TargetKind.PEER);
  });
});

describe('rows of a port', () => {
  it('joins Port and PortBinding: MAC and addresses from the port, place from the binding', () => {
    const view = bound();
    view.apply(bindingRecord(1, 2, binding(2, 'host-b', 4)), 0);
    const t = tables(view);
    expect(t.lookup(7, parseIp('192.0.2.12'))).toMatchObject({
      kind: TargetKind.PEER,
      vsid: 5001,
      pa: parseIp('198.51.100.2'),
      generation: 4n,
    });
    expect(t.l2(5001, parseMac('02:00:00:00:00:12'))?.kind).toBe(TargetKind.PEER);
    expect(t.speaker(parseIp('198.51.100.2'), 7)).toBe(1);
    expect(t.lookup(7, parseIp('192.0.2.11'))).toBeUndefined();
  });

  it('makes a local port READY only with device and own binding', () => {
    const view = bound();
    view.setDevice(portId(1), { ifindex: 9, kind: 'veth' }, 0);
    expect(tables(view).port(9)?.flags).toBe(2);
    expect(lookup(view, '192.0.2.11')).toBeUndefined();
    const { changes } = view.apply(bindingRecord(1, 1, binding(1, 'host-a', 1)), 0);
    expect(changes.at(-1)).toMatchObject({ op: 'put', table: 'port', value: { flags: 3, mtuBytes: 1450 } });
    expect(lookup(view, '192.0.2.11')).toMatchObject({ kind: TargetKind.LOCAL, flags: 1, ifindexOrShard: 9 });
    const gone = view.setDevice(portId(1), undefined, 0);
    expect(gone[0]).toMatchObject({ op: 'delete', table: 'port' });
    expect(lookup(view, '192.0.2.11')).toBeUndefined();
  });

  it('gives no row to a host that the placement leaves out', () => {
    const view = bound();
    view.apply(portRecord(9, 2, port(2, { placement: { mode: 'list', hosts: ['host-c'] } })), 0);
    view.apply(bindingRecord(1, 2, binding(2, 'host-b', 1)), 0);
    expect(lookup(view, '192.0.2.12')).toBeUndefined();
    view.apply(bindingRecord(2, 2, binding(2, 'host-c', 2)), 0);
    expect(lookup(view, '192.0.2.12')?.pa).toEqual(parseIp('198.51.100.3'));
  });

  it("refuses a gateway's MAC", () => {
    const view = bound();
    const mac = [...gatewayMac(5001)].map((byte) => byte.toString(16).padStart(2, '0')).join(':');
    view.apply(portRecord(9, 2, port(2, { mac })), 0);
    view.apply(bindingRecord(1, 2, binding(2, 'host-b', 1)), 0);
    expect(lookup(view, '192.0.2.12')).toBeUndefined();
  });

  it('gives an address two ports claim to the newer record, in either order', () => {
    for (const first of [1, 2]) {
      const view = viewOf('host-c');
      view.apply(networkRecord(1), 0);
      const records = [portRecord(2, 1, port(1, { addresses: ['192.0.2.50'] })), portRecord(3, 2, port(2, { addresses: ['192.0.2.50'] }))];
      for (const record of first === 1 ? records : records.reverse()) view.apply(record, 0);
      view.apply(bindingRecord(1, 1, binding(1, 'host-a', 1)), 0);
      view.apply(bindingRecord(2, 2, binding(2, 'host-b', 1)), 0);
      expect(lookup(view, '192.0.2.50')?.pa).toEqual(parseIp('198.51.100.2'));
      view.apply(portRecord(4, 2, undefined), 0);
      expect(lookup(view, '192.0.2.50')?.pa).toEqual(parseIp('198.51.100.1'));
    }
  });
});

describe('moves', () => {
  const moved = binding(1, 'host-b', 2, { previousHostId: 'host-a', previousProviderAddress: '198.51.100.1' });

  it('keeps the former host as second home for the window, then tidies up', () => {
    const view = bound('host-c');
    view.apply(bindingRecord(1, 1, binding(1, 'host-a', 1)), 1_000);
    view.apply(bindingRecord(2, 1, moved), 2_000);
    expect(lookup(view, '192.0.2.11')).toMatchObject({
      kind: TargetKind.PEER,
      pa: parseIp('198.51.100.2'),
      prevPa: parseIp('198.51.100.1'),
      prevUntilBootNs: 62_000_000_000n,
    });
    expect(tables(view).speaker(parseIp('198.51.100.1'), 7)).toBe(1);
    expect(view.nextDeadlineMs).toBe(62_000);
    expect(view.tick(61_999)).toEqual([]);
    view.tick(62_000);
    expect(lookup(view, '192.0.2.11')).toMatchObject({ prevPa: new Uint8Array(16), prevUntilBootNs: 0n });
    expect(tables(view).speaker(parseIp('198.51.100.1'), 7)).toBeUndefined();
    expect(view.nextDeadlineMs).toBeUndefined();
  });

  it('redirects on the former host for the window, to the newest place', () => {
    const view = bound('host-a');
    view.setDevice(portId(1), { ifindex: 4, kind: 'tap' }, 0);
    view.apply(bindingRecord(1, 1, binding(1, 'host-a', 1)), 1_000);
    view.apply(bindingRecord(2, 1, moved), 2_000);
    expect(lookup(view, '192.0.2.11')).toMatchObject({
      kind: TargetKind.REDIRECT,
      pa: parseIp('198.51.100.2'),
      prevPa: new Uint8Array(16),
    });
    expect(tables(view).port(4)?.flags).toBe(0);
    view.apply(bindingRecord(3, 1, binding(1, 'host-c', 3, { previousHostId: 'host-b', previousProviderAddress: '198.51.100.2' })), 3_000);
    expect(lookup(view, '192.0.2.11')).toMatchObject({
      kind: TargetKind.REDIRECT,
      pa: parseIp('198.51.100.3'),
      prevPa: parseIp('198.51.100.2'),
    });
    view.tick(62_000);
    expect(lookup(view, '192.0.2.11')?.kind).toBe(TargetKind.PEER);
  });

  it('never goes back to a lower generation, nor gives one generation to two hosts', () => {
    const view = bound('host-c');
    view.apply(bindingRecord(1, 1, binding(1, 'host-a', 5)), 0);
    expect(view.apply(bindingRecord(2, 1, binding(1, 'host-b', 4)), 0).status).toBe('generation-refused');
    expect(view.apply(bindingRecord(2, 1, binding(1, 'host-b', 5)), 0).status).toBe('generation-refused');
    expect(lookup(view, '192.0.2.11')?.pa).toEqual(parseIp('198.51.100.1'));
  });
});

describe('apply()', () => {
  it('tells duplicates and stale records, and refuses another store', () => {
    const view = bound();
    expect(view.apply(portRecord(2, 1, port(1)), 0).status).toBe('duplicate');
    view.apply(portRecord(8, 1, port(1)), 0);
    expect(view.apply(portRecord(5, 1, undefined), 0).status).toBe('stale');
    expect(view.apply({ ...portRecord(9, 1, undefined), bucketCreatedUnixMs: CREATED + 1 }, 0).status).toBe('store-changed');
    expect(view.port(portId(1))).toBeDefined();
  });
});

describe('applySnapshot()', () => {
  const config = (atSequence: number, records: ReturnType<typeof portRecord>[], created = CREATED, askedAtRevision = 0) => ({
    bucket: 'config' as const,
    bucketCreatedUnixMs: created,
    atSequence,
    records,
    askedAtRevision,
  });

  it('sweeps what it lacks, keeps what is newer, and knows a late event for what it is', () => {
    const view = bound();
    view.apply(portRecord(30, 3, port(3)), 0);
    const result = view.applySnapshot(config(30, [networkRecord(1), portRecord(2, 1, port(1)), portRecord(30, 3, port(3))]), 0);
    expect(result).toMatchObject({ status: 'applied', swept: 1 });
    expect(view.port(portId(2))).toBeUndefined();
    expect(view.apply(portRecord(3, 2, port(2)), 0).status).toBe('stale');
    expect(view.apply(portRecord(31, 2, port(2)), 0).status).toBe('applied');
  });

  it('changes nothing when the store is another one, or behind', () => {
    const view = bound();
    const before = [...view.entries()];
    expect(view.applySnapshot(config(99, [], CREATED + 5), 0).status).toBe('store-changed');
    expect(view.applySnapshot(config(2, [], CREATED, 3), 0).status).toBe('store-behind');
    expect(view.applySnapshot(config(9, [portRecord(1, 1, port(1))]), 0).status).toBe('store-behind');
    expect([...view.entries()]).toEqual(before);
    view.acceptStore('config');
    expect([...view.entries()]).toEqual(before);
    expect(view.applySnapshot(config(1, [{ ...networkRecord(1), bucketCreatedUnixMs: CREATED + 5 }], CREATED + 5), 0).status).toBe(
      'applied',
    );
    expect(view.port(portId(1))).toBeUndefined();
  });

  it('counts a refused record for the digest and keeps the last good value', () => {
    const view = bound();
    const other = bound('host-b');
    const refused = {
      kind: 'refused' as const,
      bucket: 'config' as const,
      key: portRecord(1, 1, undefined).key,
      revision: 9,
      bucketCreatedUnixMs: CREATED,
    };
    view.applySnapshot(config(9, [networkRecord(1), refused, portRecord(3, 2, port(2))]), 0);
    expect(view.port(portId(1))?.name).toBe('vm1');
    other.apply(portRecord(9, 1, port(1)), 0);
    expect(view.digest().hash).toEqual(other.digest().hash);
    expect(view.apply(portRecord(9, 1, port(1, { name: 'late' })), 0).status).toBe('applied');
    expect(view.port(portId(1))?.name).toBe('late');
  });
});

describe('compile()', () => {
  it('equals the incremental rows', () => {
    const view = bound();
    view.apply(bindingRecord(1, 1, binding(1, 'host-b', 1)), 0);
    expect(describeDifferences(compile(view.inputs(), 0), view.entries(), ['zero', 'incremental'])).toEqual([]);
    expect(compile(view.inputs(), 0).length).toBe(view.rowCount);
  });
});

describe('a network with a gateway', () => {
  const connected = network({ subnets: [...network().subnets, gatewaySubnet], gateway: gatewayPart('g1') });
  const rowsOf = (host: string, members: readonly number[] | undefined, gatewayId = 'g1') => {
    const view = viewOf(host, [5001, 5002, 5003]);
    view.apply(networkRecord(1, connected), 0);
    if (members !== undefined) view.setAssignment(assignment(gatewayId, members), 0);
    return [...view.entries()];
  };
  const find = (rows: readonly TableEntry[], table: TableEntry['table']) =>
    rows.filter((row) => row.table === table).map((row) => row.value);

  it('has its addresses at the shard, and its routes lead there: on every host, whether or not it knows the members', () => {
    const rows = rowsOf('host-a', undefined);
    const lookups = find(rows, 'lookup') as Target[];
    expect(lookups.map(({ kind, vsid, ifindexOrShard, pa }) => [kind, vsid, ifindexOrShard, pa.some((byte) => byte !== 0)])).toEqual([
      [TargetKind.SHARD, 5003, 40, false],
      [TargetKind.SHARD, 5003, 40, false],
    ]);
    expect(lookups[0]!.mac).toEqual(gatewayPortMac(5003));
    const tables = new MemoryTables(rows.map(putOf));
    for (const [destination, hop] of [
      ['8.8.8.8', '100.127.255.250'],
      ['2001:db8:ffff::1', 'fd57:4546:5447::2'],
    ] as const)
      expect(tables.route(7, parseIp(destination))).toMatchObject({ kind: RouteKind.NEXT_HOP, nextHop: parseIp(hop) });
    expect(tables.route(7, parseIp('192.0.2.9'))).toMatchObject({ kind: RouteKind.ON_LINK, vsid: 5001 });
    expect(find(rows, 'speaker')).toEqual([]);
    expect(find(rows, 'l2')).toEqual([]);
  });

  it('lets its members speak, each with what it is', () => {
    const view = viewOf('host-a', [5001, 5002, 5003]);
    for (const record of [networkRecord(1, connected), portRecord(2, 1, port(1)), bindingRecord(3, 1, binding(1, 'host-b', 1))])
      view.apply(record, 0);
    const speakers = () =>
      Object.fromEntries([...view.entries()].flatMap((row) => (row.table === 'speaker' ? [[formatIp(row.key.pa), row.value]] : [])));
    view.setAssignment(assignment('g1', [0, 1, 3]), 0);
    expect(speakers()).toEqual({ '198.51.100.2': 3, '198.51.100.9': 2 });
    view.setAssignment(assignment('g1', [3]), 0);
    expect(speakers()).toEqual({ '198.51.100.2': 1, '198.51.100.9': 2 });
    view.setAssignment(assignment('another', [3]), 0);
    expect(speakers()).toEqual({ '198.51.100.2': 1 });
  });

  it('is served by members: frames for the gateway’s MAC are theirs', () => {
    const [target] = find(rowsOf('host-a', [0, 1]), 'l2') as Target[];
    expect(target).toMatchObject({ kind: TargetKind.GATEWAY, vsid: 5003, ifindexOrShard: 40 });
    expect(find(rowsOf('host-c', [0, 1]), 'l2')).toEqual([]);
  });

  it('denies all of it without the claim of the gateway subnet', () => {
    const view = viewOf('host-a', [5001, 5002]);
    view.apply(networkRecord(1, connected), 0);
    view.setAssignment(assignment('g1', [0]), 0);
    expect(find([...view.entries()], 'lookup').concat(find([...view.entries()], 'l2'))).toEqual([]);
  });
});
