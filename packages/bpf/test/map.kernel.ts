import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { BpfMap, createMap, type MapType, possibleCpuCount, updateFlags } from '../src/index.ts';
import { readU64, u32, u64 } from './sandbox.ts';

const opened: BpfMap[] = [];
function make(type: MapType, keySize: number, valueSize: number, maxEntries: number, flags = 0): BpfMap {
  const map = createMap({ name: `wt_${type}`.slice(0, 15), type, keySize, valueSize, maxEntries, flags });
  opened.push(map);
  return map;
}
afterAll(() => {
  for (const map of opened) map.close();
});

const noPrealloc = 1;
const pack = (parts: Uint8Array[]): Uint8Array => new Uint8Array(Buffer.concat(parts));
const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

describe('single entries', () => {
  test('are written, read and deleted', () => {
    const map = make('hash', 4, 8, 10);
    expect(map).toMatchObject({ type: 'hash', keySize: 4, valueSize: 8, valueBytes: 8, maxEntries: 10, isPerCpu: false });
    expect(map.id).toBeGreaterThan(0);
    expect(map.lookup(u32(1))).toBeUndefined();
    map.update(u32(1), u64(11n));
    expect(map.lookup(u32(1))).toEqual(u64(11n));
    expect(map.delete(u32(1))).toBe(true);
    expect(map.delete(u32(1))).toBe(false);
  });

  test('obey update flags', () => {
    const map = make('hash', 4, 8, 10);
    expect(() => map.update(u32(1), u64(1n), updateFlags.exist)).toThrow(expect.objectContaining({ code: 'WEFT_ERR_BPF_NOT_FOUND' }));
    map.update(u32(1), u64(1n), updateFlags.noExist);
    expect(() => map.update(u32(1), u64(2n), updateFlags.noExist)).toThrow(expect.objectContaining({ code: 'WEFT_ERR_BPF_EXISTS' }));
    expect(map.lookup(u32(1))).toEqual(u64(1n));
  });

  test('of the wrong size are refused before the kernel reads past them', () => {
    const map = make('hash', 4, 8, 10);
    const refused = expect.objectContaining({ code: 'WEFT_ERR_BPF_BAD_ARGUMENT' });
    expect(() => map.lookup(new Uint8Array(3))).toThrow(refused);
    expect(() => map.update(u32(1), u32(1))).toThrow(refused);
    expect(() => map.delete(new Uint8Array(5))).toThrow(refused);
    expect(() => map.updateBatch(new Uint8Array(8), new Uint8Array(8), 2)).toThrow(refused);
    expect(() => map.deleteBatch(new Uint8Array(8), 3)).toThrow(refused);
    expect(() => map.updateBatch(new Uint8Array(0), new Uint8Array(0), -1)).toThrow(refused);
  });

  test('do not fit a full map', () => {
    const hash = make('hash', 4, 4, 2);
    hash.updateBatch(pack([u32(1), u32(2)]), pack([u32(1), u32(2)]), 2);
    expect(() => hash.update(u32(3), u32(3))).toThrow(expect.objectContaining({ code: 'WEFT_ERR_BPF_MAP_FULL', errnoName: 'E2BIG' }));
    const trie = make('lpm_trie', 8, 4, 1, noPrealloc);
    trie.update(pack([u32(32), u32(1)]), u32(1));
    expect(() => trie.update(pack([u32(32), u32(2)]), u32(1))).toThrow(
      expect.objectContaining({ code: 'WEFT_ERR_BPF_MAP_FULL', errnoName: 'ENOSPC' }),
    );
    expect(() => make('array', 4, 4, 2).update(u32(2), u32(1))).toThrow(expect.objectContaining({ code: 'WEFT_ERR_BPF_MAP_FULL' }));
  });

  test('of a frozen map can be read, not written', () => {
    const map = make('array', 4, 4, 2);
    map.update(u32(0), u32(5));
    map.freeze();
    expect(() => map.update(u32(0), u32(6))).toThrow(expect.objectContaining({ code: 'WEFT_ERR_BPF_NOT_PERMITTED' }));
    expect(map.lookup(u32(0))).toEqual(u32(5));
  });
});

describe.each<[MapType, number]>([
  ['hash', 0],
  ['hash', noPrealloc],
  ['lru_hash', 0],
  ['percpu_hash', 0],
])('a %s with flags %i', (type, flags) => {
  test('takes 5,000 entries in a batch, lists each once, and deletes them', () => {
    const map = make(type, 4, 8, 20_000, flags);
    const keys = pack(range(5000).map(u32));
    const value = (i: number): Uint8Array => {
      const bytes = new Uint8Array(map.valueBytes);
      bytes.set(u64(BigInt(i * 3)));
      return bytes;
    };
    map.updateBatch(keys, pack(range(5000).map(value)), 5000);
    const seen = new Map([...map.entries()].map(([key, found]) => [Buffer.from(key).readUInt32LE(), readU64(found)]));
    expect(seen.size).toBe(5000);
    for (const i of range(5000)) expect(seen.get(i)).toBe(BigInt(i * 3));
    expect(map.deleteBatch(pack([u32(99_999), ...range(5000).map(u32)]), 5001)).toBe(5000);
    expect([...map.entries()]).toEqual([]);
  });
});

