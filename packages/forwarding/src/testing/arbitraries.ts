import fc from 'fast-check';
import { type GeneratedFrame, validFrames } from './generate.ts';
import { createWorld, type World, type WorldDevices } from './world.ts';

// For fast-check: as `generate.ts`, but a failing frame shrinks to a sound one with few changed bytes.

/** Worlds of any seed. */
export function arbitraryWorld(devices: WorldDevices): fc.Arbitrary<World> {
  return fc.nat(0xffff_ffff).map((seed) => createWorld(seed, devices));
}

/** A sound frame of `world` with up to four bytes changed near its front, and perhaps cut or padded. */
export function arbitraryFrame(world: World): fc.Arbitrary<GeneratedFrame> {
  const valid = validFrames(world);
  const edit = fc.record({ at: fc.nat(159), value: fc.nat(255) });
  return fc
    .record({ index: fc.nat(valid.length - 1), edits: fc.array(edit, { maxLength: 4 }), length: fc.option(fc.nat(200), { freq: 4 }) })
    .map(({ index, edits, length }) => {
      const from = valid[index]!;
      const frame = new Uint8Array(length ?? from.frame.length);
      frame.set(from.frame.subarray(0, frame.length));
      for (const { at, value } of edits) if (at < frame.length) frame[at] = value;
      return { ...from, frame };
    });
}

/** Any bytes at all, for any device of the world. */
export function arbitraryBytes(world: World): fc.Arbitrary<GeneratedFrame> {
  return fc
    .record({ isPort: fc.boolean(), port: fc.nat(world.ports.length - 1), frame: fc.uint8Array({ maxLength: 200 }) })
    .map(({ isPort, port, frame }) => ({
      program: isPort ? ('from_port' as const) : ('from_underlay' as const),
      ifindex: isPort ? world.ports[port]!.ifindex : world.underlayIfindex,
      frame,
      label: 'any bytes',
    }));
}
