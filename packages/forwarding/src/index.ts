/**
 * The forwarding decision: frame + tables + time -> verdict. Pure, without I/O.
 *
 * docs/datapath-contract.md is its specification; the eBPF programs are the other implementation of it, and both are compared frame by
 * frame. Users: the user-space engine (every frame), `weft trace` (with a `Trace`), and the tests of the kernel engine (as oracle).
 *
 * @module
 */
export type { ForwardingContext } from './context.ts';
export { ENCAPSULATION_BYTES } from './encapsulate.ts';
export { ERRORS_PER_SECOND, ErrorLimit } from './error-limit.ts';
export { fromPort, type PortInput } from './from-port.ts';
export { fromTunnel, fromUnderlay, type TunnelInput, type UnderlayInput } from './from-underlay.ts';
export { type ExternalInput, fromExternal } from './gateway/from-external.ts';
export * from './gateway/gateway-tables.ts';
export { canonicalGatewayRow, MemoryGatewayTables } from './gateway/memory-gateway-tables.ts';
export type { Nat, NatFlow, NatResult } from './gateway/nat.ts';
export { noNat } from './gateway/no-nat.ts';
export { nptInward, nptOutward } from './gateway/npt.ts';
export { decodeProbe, encodeProbe, isProbe, PROBE_SHARDS_MAX, type Probe, ProbeType } from './gateway/probe.ts';
export { type GatewayInput, toGateway } from './gateway/to-gateway.ts';
export { gatewayMac, gatewayPortMac, isGatewayMac } from './gateway-mac.ts';
export { MemoryTables } from './memory-tables.ts';
export * from './nat/index.ts';
export * from './tables.ts';
export { Trace, type TraceStep } from './trace.ts';
export { Action, actionName, type Gso, type Verdict, type VerdictCb, verdictCb } from './verdict.ts';
