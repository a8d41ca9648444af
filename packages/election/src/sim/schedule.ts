import { RULES, type Rules } from '../rules.ts';
import { placementBoundMs, recoveryBoundMs, TIMING, type Timing } from '../timing.ts';
import { Violation } from './checker.ts';
import { calmDown, FAULTS } from './faults.ts';
import { Random } from './random.ts';
import { World } from './world.ts';

/**
 * The real timers, shrunk: a schedule then needs fewer probes, and a 500th of a second. What the machines do depends on the timers' order, not on their length;
 * every eighth schedule runs with the real ones.
 */
export const SIM_TIMING: Timing = {
  ...TIMING,
  leaseMs: 2_000,
  renewMs: 400,
  probeMs: 120,
  unansweredMs: 50,
  answeringMs: 520,
  staggerMs: 150,
  resendMs: 100,
  attemptMs: 700,
  certificateMaxMs: 1_000,
  askMs: 200,
  handoverMs: 4_000,
  syncMs: 1_500,
  placementMs: 1_200,
  movesWindowMs: 12_000,
  unsettledAlarmMs: 4_000,
};

export interface ScheduleResult {
  readonly seed: number;
  /** Undefined: all promises held. */
  readonly violation: Violation | undefined;
  readonly events: number;
  readonly moves: number;
  readonly simulatedMs: number;
}

/** Runs the schedule of one seed: some seconds of faults, then calm until an owner serves every shard again. */
export function runSchedule(seed: number, rules: Rules = RULES, trace?: (line: string) => void): ScheduleResult {
  const random = new Random(seed ^ 0x5eed);
  const shape = random.unit();
  const [members, witnesses, voters] =
    shape < 0.65
      ? [
          ['a', 'b'],
          ['w', 'x'],
          ['a', 'b', 'w'],
        ]
      : shape < 0.85
        ? [['a', 'b', 'c'], [], ['a', 'b', 'c']]
        : shape < 0.95
          ? [
              ['a', 'b', 'c'],
              ['w', 'x', 'y'],
              ['a', 'b', 'c', 'w', 'x'],
            ]
          : [['a', 'b'], [], ['a']];
  const timing = seed % 8 === 0 ? TIMING : SIM_TIMING;
  const shards = random.chance(0.7) ? [1] : [1, 2];
  const world = new World({
    seed,
    timing,
    rules,
    members,
    witnesses,
    hosts: ['h1', 'h2'],
    voters,
    shards,
    ...(trace === undefined ? {} : { trace }),
  });
  let violation: Violation | undefined;
  try {
    faultsThenCalm(world, random);
  } catch (error) {
    if (!(error instanceof Violation)) throw error;
    violation = error;
    world.trace(() => `VIOLATION ${error.message}`);
  }
  return { seed, violation, events: world.events, moves: world.checker.moves, simulatedMs: world.now };
}

function faultsThenCalm(world: World, random: Random): void {
  const { timing } = world.init;
  const names = Object.keys(FAULTS);
  // A schedule has a theme: a few kinds of faults that meet again and again find more than all kinds at once.
  const theme = random.chance(0.3)
    ? ['split', random.pick(['voters', 'restart', 'reboot']), random.pick(names)]
    : Array.from({ length: 2 + Math.floor(random.unit() * 4) }, () => random.pick(names));
  const end = timing.leaseMs * random.between(1, 4);
  let at = random.between(0, timing.leaseMs / 2);
  while (at < end) {
    const fault = FAULTS[random.chance(0.85) ? random.pick(theme) : random.pick(names)]!;
    world.queue.at(at, () => {
      if (!world.calm) fault(world);
    });
    at += random.chance(0.3) ? random.between(0, 30) : random.between(30, timing.leaseMs * 0.6);
  }
  world.runUntil(end);
  calmDown(world);
  world.trace(() => 'CALM');
  const bound = end + recoveryBoundMs(timing) + 3_000;
  while (world.unhealthy() !== undefined) {
    if (world.now > bound)
      throw new Violation('no-owner', `${world.unhealthy()} ${(world.now - end).toFixed(0)} ms after the faults stopped`);
    world.runUntil(world.now + 100);
  }
  world.check();
  // What the record has placed elsewhere gets there; half of the time something else is placed now that all is well.
  if (random.chance(0.5)) world.place(random.pick(world.init.shards), random.pick(world.init.members));
  const start = world.now;
  while (world.unhealthy() !== undefined || world.misplaced() !== undefined) {
    if (world.now - start > placementBoundMs(timing))
      throw new Violation(
        'not-placed',
        `${world.misplaced() ?? world.unhealthy()} ${(world.now - start).toFixed(0)} ms after all was well`,
      );
    world.runUntil(world.now + 100);
  }
  world.check();
}
