import { describe, expect, it } from 'vitest';
import { type Alarm, boundD, certificateFault, forwardMs, type Input, type Output, RULES, TIMING } from '../src/index.ts';
import { type Machine, misplaced, simVerify, unhealthy, World, type WorldInit } from '../src/sim/index.ts';

// What an operator would try: one fault at a time, with the real timers.

interface Story {
  readonly world: World;
  readonly outputs: Map<string, Output[]>;
}

function begin(seed = 1, init: Partial<WorldInit> = {}): Story {
  const outputs = new Map<string, Output[]>();
  const world = new World({
    seed,
    timing: TIMING,
    rules: RULES,
    members: ['a', 'b'],
    witnesses: ['w'],
    hosts: ['h1', 'h2'],
    voters: ['a', 'b', 'w'],
    shards: [1],
    syncLoss: 0,
    ...init,
    onOutput: (id, output) => {
      const list = outputs.get(id) ?? [];
      list.push(output as Output);
      outputs.set(id, list);
    },
  });
  // No faults but the story's: the simulator would kill an agent now and then when blocks change hands.
  world.calm = true;
  world.runUntil(6_000);
  // Both may have stood at the very first moment: then the shard goes to the first of its order.
  while (unhealthy(world) !== undefined || misplaced(world) !== undefined) world.runUntil(world.now + 100);
  return { world, outputs };
}

function owner(world: World, shard = 1): Machine {
  const machine = world.owner(shard);
  if (machine === undefined) throw new Error('nobody owns it');
  return machine;
}
const epoch = (world: World, shard = 1): bigint => world.checker.newest.get(shard)!.epoch;
const other = (world: World): Machine => world.machine(owner(world).id === 'a' ? 'b' : 'a');
const alarms = (story: Story, id: string): readonly Alarm[] =>
  (story.outputs.get(id) ?? []).filter((output): output is Alarm => output.kind === 'alarm');

/** Time until every host obeys somebody else; Infinity: not within 20 s. */
function gapAfter(world: World, fault: () => void, shard = 1): number {
  const before = owner(world, shard).id;
  fault();
  const from = world.now;
  while (world.now - from < 20_000) {
    world.runUntil(world.now + 5);
    if (world.hosts.every(({ shards }) => shards.get(shard)?.owner !== before)) return world.now - from;
  }
  return Number.POSITIVE_INFINITY;
}

function isolate(world: World, id: string, nats: boolean): void {
  for (const machine of world.machines.keys()) {
    if (machine === id) continue;
    for (const key of [`${id} ${machine}`, `${machine} ${id}`, `external ${id} ${machine}`, `external ${machine} ${id}`])
      world.paths.cut(key);
  }
  if (nats) world.paths.cut(`nats ${id}`);
}

