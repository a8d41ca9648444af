import { ipBatch, macOf, run, setSysctls } from '@weft/testkit';
import { VSID } from '../path/addresses.ts';
import { EXTERNAL_DEVICE, externalAddresses, type GatewayPath, type InsideVm, SUBNET_GATEWAY } from './topology.ts';

// The gateway that the kernel alone makes of VXLAN, bridge, routing and nftables: what Proxmox's SDN, or a hand-made router VM, is.

const FORWARDING = {
  'net.ipv4.ip_forward': 1,
  'net.ipv4.conf.all.rp_filter': 0,
  'net.netfilter.nf_conntrack_max': 2_097_152,
  // The generator's frames are no real connection: without this some would count as invalid and go out untranslated.
  'net.netfilter.nf_conntrack_tcp_be_liberal': 1,
};

/** A VM and its device on the host. */
export interface BridgedVm {
  readonly vm: InsideVm;
  readonly device: string;
}

/** @param addressCount Size of the pool; 0: masquerade, that is the device's own address. */
async function translate(path: GatewayPath, addressCount: number): Promise<void> {
  const pool = externalAddresses(addressCount);
  if (pool.length > 0) {
    await ipBatch(
      pool.map((address) => ['address', 'add', `${address}/32`, 'dev', EXTERNAL_DEVICE]),
      path.gateway.netns,
    );
  }
  const how = pool.length === 0 ? 'masquerade' : `snat to ${pool[0]}${pool.length > 1 ? `-${pool.at(-1)}` : ''}`;
  const chain = `chain post { type nat hook postrouting priority srcnat; oifname "${EXTERNAL_DEVICE}" ${how}\n}`;
  await run('nft', ['-f', '-'], { netns: path.gateway.netns, input: `table ip nat { ${chain}\n}\n` });
}

/** VMs' devices → bridge → VXLAN → gateway's VXLAN → bridge with the subnet's gateway address → routing → masquerade. @returns The MAC to send to. */
export async function kernelGateway(path: GatewayPath, vms: readonly BridgedVm[], addressCount = 0): Promise<string> {
  const peers = [
    { own: path.host, other: path.gateway },
    { own: path.gateway, other: path.host },
  ];
  for (const { own, other } of peers) {
    const tunnel = ['id', String(VSID), 'dstport', '4789', 'local', own.address, 'dev', own.underlayDevice, 'nolearning'];
    await ipBatch(
      [
        ['link', 'add', 'br0', 'type', 'bridge', 'stp_state', '0', 'mcast_snooping', '0'],
        ['link', 'add', 'vx0', 'type', 'vxlan', ...tunnel],
        ['link', 'set', 'vx0', 'master', 'br0', 'up'],
        ['link', 'set', 'br0', 'up'],
      ],
      own.netns,
    );
    await fdb(own.netns, ['append', '00:00:00:00:00:00', 'dev', 'vx0', 'dst', other.address, 'self', 'permanent']);
  }
  await ipBatch([['address', 'add', `${SUBNET_GATEWAY}/16`, 'dev', 'br0']], path.gateway.netns);
  const gatewayMac = await macOf('br0', path.gateway.netns);
  // Static entries, as for Weft: no learning, no flooding, no ARP.
  await fdb(path.host.netns, ['replace', gatewayMac, 'dev', 'vx0', 'master', 'static']);
  await fdb(path.host.netns, ['append', gatewayMac, 'dev', 'vx0', 'dst', path.gateway.address, 'self', 'permanent']);
  for (const { vm, device } of vms) {
    await ipBatch([['link', 'set', device, 'master', 'br0', 'up']], path.host.netns);
    await fdb(path.host.netns, ['replace', vm.mac, 'dev', device, 'master', 'static']);
    await fdb(path.gateway.netns, ['replace', vm.mac, 'dev', 'vx0', 'master', 'static']);
    await fdb(path.gateway.netns, ['append', vm.mac, 'dev', 'vx0', 'dst', path.host.address, 'self', 'permanent']);
    await neighbour(path, vm, 'br0');
  }
  await setSysctls(path.gateway.netns, FORWARDING);
  await translate(path, addressCount);
  return gatewayMac;
}

/** What a VM's further addresses need at the gateway. */
export async function neighbour(path: GatewayPath, vm: InsideVm, device: string): Promise<void> {
  await ipBatch([['neigh', 'replace', vm.address, 'lladdr', vm.mac, 'dev', device, 'nud', 'permanent']], path.gateway.netns);
}

async function fdb(netns: string, args: readonly string[]): Promise<void> {
  await run('bridge', ['fdb', ...args], { netns });
}

/** TAP → routing (→ masquerade) → external device, in the gateway's namespace. @returns The MAC to send to. */
export async function kernelRouter(path: GatewayPath, tap: string, vm: InsideVm, nat: boolean): Promise<string> {
  await ipBatch(
    [
      ['link', 'set', tap, 'up', 'arp', 'on'],
      ['address', 'add', `${SUBNET_GATEWAY}/16`, 'dev', tap],
    ],
    path.gateway.netns,
  );
  await neighbour(path, vm, tap);
  await setSysctls(path.gateway.netns, FORWARDING);
  if (nat) await translate(path, 0);
  return macOf(tap, path.gateway.netns);
}
