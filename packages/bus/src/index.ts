export * from './api.ts';
export * from './identity.ts';
