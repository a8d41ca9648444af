import {
  NatEventKind,
  type NatRow,
  NatSnapshotIntake,
  type NatSnapshotRow,
  NatState,
  type NatStore,
  PortState,
  restoreNat,
  SessionKind,
  snapshotNat,
} from '@weft/forwarding';
import { parseIp } from '@weft/packet';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { EXTERNAL, NETWORK, REMOTE, VM, World } from './nat-world.ts';

// A standby that knows an owner's state of some time ago gets its present one, row by row, and the owner may be gone at any of them.

const UDP = 17;
const TCP = 6;
const NETWORKS = new Set([NETWORK]);
/** Of histories that leave enough behind. */
const SEED = 1;
const CALM = { nowBootNs: 0n, clockOffsetNs: 0n };

type Step =
  | { readonly op: 'out' | 'in'; readonly vm: number; readonly port: number; readonly remotePort: number; readonly count: number }
  | { readonly op: 'time'; readonly seconds: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      op: fc.constantFrom('out' as const, 'out' as const, 'in' as const),
      vm: fc.nat(3),
      port: fc.nat(3),
      remotePort: fc.nat(1),
      count: fc.constantFrom(1, 1, 3, 70),
    }),
  },
  { weight: 3, arbitrary: fc.record({ op: fc.constant('time' as const), seconds: fc.constantFrom(1, 121, 301, 700, 7441) }) },
);
const history = fc.array(step, { minLength: 4, maxLength: 20 });

function run(world: World, steps: readonly Step[]): void {
  for (const one of steps) {
    if (one.op === 'time') {
      // In between, so that what is over goes, and its ports and blocks are others' later.
      for (let turn = 0; turn < 4; turn++) {
        world.advance(Math.ceil(one.seconds / 4));
        world.sweep();
      }
      continue;
    }
    for (let i = 0; i < one.count; i++) {
      const near = parseIp(`10.0.0.${1 + one.vm}`);
      const flow = { near, nearPort: 1000 + one.port + i, remote: REMOTE, remotePort: 53 + one.remotePort };
      if (one.op === 'out') world.out({ ...flow, protocol: UDP });
      else world.in({ reason: 0, address: EXTERNAL[0]!, port: 80, networkId: 0 }, { remotePort: 2000 + i, protocol: TCP, tcpFlags: 2 });
    }
  }
}

function worldOf(): World {
  const world = new World();
  world.forward(80, TCP, { networkId: NETWORK, port: 8080, ca: VM });
  return world;
}

/** What makes values the same: JSON would take most of the test's time. */
function text(value: unknown): string {
  if (value instanceof Uint8Array) return Buffer.from(value.buffer, value.byteOffset, value.length).toString('hex');
  if (Array.isArray(value)) return `[${value.map(text).join()}]`;
  if (typeof value === 'object' && value !== null)
    return `{${Object.entries(value)
      .map(([name, part]) => `${name}:${text(part)}`)
      .join()}}`;
  return typeof value === 'bigint' ? `${value}n` : String(value);
}

/** Everything but what each member has for itself. */
function tables(state: NatState): string[] {
  return [...(state.all() as Iterable<NatRow>)]
    .flatMap(({ table, key, value }) => {
      if (table === 'usage') return value.blocks + value.sessions === 0 ? [] : [text([table, key, value.blocks, value.sessions])];
      if (table === 'source') return [text([table, key, { ...value, flags: 0 }])];
      if (table === 'session') return [text([table, key, { ...value, expiresBootNs: value.toldBootNs }])];
      return table === 'block' || table === 'mapping' || table === 'reverse' ? [text([table, key, value])] : [];
    })
    .sort();
}

/** Mappings and sessions by what makes them the same ones. */
function flows(state: NatState): Set<string> {
  return new Set([
    ...[...state.rows('mapping')].map(({ key, value }) => text(['mapping', key, value])),
    // By itself each of two members may give one ticket, and one port, to a flow of another VM.
    ...[...state.rows('session')].map(({ key, value }) =>
      text(['session', key, value.ticket, value.networkId, value.ca, value.insidePort]),
    ),
  ]);
}

