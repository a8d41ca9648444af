import {
  ExternalAddressKind,
  GatewayMode,
  type GatewayTableChange,
  gatewayPortMac,
  natFreeRow,
  RouteKind,
  SpeakerFlag,
  type TableChange,
  type Target,
  TargetKind,
} from '@weft/forwarding';
import { parseIp, parseMac, parsePrefix } from '@weft/packet';
import { ipJson } from '@weft/testkit';
import { inNetns } from '@weft/tuntap';
import type { BenchContext } from '../core/context.ts';
import { TENANT_MTU_BYTES, UNDERLAY_MTU_BYTES } from '../path/topology.ts';
import { type BenchHost, networkRows, ONE_NETWORK, startKernelEngine, type VmNetwork, vmRows } from '../path/weft.ts';
import { EXTERNAL, EXTERNAL_DEVICE, externalAddresses, type GatewayPath, type InsideVm } from './topology.ts';

/** A network behind the gateway. */
export interface BenchNetwork extends VmNetwork {
  /** The gateway's subnet. */
  readonly gatewayVsid: number;
  readonly gatewayCa: string;
}

/** Network `index` of a benchmark; the first is that of all other figures. */
export function benchNetwork(index: number): BenchNetwork {
  return {
    networkId: ONE_NETWORK.networkId + index,
    vsid: ONE_NETWORK.vsid + index,
    gatewayVsid: 6001 + index,
    gatewayCa: '100.127.255.250',
  };
}

/** A VM's device on a host, with all the VM's addresses. */
export interface AttachedVm {
  readonly at: 'host' | 'gateway';
  readonly device: string;
  readonly kind: 'tap' | 'veth';
  readonly mac: string;
  readonly addresses: readonly string[];
  readonly network: BenchNetwork;
}

export interface WeftGatewayInit {
  readonly networks: readonly BenchNetwork[];
  readonly vms: readonly AttachedVm[];
  /** External addresses of the pool. */
  readonly addressCount: number;
  readonly natSessions: number;
  /** Of each network. Default: no limits, since the peers have none. */
  readonly quota?: {
    readonly blocks: number;
    readonly blocksPerSource: number;
    readonly sessions: number;
    readonly newFlowsPerSecond: number;
  };
}

export interface WeftGateway {
  readonly host: BenchHost;
  readonly gateway: BenchHost;
}

const SHARD = 1;
const SEGMENT = 1;
const POOL = 1;
const EPOCH = 5n;
/** Larger than any clock. */
const FOREVER = 1n << 62n;
const NO_ADDRESS = new Uint8Array(16);
const UNLIMITED = { blocks: 1 << 30, blocksPerSource: 1 << 30, sessions: 1 << 30, newFlowsPerSecond: 0 };

/** Weft's kernel engine at the host and at the gateway, with every check on: identity, inner source, MTU, ownership, quota. */
export async function weftGateway(path: GatewayPath, init: WeftGatewayInit, context: BenchContext): Promise<WeftGateway> {
  const host = startKernelEngine(path.host, context);
  const gateway = startKernelEngine(path.gateway, context, { natSessions: init.natSessions });
  for (const network of init.networks) {
    host.datapath.apply([...networkRows(network), ...wayOut(network, path, false)]);
    gateway.datapath.apply([...networkRows(network), ...wayOut(network, path, true)]);
  }
  for (const vm of init.vms) {
    const own = vm.at === 'host' ? host : gateway;
    const other = vm.at === 'host' ? gateway : host;
    const pa = own.host.address;
    const ifindex = await own.attach(vm.device, vm.kind, vm, vm.network);
    for (const address of vm.addresses) {
      const one: InsideVm = { mac: vm.mac, address };
      own.datapath.apply(vmRows(one, { ifindex, veth: vm.kind === 'veth', pa }, vm.network));
      other.datapath.apply(vmRows(one, { pa }, vm.network));
    }
  }
  const [link] = await ipJson<{ ifindex: number }>(['link', 'show', 'dev', EXTERNAL_DEVICE], path.gateway.netns);
  const { ifindex } = link!;
  const { gateway: tables } = gateway.datapath;
  tables.apply(gatewayRows(path, init, ifindex));
  const addresses = externalAddresses(init.addressCount).map((text) => ({ segment: SEGMENT, address: parseIp(text) }));
  tables.nat.set('pool', { pool: POOL }, { addresses });
  const all = natFreeRow({ own: new Uint8Array(128).fill(255), known: [], isHeld: () => false, freeAtS: 0 });
  for (const address of addresses) tables.nat.set('free', address, all);
  for (const { networkId } of init.networks) tables.nat.set('quota', { networkId }, init.quota ?? UNLIMITED);
  inNetns(`/run/netns/${path.gateway.netns}`, () => tables.attachExternal({ name: EXTERNAL_DEVICE, ifindex }));
  return { host, gateway };
}

