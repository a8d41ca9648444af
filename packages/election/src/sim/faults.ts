import type { Machine } from './machine.ts';
import type { World } from './world.ts';

/*
 * What goes wrong. Each fault begins now and undoes itself after a while; `calmDown` undoes what is left.
 */
export type Fault = (world: World) => void;

const link = (from: Machine, to: Machine): string => `${from.id} ${to.id}`;

function someGateway(world: World): Machine {
  // The owner is where it hurts.
  const owner = world.owner(world.random.pick(world.init.shards));
  return owner !== undefined && world.random.chance(0.5) ? owner : world.random.pick(world.gateways);
}
/** Mostly short against a lease, sometimes around it, seldom long. */
function aWhile(world: World): number {
  const { random } = world;
  const { leaseMs } = world.init.timing;
  if (random.chance(0.5)) return random.between(10, leaseMs / 4);
  return random.chance(0.85) ? random.between(leaseMs / 4, leaseMs * 1.6) : random.between(leaseMs, leaseMs * 3);
}
function cutFor(world: World, keys: readonly string[], ms: number): void {
  for (const key of keys) world.paths.cut(key);
  world.after(ms, () => {
    for (const key of keys) world.paths.mend(key);
  });
}

/** The machines fall into two parts; often, when the parts mend, they fall into others at once, and somebody has restarted meanwhile. */
function split(world: World, together: readonly string[] = []): void {
  const { random } = world;
  const machines = [...world.machines.values()];
  const here = machines.filter(({ id }) => (together.length === 0 ? random.chance(0.5) : together.includes(id)));
  const there = machines.filter((machine) => !here.includes(machine));
  const keys = here.flatMap((a) => there.flatMap((b) => [link(a, b), link(b, a), `external ${link(a, b)}`, `external ${link(b, a)}`]));
  // NATS is on one side, and so is the controller.
  keys.push(...here.map(({ id }) => `nats ${id}`));
  world.trace(() => `FAULT split: ${here.map(({ id }) => id).join()} | ${there.map(({ id }) => id).join()} and NATS`);
  for (const key of keys) world.paths.cut(key);
  if (random.chance(0.3)) FAULTS['voters']!(world);
  world.after(random.between(0.3, 2) * world.init.timing.leaseMs, () => {
    if (!world.calm && random.chance(0.6)) {
      split(world);
      if (random.chance(0.6)) FAULTS[random.pick(['restart', 'crashLoop'])]!(world);
    }
    for (const key of keys) world.paths.mend(key);
  });
}

