import {
  applyNatEvent,
  FIRST_BLOCK,
  type NatEvent,
  NatEventKind,
  type NatState,
  natFreeRow,
  restoreNat,
  snapshotNat,
} from '@weft/forwarding';
import { describe, expect, it } from 'vitest';
import { NETWORK, SECOND, SEGMENT, World } from './nat-world.ts';

// A member's slice of the blocks of an address: each stands in its ring once, or somebody holds it.

const [FIRST, OTHERS] = [FIRST_BLOCK, FIRST_BLOCK + 8];
const udp = (nearPort: number): { protocol: number; nearPort: number; remotePort: number } => ({ protocol: 17, nearPort, remotePort: 53 });

/** All own blocks, in the ring or held. @throws If one is in both, or twice, or nowhere. */
function ringOf({ state }: World, address: Uint8Array): readonly { readonly block: number; readonly freeAtS: number }[] {
  const free = state.get('free', { segment: SEGMENT, address })!;
  const held = [...state.rows('block')].filter(({ key }) => Buffer.compare(key.address, address) === 0).map(({ key }) => key.block);
  const first = free.own.findIndex((byte) => byte !== 0) * 8;
  const own = Array.from({ length: 8 }, (_, i) => first + i);
  const isOwn = (block: number): boolean => own.includes(block);
  expect([...free.blocks.map(({ block }) => block), ...held.filter(isOwn)].sort((a, b) => a - b)).toEqual(own);
  return free.blocks;
}

function tell(from: World, to: World): NatEvent[] {
  const events = from.state.takeEvents();
  for (const event of events) applyNatEvent(to.state, event, to.now - from.now);
  return events;
}

/** A has granted a block; B inherits it. */
function inherited(): { readonly a: World; readonly b: World; readonly address: Uint8Array } {
  const a = new World(8, FIRST);
  const b = new World(8, OTHERS);
  // The two machines were booted at different times.
  b.now += 5_000n * SECOND;
  const { address } = a.out(udp(1000));
  tell(a, b);
  expect(b.out(udp(1000)).address).toEqual(address);
  return { a, b, address };
}

/** Time passes and B sweeps, until the holder has given everything back. */
function runOut(a: World, b: World): void {
  for (const seconds of [301, 121, 1]) {
    for (const world of [a, b]) world.advance(seconds);
    b.sweep();
  }
}

function blocks(state: NatState): number {
  return [...state.rows('block')].length;
}

describe('slices of an address', () => {
  it('a block that the present owner gives back returns to the member whose slice it is of, once', () => {
    const { a, b, address } = inherited();
    const [granted] = [...a.state.rows('block')];
    runOut(a, b);
    const events = tell(b, a);
    expect([blocks(a.state), blocks(b.state)]).toEqual([0, 0]);
    expect(ringOf(a, address).at(-1)).toEqual({ block: granted!.key.block, freeAtS: Number(a.now / SECOND) });
    expect(ringOf(b, address).map(({ block }) => block)).not.toContain(granted!.key.block);
    for (const event of events) applyNatEvent(a.state, event, a.now - b.now);
    ringOf(a, address);
    expect(a.state.usage(NETWORK).blocks).toBe(0);
  });

  it('no port is granted again before its hold is over', () => {
    const { a, b, address } = inherited();
    const used = b.now;
    runOut(a, b);
    const released = tell(b, a).find(({ kind }) => kind === NatEventKind.BLOCK_RELEASED)!;
    // The last packet's session lives for 300 s; then the port, then the holder wait for 120 s.
    expect(released.timeBootNs - used).toBeGreaterThanOrEqual((300n + 120n) * SECOND);
    expect(BigInt(ringOf(a, address).at(-1)!.freeAtS) * SECOND + (b.now - a.now)).toBeGreaterThanOrEqual(used + 420n * SECOND);
  });

  it('old news of its end leaves a block alone that has been granted anew', () => {
    const { a, b, address } = inherited();
    runOut(a, b);
    const events = tell(b, a);
    for (let i = 0; i < 8 * 64; i++) a.out(udp(2000 + i)); // all of the slice
    expect(ringOf(a, address)).toHaveLength(0);
    for (const event of events) applyNatEvent(a.state, event, a.now - b.now);
    expect(ringOf(a, address)).toHaveLength(0);
  });

  it('a snapshot takes out of the ring what is held, and puts back after the hold what is not any more', () => {
    const { a, b, address } = inherited();
    const [granted] = [...a.state.rows('block')];
    const context = (): { nowBootNs: bigint; clockOffsetNs: bigint } => ({ nowBootNs: a.now, clockOffsetNs: a.now - b.now });
    restoreNat(a.state, snapshotNat(b.state), new Set([NETWORK]), context());
    expect(ringOf(a, address).map(({ block }) => block)).not.toContain(granted!.key.block);
    runOut(a, b); // what was told meanwhile is lost
    restoreNat(a.state, snapshotNat(b.state), new Set([NETWORK]), context());
    expect(ringOf(a, address).at(-1)).toEqual({ block: granted!.key.block, freeAtS: Number(a.now / SECOND) + 120 });
  });
});

describe('natFreeRow()', () => {
  it('keeps the order of the ring, leaves out what is held or of others, adds what is new', () => {
    const own = new Uint8Array(128);
    for (const block of [17, 18, 19, 1023]) own[block >>> 3]! |= 1 << (block & 7);
    const known = [19, 30, 18].map((block) => ({ block, freeAtS: 7 }));
    const row = natFreeRow({ own, known, isHeld: (block) => block === 18, freeAtS: 60 });
    expect(row).toEqual({ own, blocks: [19, 17, 1023].map((block) => ({ block, freeAtS: block === 19 ? 7 : 60 })) });
  });

  it('has no port below 1024', () => {
    const { blocks } = natFreeRow({ own: new Uint8Array(128).fill(255), known: [], isHeld: () => false, freeAtS: 0 });
    expect([blocks[0]!.block, blocks.length]).toEqual([FIRST_BLOCK, 1008]);
  });
});