/** A network's default route: by the gateway CA to the shard, and the shard to its owner. */
function wayOut(network: BenchNetwork, path: GatewayPath, isGateway: boolean): TableChange[] {
  const { networkId, gatewayVsid: vsid } = network;
  const mac = gatewayPortMac(vsid);
  const pa = parseIp(path.gateway.address);
  const target: Target = {
    mac,
    kind: TargetKind.SHARD,
    flags: 0,
    vsid,
    ifindexOrShard: SHARD,
    pa: NO_ADDRESS,
    prevPa: NO_ADDRESS,
    prevUntilBootNs: 0n,
    generation: 1n,
  };
  const all = parsePrefix('0.0.0.0/0');
  const ca = parseIp(network.gatewayCa);
  return [
    { op: 'put', table: 'subnet', key: { vsid }, value: { networkId, flags: 0, gateway4: NO_ADDRESS, gateway6: NO_ADDRESS } },
    { op: 'put', table: 'shard', key: { id: SHARD }, value: { epoch: EPOCH, pa, prevPa: NO_ADDRESS, prevUntilBootNs: 0n } },
    { op: 'put', table: 'lookup', key: { networkId, ca }, value: target },
    { op: 'put', table: 'l2', key: { vsid, mac }, value: isGateway ? { ...target, kind: TargetKind.GATEWAY } : target },
    {
      op: 'put',
      table: 'route',
      key: { networkId, prefix: all.address, prefixLength: all.length },
      value: { kind: RouteKind.NEXT_HOP, vsid: 0, nextHop: ca },
    },
    { op: 'put', table: 'speaker', key: { pa, networkId }, value: SpeakerFlag.GATEWAY | SpeakerFlag.HOST },
  ];
}

function gatewayRows(path: GatewayPath, init: WeftGatewayInit, ifindex: number): GatewayTableChange[] {
  const mac = parseMac(path.externalMac);
  const servers = parsePrefix('198.18.0.0/15');
  const onLink = parsePrefix('203.0.113.0/24');
  const route = { op: 'put', table: 'external_route' } as const;
  return [
    { op: 'put', table: 'external', key: { ifindex }, value: { segment: SEGMENT, mtuBytes: UNDERLAY_MTU_BYTES, mac } },
    {
      op: 'put',
      table: 'segment',
      key: { segment: SEGMENT },
      value: { ifindex, mtuBytes: UNDERLAY_MTU_BYTES, mac, address4: parseIp(EXTERNAL.gateway), address6: NO_ADDRESS },
    },
    {
      op: 'put',
      table: 'gateway_shard',
      key: { shard: SHARD },
      value: { epoch: EPOCH, deadlineBootNs: FOREVER, handoverUntilBootNs: 0n, handoverPa: NO_ADDRESS, handoverMac: new Uint8Array(6) },
    },
    { ...route, key: { segment: SEGMENT, prefix: onLink.address, prefixLength: onLink.length }, value: { nextHop: NO_ADDRESS } },
    {
      ...route,
      key: { segment: SEGMENT, prefix: servers.address, prefixLength: servers.length },
      value: { nextHop: parseIp(EXTERNAL.nextHop) },
    },
    ...init.networks.map(
      (network): GatewayTableChange => ({
        op: 'put',
        table: 'gateway_network',
        key: { networkId: network.networkId },
        value: {
          shard: SHARD,
          segment: SEGMENT,
          vsid: network.gatewayVsid,
          mode: GatewayMode.NAT,
          flags: 0,
          pool: POOL,
          gateway4: parseIp(network.gatewayCa),
          gateway6: NO_ADDRESS,
          nptInside: NO_ADDRESS,
          nptOutside: NO_ADDRESS,
          nptBits: 1,
          mtuBytes: TENANT_MTU_BYTES,
        },
      }),
    ),
    ...externalAddresses(init.addressCount).map(
      (text): GatewayTableChange => ({
        op: 'put',
        table: 'external_address',
        key: { segment: SEGMENT, address: parseIp(text) },
        value: { shard: SHARD, kind: ExternalAddressKind.POOL, networkId: 0, ca: NO_ADDRESS },
      }),
    ),
  ];
}
