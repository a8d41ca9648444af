import { ipBatch, setSysctls, type VmNetns } from '@weft/testkit';
import { inNetns, startTcpEcho, startTcpProbe, type TcpProbeOptions, type TcpProbeResult } from '@weft/tuntap';
import type { BenchContext } from '../core/context.ts';
import { gatewayMac, VSID } from '../path/addresses.ts';
import { type NatEventsRead, readNatEvents } from './nat-events.ts';
import { kernelGateway, neighbour } from './peers.ts';
import { createGatewayPath, createInsideVm, EXTERNAL, type GatewayPath, insideVm, SUBNET_GATEWAY, vmDevice } from './topology.ts';
import { benchNetwork, weftGateway } from './weft.ts';

/** VMs that are namespaces, and a server beyond a gateway. */
export interface ServerPath {
  readonly path: GatewayPath;
  readonly vms: readonly VmNetns[];
  /**
   * Reads what Weft's gateway tells of its port mapping as it comes, as its agent does ({@link readNatEvents}).
   *
   * @returns Waits until all of it is read, and stops; undefined: this gateway tells nothing. Throws if some was lost: it was written into a full ring, which is cheaper.
   */
  watchEvents(): () => Promise<NatEventsRead | undefined>;
}

export type GatewayKind = 'weft' | 'nftables';

export interface ServerPathInit {
  readonly vmCount: number;
  /** Of the first VM, besides its own. */
  readonly moreAddresses?: readonly string[];
  readonly addressCount: number;
  readonly natSessions: number;
}

/** The server's port. */
const PORT = 6_000;

export async function createServerPath(kind: GatewayKind, name: string, init: ServerPathInit, context: BenchContext): Promise<ServerPath> {
  const path = await createGatewayPath(kind, name, 'server');
  const { moreAddresses = [] } = init;
  const indexes = Array.from({ length: init.vmCount }, (_, index) => index);
  const vms: VmNetns[] = [];
  for (const index of indexes) vms.push(await createInsideVm(path, index, index === 0 ? moreAddresses : []));
  let gateway: string;
  let watchEvents: ServerPath['watchEvents'] = () => async () => undefined;
  if (kind === 'weft') {
    const network = benchNetwork(0);
    const weft = await weftGateway(
      path,
      {
        networks: [network],
        vms: indexes.map((index) => ({
          at: 'host',
          device: vmDevice(index),
          kind: 'veth',
          mac: insideVm(index).mac,
          addresses: [insideVm(index).address, ...(index === 0 ? moreAddresses : [])],
          network,
        })),
        addressCount: init.addressCount,
        natSessions: init.natSessions,
      },
      context,
    );
    gateway = gatewayMac(VSID);
    watchEvents = () => readNatEvents(weft.gateway.datapath.gateway).allRead;
  } else {
    gateway = await kernelGateway(
      path,
      indexes.map((index) => ({ vm: insideVm(index), device: vmDevice(index) })),
      init.addressCount,
    );
    for (const address of moreAddresses) await neighbour(path, { mac: insideVm(0).mac, address }, 'br0');
  }
  for (const vm of vms) {
    await ipBatch([['neigh', 'replace', SUBNET_GATEWAY, 'lladdr', gateway, 'dev', 'eth0', 'nud', 'permanent']], vm.netns);
    await setSysctls(vm.netns, { 'net.ipv4.ip_local_port_range': '1024 65535' });
  }
  return { path, vms, watchEvents };
}

/** A TCP echo beyond the gateway, while `work` is done. */
export async function withServer<T>({ path }: Pick<ServerPath, 'path'>, cpu: number | undefined, work: () => Promise<T>): Promise<T> {
  const server = inNetns(`/run/netns/${path.outside}`, () =>
    startTcpEcho({ address: EXTERNAL.server, port: PORT, ...(cpu === undefined ? {} : { cpu }) }),
  );
  try {
    return await work();
  } finally {
    await server.stop();
  }
}

/** Connections from a VM to the server, each with one byte there and back. */
export async function connect(vm: VmNetns, options: Omit<TcpProbeOptions, 'address' | 'port' | 'mode'>): Promise<TcpProbeResult> {
  const probe = inNetns(`/run/netns/${vm.netns}`, () =>
    startTcpProbe({ address: EXTERNAL.server, port: PORT, mode: 'connect', ...options }),
  );
  return await probe.result();
}