test('per-CPU values keep one for each CPU', () => {
  const map = make('percpu_array', 4, 4, 3);
  const cpus = possibleCpuCount();
  expect(map).toMatchObject({ isPerCpu: true, valueSize: 4, valueBytes: 8 * cpus });
  const value = new Uint8Array(map.valueBytes);
  for (const cpu of range(cpus)) value.set(u32(cpu + 1), 8 * cpu);
  map.update(u32(1), value);
  expect(map.perCpuValues(map.lookup(u32(1))!)).toEqual(range(cpus).map((cpu) => u32(cpu + 1)));
  expect([...map.entries()].map(([key]) => key)).toEqual([u32(0), u32(1), u32(2)]);
});

test('a batch that stops half-way leaves what was written', () => {
  const map = make('hash', 4, 4, 3);
  const five = pack(range(5).map(u32));
  expect(() => map.updateBatch(five, five, 5)).toThrow(expect.objectContaining({ code: 'WEFT_ERR_BPF_MAP_FULL' }));
  expect([...map.entries()]).toHaveLength(3);
});

test('an LPM trie is listed whole and matches prefixes', () => {
  const trie = make('lpm_trie', 8, 4, 1000, noPrealloc);
  const prefix = (bits: number, address: number[]): Uint8Array => pack([u32(bits), Uint8Array.from(address)]);
  const keys = range(250).map((i) => prefix(24, [10, 0, i, 0]));
  trie.updateBatch(pack(keys), pack(range(250).map(u32)), 250);
  trie.update(prefix(8, [10, 0, 0, 0]), u32(1000));
  expect(trie.lookup(prefix(32, [10, 0, 7, 9]))).toEqual(u32(7));
  expect(trie.lookup(prefix(32, [10, 9, 7, 9]))).toEqual(u32(1000));
  const listed = [...trie.entries()].map(([key]) => Buffer.from(key).toString('hex')).sort();
  expect(listed).toEqual([...keys, prefix(8, [10, 0, 0, 0])].map((key) => Buffer.from(key).toString('hex')).sort());
});

test('a type without batches is written and listed one by one', () => {
  const map = make('devmap_hash', 4, 4, 64);
  map.updateBatch(pack(range(20).map(u32)), pack(range(20).map(() => u32(1))), 20);
  expect([...map.entries()].map(([key]) => Buffer.from(key).readUInt32LE()).sort((a, b) => a - b)).toEqual(range(20));
});

describe('entries()', () => {
  let map: BpfMap;
  beforeAll(() => {
    map = make('hash', 4, 4, 10_000);
    map.updateBatch(pack(range(4000).map(u32)), pack(range(4000).map(u32)), 4000);
  });

  test('misses none that stays and repeats none while others come and go', () => {
    const seen: number[] = [];
    let next = 4000;
    for (const [key] of map.entries()) {
      const number = Buffer.from(key).readUInt32LE();
      seen.push(number);
      // Every step adds one and deletes an added one.
      map.update(u32(next++), u32(0));
      if (next > 5000) map.delete(u32(next - 1000));
    }
    expect(new Set(seen).size).toBe(seen.length);
    expect(seen.filter((number) => number < 4000)).toHaveLength(4000);
  });

  test('walks key by key past keys that are deleted under it', () => {
    const devices = make('devmap_hash', 4, 4, 64);
    devices.updateBatch(pack(range(40).map(u32)), pack(range(40).map(() => u32(1))), 40);
    const seen = new Set<number>();
    for (const [key] of devices.entries()) {
      const number = Buffer.from(key).readUInt32LE();
      expect(seen.has(number)).toBe(false);
      seen.add(number);
      devices.delete(key);
    }
    expect(seen.size).toBe(40);
  });
});

test('createMap() says what the kernel refuses', () => {
  expect(() => make('hash', 0, 4, 10)).toThrow(
    expect.objectContaining({ name: 'BpfError', errnoName: 'EINVAL', syscall: 'BPF_MAP_CREATE' }),
  );
});

test('BpfMap.fromFd() refuses a descriptor that is no map', () => {
  expect(() => BpfMap.fromFd(99_999)).toThrow(expect.objectContaining({ name: 'BpfError' }));
});