describe('a group with a witness', () => {
  it('has one owner that every host obeys, soon after it starts', () => {
    const { world } = begin();
    expect(unhealthy(world)).toBeUndefined();
  });

  it('fails over in 250 ms (median) and 500 ms (99 of 100) when the owner loses power', { timeout: 60_000 }, () => {
    const gaps: number[] = [];
    for (let seed = 1; seed <= 300; seed++) {
      const { world } = begin(seed);
      world.runUntil(6_000 + (seed % 40));
      gaps.push(gapAfter(world, () => world.powerOff(owner(world))));
    }
    gaps.sort((a, b) => a - b);
    expect(gaps[150]!).toBeLessThanOrEqual(250);
    expect(gaps[296]!).toBeLessThanOrEqual(500);
  });

  it('fails over as fast while JetStream elects a leader', () => {
    const { world } = begin();
    world.storeBlockedUntil = world.now + 9_000;
    expect(gapAfter(world, () => world.powerOff(owner(world)))).toBeLessThan(500);
  });

  it('fails over as fast when the owner took NATS with it', () => {
    const { world } = begin();
    world.paths.cut('nats');
    expect(gapAfter(world, () => world.powerOff(owner(world)))).toBeLessThan(500);
  });

  it('moves nothing when NATS alone is down, for minutes', () => {
    const { world } = begin();
    const before = epoch(world);
    world.paths.cut('nats');
    world.runUntil(world.now + 180_000);
    expect(epoch(world)).toBe(before);
    expect(unhealthy(world)).toBeUndefined();
  });

  it('moves nothing when an agent is killed and starts again within 2 s, at any moment of its lease', () => {
    for (let seed = 1; seed <= 60; seed++) {
      const { world } = begin(seed);
      world.runUntil(6_000 + 17 * seed);
      const [machine, before] = [owner(world), epoch(world)];
      world.killAgent(machine);
      world.runUntil(world.now + 2_000);
      // Nobody keeps its time but the kernel, and it forwards.
      expect(RULES.isOpen(machine.fence.get(1), machine.clock.at(world.now))).toBe(true);
      world.startAgent(machine);
      // It goes on by what its former process has left, which it does not vouch for before a majority has renewed it.
      expect(machine.node?.isConfirmed(1)).toBe(false);
      world.runUntil(world.now + 6_000);
      expect(machine.node?.isConfirmed(1)).toBe(true);
      expect(epoch(world)).toBe(before);
      expect(unhealthy(world)).toBeUndefined();
    }
  });

  it('moves nothing when the standby, or the witness, stops for a minute', () => {
    for (const which of [(world: World) => other(world), (world: World) => world.machine('w')]) {
      const { world } = begin();
      const before = epoch(world);
      const machine = which(world);
      world.setStopped(machine, true);
      world.runUntil(world.now + 60_000);
      world.setStopped(machine, false);
      world.runUntil(world.now + 10_000);
      expect(epoch(world)).toBe(before);
    }
  });

  it.each([
    [400, 3_000],
    [1_200, 8_000],
    [3_000, 20_000],
  ])('fails over though each write to a disk takes %i ms', { timeout: 60_000 }, (diskMs, boundMs) => {
    for (let seed = 1; seed <= 20; seed++) {
      const { world } = begin(seed);
      world.runUntil(6_000 + 17 * seed);
      for (const machine of world.gateways) machine.diskMs = diskMs;
      expect(gapAfter(world, () => world.powerOff(owner(world)))).toBeLessThan(boundMs);
      world.check();
    }
  });

  it('waits for the disks of voters alone: its own epoch has been on disk before', { timeout: 60_000 }, () => {
    for (let seed = 1; seed <= 40; seed++) {
      const { world } = begin(seed);
      world.runUntil(6_000 + 17 * seed);
      for (const machine of world.gateways) machine.diskMs = 400;
      // One write and what a takeover takes without; two would be 940 at least.
      expect(gapAfter(world, () => world.powerOff(owner(world)))).toBeLessThan(850);
    }
  });

  it.each(['w', 'standby'])('fails over though the disk of %s alone takes 3 s', { timeout: 60_000 }, (slow) => {
    for (let seed = 1; seed <= 20; seed++) {
      const { world } = begin(seed);
      (slow === 'w' ? world.machine('w') : other(world)).diskMs = 3_000;
      expect(gapAfter(world, () => world.powerOff(owner(world)))).toBeLessThan(20_000);
      world.check();
    }
  });

  it('fails over as fast as ever once the disks are fast again', () => {
    const { world } = begin();
    for (const machine of world.gateways) machine.diskMs = 3_000;
    const first = owner(world);
    expect(gapAfter(world, () => world.powerOff(first))).toBeLessThan(20_000);
    for (const machine of world.gateways) machine.diskMs = 2;
    world.boot(first);
    world.runUntil(world.now + 15_000);
    expect(gapAfter(world, () => world.powerOff(owner(world)))).toBeLessThan(500);
  });

  it('fails over when the agent of the owner is gone for good, once its deadline has passed', () => {
    const { world } = begin();
    const gap = gapAfter(world, () => world.killAgent(owner(world)));
    expect(gap).toBeGreaterThan(forwardMs(TIMING) - TIMING.renewMs - 300);
    expect(gap).toBeLessThan(TIMING.leaseMs + 1_000);
  });

  it('closes a cut-off owner within D on its own clock, and at once when a certificate reaches it', () => {
    const far = begin();
    const cut = owner(far.world);
    expect(gapAfter(far.world, () => isolate(far.world, cut.id, true))).toBeLessThan(500);
    const at = cut.clock.at(far.world.now);
    expect(RULES.isOpen(cut.fence.get(1), at)).toBe(true);
    expect(cut.fence.get(1)!.deadlineMs).toBeLessThanOrEqual(at + boundD(TIMING));

    const near = begin();
    const silent = owner(near.world);
    // Its underlay is gone, NATS is not.
    expect(gapAfter(near.world, () => isolate(near.world, silent.id, false))).toBeLessThan(500);
    near.world.runUntil(near.world.now + 50);
    expect(silent.fence.get(1)!.deadlineMs).toBe(0);
  });

  it('does not move because one of two voters lost sight of the owner', () => {
    const { world } = begin();
    const before = epoch(world);
    const [a, b] = [owner(world).id, other(world).id];
    for (const key of [`${a} ${b}`, `${b} ${a}`]) world.paths.cut(key);
    world.runUntil(world.now + 30_000);
    expect(epoch(world)).toBe(before);
  });

  it('prefers nobody: the first member does not take its shard back', () => {
    const { world } = begin();
    const first = owner(world);
    world.powerOff(first);
    world.runUntil(world.now + 2_000);
    const before = epoch(world);
    expect(owner(world)).not.toBe(first);
    world.boot(first);
    world.runUntil(world.now + 60_000);
    expect(epoch(world)).toBe(before);
  });
});

