import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ShardNetworks } from '../src/gateway/shard-networks.ts';

describe('ShardNetworks', () => {
  it('knows what a table made anew would, after whatever came and went', () => {
    const step = fc.record({ networkId: fc.nat(8), shard: fc.option(fc.nat(3)) });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const networks = new ShardNetworks();
        const plain = new Map<number, number>();
        for (const { networkId, shard } of steps) {
          if (shard === null) {
            networks.delete(networkId);
            plain.delete(networkId);
          } else {
            networks.set(networkId, shard);
            plain.set(networkId, shard);
          }
          for (let id = 0; id <= 8; id++) expect(networks.shardOf(id)).toBe(plain.get(id));
          for (let of = 0; of <= 3; of++)
            expect([...networks.networksOf(of)].sort()).toEqual([...plain].flatMap(([id, one]) => (one === of ? [id] : [])).sort());
        }
        networks.clear();
        expect(networks.networksOf(0)).toEqual([]);
        expect(networks.shardOf(0)).toBeUndefined();
      }),
    );
  });

  it('gives the same list of a shard until a network of it comes or goes', () => {
    const networks = new ShardNetworks();
    for (let id = 1; id <= 10; id++) networks.set(id, id % 2);
    const [even, odd] = [networks.networksOf(0), networks.networksOf(1)];
    networks.set(12, 0);
    networks.set(1, 1);
    expect(networks.networksOf(1)).toBe(odd);
    expect(networks.networksOf(0)).not.toBe(even);
    networks.set(1, 0);
    expect(networks.networksOf(1)).toEqual([3, 5, 7, 9]);
  });
});
