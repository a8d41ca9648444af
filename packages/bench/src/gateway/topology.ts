import { createLabNet, ipBatch, ipJson, type LabHost, type LabNet, macOf, type OffloadMode, run } from '@weft/testkit';
import { inNetns, startGenerator, type TapDevice } from '@weft/tuntap';
import { VNET_HEADER_BYTES } from '../path/frames.ts';
import { openTapAt, UNDERLAY_MTU_BYTES } from '../path/topology.ts';

/*
 *   generator ─ TAP ─ host ═══ underlay veth ═══ gateway ─── external veth ─── sink         through a tunnel
 *
 *                       generator ─ TAP ─ gateway ─── external veth ─── sink                NAT alone
 *
 * The sink counts what its device receives and drops it there, so that no receiver's cost is in the figure.
 */

/** The gateway's own address on the external side, the next hop, and where the flow goes. */
export const EXTERNAL = { gateway: '203.0.113.2', nextHop: '203.0.113.1', nat: '203.0.113.16', server: '198.18.0.10' } as const;
/** The VM, and the address that the kernel's gateway has in its subnet. */
export const INSIDE = { mac: '02:00:00:00:00:0a', address: '10.0.0.10', gateway: '10.0.0.1' } as const;

/** One variant, set up. */
export interface GatewayPath {
  readonly id: string;
  readonly net: LabNet;
  /** Where the VM's TAP is: the gateway itself for NAT alone. */
  readonly host: LabHost;
  readonly gateway: LabHost;
  readonly tap: TapDevice;
  /** MAC addresses of the two ends of the external wire. */
  readonly externalMac: string;
  readonly nextHopMac: string;
}

/** Name of the gateway's external device. */
export const EXTERNAL_DEVICE = 'ext0';

/**
 * Two hosts on one underlay veth, a TAP at the first (at the second for NAT alone), and an external wire at the second. Nothing joins them yet.
 *
 * @param mode Of the underlay and of the external wire alike.
 */
export async function createGatewayPath(id: string, name: string, mode: OffloadMode, alone: boolean): Promise<GatewayPath> {
  const net = await createLabNet({
    name,
    hosts: [{ name: 'a' }, { name: 'g' }],
    mtu: UNDERLAY_MTU_BYTES,
    mode,
    direct: true,
  });
  const [a, gateway] = [net.host('a'), net.host('g')];
  const sink = `weft-${name}-sink`;
  net.registry.record({ kind: 'netns', name: sink });
  const size = ['mtu', String(UNDERLAY_MTU_BYTES)];
  await ipBatch([
    ['netns', 'add', sink],
    ['link', 'add', EXTERNAL_DEVICE, ...size, 'netns', gateway.netns, 'type', 'veth', 'peer', 'name', 'eth0', ...size, 'netns', sink],
  ]);
  await ipBatch(
    [
      ['address', 'add', `${EXTERNAL.nextHop}/24`, 'dev', 'eth0'],
      ['link', 'set', 'eth0', 'up'],
    ],
    sink,
  );
  await ipBatch(
    [
      ['address', 'add', `${EXTERNAL.gateway}/24`, 'dev', EXTERNAL_DEVICE],
      ['link', 'set', EXTERNAL_DEVICE, 'up'],
      ['route', 'add', '198.18.0.0/15', 'via', EXTERNAL.nextHop],
    ],
    gateway.netns,
  );
  const nextHopMac = await macOf('eth0', sink);
  const externalMac = await macOf(EXTERNAL_DEVICE, gateway.netns);
  // No ARP in the figures, and nothing above the device that counts.
  await ipBatch([['neigh', 'replace', EXTERNAL.nextHop, 'lladdr', nextHopMac, 'dev', EXTERNAL_DEVICE, 'nud', 'permanent']], gateway.netns);
  await ipBatch([['neigh', 'replace', EXTERNAL.gateway, 'lladdr', externalMac, 'dev', 'eth0', 'nud', 'permanent']], sink);
  const chain = 'table netdev sink { chain in { type filter hook ingress device "eth0" priority 0; ether type ip drop\n}\n}\n';
  await run('nft', ['-f', '-'], { netns: sink, input: chain });
  const host = alone ? gateway : a;
  return { id, net, host, gateway, tap: await openTapAt(host, 'tap0'), externalMac, nextHopMac };
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
  const links = await ipJson<{ stats64: { rx: LinkCounts } }>(['-s', 'link', 'show', 'dev', 'eth0'], `weft-${path.net.name}-sink`);
  return links[0]!.stats64.rx;
}

/** @throws {Error} When nothing comes out: a gateway that carries nothing has no figure. */
export async function measureGateway(path: GatewayPath, frames: readonly Uint8Array[], durationMs: number): Promise<GatewayRun> {
  const before = await received(path);
  const generator = startGenerator({ fd: path.tap.fd, frames, durationMs, cpu: 0, vnetHeaderBytes: VNET_HEADER_BYTES });
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

/** Runs in the gateway's network namespace. */
export function atGateway<T>(path: GatewayPath, work: () => T): T {
  return inNetns(`/run/netns/${path.gateway.netns}`, work);
}
