import { writeFileSync } from 'node:fs';
import { setLink, TunTapError } from '@weft/tuntap';
import { DatapathError } from '../errors.ts';
import { runCommand, tryCommand } from './command.ts';
import { noDevice } from './devices.ts';

// What holds when no program is attached (a crash of the set-up, a foreign `tc filter del`): a tenant's device must be silent, not a wire into
// the host's own stack. Two independent means: the device answers no ARP and has no IPv6; and nftables drops what comes in from the
// device group of all tenant devices. Frames that Weft forwards meet neither: they are redirected before both.

/** Group of all tenant devices ("WF"). */
export const TENANT_DEVICE_GROUP = 22342;
const TABLE = 'weft_guard';

const RULESET = `table inet ${TABLE}
delete table inet ${TABLE}
table inet ${TABLE} {
	chain input {
		type filter hook input priority -400; policy accept;
		iifgroup ${TENANT_DEVICE_GROUP} counter drop
	}
	chain forward {
		type filter hook forward priority -400; policy accept;
		iifgroup ${TENANT_DEVICE_GROUP} counter drop
		oifgroup ${TENANT_DEVICE_GROUP} counter drop
	}
	chain prerouting {
		type filter hook prerouting priority -400; policy accept;
		iifgroup ${TENANT_DEVICE_GROUP} counter drop
	}
	chain output {
		type filter hook output priority -400; policy accept;
		oifgroup ${TENANT_DEVICE_GROUP} counter drop
	}
}
`;

/**
 * Makes the nftables table `inet weft_guard`, which drops what the host's stack gets from tenant devices or would send to them. In one
 * transaction, so that no frame slips through while it is renewed. Idempotent.
 *
 * @throws {DatapathError} `WEFT_ERR_DATAPATH_COMMAND`.
 */
export function ensureGuard(): void {
  runCommand('nft', ['-f', '-'], RULESET);
}

/** Whether the guard stands, with all its rules. */
export function hasGuard(): boolean {
  const { status, stdout } = tryCommand('nft', ['list', 'table', 'inet', TABLE]);
  return status === 0 && (stdout.match(/ drop$/gm) ?? []).length === (RULESET.match(/ drop$/gm) ?? []).length;
}

/** Removes the guard. Idempotent. Only for hosts without tenant devices. */
export function removeGuard(): void {
  runCommand('nft', ['-f', '-'], `table inet ${TABLE}\ndelete table inet ${TABLE}\n`);
}

/**
 * Closes a tenant's device towards the host's own stack: device group, no ARP, no IPv6, no router advertisements, no addresses made by
 * itself. Idempotent. To be called before the device is brought up.
 *
 * @throws {DatapathError} `WEFT_ERR_DATAPATH_NO_DEVICE`, `WEFT_ERR_DATAPATH_COMMAND`.
 */
export function protectTenantDevice(name: string): void {
  closeToHost(name);
  setSysctl(`net/ipv6/conf/${name}/accept_ra`, '0');
  setSysctl(`net/ipv6/conf/${name}/disable_ipv6`, '1');
  setSysctl(`net/ipv4/conf/${name}/rp_filter`, '1');
  setSysctl(`net/ipv4/conf/${name}/arp_ignore`, '8');
}

/** Without a process: a host that binds a port has its frames waiting. */
function closeToHost(name: string): void {
  try {
    setLink(name, { group: TENANT_DEVICE_GROUP, arp: false, ipv6AddressGeneration: false });
  } catch (error) {
    if (error instanceof TunTapError && error.code === 'WEFT_ERR_TUNTAP_NOT_FOUND') throw noDevice(name);
    throw new DatapathError('WEFT_ERR_DATAPATH_COMMAND', (error as Error).message, { cause: error });
  }
}

/** Files below /proc/sys/net are those of the calling thread's network namespace. A kernel without IPv6 has none of its, and needs none. */
function setSysctl(path: string, value: string): void {
  const file = `/proc/sys/${path}`;
  try {
    writeFileSync(file, value);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw new DatapathError('WEFT_ERR_DATAPATH_COMMAND', `Cannot write ${value} to ${file}: ${(error as Error).message}`);
  }
}
