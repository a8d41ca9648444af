/**
 * Worlds (tables) and frames for tests that hold implementations of docs/datapath-contract.md against each other.
 *
 * ```ts
 * const world = createWorld(seed, { portIfindexes: [11, 12, 13, 14], underlayIfindex: 10 });
 * const rng = new Rng(seed);
 * const { program, ifindex, frame, label } = generateFrame(rng, world);
 * ```
 *
 * Everything follows from the seed. `validFrames(world)` lists the sound frames of each kind; `generateFrame` picks one of them and often
 * bends it. `arbitraries.ts` has the same for fast-check, with shrinking.
 *
 * @module
 */
export * from './arbitraries.ts';
export * from './gateway-frames.ts';
export * from './gateway-world.ts';
export * from './generate.ts';
export * from './judge.ts';
export * from './mutate.ts';
export * from './rng.ts';
export { SHAPES, type Shape, shapeFrame } from './shapes.ts';
export * from './world.ts';
