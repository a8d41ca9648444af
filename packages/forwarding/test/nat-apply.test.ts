import { applyNatEvent, type NatEvent, NatEventKind, type NatRow, NatState, PortState, SourceFlag } from '@weft/forwarding';
import { parseIp } from '@weft/packet';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { EXTERNAL, NETWORK, REMOTE, VM, World } from './nat-world.ts';

// A standby ends with the owner's tables in whatever order the owner's processors have told.
//
// A program takes room in the ring first, then makes its change visible. So what others do in between stands behind it in the ring, though it happened
// before. What the program has seen before it took the room stands before it, always: `mustFollow` says which events those are.

const { BLOCK_RELEASED, MAPPING_ADDED, MAPPING_RETIRED, SESSION_ADDED, SESSION_RETIRED } = NatEventKind;
const TCP = 6;
const UDP = 17;

/** External address and port, of what has one. */
function place(event: NatEvent): string | undefined {
  if ('block' in event) return undefined;
  const { address, externalPort } = 'mapping' in event ? event.mapping : event.key;
  return `${Buffer.from(address).toString('hex')}/${externalPort}`;
}

function holder(event: NatEvent): string | undefined {
  if ('block' in event) return `${event.block.pool}/${Buffer.from(event.block.ca).toString('hex')}`;
  return 'mapping' in event ? `${event.mapping.pool}/${Buffer.from(event.key.ca).toString('hex')}` : undefined;
}

function block(event: NatEvent): string | undefined {
  return 'block' in event ? `${Buffer.from(event.key.address).toString('hex')}/${event.key.block}` : undefined;
}

/** Whether room for `b` is never taken before that for `a`, which happened before it. */
function mustFollow(a: NatEvent, b: NatEvent): boolean {
  if ('session' in a && 'session' in b) {
    if (JSON.stringify([place(a), [...a.key.remote], a.key.remotePort]) !== JSON.stringify([place(b), [...b.key.remote], b.key.remotePort]))
      return false;
    // The next session of the key has its ticket and its room while the one before is still there.
    return a.session.ticket === b.session.ticket || b.kind !== SESSION_ADDED;
  }
  // Sessions of a mapping: after it has begun, and before it ends.
  if ('session' in a || 'session' in b) return place(a) !== undefined && place(a) === place(b);
  const isSameHolder = holder(a) === holder(b);
  if (a.kind === BLOCK_RELEASED || b.kind === BLOCK_RELEASED) return isSameHolder || block(a) === block(b);
  if (!isSameHolder) return false;
  // A port is taken before there is room for the event of its mapping; whatever the holder's version is, it had the room before that.
  if (b.kind === MAPPING_ADDED) return a.kind !== MAPPING_ADDED;
  return place(a) !== undefined && place(a) === place(b);
}

/** The same events as they may stand in the ring: neighbours change places where they may, at each of these positions. */
function reorder(events: readonly NatEvent[], swaps: readonly number[]): NatEvent[] {
  const ring = [...events];
  for (const swap of swaps) {
    const i = swap % Math.max(1, ring.length - 1);
    const [a, b] = [ring[i], ring[i + 1]];
    if (a === undefined || b === undefined || mustFollow(a, b)) continue;
    ring[i] = b;
    ring[i + 1] = a;
  }
  return ring;
}

/** Tables as text, without what is each member's own. */
function tables(state: NatState): string[] {
  return [...state.all()].flatMap((row) => shared(row) ?? []).sort();
}

function shared({ table, key, value }: NatRow): string | undefined {
  const text = (parts: object): string =>
    JSON.stringify({ table, key, ...parts }, (_, part) =>
      typeof part === 'bigint' ? `${part}n` : part instanceof Uint8Array ? [...part] : part,
    );
  switch (table) {
    case 'usage':
      return value.blocks + value.sessions === 0 ? undefined : text({ blocks: value.blocks, sessions: value.sessions });
    case 'source':
      return text({ ...value, flags: 0 });
    case 'session':
      return text({ ...value, expiresBootNs: value.toldBootNs });
    case 'block':
    case 'mapping':
    case 'reverse':
      return text(value);
    default:
      return undefined;
  }
}

type Step =
  | {
      readonly op: 'out' | 'in';
      readonly vm: number;
      readonly port: number;
      readonly remotePort: number;
      readonly flags: number;
      readonly count: number;
    }
  | { readonly op: 'time'; readonly seconds: number };

