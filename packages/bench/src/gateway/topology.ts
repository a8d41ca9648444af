import {
  createLabNet,
  createVmNetns,
  ipBatch,
  ipJson,
  type LabHost,
  type LabNet,
  macOf,
  run,
  setSysctls,
  type VmNetns,
} from '@weft/testkit';
import { inNetns, startGenerator, type TapDevice } from '@weft/tuntap';
import { VNET_HEADER_BYTES } from '../path/frames.ts';
import { TENANT_MTU_BYTES, UNDERLAY_MTU_BYTES } from '../path/topology.ts';

/*
 *   generator or VM ─ host ═══ underlay veth ═══ gateway ─── external veth ─── server or sink         through a tunnel
 *
 *                               generator ─ TAP ─ gateway ─── external veth ─── sink                 NAT alone
 *
 * A sink counts what its device receives and drops it there, so that no receiver's cost is in the figure. A server has a TCP stack.
 */

/** The gateway's own address on the external side, the next hop, and where the flows go. */
export const EXTERNAL = { gateway: '203.0.113.2', nextHop: '203.0.113.1', server: '198.18.0.10' } as const;
/** The address that a gateway has in every subnet. */
export const SUBNET_GATEWAY = '10.0.0.1';

/** A VM's NIC. */
export interface InsideVm {
  readonly mac: string;
  readonly address: string;
}

/** VM number `index`, 0 to 99. */
export function insideVm(index: number): InsideVm {
  return { mac: `02:00:00:00:01:${index.toString(16).padStart(2, '0')}`, address: `10.0.0.${10 + index}` };
}

/** `count` external addresses of NAT, 64 at most. */
export function externalAddresses(count: number): string[] {
  return Array.from({ length: count }, (_, index) => `203.0.113.${16 + index}`);
}

/** Two hosts and an external wire. Nothing joins them yet. */
export interface GatewayPath {
  readonly id: string;
  readonly net: LabNet;
  readonly host: LabHost;
  readonly gateway: LabHost;
  /** Namespace beyond the external wire. */
  readonly outside: string;
  /** MAC addresses of the two ends of that wire. */
  readonly externalMac: string;
  readonly nextHopMac: string;
}

/** Name of the gateway's external device. */
export const EXTERNAL_DEVICE = 'ext0';
const COUNTER = 'untranslated';

/** @param end What is beyond the external wire: something that counts frames, or a server with a TCP stack. */
export async function createGatewayPath(id: string, name: string, end: 'sink' | 'server'): Promise<GatewayPath> {
  const net = await createLabNet({ name, hosts: [{ name: 'a' }, { name: 'g' }], mtu: UNDERLAY_MTU_BYTES, direct: true });
  const [host, gateway] = [net.host('a'), net.host('g')];
  const outside = `weft-${name}-out`;
  net.registry.record({ kind: 'netns', name: outside });
  const size = ['mtu', String(UNDERLAY_MTU_BYTES)];
  await ipBatch([
    ['netns', 'add', outside],
    ['link', 'add', EXTERNAL_DEVICE, ...size, 'netns', gateway.netns, 'type', 'veth', 'peer', 'name', 'eth0', ...size, 'netns', outside],
  ]);
  await ipBatch(
    [
      ['address', 'add', `${EXTERNAL.nextHop}/24`, 'dev', 'eth0'],
      ['link', 'set', 'eth0', 'up'],
      ['link', 'set', 'lo', 'up'],
      ['address', 'add', `${EXTERNAL.server}/32`, 'dev', 'lo'],
    ],
    outside,
  );
  await ipBatch(
    [
      ['address', 'add', `${EXTERNAL.gateway}/24`, 'dev', EXTERNAL_DEVICE],
      ['link', 'set', EXTERNAL_DEVICE, 'up'],
      ['route', 'add', '198.18.0.0/15', 'via', EXTERNAL.nextHop],
    ],
    gateway.netns,
  );
  const nextHopMac = await macOf('eth0', outside);
  const externalMac = await macOf(EXTERNAL_DEVICE, gateway.netns);
  // No ARP in the figures, whatever address is translated to.
  await ipBatch([['neigh', 'replace', EXTERNAL.nextHop, 'lladdr', nextHopMac, 'dev', EXTERNAL_DEVICE, 'nud', 'permanent']], gateway.netns);
  await ipBatch(
    [EXTERNAL.gateway, ...externalAddresses(64)].map((address) => [
      ...['neigh', 'replace', address, 'lladdr', externalMac, 'dev', 'eth0', 'nud', 'permanent'],
    ]),
    outside,
  );
  if (end === 'sink') {
    const rules = `ip saddr 10.0.0.0/8 counter name ${COUNTER} drop; ether type ip drop`;
    const chain = `chain in { type filter hook ingress device "eth0" priority 0; ${rules}\n}`;
    await run('nft', ['-f', '-'], { netns: outside, input: `table netdev sink { counter ${COUNTER} {\n}\n${chain}\n}\n` });
  } else {
    // One connection after the other to one port: the listener's queue and orphans are not what is measured.
    await setSysctls(outside, { 'net.core.somaxconn': 4096, 'net.ipv4.tcp_max_syn_backlog': 8192 });
  }
  return { id, net, host, gateway, outside, externalMac, nextHopMac };
}

