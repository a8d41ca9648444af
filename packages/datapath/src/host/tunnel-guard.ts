import { formatIpv4, MAPPED_IPV4_OFFSET } from '@weft/packet';
import { runCommand } from './command.ts';

// Peers believe what comes from this host's provider address to the tunnel's port. A process without any right could send such datagrams
// through a socket, and a container through the host's address translation: frames of any port that this host has. What the programs send meets
// no netfilter hook; what the VXLAN device sends for them carries their mark, which only root can set.

/**
 * Makes the nftables table that keeps all but the tunnels' own datagrams from leaving for the tunnel's port under this host's provider
 * address. In one transaction; idempotent. One per tunnel device.
 *
 * @param pa 16 bytes, IPv4 mapped.
 * @throws {DatapathError} `WEFT_ERR_DATAPATH_COMMAND`.
 */
export function ensureTunnelGuard(device: string, pa: Uint8Array, udpPort: number, mark: number): void {
  const table = tableOf(device);
  // What stays on the host is dropped, and counted by name, where it arrives.
  const own = `oifname != "lo" ip saddr ${formatIpv4(pa, MAPPED_IPV4_OFFSET)} udp dport ${udpPort}`;
  runCommand(
    'nft',
    ['-f', '-'],
    `table ip ${table}
delete table ip ${table}
table ip ${table} {
	chain postrouting {
		type filter hook postrouting priority 300; policy accept;
		${own} meta mark & 0xffff != 0x${mark.toString(16)} counter drop
	}
}
`,
  );
}

/** Removes it. Idempotent. */
export function removeTunnelGuard(device: string): void {
  const table = tableOf(device);
  runCommand('nft', ['-f', '-'], `table ip ${table}\ndelete table ip ${table}\n`);
}

/** A device's name may hold what a table's may not. */
function tableOf(device: string): string {
  return `weft_tunnel_${Buffer.from(device).toString('hex')}`;
}
