/**
 * The datapath: what moves frames between the ports of a host and the tunnels.
 *
 * ```ts
 * const datapath = createKernelDatapath({ instance: 'default', pa: parseIp('192.0.2.1'), underlayInterface: 'eth0' });
 * ensureGuard();
 * protectTenantDevice('tap-a');
 * datapath.apply(changes);                                   // subnets, mappings, routes, the port itself
 * datapath.attachDevice({ name: 'tap-a', ifindex, kind: 'tap' });
 * datapath.close();                                          // the kernel goes on
 * ```
 *
 * - {@link Datapath}: the contract of all engines. {@link createKernelDatapath}: eBPF programs at the tenant devices, the underlay and a VXLAN
 *   device; state pinned below /sys/fs/bpf/weft, taken over by the next process.
 * - {@link ensureGuard}, {@link protectTenantDevice}, {@link checkTunnelPort}: the host around it, closed when no program is there.
 *
 * Linux 6.1 or later with BTF, root. docs/datapath-contract.md says what happens to a frame; packages/forwarding is the same decision in TypeScript.
 *
 * @module
 */
export type { Datapath, DatapathStatistics, DropCounter, PortDevice } from './datapath.ts';
export { DatapathError, type DatapathErrorCode } from './errors.ts';
export type { ExternalDevice, GatewayDatapath, GatewayTraffic, NatSwept, ProbedShard, ProbeStamp } from './gateway-datapath.ts';
export { checkTunnelPort, closedChains } from './host/firewall.ts';
export { ensureGuard, hasGuard, protectTenantDevice, removeGuard, TENANT_DEVICE_GROUP } from './host/guard.ts';
export { ensureTunnelDevice, removeTunnelDevice } from './host/tunnel-device.ts';
export type { ProgramName } from './kernel/attachments.ts';
export { ROW_CODECS, type RowCodec } from './kernel/codec.ts';
export { decodeGatewayRow } from './kernel/gateway-codec.ts';
export {
  createKernelDatapath,
  DEFAULT_OBJECT_FILE,
  KernelDatapath,
  type KernelDatapathOptions,
  resumeKernelDatapath,
} from './kernel/kernel-datapath.ts';
export { LAYOUT_VERSION, MAP_LAYOUT } from './kernel/layout.ts';
export { findKernelEngine, type KernelEnginePlace, removeKernelEngine } from './kernel/leftover.ts';
export { decodeNatEvent } from './kernel/nat/events.ts';
export { NatMaps } from './kernel/nat/nat-maps.ts';
export { createUserDatapath, UserDatapath, type UserDatapathLogger, type UserDatapathOptions } from './user/index.ts';
