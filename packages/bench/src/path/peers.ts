import { fileURLToPath } from 'node:url';
import { BpfObject } from '@weft/bpf';
import { ipJson, type LabHost, run } from '@weft/testkit';
import { inNetns } from '@weft/tuntap';
import type { BenchContext } from '../core/context.ts';
import { VSID, vmA, vmB } from './addresses.ts';
import type { PathEnd } from './topology.ts';

/** What others do with the same frames: each function joins the VMs' devices of a pair of hosts. */

async function ip(host: LabHost, ...args: string[]): Promise<void> {
  await run('ip', ['-n', host.netns, ...args]);
}

/** Kernel bridge + VXLAN device, with static entries: no learning, no flooding; what Proxmox, OpenStack's Linux bridge agent and flannel build. */
export async function bridgeVxlan(a: PathEnd, b: PathEnd, devices: { readonly a: string; readonly b: string }): Promise<void> {
  const sides = [
    { own: a, peer: b, device: devices.a, localMac: vmA.mac, remoteMac: vmB.mac },
    { own: b, peer: a, device: devices.b, localMac: vmB.mac, remoteMac: vmA.mac },
  ];
  for (const { own, peer, device, localMac, remoteMac } of sides) {
    await ip(own.host, 'link', 'add', 'br0', 'type', 'bridge', 'stp_state', '0', 'mcast_snooping', '0');
    await ip(
      own.host,
      ...[
        'link',
        'add',
        'vx0',
        'type',
        'vxlan',
        'id',
        String(VSID),
        'dstport',
        '4789',
        'local',
        own.host.address,
        'dev',
        own.host.underlayDevice,
        'nolearning',
      ],
    );
    await ip(own.host, 'link', 'set', 'vx0', 'master', 'br0', 'up');
    await ip(own.host, 'link', 'set', device, 'master', 'br0', 'up');
    await ip(own.host, 'link', 'set', 'br0', 'up');
    await run('bridge', ['fdb', 'replace', localMac, 'dev', device, 'master', 'static'], { netns: own.host.netns });
    await run('bridge', ['fdb', 'replace', remoteMac, 'dev', 'vx0', 'master', 'static'], { netns: own.host.netns });
    await run('bridge', ['fdb', 'append', remoteMac, 'dev', 'vx0', 'dst', peer.host.address, 'self', 'permanent'], {
      netns: own.host.netns,
    });
    await run('bridge', ['fdb', 'append', '00:00:00:00:00:00', 'dev', 'vx0', 'dst', peer.host.address, 'self', 'permanent'], {
      netns: own.host.netns,
    });
  }
}

/** The compiled program, beside `src` and `dist` alike. */
const REDIRECT_OBJECT = fileURLToPath(new URL('../../dist-bpf/redirect.bpf.o', import.meta.url));

/** A tc redirect from the VM's device to the underlay and back, frames as they are: the limit that no tunnel can pass. */
export async function redirectOnly(
  a: PathEnd,
  b: PathEnd,
  devices: { readonly a: string; readonly b: string },
  context: BenchContext,
): Promise<void> {
  for (const [own, device] of [
    [a, devices.a],
    [b, devices.b],
  ] as const) {
    const links = await ipJson<{ ifname: string; ifindex: number }>(['link', 'show'], own.host.netns);
    const indexOf = (name: string): number => links.find((link) => link.ifname === name)!.ifindex;
    // The receiving end must take frames that are not for its own MAC address.
    await ip(own.host, 'link', 'set', own.host.underlayDevice, 'promisc', 'on');
    for (const [from, to] of [
      [device, own.host.underlayDevice],
      [own.host.underlayDevice, device],
    ] as const) {
      const object = BpfObject.open(REDIRECT_OBJECT, { rodata: { cfg_target_ifindex: indexOf(to) } }).load();
      const link = inNetns(`/run/netns/${own.host.netns}`, () => object.program('redirect').attachTcx(indexOf(from), 'ingress'));
      context.beforeClose(own.host.netns, () => {
        link.close();
        object.close();
      });
    }
  }
}

/** Kernel bridge between two devices of one host. */
export async function localBridge(end: PathEnd, devices: readonly string[]): Promise<void> {
  await ip(end.host, 'link', 'add', 'br0', 'type', 'bridge', 'stp_state', '0', 'mcast_snooping', '0');
  for (const device of devices) await ip(end.host, 'link', 'set', device, 'master', 'br0', 'up');
  await ip(end.host, 'link', 'set', 'br0', 'up');
  const macs = [vmA.mac, vmB.mac];
  for (const [index, device] of devices.entries()) {
    await run('bridge', ['fdb', 'replace', macs[index]!, 'dev', device, 'master', 'static'], { netns: end.host.netns });
  }
}
