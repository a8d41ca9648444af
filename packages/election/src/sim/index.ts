/**
 * The ownership simulator: the real machines of this package under schedules of faults, each from a seed, with the promises of docs/ownership.md checked at
 * every step. `npm run sim` runs 100,000.
 *
 * @module
 */
export { Checker, Violation } from './checker.ts';
export { SimClock } from './clock.ts';
export { calmDown, FAULTS } from './faults.ts';
export { misplaced, unhealthy } from './health.ts';
export type { Machine } from './machine.ts';
export { Paths, type Weather } from './paths.ts';
export { EventQueue } from './queue.ts';
export { Random } from './random.ts';
export { runSchedule, type ScheduleResult, SIM_TIMING } from './schedule.ts';
export { simSigner, simVerify } from './signatures.ts';
export { World, type WorldInit } from './world.ts';
