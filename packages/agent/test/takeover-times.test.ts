import type { Input, Output } from '@weft/election';
import { describe, expect, it } from 'vitest';
import { TakeoverClock, type TakeoverTimes } from '../src/gateway/takeover-times.ts';

const EPOCH = 7n;
const state = (to: 'asking' | 'voting' | 'owner' | 'standby'): Output => ({
  kind: 'state',
  shard: 1,
  state: to,
  epoch: EPOCH,
  owner: 'g1',
});
const send = (kind: 'ballot' | 'certificate', how = 'takeover'): Output =>
  ({
    ...{ kind: 'send', to: 'w1', paths: [] },
    body: { kind, value: kind === 'ballot' ? { shards: [1], kind: how } : { ballot: { shards: [1] } } },
  }) as unknown as Output;
const fence = (deadlineMs: number): Output => ({
  kind: 'fence',
  row: { shard: 1, epoch: EPOCH, deadlineMs, handoverUntilMs: 0, handoverTo: '' },
});
const vote = (from: string): Input =>
  ({ kind: 'message', message: { group: 'g', from, to: 'g2', body: { kind: 'vote' } } }) as unknown as Input;
const announce: Output = { kind: 'announce', shards: [1], epoch: EPOCH };

function start(silentSince: number | undefined) {
  const clock = new TakeoverClock();
  const did = (output: Output, now: number): TakeoverTimes | undefined => clock.did(output, now, () => silentSince);
  return { clock, did };
}

describe('TakeoverClock', () => {
  it('says when each step was done, counted from the first', () => {
    const { clock, did } = start(850);
    did(state('asking'), 1_000);
    did(state('voting'), 1_006.04);
    did(send('ballot'), 1_010);
    did(send('ballot'), 1_050);
    clock.heard(vote('w1'), 1_018);
    clock.heard(vote('w1'), 1_060);
    did(fence(9_000), 1_019);
    did(send('certificate'), 1_020);
    did(send('certificate'), 1_021);
    did(state('owner'), 1_022);
    expect(did(announce, 1_025)).toEqual({
      ...{ shards: [1], kind: 'takeover', from: 'g1', epoch: '7', silentBeforeMs: 150, answeredMs: 6, ballotMs: 10, votesMs: { w1: 18 } },
      ...{ openedMs: 19, toldMs: 21, announcedMs: 25 },
    });
    expect(did(announce, 1_030)).toBeUndefined();
  });

  it('begins anew with each attempt, and leaves out what it does not know', () => {
    const { clock, did } = start(undefined);
    did(state('asking'), 1_000);
    did(send('ballot'), 1_010);
    did(state('standby'), 2_000);
    clock.heard(vote('w1'), 2_500);
    did(state('asking'), 3_000);
    // A row that closes opens nothing.
    did(fence(0), 3_001);
    expect(did(announce, 3_005)).toEqual({ shards: [1], kind: 'takeover', from: 'g1', epoch: '7', votesMs: {}, announcedMs: 5 });
  });

  it('tells a move by consent from a takeover', () => {
    const { did } = start(990);
    did(state('asking'), 1_000);
    did(send('ballot', 'handover'), 1_010);
    expect(did(announce, 1_030)).toMatchObject({ kind: 'handover', from: 'g1', silentBeforeMs: 10, ballotMs: 10 });
  });
});
