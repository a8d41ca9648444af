import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DEFAULT_TRICKLE, hearDifferent, hearEqual, startTrickle, tickTrickle, trickleDeadlineMs } from '../src/index.ts';

const half = (): number => 0.5;

describe('tickTrickle()', () => {
  it('sends once per interval, in its second half, and doubles up to Imax', () => {
    let state = startTrickle(DEFAULT_TRICKLE, 0, () => 0);
    const sentAt: number[] = [];
    const intervals: number[] = [];
    for (let now = 0; now <= 20_000; now += 10) {
      const step = tickTrickle(DEFAULT_TRICKLE, state, now, half);
      if (step.send) {
        sentAt.push(now);
        intervals.push(state.intervalMs);
        expect(now - state.startMs).toBeGreaterThanOrEqual(state.intervalMs / 2);
        expect(now - state.startMs).toBeLessThan(state.intervalMs);
      }
      state = step.state;
    }
    expect(intervals.slice(0, 4)).toEqual([1000, 2000, 4000, 4000]);
    expect(sentAt.length).toBeGreaterThanOrEqual(5);
  });

  it('is silent in an interval in which two equal digests were heard', () => {
    const state = hearEqual(hearEqual(startTrickle(DEFAULT_TRICKLE, 0, half)));
    expect(tickTrickle(DEFAULT_TRICKLE, state, state.sendAtMs, half).send).toBe(false);
    expect(tickTrickle(DEFAULT_TRICKLE, hearEqual(startTrickle(DEFAULT_TRICKLE, 0, half)), state.sendAtMs, half).send).toBe(true);
  });

  it('never sends twice in an interval and always has a deadline ahead, whatever happens (property)', () => {
    const event = fc.oneof(
      fc.record({ kind: fc.constant('tick' as const), by: fc.integer({ min: 0, max: 9_000 }) }),
      fc.record({ kind: fc.constantFrom('equal' as const, 'different' as const), by: fc.integer({ min: 0, max: 500 }) }),
    );
    fc.assert(
      fc.property(
        fc.array(event, { maxLength: 80 }),
        fc.infiniteStream(fc.double({ min: 0, max: 0.999, noNaN: true })),
        (events, stream) => {
          const random = (): number => stream.next().value as number;
          let now = 0;
          let state = startTrickle(DEFAULT_TRICKLE, now, random);
          const sentIn = new Set<number>();
          for (const { kind, by } of events) {
            now += by;
            if (kind === 'equal') state = hearEqual(state);
            else if (kind === 'different') state = hearDifferent(DEFAULT_TRICKLE, state, now, random);
            else {
              const before = state.startMs;
              const step = tickTrickle(DEFAULT_TRICKLE, state, now, random);
              if (step.send) {
                expect(sentIn.has(before)).toBe(false);
                sentIn.add(before);
              }
              state = step.state;
              expect(trickleDeadlineMs(state)).toBeGreaterThan(now);
            }
            expect(state.intervalMs).toBeGreaterThanOrEqual(DEFAULT_TRICKLE.minIntervalMs);
            expect(state.intervalMs).toBeLessThanOrEqual(DEFAULT_TRICKLE.maxIntervalMs);
          }
        },
      ),
    );
  });
});

describe('hearDifferent()', () => {
  it('goes back to Imin, and leaves an interval of Imin alone', () => {
    const long = startTrickle(DEFAULT_TRICKLE, 0, () => 0.99);
    expect(long.intervalMs).toBeGreaterThan(3_900);
    const short = hearDifferent(DEFAULT_TRICKLE, long, 100, half);
    expect(short).toMatchObject({ intervalMs: 1000, startMs: 100, heard: 0 });
    expect(hearDifferent(DEFAULT_TRICKLE, short, 200, half)).toBe(short);
  });
});
