/**
 * Mapping tables as a fold over committed records: incremental rows, rows from zero, digest, differences, and the Trickle timer. Pure.
 *
 * @module
 */
export { type CompileInputs, compile } from './compile.ts';
export { RecordSetHash, type Sha256 } from './digest.ts';
export { deleteOf, describeDifferences, diff, diffAdditive, diffing, entryEquals, isTarget, orderChanges, putOf } from './entries.ts';
export type {
  ExternalDevice,
  GatewayFacts,
  GatewayGroupFacts,
  NatPoolSetup,
  NatSetup,
  NatSetupChange,
  NatSliceSetup,
  QuotaSetup,
} from './gateway-facts.ts';
export { ownBlocks, ownPool, type Rows as GatewayRows, splitPrefix } from './gateway-rows.ts';
export {
  compileGateway,
  diffGateway,
  diffingGateway,
  type GatewayRowChanges,
  GatewayView,
  natSetupKey,
} from './gateway-view.ts';
export { type InterfaceHolder, interfaceHolders } from './interface-holders.ts';
export {
  type ApplyResult,
  NetworkView,
  type NetworkViewInit,
  type SnapshotResult,
  type SnapshotStatus,
  type ViewDigest,
} from './network-view.ts';
export type { ApplyStatus, NetworkRecord, NetworkSnapshot, RecordPosition } from './record.ts';
export { rowIdentity } from './row-identity.ts';
export { type HostContext, type LocalDevice, type MoveWindow, NO_MOVE, type PortFacts } from './rows.ts';
export * from './trickle.ts';
