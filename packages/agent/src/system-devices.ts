import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { protectTenantDevice } from '@weft/datapath';
import { createTap, inspectTap, removeTap, setLink, TunTapError } from '@weft/tuntap';
import type { DeviceInfo, Devices } from './components.ts';
import { AgentError } from './errors.ts';

interface LinkJson {
  readonly ifindex: number;
  readonly flags: readonly string[];
  readonly linkinfo?: { readonly info_kind?: string; readonly info_data?: { readonly type?: string } };
  readonly master?: string;
  readonly addr_info?: readonly { readonly local?: string; readonly scope?: string }[];
  /** Present when the peer lives in another network namespace. */
  readonly link_netnsid?: number;
}

/** The devices of the network namespace that the agent runs in, by ioctl, rtnetlink, procfs and iproute2. */
export const systemDevices: Devices = {
  inspect(name: string): DeviceInfo | undefined {
    const tap = asTap(name);
    if (tap === undefined) return undefined;
    const { status, stdout } = ip(['-json', '-details', 'address', 'show', 'dev', name]);
    if (status !== 0) return undefined;
    const link = (JSON.parse(stdout) as LinkJson[])[0];
    if (link === undefined) return undefined;
    const ownUse = ownUseOf(link);
    if (tap !== 'other') return { ...tap, ownUse };
    // Frames can be handed to a veth's peer only across a namespace border; else they go through the device like through any other.
    const isVeth = link.linkinfo?.info_kind === 'veth' && link.link_netnsid !== undefined;
    return { name, ifindex: link.ifindex, kind: isVeth ? 'veth' : 'tap', isTap: false, isUp: link.flags.includes('UP'), ownUse };
  },

  ifindex(name: string): number | undefined {
    // procfs follows the namespace of the process, sysfs that of whoever mounted it.
    try {
      const match = /^ifIndex\s+(\d+)/m.exec(readFileSync(`/proc/net/dev_snmp6/${name}`, 'utf8'));
      if (match !== null) return Number(match[1]);
    } catch {
      // A device without IPv6 (MTU below 1280), or none.
    }
    const names = readFileSync('/proc/net/dev', 'utf8').split('\n');
    if (!names.some((line) => line.trimStart().startsWith(`${name}:`))) return undefined;
    const { status, stdout } = ip(['-json', 'link', 'show', 'dev', name]);
    return status === 0 ? (JSON.parse(stdout) as LinkJson[])[0]?.ifindex : undefined;
  },

  createTap(name: string): DeviceInfo {
    // Single queue: QEMU opens a TAP it is given by name without IFF_MULTI_QUEUE, which a multi-queue one refuses.
    createTap({ name, vnetHdr: true });
    const tap = asTap(name);
    if (tap === undefined || tap === 'other')
      throw new AgentError('WEFT_ERR_AGENT_DEVICE_SETUP', `Cannot use TAP ${name}: it was made and is gone`);
    return tap;
  },

  protect(name: string): void {
    protectTenantDevice(name);
  },

  bringUp(name: string, mtuBytes?: number): void {
    setLink(name, { up: true, ...(mtuBytes !== undefined && { mtu: mtuBytes }) });
  },

  removeTap(name: string): 'removed' | 'absent' | 'held' {
    try {
      return removeTap(name) ? 'removed' : 'absent';
    } catch (error) {
      if (error instanceof TunTapError && error.code === 'WEFT_ERR_TUNTAP_BUSY') return 'held';
      throw error;
    }
  },
};

/** What the host itself uses is no tenant's: a request that names it by mistake, or on purpose, would cut the host off. */
function ownUseOf({ flags, master, addr_info: addresses = [] }: LinkJson): string | undefined {
  if (flags.includes('LOOPBACK')) return 'it is the loopback device';
  if (master !== undefined) return `it belongs to ${master}`;
  const address = addresses.find((one) => one.scope !== 'link')?.local;
  return address === undefined ? undefined : `it has the address ${address}`;
}

function asTap(name: string): DeviceInfo | undefined | 'other' {
  try {
    const info = inspectTap(name);
    if (info === undefined) return undefined;
    return info.mode === 'tap' ? { name, ifindex: info.ifindex, kind: 'tap', isTap: true, isUp: info.up, ownUse: undefined } : 'other';
  } catch (error) {
    if (error instanceof TunTapError && error.code === 'WEFT_ERR_TUNTAP_KIND_MISMATCH') return 'other';
    throw error;
  }
}

function ip(args: readonly string[]): { readonly status: number | null; readonly stdout: string; readonly stderr: string } {
  return spawnSync('ip', args, { encoding: 'utf8', timeout: 10_000 });
}