describe('a planned move', () => {
  it('has no moment without an owner, sets prev on hosts, and forwards late returns for 30 s', () => {
    const story = begin();
    const { world, outputs } = story;
    const [from, to] = [owner(world), other(world)];
    world.record.drain(from.id, true);
    let without = 0;
    while (world.now < 8_000) {
      world.runUntil(world.now + 1);
      const open = [from, to].some(({ fence, clock }) => RULES.isOpen(fence.get(1), clock.at(world.now)));
      if (!open) without++;
    }
    expect(owner(world)).toBe(to);
    expect(unhealthy(world)).toBeUndefined();
    // Between the new owner's certificate leaving and the old one closing both are open; never neither.
    expect(without).toBe(0);
    for (const host of world.hosts) {
      const row = host.shards.get(1)!;
      expect(row.previousAddress).toBe('192.0.2.1');
      expect(row.previousUntilMs - host.clock.at(world.now)).toBeLessThanOrEqual(TIMING.handoverMs);
    }
    const closed = from.fence.get(1)!;
    expect(closed).toMatchObject({ deadlineMs: 0, handoverTo: '192.0.2.2' });
    expect(closed.handoverUntilMs - from.clock.at(world.now)).toBeLessThanOrEqual(TIMING.handoverMs);
    world.runUntil(world.now + TIMING.handoverMs + 1_000);
    const steps = (outputs.get(from.id) ?? []).flatMap((output) => (output.kind === 'handover' ? [output.step] : []));
    expect(steps).toEqual(['sync', 'forward', 'done']);
    const states = (outputs.get(from.id) ?? []).flatMap((output) => (output.kind === 'state' ? [output.state] : []));
    expect(states.slice(-3)).toEqual(['owner', 'handing-over', 'standby']);
  });

  it('finds hosts that believe whoever is open: the next owner from the consent on', () => {
    const { world } = begin();
    const [from, to] = [owner(world), other(world)];
    const strangers: string[] = [];
    world.record.drain(from.id, true);
    while (world.now < 8_000) {
      world.runUntil(world.now + 0.1);
      for (const gateway of [from, to]) {
        if (!RULES.isOpen(gateway.fence.get(1), gateway.clock.at(world.now))) continue;
        const address = gateway === from ? '192.0.2.1' : '192.0.2.2';
        for (const host of world.hosts) {
          const { providerAddress, previousAddress, previousUntilMs } = host.shards.get(1)!;
          const isBelieved = providerAddress === address || (previousAddress === address && host.clock.at(world.now) < previousUntilMs);
          if (!isBelieved) strangers.push(`${host.id} ${gateway.id} ${world.now}`);
        }
      }
    }
    expect(owner(world)).toBe(to);
    expect(strangers).toEqual([]);
  });

  it('follows a lost external carrier, and the deadline is not extended meanwhile', () => {
    const { world, outputs } = begin();
    const from = owner(world);
    const deadline = from.fence.get(1)!.deadlineMs;
    from.carrier = false;
    expect(gapAfter(world, () => world.give(from, { kind: 'carrier', up: false }))).toBeLessThan(700);
    const rows = (outputs.get(from.id) ?? []).flatMap((output) => (output.kind === 'fence' ? [output.row.deadlineMs] : []));
    expect(Math.max(...rows)).toBe(deadline);
  });

  it('is called off when the other does not take over: the owner goes on under a higher epoch, so that the consent is worth nothing', () => {
    const { world, outputs } = begin();
    const [from, to] = [owner(world), other(world)];
    const before = epoch(world);
    // Its agent is gone, but its packet path answers.
    world.setStopped(to, true);
    world.record.drain(from.id, true);
    world.runUntil(world.now + 8_000);
    expect(owner(world)).toBe(from);
    expect(epoch(world)).toBeGreaterThan(before);
    const steps = (outputs.get(from.id) ?? []).flatMap((output) => (output.kind === 'handover' ? [output.step] : []));
    expect(steps.slice(0, 2)).toEqual(['sync', 'cancelled']);
  });

  it('brings a shard to where the record places it, by consent, and leaves one alone that a failure has moved', () => {
    const { world, outputs } = begin();
    const [from, to] = [owner(world), other(world)];
    const before = world.checker.moves;
    world.record.place(1, to.id);
    let without = 0;
    while (owner(world) !== to && world.now < 60_000) {
      world.runUntil(world.now + 1);
      if (![from, to].some(({ fence, clock }) => RULES.isOpen(fence.get(1), clock.at(world.now)))) without++;
    }
    expect(without).toBe(0);
    expect(world.checker.moves - before).toBe(1);
    world.runUntil(world.now + TIMING.handoverMs + 1_000);
    const steps = (outputs.get(from.id) ?? []).flatMap((output) => (output.kind === 'handover' ? [output.step] : []));
    expect(steps).toEqual(['sync', 'forward', 'done']);
    // A failure moves it back to where it was; the record still names the other, and nothing goes there again by itself.
    gapAfter(world, () => world.powerOff(to));
    world.boot(to);
    world.runUntil(world.now + 120_000);
    expect(owner(world)).toBe(from);
    expect(unhealthy(world)).toBeUndefined();
    // Until it is placed there anew: also where the record did not change the order by that.
    world.record.place(1, to.id);
    world.runUntil(world.now + 10_000);
    expect(owner(world)).toBe(to);
  });

  it('waits with a placement until the next owner has answered for a while, and moves a few shards at a time', () => {
    const { world } = begin(3, { shards: Array.from({ length: 12 }, (_, i) => i + 1) });
    const mine = world.init.shards.filter((shard) => owner(world, shard).id === 'a');
    expect(mine.length).toBe(6);
    const b = world.machine('b');
    world.powerOff(b);
    for (const shard of mine) world.record.place(shard, 'b');
    world.runUntil(world.now + 20_000);
    expect(world.init.shards.every((shard) => owner(world, shard).id === 'a')).toBe(true);
    world.boot(b);
    const started = world.now;
    const onB = (): number => world.init.shards.filter((shard) => owner(world, shard).id === 'b').length;
    let largest = 0;
    for (let at = onB(); onB() < mine.length && world.now < started + 60_000; at = onB()) {
      world.runUntil(world.now + 20);
      if (at === 0 && onB() > 0) expect(world.now - started).toBeGreaterThanOrEqual(TIMING.placementMs);
      largest = Math.max(largest, onB() - at);
    }
    // What failed over meanwhile was moved by a failure, and stays; what the operator placed goes.
    expect(mine.every((shard) => owner(world, shard).id === 'b')).toBe(true);
    expect(onB()).toBe(mine.length);
    expect(largest).toBeLessThanOrEqual(4);
  });

  it('waits with a placement no longer because the owner stood still for a moment', () => {
    const { world } = begin();
    const [from, to] = [owner(world), other(world)];
    world.runUntil(world.now + 10_000);
    world.setStopped(from, true);
    world.record.place(1, to.id);
    world.runUntil(world.now + 2 * TIMING.answeringMs);
    world.setStopped(from, false);
    expect(owner(world)).toBe(from);
    world.runUntil(world.now + TIMING.placementMs / 2);
    expect(owner(world)).toBe(to);
  });

  it('stays with a member that was drained, and has taken it over before it read that it is so no more', () => {
    const { world } = begin();
    const [from, to] = [owner(world), other(world)];
    world.record.drain(to.id, true);
    world.runUntil(world.now + 5_000);
    world.paths.cut(`nats ${to.id}`);
    world.record.drain(to.id, false);
    world.record.place(1, to.id);
    for (const until = world.now + 10_000; owner(world) !== to && world.now < until; ) world.runUntil(world.now + 20);
    world.runUntil(world.now + 1_000);
    expect(owner(world)).toBe(to);
    world.paths.mend(`nats ${to.id}`);
    world.runUntil(world.now + 20_000);
    expect(owner(world)).toBe(to);
    expect(from.node!.stateOf(1)).toBe('standby');
  });

  it('stays with such a member for as long as it can not read the record', () => {
    const { world } = begin();
    const [from, to] = [owner(world), other(world)];
    world.record.drain(to.id, true);
    world.runUntil(world.now + 5_000);
    world.paths.cut(`nats ${to.id}`);
    world.record.drain(to.id, false);
    world.record.place(1, to.id);
    for (const until = world.now + 10_000; owner(world) !== to && world.now < until; ) world.runUntil(world.now + 20);
    const moves = world.checker.moves;
    world.runUntil(world.now + 30_000);
    expect(owner(world)).toBe(to);
    world.paths.mend(`nats ${to.id}`);
    world.runUntil(world.now + 20_000);
    expect([owner(world), world.checker.moves]).toEqual([to, moves]);
    expect(from.node!.stateOf(1)).toBe('standby');
    // Drained again, and able to read it, it goes.
    world.record.drain(to.id, true);
    world.runUntil(world.now + 20_000);
    expect(owner(world)).toBe(from);
  });

  it('stays with such a member when a reading ends that began before it was given the shard', () => {
    const { world } = begin();
    const to = other(world);
    world.record.drain(to.id, true);
    world.runUntil(world.now + 5_000);
    world.paths.cut(`nats ${to.id}`);
    const askedAt = to.clock.at(world.now);
    world.record.drain(to.id, false);
    world.record.place(1, to.id);
    for (const until = world.now + 10_000; owner(world) !== to && world.now < until; ) world.runUntil(world.now + 20);
    const { moves } = world.checker;
    world.give(to, { kind: 'record-read', askedAt });
    world.runUntil(world.now + 30_000);
    expect([owner(world), world.checker.moves]).toEqual([to, moves]);
  });

  it('takes a drained member as its owner when there is no other, and as soon as there is, another', () => {
    const { world } = begin();
    const [from, to] = [owner(world), other(world)];
    world.record.drain(from.id, true);
    world.runUntil(world.now + 3_000);
    expect(owner(world)).toBe(to);
    expect(gapAfter(world, () => world.powerOff(to))).toBeLessThan(2_000);
    expect(owner(world)).toBe(from);
    world.boot(to);
    world.runUntil(world.now + 15_000);
    expect(owner(world)).toBe(to);
  });

  it('moves at most three times a minute', () => {
    const { world } = begin();
    const grants = (): number => world.checker.moves;
    const before = grants();
    const end = world.now + 55_000;
    while (world.now < end) {
      const from = owner(world);
      world.record.drain(from.id, true);
      world.runUntil(world.now + 2_000);
      world.record.drain(from.id, false);
      world.runUntil(world.now + 500);
    }
    expect(grants() - before).toBe(TIMING.movesMax);
  });
});

