import { formatIpv4, MAPPED_IPV4_OFFSET } from '@weft/packet';
import { runCommand } from './command.ts';

// Peers believe what comes from this host's provider address to the tunnel's port. A process without any right could send such datagrams
// through a socket, and a container through the host's address translation: frames of any port that this host has. What an engine sends itself meets
// no netfilter hook (redirected by a program, or written to a packet socket); what the VXLAN device sends for the programs carries their mark, which
// only root can set.

/** Bit of the skb mark that says "checked at the underlay", or "of the programs"; docs/datapath-contract.md section 6. */
export const TUNNEL_MARK = 0x5746;

/**
 * Makes the nftables table that keeps all but the tunnels' own datagrams from leaving for the tunnel's port under this host's provider
 * address. In one transaction; idempotent.
 *
 * @param owner The tunnel device of a kernel engine, `ADDRESS:PORT` of a user-space engine: one table each.
 * @param pa 16 bytes, IPv4 mapped.
 * @throws {DatapathError} `WEFT_ERR_DATAPATH_COMMAND`.
 */
export function ensureTunnelGuard(owner: string, pa: Uint8Array, udpPort: number): void {
  const table = tableOf(owner);
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
		${own} meta mark & 0xffff != 0x${TUNNEL_MARK.toString(16)} counter drop
	}
}
`,
  );
}

/** Removes it. Idempotent. */
export function removeTunnelGuard(owner: string): void {
  const table = tableOf(owner);
  runCommand('nft', ['-f', '-'], `table ip ${table}\ndelete table ip ${table}\n`);
}

/** An owner's name may hold what a table's may not. */
function tableOf(owner: string): string {
  return `weft_tunnel_${Buffer.from(owner).toString('hex')}`;
}
