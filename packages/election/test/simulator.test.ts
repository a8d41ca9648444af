import { describe, expect, it } from 'vitest';
import { runSchedule, type ScheduleResult } from '../src/sim/index.ts';
import { PLANTED } from './planted.ts';
import seeds from './seeds.json' with { type: 'json' };

// `npm run sim` goes on where this ends.
const SCHEDULES = 2_000;

const failure = ({ seed, violation }: ScheduleResult): string[] =>
  violation === undefined ? [] : [`seed ${seed}: ${violation.message} (npm run sim -- --seed ${seed} --trace)`];

describe('the ownership simulator', () => {
  // By today's random numbers these are other schedules than those that failed: what was found stands in found-by-simulator.test.ts.
  it('finds every promise kept on the seeds that once failed', () => {
    expect(seeds.flatMap(({ seed }) => failure(runSchedule(seed)))).toEqual([]);
  });

  it(`finds every promise kept in ${SCHEDULES} schedules of faults`, { timeout: 300_000 }, () => {
    const failures: string[] = [];
    const seen = { moves: 0, joins: 0, blocks: 0 };
    for (let seed = 1; seed <= SCHEDULES; seed++) {
      const result = runSchedule(seed);
      failures.push(...failure(result));
      seen.moves += result.moves;
      seen.joins += result.joins;
      seen.blocks += result.blocks;
    }
    expect(failures).toEqual([]);
    // Schedules in which nothing moves and nobody joins would prove nothing.
    expect(seen.moves).toBeGreaterThan(SCHEDULES / 2);
    expect(seen.joins).toBeGreaterThan(SCHEDULES / 10);
    expect(seen.blocks).toBeGreaterThan(100 * SCHEDULES);
  });

  it('gives the same schedule for the same seed', () => {
    const lines = [0, 1].map(() => {
      const trace: string[] = [];
      runSchedule(77, undefined, (line) => trace.push(line));
      return trace;
    });
    expect(lines[0]!.length).toBeGreaterThan(20);
    expect(lines[1]).toEqual(lines[0]);
  });
});

describe('a planted bug is found: ', () => {
  it.each(Object.entries(PLANTED))('%s', { timeout: 300_000 }, (_, rules) => {
    for (let seed = 1; seed <= SCHEDULES; seed++) {
      const { violation } = runSchedule(seed, rules);
      if (violation === undefined) continue;
      // The seed is to blame the bug alone: it passes with the rules as they are.
      expect(runSchedule(seed).violation).toBeUndefined();
      // Safety, not only slowness.
      if (!['no-owner', 'not-placed', 'blocks-not-moved'].includes(violation.rule)) return;
    }
    expect.fail(`not found in ${SCHEDULES} schedules`);
  });
});