describe('groups without a witness', () => {
  it('a pair with one voter says so, and its standby never takes over by itself', () => {
    const story = begin(1, { witnesses: [], voters: ['a'] });
    const { world } = story;
    expect(alarms(story, 'b').filter(({ active, code }) => active && code === 'no-automatic-failover')).toHaveLength(1);
    const before = epoch(world);
    world.powerOff(world.machine('a'));
    world.runUntil(world.now + 120_000);
    expect(epoch(world)).toBe(before);
    world.boot(world.machine('a'));
    world.runUntil(world.now + 12_000);
    expect(unhealthy(world)).toBeUndefined();
  });
});

describe('voters', () => {
  it('are exchanged with the owner in its place, and the old witness counts no more', () => {
    const { world, outputs } = begin(1, { witnesses: ['w', 'x'] });
    const before = epoch(world);
    world.record.nameWitnesses(['x']);
    const joint = world.newestConfig;
    world.runUntil(world.now + 8_000);
    const settled = [...outputs.values()].flat().flatMap((output) => (output.kind === 'settled' ? [output] : []));
    expect(settled.length).toBeGreaterThan(0);
    for (const { config, certificate } of settled) {
      expect(config).toBe(2);
      expect(certificateFault(joint, certificate, simVerify, RULES)).toBeUndefined();
    }
    expect(world.newestConfig).toMatchObject({ config: 2, previous: undefined });
    expect(epoch(world)).toBe(before);
    // The old witness and the standby alone are no majority any more.
    const from = owner(world);
    world.powerOff(world.machine('x'));
    isolate(world, from.id, true);
    world.runUntil(world.now + 30_000);
    expect(epoch(world)).toBe(before);
  });

  it('that lost their file are named anew by the controller, and do not vote before', () => {
    const { world } = begin();
    const machine = world.machine('w');
    world.killAgent(machine);
    machine.disk = undefined;
    world.startAgent(machine);
    world.runUntil(world.now + 8_000);
    expect(world.newestConfig).toMatchObject({ config: 2, previous: undefined });
    expect(gapAfter(world, () => world.powerOff(owner(world)))).toBeLessThan(500);
  });
});

describe('hosts', () => {
  it('that boot have no owner until a majority of the voters has answered, then the right one', () => {
    const { world } = begin();
    const host = world.machine('h1');
    world.powerOff(host);
    world.boot(host);
    expect(host.shards.size).toBe(0);
    world.runUntil(world.now + 2_500);
    expect(unhealthy(world)).toBeUndefined();
  });
});

describe('a claim of an external address by somebody else', () => {
  it('closes nothing, and raises an alarm', () => {
    const story = begin();
    const machine = owner(story.world);
    const conflict: Input = { kind: 'external-conflict', address: '203.0.113.9' };
    for (let i = 0; i < 50; i++) {
      story.world.give(machine, conflict);
      story.world.runUntil(story.world.now + 50);
    }
    expect(unhealthy(story.world)).toBeUndefined();
    expect(alarms(story, machine.id).some(({ code }) => code === 'external-conflict')).toBe(true);
  });
});
