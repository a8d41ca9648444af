export * from './commands.ts';
export * from './drop-reason.ts';
export * from './errors.ts';
export * from './records.ts';