export const FAULTS: Readonly<Record<string, Fault>> = {
  stop(world) {
    const machine = someGateway(world);
    const ms = world.random.chance(0.04) ? world.random.between(5_000, 60_000) : aWhile(world);
    world.trace(() => `FAULT ${machine.id} agent stops for ${ms.toFixed(0)} ms`);
    world.setStopped(machine, true);
    world.after(ms, () => world.setStopped(machine, false));
  },
  freeze(world) {
    const machine = someGateway(world);
    const clockStops = world.random.chance(0.6);
    const ms = world.random.chance(0.04) ? world.random.between(5_000, 60_000) : aWhile(world);
    world.trace(() => `FAULT ${machine.id} freezes for ${ms.toFixed(0)} ms, clock ${clockStops ? 'stops' : 'runs'}`);
    world.freeze(machine, clockStops);
    world.after(ms, () => world.thaw(machine));
  },
  restart(world) {
    const machine = someGateway(world);
    const ms = world.random.chance(0.4) ? world.random.between(1, 50) : aWhile(world);
    world.killAgent(machine);
    world.after(ms, () => world.startAgent(machine));
  },
  /** An agent that ends soon after each start: every time only its file tells what it has promised. */
  crashLoop(world) {
    const { random } = world;
    // The owner's votes are for itself mostly: another's hold more than one member's fate.
    const owner = world.owner(random.pick(world.init.shards));
    const machine = random.pick(world.gateways.filter((one) => one !== owner));
    const { leaseMs } = world.init.timing;
    const again = (left: number): void => {
      world.killAgent(machine);
      world.after(random.between(1, 50), () => {
        world.startAgent(machine);
        world.after(random.between(20, leaseMs / 4), () => {
          if (left > 1 && !world.calm) again(left - 1);
        });
      });
    };
    again(random.between(2, 8));
  },
  reboot(world) {
    const machine = someGateway(world);
    const ms = aWhile(world);
    const forgets = world.random.chance(0.2);
    world.trace(() => `FAULT ${machine.id} loses power for ${ms.toFixed(0)} ms${forgets ? ' and its disk' : ''}`);
    world.powerOff(machine);
    if (forgets) machine.disk = undefined;
    world.after(ms, () => world.boot(machine));
  },
  forget(world) {
    const machine = someGateway(world);
    world.trace(() => `FAULT ${machine.id} loses its file`);
    world.killAgent(machine);
    machine.disk = undefined;
    world.after(world.random.between(10, 500), () => world.startAgent(machine));
  },
  oneWay(world) {
    const [from, to] = [someGateway(world), world.random.pick([...world.gateways, ...world.hosts])];
    world.trace(() => `FAULT ${from.id} -> ${to.id} cut`);
    cutFor(world, [link(from, to)], aWhile(world));
  },
  bothWays(world) {
    const [a, b] = [someGateway(world), world.random.pick(world.gateways)];
    world.trace(() => `FAULT ${a.id} <-> ${b.id} cut`);
    cutFor(world, [link(a, b), link(b, a)], aWhile(world));
  },
  isolate(world) {
    const machine = someGateway(world);
    const all = world.random.chance(0.6);
    const others = [...world.machines.values()].filter((other) => other !== machine);
    const keys = others.flatMap((other) => [link(machine, other), link(other, machine)]);
    if (all) keys.push(`nats ${machine.id}`);
    if (all && world.random.chance(0.7))
      keys.push(...others.flatMap((other) => [`external ${link(machine, other)}`, `external ${link(other, machine)}`]));
    world.trace(() => `FAULT ${machine.id} isolated${all ? ' from NATS too' : ' on the underlay'}`);
    cutFor(world, keys, aWhile(world));
  },
  split: (world) => split(world),
  nats(world) {
    const all = world.random.chance(0.5);
    world.trace(() => `FAULT NATS ${all ? 'is down' : 'loses one client'}`);
    cutFor(world, [all ? 'nats' : `nats ${world.random.pick([...world.machines.values()]).id}`], aWhile(world));
  },
  weather(world) {
    const {
      random,
      paths: { weather },
    } = world;
    Object.assign(weather, {
      loss: random.between(0, 0.4),
      twice: random.between(0, 0.3),
      late: random.between(0, 0.3),
      lateMs: random.between(50, 3_000),
    });
    world.trace(
      () =>
        `FAULT weather: ${weather.loss.toFixed(2)} lost, ${weather.twice.toFixed(2)} twice, ${weather.late.toFixed(2)} up to ${weather.lateMs.toFixed(0)} ms late`,
    );
    world.after(aWhile(world), () => Object.assign(weather, { loss: 0, twice: 0, late: 0, lateMs: 0 }));
  },
  slowDisk(world) {
    const machine = someGateway(world);
    const ms = world.random.between(50, 1_500);
    // Some need longer for a write than a ballot first waits.
    machine.diskMs = ms > 1_200 ? 3 * ms : ms;
    world.trace(() => `FAULT ${machine.id} disk takes ${machine.diskMs.toFixed(0)} ms`);
    world.after(aWhile(world), () => {
      machine.diskMs = 2;
    });
  },
  carrier(world) {
    const machine = someGateway(world);
    world.trace(() => `FAULT ${machine.id} loses its external carrier`);
    machine.carrier = false;
    world.give(machine, { kind: 'carrier', up: false });
    world.after(aWhile(world), () => {
      machine.carrier = true;
      world.give(machine, { kind: 'carrier', up: true });
    });
  },
  drain(world) {
    const machine = world.random.pick(world.record.members);
    world.record.drain(machine, true);
    world.after(aWhile(world), () => world.record.drain(machine, false));
  },
  place(world) {
    world.record.place(world.random.pick(world.init.shards), world.random.pick(world.record.members));
  },
  voters(world) {
    const { init, random, record } = world;
    const { witnesses } = record;
    const spare = init.witnesses.filter((id) => !witnesses.includes(id));
    if (witnesses.length === 0 || spare.length === 0) return;
    const out = random.pick(witnesses);
    const into = random.pick(spare);
    record.nameWitnesses(witnesses.map((id) => (id === out ? into : id)));
    // The hardest moment: the new list is half known, and the old witness is left alone with one member.
    if (!random.chance(0.5)) return;
    world.after(random.between(0, 1_500), () => {
      if (!world.calm) split(world, [out, random.pick(record.members), ...(random.chance(0.5) ? ['h1'] : [])]);
    });
  },
  hostReboot(world) {
    const machine = world.random.pick(world.hosts);
    const whole = world.random.chance(0.7);
    world.trace(() => `FAULT ${machine.id} ${whole ? 'reboots' : 'agent restarts'}`);
    if (whole) world.powerOff(machine);
    else world.killAgent(machine);
    world.after(world.random.between(10, 1_500), () => (whole ? world.boot(machine) : world.startAgent(machine)));
  },
  clockJump(world) {
    const machine = someGateway(world);
    const ms = aWhile(world) * (world.random.chance(0.1) ? 10 : 1);
    world.trace(() => `FAULT ${machine.id} clock jumps by ${ms.toFixed(0)} ms`);
    machine.clock.jump(world.now, ms);
  },
  store(world) {
    world.storeBlockedUntil = world.now + world.random.between(4_000, 9_000);
    world.trace(() => 'FAULT JetStream elects a leader');
  },
  /** A member more; often something else goes wrong before all have heard of it. */
  join(world) {
    const { random, record, init } = world;
    const spare = (init.spares ?? []).filter((id) => !record.members.includes(id));
    if (spare.length === 0) return;
    const id = random.pick(spare);
    record.join(id);
    if (!random.chance(0.4)) return;
    world.after(random.between(0, 2_000), () => {
      if (!world.calm) split(world, random.chance(0.5) ? [id, random.pick(record.members)] : []);
    });
  },
};

/** Everything is mended: machines on, agents running, links whole. */
export function calmDown(world: World): void {
  world.calm = true;
  world.paths.cuts.clear();
  Object.assign(world.paths.weather, { loss: 0, twice: 0, late: 0, lateMs: 0 });
  world.storeBlockedUntil = Math.min(world.storeBlockedUntil, world.now);
  for (const { id, drain } of world.newestConfig.members) if (drain) world.record.drain(id, false);
  for (const machine of world.machines.values()) {
    machine.diskMs = 2;
    world.thaw(machine);
    if (machine.stopped) world.setStopped(machine, false);
    if (!machine.power) world.boot(machine);
    else world.startAgent(machine);
    if (!machine.carrier) {
      machine.carrier = true;
      world.give(machine, { kind: 'carrier', up: true });
    }
  }
}
