import type { OwnershipConfig, OwnershipVoter } from '@weft/model';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  boundD,
  chooseEpoch,
  configFaults,
  epochText,
  Fence,
  forwardMs,
  hasQuorum,
  incarnationOf,
  lacksFailover,
  makeEpoch,
  Observer,
  planVoters,
  TIMING,
} from '../src/index.ts';

const voter = (id: string, instance = 1): OwnershipVoter => ({ id, key: `key-${id}`, instance });
const configOf = (config: number, voters: readonly OwnershipVoter[], previous?: OwnershipConfig['previous']): OwnershipConfig => ({
  group: 'g',
  config,
  incarnation: 1,
  voters,
  previous,
  members: [],
  shards: [],
});
const votes = (...ids: string[]): { voter: string; instance: number }[] => ids.map((id) => ({ voter: id, instance: 1 }));

describe('hasQuorum()', () => {
  const abw = [voter('a'), voter('b'), voter('w')];
  const abx = [voter('a'), voter('b'), voter('x')];

  it('needs more than half of the list, by id and memory', () => {
    expect(hasQuorum(configOf(1, abw), votes('a', 'w'))).toBe(true);
    expect(hasQuorum(configOf(1, abw), votes('a'))).toBe(false);
    expect(hasQuorum(configOf(1, abw), votes('a', 'x', 'y'))).toBe(false);
    expect(hasQuorum(configOf(1, abw), [...votes('a'), { voter: 'w', instance: 2 }])).toBe(false);
    expect(hasQuorum(configOf(1, abw), [...votes('a'), ...votes('a')])).toBe(false);
  });

  it('needs a majority of the list before, too, until that is done with', () => {
    const joint = configOf(2, abx, { config: 1, voters: abw });
    expect(hasQuorum(joint, votes('a', 'x'))).toBe(false);
    expect(hasQuorum(joint, votes('a', 'x', 'w'))).toBe(true);
    expect(hasQuorum(joint, votes('a', 'b'))).toBe(true);
    expect(hasQuorum(configOf(2, abx), votes('a', 'x'))).toBe(true);
  });

  it('never holds for two sets of voters without a voter in common: not in one list, nor in an old and a joint one (property)', () => {
    const names = ['a', 'b', 'c', 'd', 'e', 'f'];
    const list = fc.subarray(names, { minLength: 1, maxLength: 5 });
    fc.assert(
      fc.property(list, list, fc.array(fc.boolean(), { minLength: 6, maxLength: 6 }), (before, after, side) => {
        const old = configOf(
          1,
          before.map((id) => voter(id)),
        );
        const joint = configOf(
          2,
          after.map((id) => voter(id)),
          { config: 1, voters: old.voters },
        );
        const left = votes(...names.filter((_, i) => side[i]));
        const right = votes(...names.filter((_, i) => !side[i]));
        expect(hasQuorum(old, left) && hasQuorum(old, right)).toBe(false);
        expect(hasQuorum(old, left) && hasQuorum(joint, right)).toBe(false);
        expect(hasQuorum(joint, left) && hasQuorum(joint, right)).toBe(false);
      }),
    );
  });
});

describe('planVoters(), configFaults(), lacksFailover()', () => {
  it('names a witness for a pair, and one voter where there is none', () => {
    expect(planVoters(['a', 'b'], 'w')).toEqual(['a', 'b', 'w']);
    expect(planVoters(['a', 'b'], undefined)).toEqual(['a']);
    expect(planVoters(['a'], 'w')).toEqual(['a']);
    expect(planVoters(['a', 'b', 'c'], undefined)).toEqual(['a', 'b', 'c']);
  });

  it('refuse two voters: either would stop the other', () => {
    expect(configFaults(configOf(1, [voter('a'), voter('b')]))[0]).toMatch(/Two voters stop as soon as either stops/);
    expect(configFaults(configOf(1, [voter('a')]))).toEqual([]);
    expect(lacksFailover(configOf(1, [voter('a')]))).toBe(true);
  });
});

describe('chooseEpoch()', () => {
  it('is above what was heard and of the incarnation asked for, or none (property)', () => {
    const u32 = fc.integer({ min: 1, max: 0xffff_ffff });
    fc.assert(
      fc.property(u32, fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), (incarnation, heard) => {
        const epoch = chooseEpoch(incarnation, heard);
        if (epoch === undefined) expect(heard >= makeEpoch(incarnation, 0xffff_ffff)).toBe(true);
        else {
          expect(epoch > heard).toBe(true);
          expect(incarnationOf(epoch)).toBe(incarnation);
          expect(epoch & 0xffff_ffffn).not.toBe(0n);
        }
      }),
    );
    expect(epochText(makeEpoch(3, 17))).toBe('3.17');
  });
});

