import { ipBatch, macOf, run, setSysctls } from '@weft/testkit';
import { VSID } from '../path/addresses.ts';
import { EXTERNAL_DEVICE, type GatewayPath, INSIDE } from './topology.ts';

// The gateway that the kernel alone makes of VXLAN, bridge, routing and nftables: what Proxmox's SDN, or a hand-made router VM, is.

const FORWARDING = { 'net.ipv4.ip_forward': 1, 'net.ipv4.conf.all.rp_filter': 0, 'net.netfilter.nf_conntrack_max': 2_097_152 };

async function masquerade(path: GatewayPath): Promise<void> {
  const table = `table ip nat { chain post { type nat hook postrouting priority srcnat; oifname "${EXTERNAL_DEVICE}" masquerade\n}\n}\n`;
  await run('nft', ['-f', '-'], { netns: path.gateway.netns, input: table });
}

/** VM's TAP → bridge → VXLAN → gateway's VXLAN → bridge with the subnet's gateway address → routing → masquerade. @returns The MAC to send to. */
export async function kernelGateway(path: GatewayPath): Promise<string> {
  const peers = [
    { own: path.host, other: path.gateway },
    { own: path.gateway, other: path.host },
  ];
  for (const { own, other } of peers) {
    await ipBatch(
      [
        ['link', 'add', 'br0', 'type', 'bridge', 'stp_state', '0', 'mcast_snooping', '0'],
        [
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
          own.address,
          'dev',
          own.underlayDevice,
          'nolearning',
        ],
        ['link', 'set', 'vx0', 'master', 'br0', 'up'],
        ['link', 'set', 'br0', 'up'],
      ],
      own.netns,
    );
    await run('bridge', ['fdb', 'append', '00:00:00:00:00:00', 'dev', 'vx0', 'dst', other.address, 'self', 'permanent'], {
      netns: own.netns,
    });
  }
  await ipBatch([['link', 'set', 'tap0', 'master', 'br0', 'up']], path.host.netns);
  await ipBatch([['address', 'add', `${INSIDE.gateway}/24`, 'dev', 'br0']], path.gateway.netns);
  const gatewayMac = await macOf('br0', path.gateway.netns);
  await ipBatch([['neigh', 'replace', INSIDE.address, 'lladdr', INSIDE.mac, 'dev', 'br0', 'nud', 'permanent']], path.gateway.netns);
  const entries = [
    { at: path.host, mac: INSIDE.mac, device: 'tap0', to: undefined },
    { at: path.host, mac: gatewayMac, device: 'vx0', to: path.gateway.address },
    { at: path.gateway, mac: INSIDE.mac, device: 'vx0', to: path.host.address },
  ];
  for (const { at, mac, device, to } of entries) {
    await run('bridge', ['fdb', 'replace', mac, 'dev', device, 'master', 'static'], { netns: at.netns });
    if (to !== undefined) await run('bridge', ['fdb', 'append', mac, 'dev', device, 'dst', to, 'self', 'permanent'], { netns: at.netns });
  }
  await setSysctls(path.gateway.netns, FORWARDING);
  await masquerade(path);
  return gatewayMac;
}

/** TAP → routing (→ masquerade) → external device, in one namespace. @returns The MAC to send to. */
export async function kernelRouter(path: GatewayPath, nat: boolean): Promise<string> {
  await ipBatch(
    [
      ['link', 'set', 'tap0', 'up', 'arp', 'on'],
      ['address', 'add', `${INSIDE.gateway}/24`, 'dev', 'tap0'],
      ['neigh', 'replace', INSIDE.address, 'lladdr', INSIDE.mac, 'dev', 'tap0', 'nud', 'permanent'],
    ],
    path.gateway.netns,
  );
  await setSysctls(path.gateway.netns, FORWARDING);
  if (nat) await masquerade(path);
  return macOf('tap0', path.gateway.netns);
}