const packet = {
  vm: fc.nat(1),
  port: fc.nat(2),
  remotePort: fc.nat(1),
  flags: fc.constantFrom(0x02, 0x02, 0x12, 0x10, 0x11, 0x04),
  count: fc.constantFrom(1, 1, 1, 70),
};
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ op: fc.constantFrom('out' as const, 'in' as const), ...packet }) },
  { weight: 3, arbitrary: fc.record({ op: fc.constant('time' as const), seconds: fc.constantFrom(1, 61, 121, 241, 301, 7441) }) },
);

function run(world: World, steps: readonly Step[]): void {
  for (const one of steps) {
    if (one.op === 'time') {
      world.advance(one.seconds);
      world.sweep();
      continue;
    }
    const near = one.vm === 0 ? VM : parseIp('10.0.0.2');
    for (let i = 0; i < one.count; i++) {
      const flow = { near, nearPort: 1000 + one.port + i, remote: REMOTE, remotePort: 53 + one.remotePort };
      if (one.op === 'out') world.out({ ...flow, protocol: UDP });
      else
        world.in(
          { reason: 0, address: EXTERNAL[0]!, port: 80, networkId: 0 },
          { remotePort: flow.remotePort, protocol: TCP, tcpFlags: one.flags },
        );
    }
  }
  // A holder that is marked, and has not given a block back yet, nobody else has heard of.
  while ([...world.state.rows('source')].some(({ value }) => value.flags & SourceFlag.RELEASING)) {
    world.advance(1);
    world.sweep();
  }
}

describe('applyNatEvent()', () => {
  it('ends with the tables of the owner, in whatever order its processors told', { timeout: 60_000 }, () => {
    let swapped = 0;
    fc.assert(
      fc.property(
        fc.array(step, { minLength: 10, maxLength: 40 }),
        fc.array(fc.nat(100_000), { maxLength: 1000, size: 'max' }),
        (steps, swaps) => {
          const world = new World();
          world.forward(80, TCP, { networkId: NETWORK, port: 8080, ca: VM });
          run(world, steps);
          const events = world.state.takeEvents();
          const ring = reorder(events, swaps);
          swapped += ring.filter((event, i) => event !== events[i]).length;
          const standby = new NatState();
          for (const event of ring) applyNatEvent(standby, event, 0n);
          expect(tables(standby)).toEqual(tables(world.state));
        },
      ),
      { numRuns: 60 },
    );
    expect(swapped).toBeGreaterThan(1000);
  });

  it('the next session of a key may be told before the end of the one before', () => {
    const world = new World();
    world.out({ protocol: UDP, nearPort: 1000, remotePort: 53 });
    world.out({ protocol: UDP, nearPort: 1000, remotePort: 54 }); // keeps the mapping
    world.advance(200);
    world.out({ protocol: UDP, nearPort: 1000, remotePort: 54 });
    world.advance(101);
    world.sweep();
    world.out({ protocol: UDP, nearPort: 1000, remotePort: 53 });
    const events = world.state.takeEvents();
    const ended = events.findIndex(({ kind }) => kind === SESSION_RETIRED);
    const began = events.findIndex(({ kind }, i) => kind === SESSION_ADDED && i > ended);
    expect([ended, began].every((at) => at >= 0)).toBe(true);
    const ring = [...events];
    ring.splice(ended, 0, ...ring.splice(began, 1));
    const standby = new NatState();
    for (const event of ring) applyNatEvent(standby, event, 0n);
    expect(tables(standby)).toEqual(tables(world.state));
    const port = [...standby.rows('block')][0]!.value.ports.find(({ state }) => state === PortState.USED);
    expect(port).toMatchObject({ sessions: 2 });
  });

  it('a port that is given back tells of the one before it, which may be told later', () => {
    const world = new World();
    for (const nearPort of [1000, 1001]) world.out({ protocol: UDP, nearPort, remotePort: 53 });
    world.advance(301);
    world.sweep();
    const events = world.state.takeEvents();
    const [first, second] = events.flatMap(({ kind }, i) => (kind === MAPPING_RETIRED ? [i] : []));
    const ring = [...events];
    ring.splice(first!, 0, ...ring.splice(second!, 1));
    const standby = new NatState();
    for (const event of ring) applyNatEvent(standby, event, 0n);
    expect(tables(standby)).toEqual(tables(world.state));
  });
});