/** What must hold whenever the packet path takes over. */
function faults(state: NatState): string[] {
  const found: string[] = [];
  const users = new Map<string, string>();
  for (const { key, value } of state.rows('mapping')) {
    const place = text([value.segment, value.address, value.externalPort]);
    if (users.has(place)) found.push(`${place} is ${users.get(place)}'s and ${text(key)}'s`);
    users.set(place, text(key));
    const block = state.get('block', { segment: value.segment, address: value.address, block: value.externalPort >>> 6 });
    if (block !== undefined && (block.networkId !== key.networkId || text(block.ca) !== text(key.ca)))
      found.push(`${text(key)} has a port of ${text(block.ca)}'s block`);
  }
  const sessions = new Map<string, number>();
  let count = 0;
  for (const { key, value } of state.rows('session')) {
    count++;
    if (value.kind !== SessionKind.MAPPING) continue;
    const place = text([key.segment, key.address, key.externalPort]);
    sessions.set(place, (sessions.get(place) ?? 0) + 1);
    const block = state.get('block', { segment: key.segment, address: key.address, block: key.externalPort >>> 6 });
    if (block !== undefined && text(block.ca) !== text(value.ca)) found.push(`a session of ${text(value.ca)} at a port of another's block`);
  }
  let blocks = 0;
  for (const { key, value } of state.rows('block')) {
    blocks++;
    value.ports.forEach((port, i) => {
      if (port.state !== PortState.USED) return;
      const counted = sessions.get(text([key.segment, key.address, key.block * 64 + i])) ?? 0;
      if (port.sessions !== counted) found.push(`port ${i} of ${text(key)} counts ${port.sessions}: ${counted}`);
    });
  }
  const usage = state.get('usage', { networkId: NETWORK }) ?? { blocks: 0, sessions: 0 };
  if (usage.blocks !== blocks || usage.sessions !== count)
    found.push(`usage says ${usage.blocks} blocks, ${usage.sessions} sessions: ${blocks}, ${count}`);
  return found;
}

/** Each step of a snapshot's way in. */
function* intake(store: NatStore, rows: Iterable<NatSnapshotRow>): Generator<void> {
  const snapshot = new NatSnapshotIntake(store, NETWORKS);
  for (const row of rows) {
    if (row.table === 'mapping' || row.table === 'session') yield* snapshot.settle(0n, 0n);
    snapshot.row(row, 0n);
    yield;
  }
  yield* snapshot.settle(0n, 0n);
  yield* snapshot.end();
}

/** The standby has heard of all that happened in `before`, and of nothing since; `lone` is what it did by itself, as an owner that was cut off. */
function standbyOf(world: World, lone: readonly Step[]): NatState {
  const standby = worldOf();
  restoreNat(standby.state, snapshotNat(world.state), NETWORKS, CALM);
  standby.now = world.now;
  run(standby, lone);
  standby.state.takeEvents();
  return standby.state;
}

