import { createLabNet, type LabHost, type LabNet, type OffloadMode, run } from '@weft/testkit';
import { createTap, inNetns, openTap, type TapDevice } from '@weft/tuntap';
import { gatewayMac } from './addresses.ts';

/*
 *   generator ─ TAP a ─ host A ═══ underlay veth ═══ host B ─ TAP b ─ reader
 *
 * Each variant has a pair of namespaces of its own, so that nothing of one is in the way of another, and rounds can go from one to the next without
 * setting anything up again.
 */

/** Underlay MTU of every pair. */
export const UNDERLAY_MTU_BYTES: number = 1500;
/** Tenant MTU: less 50 bytes of VXLAN over IPv4. */
export const TENANT_MTU_BYTES: number = UNDERLAY_MTU_BYTES - 50;

/** One end of a path: a host with TAP devices that "VMs" hold. */
export interface PathEnd {
  readonly host: LabHost;
  readonly taps: readonly TapDevice[];
}

/** A variant, set up. */
export interface Path {
  readonly id: string;
  readonly net: LabNet;
  readonly a: PathEnd;
  readonly b: PathEnd;
  /** MAC that a frame to the other end is sent to. */
  readonly destinationMac: string;
}

export { gatewayMac };

/** Opens a TAP in a host's namespace, with the offloads a guest's driver asks for, and brings it up without an address. */
export async function openTapAt(host: LabHost, name: string): Promise<TapDevice> {
  const path = `/run/netns/${host.netns}`;
  const tap = inNetns(path, () => {
    createTap({ name, vnetHdr: true });
    return openTap({ name, vnetHdr: true, persistent: true, offloads: ['csum', 'tso4', 'tso6', 'uso4', 'uso6'] });
  });
  await run('ip', ['-n', host.netns, 'link', 'set', name, 'up', 'arp', 'off', 'mtu', String(TENANT_MTU_BYTES), 'txqueuelen', '1000']);
  return tap;
}

/** Two hosts joined by one veth pair, with TAPs `tap0`, `tap1`, … at each. */
export async function createPair(
  name: string,
  mode: OffloadMode,
  tapCounts: readonly [number, number],
): Promise<{ net: LabNet; a: PathEnd; b: PathEnd }> {
  const net = await createLabNet({ name, hosts: [{ name: 'a' }, { name: 'b' }], mtu: UNDERLAY_MTU_BYTES, mode, direct: true });
  const ends = await Promise.all(
    (['a', 'b'] as const).map(async (host, index) => {
      const taps: TapDevice[] = [];
      for (let tap = 0; tap < tapCounts[index]!; tap++) taps.push(await openTapAt(net.host(host), `tap${tap}`));
      return { host: net.host(host), taps };
    }),
  );
  return { net, a: ends[0]!, b: ends[1]! };
}
