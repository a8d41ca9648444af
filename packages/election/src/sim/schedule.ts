import { RULES, type Rules } from '../rules.ts';
import { placementBoundMs, recoveryBoundMs, TIMING, type Timing } from '../timing.ts';
import { Violation } from './checker.ts';
import { calmDown, FAULTS } from './faults.ts';
import { misplaced, unhealthy } from './health.ts';
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
  attemptMaxMs: 5_600,
  certificateMaxMs: 1_000,
  askMs: 200,
  handoverMs: 4_000,
  syncMs: 1_500,
  placementMs: 1_200,
  movesWindowMs: 12_000,
  unsettledAlarmMs: 4_000,
};

/** A holder keeps a block for 3 s here, and what is free is looked at twice, once a second. */
const BLOCKS_BOUND_MS = 15_000;

export interface ScheduleResult {
  readonly seed: number;
  /** Undefined: all promises held. */
  readonly violation: Violation | undefined;
  readonly events: number;
  readonly moves: number;
  /** Members that joined. */
  readonly joins: number;
  /** NAT blocks that changed hands. */
  readonly blocks: number;
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
    spares: random.chance(0.4) ? ['s', 't'].slice(0, random.chance(0.7) ? 1 : 2) : [],
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
  return {
    seed,
    violation,
    events: world.events,
    moves: world.checker.moves,
    joins: world.record.members.length - members.length,
    blocks: world.blocks.moved,
    simulatedMs: world.now,
  };
}

function faultsThenCalm(world: World, random: Random): void {
  const { timing } = world.init;
  const names = Object.keys(FAULTS);
  // A schedule has a theme: a few kinds of faults that meet again and again find more than all kinds at once.
  const theme = random.chance(0.3)
    ? ['split', random.pick(['voters', 'restart', 'reboot', 'crashLoop']), random.pick(names)]
    : Array.from({ length: 2 + Math.floor(random.unit() * 4) }, () => random.pick(names));
  const end = timing.leaseMs * random.between(1, 4);
  for (const _ of world.init.spares ?? []) world.queue.at(random.between(0, end / 2), () => FAULTS['join']!(world));
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
  while (unhealthy(world) !== undefined) {
    if (world.now > bound)
      throw new Violation('no-owner', `${unhealthy(world)} ${(world.now - end).toFixed(0)} ms after the faults stopped`);
    world.runUntil(world.now + 100);
  }
  world.check();
  // What the record has placed elsewhere gets there; half of the time something else is placed now that all is well.
  if (random.chance(0.5)) world.record.place(random.pick(world.init.shards), random.pick(world.record.members));
  const start = world.now;
  while (unhealthy(world) !== undefined || misplaced(world) !== undefined) {
    if (world.now - start > placementBoundMs(timing))
      throw new Violation('not-placed', `${misplaced(world) ?? unhealthy(world)} ${(world.now - start).toFixed(0)} ms after all was well`);
    world.runUntil(world.now + 100);
  }
  // And whoever is to give up blocks has done so once nobody holds them.
  const quiet = world.now;
  while (world.blocks.unsettled() !== undefined) {
    if (world.now - quiet > BLOCKS_BOUND_MS)
      throw new Violation(
        'blocks-not-moved',
        `${world.blocks.unsettled()} ${(world.now - quiet).toFixed(0)} ms after all was in its place`,
      );
    world.runUntil(world.now + 500);
  }
  world.check();
}
