/**
 * The audit log: who changed what, when, from what to what; a projection of the committed, signed records.
 * @module
 */
export * from './log.ts';
export * from './names.ts';
export * from './projector.ts';
export * from './record.ts';