describe('Observer: silent to me', () => {
  const watch = (): Observer => new Observer(TIMING);
  const valid = [{ shard: 1, epoch: 5n, valid: true }];
  const heard = (observer: Observer): void => {
    observer.sent('b', 1, 0);
    observer.answered('b', 1, valid);
  };

  it('means three probes really sent since the last valid answer, each unanswered for 50 ms', () => {
    const observer = watch();
    heard(observer);
    observer.sent('b', 2, 30);
    observer.sent('b', 3, 60);
    expect(observer.silent('b', 1, 5n, 1_000)).toBe(false);
    observer.sent('b', 4, 1_000);
    expect(observer.silent('b', 1, 5n, 1_049)).toBe(false);
    expect(observer.silent('b', 1, 5n, 1_050)).toBe(true);
  });

  it('is never said of a peer not heard since my own start, nor of an epoch it was not heard with', () => {
    const observer = watch();
    for (let i = 0; i < 10; i++) observer.sent('b', i, i * 30);
    expect(observer.silent('b', 1, 5n, 9_000)).toBe(false);
    heard(observer);
    for (let i = 20; i < 30; i++) observer.sent('b', i, i * 30);
    expect(observer.silent('b', 1, 6n, 9_000)).toBe(false);
    expect(observer.silent('b', 1, 4n, 9_000)).toBe(true);
    expect(observer.silent('b', 2, 4n, 9_000)).toBe(false);
  });

  it('ends with a late answer, not with one that is forged, copied, or without a valid deadline', () => {
    const observer = watch();
    heard(observer);
    for (const nonce of [2, 3, 4]) observer.sent('b', nonce, nonce * 30);
    expect(observer.silent('b', 1, 5n, 300)).toBe(true);
    observer.answered('b', 1, valid);
    observer.answered('b', 99, valid);
    observer.answered('c', 4, valid);
    observer.answered('b', 3, [{ shard: 1, epoch: 5n, valid: false }]);
    expect(observer.silent('b', 1, 5n, 300)).toBe(true);
    expect(observer.answering('b', 300)).toBe(true);
    observer.answered('b', 4, valid);
    expect(observer.silent('b', 1, 5n, 300)).toBe(false);
  });

  it('counts nothing that was sent before my own process stood still', () => {
    const observer = watch();
    heard(observer);
    for (const nonce of [2, 3, 4]) observer.sent('b', nonce, nonce * 30);
    observer.paused(0);
    expect(observer.silent('b', 1, 5n, 60_000)).toBe(false);
  });
});

describe('Fence', () => {
  it('opens for an own epoch, never for one at or below another’s, and closes at once (property)', () => {
    const step = fc.record({ own: fc.boolean(), epoch: fc.bigInt({ min: 1n, max: 6n }), deadline: fc.nat({ max: 100 }) });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 12 }), (steps) => {
        const fence = new Fence();
        let replaced = 0n;
        for (const { own, epoch, deadline } of steps) {
          if (own) fence.extend(1, epoch, deadline);
          else {
            fence.replaced(1, epoch);
            if (epoch > replaced) replaced = epoch;
          }
          const row = fence.row(1);
          if (row !== undefined && row.epoch < replaced) expect(row.deadlineMs).toBe(0);
        }
      }),
    );
  });

  it('never moves a deadline back for one epoch', () => {
    const fence = new Fence();
    expect(fence.extend(1, 5n, 100)).toMatchObject({ deadlineMs: 100 });
    expect(fence.extend(1, 5n, 90)).toBeUndefined();
    expect(fence.extend(1, 4n, 200)).toBeUndefined();
    expect(fence.replaced(1, 5n)).toBeUndefined();
    expect(fence.replaced(1, 6n, { to: '192.0.2.2', untilMs: 30_000 })).toMatchObject({ deadlineMs: 0, handoverTo: '192.0.2.2' });
    expect(fence.extend(1, 5n, 300)).toBeUndefined();
    expect(fence.extend(1, 7n, 300)).toMatchObject({ deadlineMs: 300, handoverTo: '' });
  });
});

describe('timers', () => {
  it('leave a killed agent two seconds and more to come back, and D is below the lease', () => {
    const left = forwardMs(TIMING) - TIMING.renewMs - 2 * 103;
    expect(left).toBeGreaterThan(3_000);
    expect(boundD(TIMING)).toBeLessThan(TIMING.leaseMs);
    // T(1 - rho) of the owner's clock is less than T of a voter's that runs faster by rho.
    expect(forwardMs(TIMING) * (1 + TIMING.rho)).toBeLessThan(TIMING.leaseMs);
  });
});