describe('NatSnapshotIntake', () => {
  it('has the owner’s state at the end, and at every moment before all flows that both know, and no port twice', {
    // Ends what hangs: some 20 s of a processor, which a busy machine gives in two minutes.
    timeout: 300_000,
  }, () => {
    let [kept, gone, cuts] = [0, 0, 0];
    const property = fc.property(
      history,
      history,
      fc.oneof(fc.constant([] as Step[]), history),
      fc.nat(10_000),
      (before, after, lone, cut) => {
        const world = worldOf();
        run(world, before);
        const state = standbyOf(world, lone);
        run(world, after);
        const [had, has] = [flows(state), flows(world.state)];
        const common = [...had].filter((flow) => has.has(flow));
        kept += common.length;
        gone += had.size - common.length;
        const total = [...intake(standbyOf(world, []), [...snapshotNat(world.state)])].length;
        let at = 0;
        for (const _ of intake(state, snapshotNat(world.state))) {
          if (at++ % 7 !== cut % 7) continue;
          cuts++;
          expect(faults(state)).toEqual([]);
          const now = flows(state);
          expect(common.filter((flow) => !now.has(flow))).toEqual([]);
          // Whoever takes over in between, and hears of a later owner then, begins anew.
          if (at === cut % (total + 1)) break;
        }
        restoreNat(state, snapshotNat(world.state), NETWORKS, CALM);
        expect(faults(state)).toEqual([]);
        expect(tables(state)).toEqual(tables(world.state));
      },
    );
    // What these have seen is the same in each run: else they would prove nothing.
    fc.assert(property, { seed: SEED, numRuns: 150 });
    expect(kept).toBeGreaterThan(500);
    expect(gone).toBeGreaterThan(500);
    expect(cuts).toBeGreaterThan(5_000);
    fc.assert(property, { numRuns: 30 });
  });

  it('takes changes among its rows', () => {
    fc.assert(
      fc.property(history, history, history, fc.nat(1_000), (before, after, meanwhile, at) => {
        const world = worldOf();
        run(world, before);
        const state = standbyOf(world, []);
        run(world, after);
        world.state.takeEvents();
        const rows = [...snapshotNat(world.state)].map((row) => structuredClone(row));
        run(world, meanwhile);
        const events = world.state.takeEvents();
        const snapshot = new NatSnapshotIntake(state, NETWORKS);
        const first = rows.filter(({ table }) => table === 'source' || table === 'block');
        const later = rows.slice(first.length);
        for (const row of first) snapshot.row(row, 0n);
        for (const _ of snapshot.settle(0n, 0n));
        const place = at % (later.length + 1);
        for (const row of later.slice(0, place)) snapshot.row(row, 0n);
        for (const event of events) snapshot.change(event, 0n);
        for (const row of later.slice(place)) {
          // Rows are read when they are sent: what has ended by then is not among them.
          const known = row.table === 'mapping' || row.table === 'session' ? world.state.get(row.table, row.key as never) : undefined;
          if ((known as { ticket: bigint } | undefined)?.ticket === (row.value as { ticket: bigint }).ticket) snapshot.row(row, 0n);
        }
        for (const _ of snapshot.end());
        expect(flows(state)).toEqual(flows(world.state));
        expect(faults(state)).toEqual([]);
      }),
      { numRuns: 100 },
    );
  });

  it('has the end of a known session as the owner has it by now, though nothing was told of that', () => {
    const world = worldOf();
    const packet: Step = { op: 'out', vm: 0, port: 0, remotePort: 0, count: 1 };
    run(world, [packet]);
    const state = standbyOf(world, []);
    const [before] = [...state.rows('session')];
    world.advance(1);
    run(world, [packet]);
    expect(world.state.takeEvents().map(({ kind }) => kind)).not.toContain(NatEventKind.SESSION_CHANGED);
    restoreNat(state, snapshotNat(world.state), NETWORKS, CALM);
    const [owners] = [...world.state.rows('session')];
    expect(owners!.value.expiresBootNs).toBeGreaterThan(before!.value.expiresBootNs);
    expect([...state.rows('session')]).toEqual([owners]);
  });

  it('refuses mappings, changes and the end before its holders and blocks are settled', () => {
    const world = worldOf();
    run(world, [{ op: 'out', vm: 0, port: 0, remotePort: 0, count: 1 }]);
    const events = world.state.takeEvents();
    const snapshot = new NatSnapshotIntake(new NatState(), NETWORKS);
    const mapping = [...snapshotNat(world.state)].find(({ table }) => table === 'mapping')!;
    expect(() => snapshot.row(mapping, 0n)).toThrow('before the holders and blocks');
    expect(() => snapshot.change(events[0]!, 0n)).toThrow('before the holders and blocks');
    expect(() => [...snapshot.end()]).toThrow('before the holders and blocks');
  });
});
