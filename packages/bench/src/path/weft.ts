import { createKernelDatapath, type KernelDatapath, type KernelDatapathOptions, protectTenantDevice } from '@weft/datapath';
import { PortFlag, RouteKind, SpeakerFlag, type TableChange, TargetFlag, TargetKind } from '@weft/forwarding';
import { parseIp, parseMac, parsePrefix } from '@weft/packet';
import { ipJson, type LabHost } from '@weft/testkit';
import { inNetns } from '@weft/tuntap';
import type { BenchContext } from '../core/context.ts';
import { NETWORK_ID, VSID, vmA, vmB } from './addresses.ts';
import { type PathEnd, TENANT_MTU_BYTES } from './topology.ts';

const nothing = new Uint8Array(16);

/** A datapath of this process in a host's namespace. */
export interface BenchHost {
  readonly host: LabHost;
  readonly datapath: KernelDatapath;
  attach(device: string, kind: 'tap' | 'veth', vm: { readonly mac: string }, network?: VmNetwork): Promise<number>;
}

/** Where a VM is: its network, and its subnet in it. */
export interface VmNetwork {
  readonly networkId: number;
  readonly vsid: number;
}

/** The network of all figures that need one only. */
export const ONE_NETWORK: VmNetwork = { networkId: NETWORK_ID, vsid: VSID };

/** Starts the kernel engine in a host's namespace; it is destroyed when the host's lab is closed. */
export function startKernelEngine(
  host: LabHost,
  context: BenchContext,
  sizes: Pick<KernelDatapathOptions, 'natSessions' | 'maxEntries'> = {},
): BenchHost {
  const path = `/run/netns/${host.netns}`;
  const instance = host.netns.replace(/^weft-/, '').slice(0, 32);
  host.rememberPins(`/sys/fs/bpf/weft/${instance}`);
  const datapath = inNetns(path, () =>
    createKernelDatapath({
      instance,
      pa: parseIp(host.address),
      underlayInterface: host.underlayDevice,
      ...sizes,
    }),
  );
  context.beforeClose(host.netns, () => inNetns(path, () => datapath.destroy()));
  return {
    host,
    datapath,
    attach: async (device, kind, vm, { networkId, vsid } = ONE_NETWORK) => {
      const [link] = await ipJson<{ ifindex: number }>(['link', 'show', 'dev', device], host.netns);
      const ifindex = link!.ifindex;
      inNetns(path, () => {
        protectTenantDevice(device);
        datapath.attachDevice({ name: device, ifindex, kind });
      });
      datapath.apply([
        {
          op: 'put',
          table: 'port',
          key: { ifindex },
          value: {
            networkId,
            vsid,
            mtuBytes: TENANT_MTU_BYTES,
            flags: PortFlag.READY | (kind === 'veth' ? PortFlag.VETH : 0),
            mac: parseMac(vm.mac),
          },
        },
      ]);
      return ifindex;
    },
  };
}

/** Rows that every host of the network has: the subnet and its route. */
export function networkRows({ networkId, vsid }: VmNetwork = ONE_NETWORK): TableChange[] {
  const prefix = parsePrefix('10.0.0.0/16');
  return [
    {
      op: 'put',
      table: 'subnet',
      key: { vsid },
      value: { networkId, flags: 0, gateway4: parseIp('10.0.0.1'), gateway6: nothing },
    },
    {
      op: 'put',
      table: 'route',
      key: { networkId, prefix: prefix.address, prefixLength: prefix.length },
      value: { kind: RouteKind.ON_LINK, vsid, nextHop: nothing },
    },
  ];
}

/** Rows that say where a VM lives: a local device, or a peer's provider address. */
export function vmRows(
  vm: { readonly mac: string; readonly address: string },
  at: { readonly ifindex: number; readonly veth: boolean; readonly pa: string } | { readonly pa: string },
  { networkId, vsid }: VmNetwork = ONE_NETWORK,
): TableChange[] {
  const local = 'ifindex' in at;
  const value = {
    mac: parseMac(vm.mac),
    kind: local ? TargetKind.LOCAL : TargetKind.PEER,
    flags: local && at.veth ? TargetFlag.VETH : 0,
    vsid,
    ifindexOrShard: local ? at.ifindex : 0,
    pa: parseIp(at.pa),
    prevPa: nothing,
    prevUntilBootNs: 0n,
    generation: 1n,
  };
  return [
    { op: 'put', table: 'lookup', key: { networkId, ca: parseIp(vm.address) }, value },
    { op: 'put', table: 'l2', key: { vsid, mac: parseMac(vm.mac) }, value },
    ...(local
      ? []
      : [
          {
            op: 'put' as const,
            table: 'speaker' as const,
            key: { pa: parseIp(at.pa), networkId },
            value: SpeakerFlag.HOST,
          },
        ]),
  ];
}

/**
 * Weft's kernel engine between two VMs' devices, with every check on: identity, inner source, MTU. With both ends on one host the path is local.
 */
export async function joinByWeft(
  a: PathEnd,
  b: PathEnd,
  devices: { readonly a: string; readonly b: string },
  context: BenchContext,
  kind: 'tap' | 'veth' = 'tap',
): Promise<{ readonly a: BenchHost; readonly b: BenchHost }> {
  const engineA = startKernelEngine(a.host, context);
  const engineB = a.host === b.host ? engineA : startKernelEngine(b.host, context);
  for (const engine of new Set([engineA, engineB])) engine.datapath.apply(networkRows());
  const indexA = await engineA.attach(devices.a, kind, vmA);
  const indexB = await engineB.attach(devices.b, kind, vmB);
  const veth = kind === 'veth';
  for (const engine of new Set([engineA, engineB])) {
    engine.datapath.apply(vmRows(vmA, engine === engineA ? { ifindex: indexA, veth, pa: a.host.address } : { pa: a.host.address }));
    engine.datapath.apply(vmRows(vmB, engine === engineB ? { ifindex: indexB, veth, pa: b.host.address } : { pa: b.host.address }));
  }
  return { a: engineA, b: engineB };
}
