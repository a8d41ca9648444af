import type { RouteKind, TableEntry, TableName, Target, TargetKind } from '@weft/forwarding';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DatapathError, MAP_LAYOUT, ROW_CODECS, type RowCodec } from '../src/index.ts';

const u32 = fc.integer({ min: 0, max: 0xffff_ffff });
const u64 = fc.bigInt({ min: 0n, max: (1n << 64n) - 1n });
const u8 = fc.integer({ min: 0, max: 255 });
const address = fc.uint8Array({ minLength: 16, maxLength: 16 });
const mac = fc.uint8Array({ minLength: 6, maxLength: 6 });
const target: fc.Arbitrary<Target> = fc.record({
  mac,
  kind: u8 as fc.Arbitrary<TargetKind>,
  flags: u8,
  vsid: u32,
  ifindexOrShard: u32,
  pa: address,
  prevPa: address,
  prevUntilBootNs: u64,
  generation: u64,
});

const ROWS: { readonly [N in TableName]: fc.Arbitrary<TableEntry & { readonly table: N }> } = {
  port: fc.record({
    table: fc.constant('port' as const),
    key: fc.record({ ifindex: u32 }),
    value: fc.record({ networkId: u32, vsid: u32, mtuBytes: u32, flags: u32, mac }),
  }),
  subnet: fc.record({
    table: fc.constant('subnet' as const),
    key: fc.record({ vsid: u32 }),
    value: fc.record({ networkId: u32, flags: u32, gateway4: address, gateway6: address }),
  }),
  lookup: fc.record({ table: fc.constant('lookup' as const), key: fc.record({ networkId: u32, ca: address }), value: target }),
  l2: fc.record({ table: fc.constant('l2' as const), key: fc.record({ vsid: u32, mac }), value: target }),
  route: fc.record({
    table: fc.constant('route' as const),
    key: fc.record({ networkId: u32, prefix: address, prefixLength: fc.integer({ min: 0, max: 128 }) }),
    value: fc.record({ kind: u32 as fc.Arbitrary<RouteKind>, vsid: u32, nextHop: address }),
  }),
  speaker: fc.record({ table: fc.constant('speaker' as const), key: fc.record({ pa: address, networkId: u32 }), value: u32 }),
  shard: fc.record({
    table: fc.constant('shard' as const),
    key: fc.record({ id: u32 }),
    value: fc.record({ epoch: u64, pa: address, prevPa: address, prevUntilBootNs: u64 }),
  }),
};
const TABLES = Object.keys(ROWS) as TableName[];

function encode(row: TableEntry, offset = 0): { key: Uint8Array; value: Uint8Array } {
  const { keyBytes, valueBytes } = MAP_LAYOUT[row.table];
  const codec: RowCodec<TableName> = ROW_CODECS[row.table];
  const key = new Uint8Array(offset + keyBytes);
  const value = new Uint8Array(offset + valueBytes);
  codec.encodeKey(key, offset, row.key);
  codec.encodeValue(value, offset, row.value);
  return { key: key.subarray(offset), value: value.subarray(offset) };
}

describe('row codecs', () => {
  it.each(TABLES)('decode of table %s gives back what was encoded, at any offset', (table) => {
    fc.assert(
      fc.property(ROWS[table] as fc.Arbitrary<TableEntry>, fc.integer({ min: 0, max: 9 }), (row, offset) => {
        const { key, value } = encode(row, offset);
        expect((ROW_CODECS[table] as RowCodec<TableName>).decode(key, value)).toEqual(row);
      }),
    );
  });

  it.each(TABLES)('two rows of table %s that differ have bytes that differ', (table) => {
    fc.assert(
      fc.property(ROWS[table] as fc.Arbitrary<TableEntry>, ROWS[table] as fc.Arbitrary<TableEntry>, (a, b) => {
        const text = (row: TableEntry): string => Buffer.concat(Object.values(encode(row))).toString('hex');
        const plain = (row: TableEntry): string => JSON.stringify(row, (_, x) => (typeof x === 'bigint' ? `${x}n` : x));
        expect(text(a) === text(b)).toBe(plain(a) === plain(b));
      }),
    );
  });

  it('writes a route key as the trie compares it: bits of network id and prefix in network order', () => {
    const prefix = new Uint8Array(16).fill(0xab);
    const { key } = encode({
      table: 'route',
      key: { networkId: 0x01020304, prefix, prefixLength: 120 },
      value: { kind: 1, vsid: 0, nextHop: prefix },
    });
    expect([...key.subarray(0, 9)]).toEqual([152, 0, 0, 0, 1, 2, 3, 4, 0xab]);
  });

  it.each([
    ['a short address', { table: 'lookup', key: { networkId: 1, ca: new Uint8Array(4) } }],
    ['a network id above 32 bits', { table: 'lookup', key: { networkId: 2 ** 32, ca: new Uint8Array(16) } }],
    ['a negative device index', { table: 'port', key: { ifindex: -1 } }],
    ['a fraction', { table: 'subnet', key: { vsid: 1.5 } }],
    ['a prefix of 129 bits', { table: 'route', key: { networkId: 1, prefix: new Uint8Array(16), prefixLength: 129 } }],
    ['a prefix length that is no number', { table: 'route', key: { networkId: 1, prefix: new Uint8Array(16), prefixLength: Number.NaN } }],
    ['a long MAC address', { table: 'l2', key: { vsid: 1, mac: new Uint8Array(7) } }],
  ])('refuses %s by name', (_, { table, key }) => {
    const codec = ROW_CODECS[table as TableName] as RowCodec<TableName>;
    const run = (): void => codec.encodeKey(new Uint8Array(32), 0, key as never);
    expect(run).toThrow(DatapathError);
    expect(run).toThrow(expect.objectContaining({ code: 'WEFT_ERR_DATAPATH_BAD_ROW' }));
  });
});
