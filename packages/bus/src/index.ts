export * from './api.ts';
export { connectBus } from './bus.ts';
export { isAtLeast, OLDEST_SERVER, serverCapabilities } from './capabilities.ts';
export { openRequest, problemOf, REQUEST_VALID_MS } from './command-service.ts';
export { commitRecord, getRecord, openChange, openEnvelope, readCommitted, readEntry, signEnvelope } from './envelope.ts';
export { HintedReads } from './hinted-reads.ts';
export * from './identity.ts';
export { createTrustFollower, putPrincipal, type TrustFollower, type TrustFollowerInit } from './trust-follower.ts';