/** A VM that is a namespace, with a veth pair to the host; `also` are further addresses of it. */
export async function createInsideVm(path: GatewayPath, index: number, also: readonly string[] = []): Promise<VmNetns> {
  const vm = insideVm(index);
  return await createVmNetns({
    name: `vm-${index}`,
    netns: `${path.host.netns}-vm${index}`,
    hostNetns: path.host.netns,
    hostDevice: vmDevice(index),
    mac: vm.mac,
    addresses: [`${vm.address}/16`, ...also.map((address) => `${address}/16`)],
    gateways: [SUBNET_GATEWAY],
    mtu: TENANT_MTU_BYTES,
    registry: path.net.registry,
  });
}

export function vmDevice(index: number): string {
  return `vm${index}`;
}

/** What a run through a gateway showed. */
export interface GatewayRun {
  readonly framesPerSecond: number;
  readonly gigabitsPerSecond: number;
  /** Mean length of a frame on the external wire, in bytes. */
  readonly meanFrame: number;
}

interface LinkCounts {
  readonly packets: number;
  readonly bytes: number;
}

async function received(path: GatewayPath): Promise<LinkCounts> {
  const links = await ipJson<{ stats64: { rx: LinkCounts } }>(['-s', 'link', 'show', 'dev', 'eth0'], path.outside);
  return links[0]!.stats64.rx;
}

/** @throws {Error} When nothing comes out: a gateway that carries nothing has no figure. */
export async function measureGateway(
  path: GatewayPath,
  tap: TapDevice,
  frames: readonly Uint8Array[],
  durationMs: number,
): Promise<GatewayRun> {
  const before = await received(path);
  const generator = startGenerator({ fd: tap.fd, frames, durationMs, cpu: 0, vnetHeaderBytes: VNET_HEADER_BYTES });
  const sent = await generator.result();
  let after = await received(path);
  for (let quiet = 0; quiet < 2; ) {
    await new Promise((resolve) => setTimeout(resolve, 5));
    const now = await received(path);
    quiet = now.packets === after.packets ? quiet + 1 : 0;
    after = now;
  }
  const packets = after.packets - before.packets;
  const bytes = after.bytes - before.bytes;
  if (packets < sent.sent / 100)
    throw new Error(`${path.id}: ${packets} frames came out of the gateway, ${sent.sent} were sent, errors ${JSON.stringify(sent.errors)}`);
  const seconds = sent.elapsedNs / 1e9;
  return { framesPerSecond: packets / seconds, gigabitsPerSecond: (bytes * 8) / seconds / 1e9, meanFrame: bytes / packets };
}

/** Sends each frame once: what begins a flow. */
export async function sendOnce(tap: TapDevice, frames: readonly Uint8Array[]): Promise<void> {
  await startGenerator({ fd: tap.fd, frames, count: frames.length, vnetHeaderBytes: VNET_HEADER_BYTES }).result();
}

/** @throws {Error} When frames came out with an inside source: who translates nothing is fast. */
export async function checkTranslated(path: GatewayPath): Promise<void> {
  const { stdout } = await run('nft', ['-j', 'list', 'counter', 'netdev', 'sink', COUNTER], { netns: path.outside });
  const { nftables } = JSON.parse(stdout) as { nftables: { counter?: { packets: number } }[] };
  const packets = nftables.find((one) => one.counter !== undefined)?.counter?.packets;
  if (packets !== 0) throw new Error(`${path.id}: ${packets} frames came out of the gateway untranslated`);
}

/** Runs in the gateway's network namespace. */
export function atGateway<T>(path: GatewayPath, work: () => T): T {
  return inNetns(`/run/netns/${path.gateway.netns}`, work);
}
