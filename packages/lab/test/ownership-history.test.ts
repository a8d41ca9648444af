import { boundD, TIMING } from '@weft/election';
import { describe, expect, it } from 'vitest';
import { type AcceptedOwner, OwnershipHistory, type OwnershipSample, type OwnFence, unrest } from '../src/ownership/history.ts';

const A = '192.0.2.1';
const B = '192.0.2.2';
const D = boundD(TIMING);

const obeys = (host: string, epoch: bigint, owner: string, more: Partial<AcceptedOwner> = {}): AcceptedOwner => ({
  host,
  shard: 1,
  epoch,
  owner,
  previous: '',
  previousUntilMs: 0,
  ...more,
});
const fence = (host: string, address: string, epoch: bigint, deadlineMs: number): OwnFence => ({
  host,
  address,
  shard: 1,
  epoch,
  deadlineMs,
});
const at = (atMs: number, accepted: readonly AcceptedOwner[], fences: readonly OwnFence[] = []): OwnershipSample => ({
  atMs,
  accepted,
  fences,
});

function seen(...samples: readonly OwnershipSample[]): OwnershipHistory {
  const history = new OwnershipHistory();
  for (const sample of samples) history.add(sample);
  return history;
}

describe('OwnershipHistory', () => {
  it('finds nothing in a takeover, and says when it was noticed first and by all', () => {
    const history = seen(
      at(0, [obeys('h1', 1n, A), obeys('h2', 1n, A)], [fence('a', A, 1n, 4_000)]),
      at(100, [obeys('h1', 2n, B), obeys('h2', 1n, A)], [fence('a', A, 1n, 4_000), fence('b', B, 2n, 5_000)]),
      at(110, [obeys('h1', 2n, B), obeys('h2', 2n, B)], [fence('a', A, 1n, 0), fence('b', B, 2n, 5_000)]),
    );
    expect(history.faults).toEqual([]);
    expect(history.moves).toEqual([{ shard: 1, from: A, to: B, epoch: 2n, atMs: 100, everywhereMs: 110 }]);
    expect(history.overlapMs).toBe(100);
  });

  it('does not take a higher epoch of the same owner for a move', () => {
    expect(seen(at(0, [obeys('h1', 1n, A)]), at(10, [obeys('h1', 3n, A)])).moves).toEqual([]);
  });

  it('finds an epoch that falls, on a host and on a member', () => {
    expect(seen(at(0, [obeys('h1', 2n, A)]), at(10, [obeys('h1', 1n, A)])).faults.join()).toMatch(/host h1 obeys epoch 1 after 2/);
    const fences = seen(at(0, [], [fence('a', A, 2n, 9)]), at(1, [], [fence('a', A, 1n, 9)]));
    expect(fences.faults.join()).toMatch(/member a forwards epoch 1 after 2/);
  });

  it('finds one epoch with two owners, also when one of them is a member that no host obeys', () => {
    expect(seen(at(0, [obeys('h1', 2n, A), obeys('h2', 2n, B)])).faults).toHaveLength(1);
    expect(seen(at(0, [obeys('h1', 2n, A)], [fence('b', B, 2n, 99)])).faults).toHaveLength(1);
  });

  it('finds a replaced owner whose deadline lies beyond D, as soon as it is written', () => {
    const before = at(0, [obeys('h1', 1n, A)], [fence('a', A, 1n, 4_000)]);
    const moved = [obeys('h1', 2n, B)];
    expect(seen(before, at(100, moved, [fence('a', A, 1n, 100 + D)])).faults).toEqual([]);
    expect(seen(before, at(100, moved, [fence('a', A, 1n, 150 + D)])).faults.join()).toMatch(/member a stays open with epoch 1/);
  });

  it('finds a second owner that is accepted for longer than a hand-over lasts', () => {
    const row = (previousUntilMs: number) => obeys('h1', 2n, B, { previous: A, previousUntilMs });
    expect(seen(at(1_000, [row(1_000 + TIMING.handoverMs)])).faults).toEqual([]);
    expect(seen(at(1_000, [row(1_100 + TIMING.handoverMs)])).faults).toHaveLength(1);
  });
});

describe('unrest()', () => {
  it('is over when every host obeys the one member that is open', () => {
    expect(unrest(at(0, [obeys('h1', 2n, B), obeys('h2', 2n, B)], [fence('a', A, 1n, 0), fence('b', B, 2n, 50)]))).toEqual([]);
  });

  it('names hosts that differ, members that are open beside each other, and nobody', () => {
    expect(unrest(at(0, [obeys('h1', 1n, A), obeys('h2', 2n, B)], [fence('b', B, 2n, 50)])).join()).toMatch(/hosts obey/);
    expect(unrest(at(0, [obeys('h1', 2n, B)], [fence('a', A, 1n, 50), fence('b', B, 2n, 50)])).join()).toMatch(/open is/);
    expect(unrest(at(60, [obeys('h1', 2n, B)], [fence('b', B, 2n, 50)])).join()).toMatch(/open is nobody/);
    expect(unrest(at(0, [obeys('h1', 2n, B)], [fence('a', A, 1n, 50)])).join()).toMatch(/hosts obey .* open is/);
    expect(unrest(at(0, []))).toEqual(['no shard is known']);
  });
});
