import { describe, expect, test } from 'vitest';
import { isPerCpu, mapTypeName, mapTypeNumber } from '../src/map-types.ts';
import { countCpus } from '../src/possible-cpus.ts';

test.each([
  ['0', 1],
  ['0-3', 4],
  ['0-3,8', 5],
  ['0-1,4-7,15\n', 7],
])('countCpus(%j) is %i', (list, count) => expect(countCpus(list)).toBe(count));

describe('map types', () => {
  test('have the numbers of linux/bpf.h', () => {
    expect([1, 2, 5, 6, 9, 11, 13, 25, 27].map(mapTypeName)).toEqual([
      ...['hash', 'array', 'percpu_hash', 'percpu_array', 'lru_hash', 'lpm_trie', 'hash_of_maps', 'devmap_hash', 'ringbuf'],
    ]);
  });

  test('go there and back, also those newer than the list', () => {
    for (let type = 0; type < 40; type++) expect(mapTypeNumber(mapTypeName(type))).toBe(type);
    expect(mapTypeName(39)).toBe('type 39');
  });

  test('know which have a value for each CPU', () => {
    expect(isPerCpu('percpu_array')).toBe(true);
    expect(isPerCpu('array')).toBe(false);
  });
});
