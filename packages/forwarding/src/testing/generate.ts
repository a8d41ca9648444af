import { mutate, mutateOuter } from './mutate.ts';
import { type NamedFrame, portFrames } from './port-frames.ts';
import type { Rng } from './rng.ts';
import { underlayFrames } from './underlay-frames.ts';
import type { World } from './world.ts';

export { type NamedFrame, portFrames } from './port-frames.ts';
export { type TunnelFields, tunnelFrame, underlayFrames } from './underlay-frames.ts';

/** A frame for one of the two programs, as it comes in by `ifindex`. */
export interface GeneratedFrame {
  readonly program: 'from_port' | 'from_underlay';
  readonly ifindex: number;
  readonly frame: Uint8Array;
  /** What it is, and how it was bent: for messages of failing tests. */
  readonly label: string;
}

const OUTER_BYTES = 50;
const frames = new WeakMap<World, readonly GeneratedFrame[]>();

/** All sound frames of a world, once made and then kept. They are shared: copy before writing. */
export function validFrames(world: World): readonly GeneratedFrame[] {
  let known = frames.get(world);
  if (known === undefined) {
    const named = (program: GeneratedFrame['program'], ifindex: number, from: readonly NamedFrame[]): GeneratedFrame[] =>
      from.map(({ frame, label }) => ({ program, ifindex, frame, label }));
    known = [
      ...world.ports.flatMap((port) => named('from_port', port.ifindex, portFrames(world, port))),
      ...named('from_underlay', world.underlayIfindex, underlayFrames(world)),
    ];
    frames.set(world, known);
  }
  return known;
}

/**
 * One frame: sound as it is (1 of 3), with one or two lies, cut, padded, or of random bytes. A fresh buffer each time.
 * Deterministic: follows from the state of `rng` and the world.
 */
export function generateFrame(rng: Rng, world: World): GeneratedFrame {
  const from = rng.pick(validFrames(world));
  const { program } = from;
  const ifindex = program === 'from_port' && rng.oneIn(40) ? rng.pick(world.ports).ifindex : from.ifindex;
  switch (rng.below(12)) {
    case 0:
    case 1:
    case 2:
    case 3:
      return { program, ifindex, frame: from.frame.slice(), label: from.label };
    case 4: {
      const length = rng.below(from.frame.length + 1);
      return { program, ifindex, frame: from.frame.slice(0, length), label: `${from.label}; cut to ${length}` };
    }
    case 5: {
      const padding = 1 + rng.below(64);
      const frame = new Uint8Array(from.frame.length + padding);
      frame.set(from.frame);
      frame.fill(0xee, from.frame.length);
      return { program, ifindex, frame, label: `${from.label}; ${padding} bytes more` };
    }
    case 6:
      if (rng.oneIn(8)) return { program, ifindex, frame: randomBytes(rng), label: 'random bytes' };
      return bend(rng, world, { ...from, ifindex }, 2);
    default:
      return bend(rng, world, { ...from, ifindex }, 1);
  }
}

function bend(rng: Rng, world: World, from: GeneratedFrame, times: number): GeneratedFrame {
  const frame = from.frame.slice();
  let { label } = from;
  for (let i = 0; i < times; i++) {
    const isOuter = from.program === 'from_underlay' && rng.oneIn(3);
    const base = from.program === 'from_underlay' ? OUTER_BYTES : 0;
    label += `; ${isOuter ? mutateOuter(rng, world, frame) : mutate(rng, world, frame, base)}`;
  }
  return { program: from.program, ifindex: from.ifindex, frame, label };
}

function randomBytes(rng: Rng): Uint8Array {
  const bytes = new Uint8Array(rng.below(160));
  for (let i = 0; i < bytes.length; i++) bytes[i] = rng.next();
  return bytes;
}
