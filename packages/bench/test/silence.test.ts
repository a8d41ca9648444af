import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Passages, silenceOf } from '../src/failover/silence.ts';

const passages = (...frames: readonly (readonly [sequence: number, atMs: number])[]): Passages => ({
  sequences: frames.map(([sequence]) => sequence),
  timesMs: frames.map(([, atMs]) => atMs),
});

describe('the silence of a way', () => {
  it('is that of its sender where nothing is under way', () => {
    const sent = passages([0, 0], [1, 1], [2, 20]);
    expect(silenceOf(sent, passages([0, 0.5], [1, 1.5], [2, 20.25]))).toEqual({ longestMs: 18.75, owedMs: 0.5, owedUntilMs: 1.5 });
  });

  it('is its own where frames wait', () => {
    const sent = passages([0, 0], [1, 1], [2, 2], [3, 3]);
    expect(silenceOf(sent, passages([0, 0.5], [1, 10], [2, 10], [3, 10]))).toEqual({ longestMs: 9.5, owedMs: 9, owedUntilMs: 10 });
  });

  it('counts from the arrival before when a frame was sent before that', () => {
    const sent = passages([0, 0], [1, 1], [2, 2]);
    // The third waits from 2 on, but the second arrives at 6: what is silent is the way from 6 on.
    expect(silenceOf(sent, passages([0, 0.5], [1, 6], [2, 9]))).toMatchObject({ owedMs: 5, owedUntilMs: 6 });
  });

  it('goes on over a frame that is lost', () => {
    const sent = passages([0, 0], [1, 1], [2, 12]);
    expect(silenceOf(sent, passages([0, 0.5], [2, 12.5]))).toMatchObject({ owedMs: 11.5 });
  });

  it('does not owe what has overtaken the others, nor what came twice', () => {
    const sent = passages([0, 0], [1, 1], [2, 2], [3, 30]);
    expect(silenceOf(sent, passages([0, 0.5], [2, 2.5], [1, 2.7], [1, 25], [3, 30.5]))).toMatchObject({
      longestMs: 22.3,
      owedMs: 2 - 0.5 + 0,
    });
  });

  it('is none without arrivals', () => {
    expect(silenceOf(passages([0, 0]), passages())).toEqual({ longestMs: 0, owedMs: 0, owedUntilMs: 0 });
  });

  it('is never longer than the longest time without arrivals, nor, with nothing lost, than the longest that a frame took', () => {
    const frames = fc.array(
      fc.record({ afterMs: fc.double({ min: 0, max: 20, noNaN: true }), tookMs: fc.double({ min: 0, max: 50, noNaN: true }) }),
      {
        minLength: 2,
        maxLength: 50,
      },
    );
    fc.assert(
      fc.property(frames, (given) => {
        let atMs = 0;
        const sent = given.map(({ afterMs }, sequence) => {
          atMs += afterMs;
          return [sequence, atMs] as const;
        });
        const arrived = sent.map(([sequence, at]) => [sequence, at + given[sequence]!.tookMs] as const).sort((a, b) => a[1] - b[1]);
        const { longestMs, owedMs } = silenceOf(passages(...sent), passages(...arrived));
        expect(owedMs).toBeLessThanOrEqual(longestMs + 1e-9);
        expect(owedMs).toBeLessThanOrEqual(Math.max(...given.map(({ tookMs }) => tookMs)) + 1e-9);
      }),
    );
  });
});
