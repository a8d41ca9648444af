import { chmodSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseMac } from '@weft/packet';
import {
  createExternalNetwork,
  createLabNet,
  createVmNetns,
  type ExternalNetwork,
  ipBatch,
  ipJson,
  type LabHost,
  type LabNet,
  type ManagedProcess,
  type NetnsWorker,
  run,
  setSysctls,
  waitFor,
} from '@weft/testkit';
import { inNetns, startUdpEcho, type TapDevice } from '@weft/tuntap';
import { openTapAt, TENANT_MTU_BYTES } from '../path/topology.ts';
import { ECHO_PORT, PROBER, SERVER, STREAMER } from './failover-lab.ts';

/*
 *   h1: br0 (VMs) ─ vx0 ═══╦═══ vx0 ─ br0 g1 ext-internet ───┐
 *                          ╚═══ vx0 ─ br0 g2 ext-internet ───┴─── internet
 *
 * 10.0.0.1 on br0 and 203.0.113.16 outside are where keepalived puts them. Both br0 have one MAC address, as a virtual router has.
 */

const MEMBERS = ['g1', 'g2'] as const;
const VSID = 5001;
const GATEWAY_MAC = '02:00:00:00:fe:01';
const INSIDE = '10.0.0.1/16';
const OUTSIDE = '203.0.113.16';
/** Between two advertisements, in s: as often as Weft's members probe. Silence is noticed after three and a bit. */
const ADVERTISE_S = 0.03;
const SYSCTLS = {
  'net.ipv4.ip_forward': 1,
  'net.ipv4.conf.all.rp_filter': 0,
  'net.ipv6.conf.all.disable_ipv6': 1,
  'net.netfilter.nf_conntrack_tcp_be_liberal': 1,
};

export async function isInstalled(program: string): Promise<boolean> {
  return (await run('sh', ['-c', `command -v ${program}`], { allowFailure: true })).code === 0;
}

/** Two gateways of the kernel's own parts, one of which has the addresses. */
export class KeepalivedPair {
  readonly #net: LabNet;
  readonly #internet: ExternalNetwork;
  readonly #daemons = new Map<string, readonly ManagedProcess[]>();
  readonly #echo: { stop(): Promise<unknown> };
  readonly tap: TapDevice;
  readonly gateway: Uint8Array = parseMac(GATEWAY_MAC);

  private constructor(net: LabNet, internet: ExternalNetwork, tap: TapDevice) {
    this.#net = net;
    this.#internet = internet;
    this.tap = tap;
    this.#echo = inNetns(`/run/netns/${internet.outside.netns}`, () => startUdpEcho({ address: SERVER, port: ECHO_PORT }));
  }

  static async start(name: string): Promise<KeepalivedPair> {
    const net = await createLabNet({ name, hosts: [...MEMBERS, 'h1'].map((host) => ({ name: host })), controlNodeCount: 0 });
    const hosts = [...net.hosts.values()];
    const internet = await createExternalNetwork(net.registry, { name: 'internet', members: MEMBERS.map((host) => net.host(host)) });
    for (const host of hosts) await joinSegment(host, hosts);
    const at = net.host('h1');
    const tap = await openTapAt(at, PROBER.name);
    await createVmNetns({
      name: STREAMER.name,
      netns: `${at.netns}-vm`,
      hostNetns: at.netns,
      hostDevice: STREAMER.name,
      mac: STREAMER.mac,
      addresses: [`${STREAMER.address}/16`],
      gateways: [INSIDE.split('/')[0]!],
      mtu: TENANT_MTU_BYTES,
      registry: net.registry,
    });
    await ipBatch(
      [PROBER, STREAMER].map(({ name: device }) => ['link', 'set', device, 'master', 'br0', 'up']),
      at.netns,
    );
    const pair = new KeepalivedPair(net, internet, tap);
    for (const [index, member] of MEMBERS.entries()) {
      const { netns } = net.host(member);
      await ipBatch(
        [
          // A device that loses its last address forgets its neighbours.
          ['address', 'add', `10.0.255.${1 + index}/32`, 'dev', 'br0'],
          ['link', 'set', 'br0', 'address', GATEWAY_MAC],
          // The VM whose frames come from a TAP answers no ARP.
          ['neigh', 'replace', PROBER.address, 'lladdr', PROBER.mac, 'dev', 'br0', 'nud', 'permanent'],
        ],
        netns,
      );
      await setSysctls(netns, SYSCTLS);
      const rule = `oifname "${internet.device}" snat to ${OUTSIDE}`;
      await run('nft', ['-f', '-'], {
        netns,
        input: `table ip nat { chain post { type nat hook postrouting priority srcnat; ${rule}\n}\n}\n`,
      });
    }
    for (const member of MEMBERS) await pair.#startDaemons(member);
    await pair.owner();
    return pair;
  }

  inside(): Promise<NetnsWorker> {
    return this.#net.worker({ netns: `${this.#net.host('h1').netns}-vm` });
  }

  outside(): Promise<NetnsWorker> {
    return this.#net.worker(this.#internet.outside);
  }

  /** Waits until one member has the addresses. */
  async owner(): Promise<string> {
    return await waitFor(
      async () => {
        const having: string[] = [];
        for (const member of MEMBERS) if (await this.#has(member)) having.push(member);
        return having.length === 1 ? having[0] : undefined;
      },
      { what: 'one member to have the virtual address', deadlineMs: 20_000, intervalMs: 50 },
    );
  }

  /** As a power cut: no process says goodbye, and no frame leaves or arrives. Returns when the other has the addresses. */
  async cutPower(member: string): Promise<void> {
    // keepalived's other process first: it would live on, and keep the next one from starting.
    process.kill(Number(readFileSync(this.#vrrpPidFile(member), 'utf8')), 'SIGKILL');
    for (const daemon of this.#daemons.get(member) ?? []) daemon.kill('SIGKILL');
    await Promise.all([this.#net.faults.unplug(member), this.#internet.faults.unplug(member)]);
    const other = MEMBERS.find((one) => one !== member)!;
    await waitFor(() => this.#has(other), {
      what: `${other} to take over`,
      deadlineMs: 20_000,
      intervalMs: 20,
      show: () => (this.#daemons.get(other) ?? []).flatMap((daemon) => daemon.lastLines(10)).join('\n'),
    });
  }

  /** The machine boots with nothing in its memory, and becomes the backup. */
  async restorePower(member: string): Promise<void> {
    const { netns } = this.#net.host(member);
    for (const daemon of this.#daemons.get(member) ?? []) await daemon.exited;
    for (const [address, device] of [
      [INSIDE, 'br0'],
      [`${OUTSIDE}/24`, this.#internet.device],
    ] as const) {
      await run('ip', ['-n', netns, 'address', 'del', address, 'dev', device], { allowFailure: true });
    }
    await run('conntrack', ['-F'], { netns, allowFailure: true });
    await Promise.all([this.#net.faults.plug(member), this.#internet.faults.plug(member)]);
    await this.#startDaemons(member);
    await this.owner();
    // As long as a bulk transfer of 200 connections may take: what tells that it is over is not to be had.
    await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
  }

  async close(): Promise<void> {
    this.tap.close();
    await this.#echo.stop();
    for (const daemons of this.#daemons.values()) {
      for (const daemon of daemons) {
        daemon.kill('SIGTERM');
        await daemon.exited;
      }
    }
    await this.#net.close();
  }

  #vrrpPidFile(member: string): string {
    return join(this.#net.host(member).dir, 'vrrp.pid');
  }

  async #has(member: string): Promise<boolean> {
    const links = await ipJson<{ addr_info: { local: string }[] }>(['address', 'show', 'dev', 'br0'], this.#net.host(member).netns);
    return links.some(({ addr_info }) => addr_info.some(({ local }) => `${local}/16` === INSIDE));
  }

  async #startDaemons(member: string): Promise<void> {
    const host = this.#net.host(member);
    const other = this.#net.host(MEMBERS.find((one) => one !== member)!);
    const file = (name: string, text: string): string => {
      const path = join(host.dir, name);
      writeFileSync(path, text);
      return path;
    };
    // What a killed one leaves keeps the next from starting.
    for (const name of ['conntrackd.lock', 'conntrackd.sock', 'keepalived.pid', 'vrrp.pid']) rmSync(join(host.dir, name), { force: true });
    const sync = file('conntrackd.conf', conntrackdConf(host, other));
    const notify = file('notify.sh', notifyScript(sync));
    chmodSync(notify, 0o755);
    const keep = file('keepalived.conf', keepalivedConf(notify, this.#internet.device, member === MEMBERS[0] ? 100 : 90));
    const conntrackd = await host.spawn(['conntrackd', '-C', sync], { logName: 'conntrackd', what: `conntrackd of ${member}` });
    await waitFor(async () => (await run('conntrackd', ['-C', sync, '-s'], { netns: host.netns, allowFailure: true })).code === 0, {
      what: `conntrackd of ${member} to answer`,
      deadlineMs: 10_000,
      intervalMs: 50,
    });
    const pids = ['-p', join(host.dir, 'keepalived.pid'), '-r', this.#vrrpPidFile(member)];
    const keepalived = await host.spawn(['keepalived', '-n', '-l', '-P', '-f', keep, ...pids], {
      logName: 'keepalived',
      what: `keepalived of ${member}`,
    });
    this.#daemons.set(member, [keepalived, conntrackd]);
  }
}

const SETTLE_MS = 2_000;

/** One bridge over VXLAN, flooding to every other host and learning from what comes: what moves the gateway's MAC address is the announcement. */
async function joinSegment(host: LabHost, hosts: readonly LabHost[]): Promise<void> {
  await ipBatch(
    [
      ['link', 'add', 'br0', 'type', 'bridge', 'stp_state', '0', 'mcast_snooping', '0'],
      [
        ...['link', 'add', 'vx0', 'type', 'vxlan', 'id', String(VSID), 'dstport', '4789'],
        ...['local', host.address, 'dev', host.underlayDevice],
      ],
      ['link', 'set', 'vx0', 'master', 'br0', 'up'],
      ['link', 'set', 'br0', 'mtu', String(TENANT_MTU_BYTES), 'up'],
    ],
    host.netns,
  );
  for (const other of hosts.filter((one) => one !== host)) {
    await run('bridge', ['fdb', 'append', '00:00:00:00:00:00', 'dev', 'vx0', 'dst', other.address, 'self', 'permanent'], {
      netns: host.netns,
    });
  }
}

function keepalivedConf(notify: string, device: string, priority: number): string {
  return `global_defs {
  vrrp_version 3
  script_user root
  vrrp_startup_delay 1
}
vrrp_instance gateway {
  state BACKUP
  nopreempt
  interface underlay0
  virtual_router_id 51
  priority ${priority}
  advert_int ${ADVERTISE_S}
  virtual_ipaddress {
    ${INSIDE} dev br0
    ${OUTSIDE}/24 dev ${device}
  }
  notify_master "${notify} primary"
  notify_backup "${notify} backup"
}
`;
}

function conntrackdConf(own: LabHost, other: LabHost): string {
  return `Sync {
  Mode FTFW {
  }
  UDP {
    IPv4_address ${own.address}
    IPv4_Destination_Address ${other.address}
    Port 3780
    Interface ${own.underlayDevice}
    SndSocketBuffer 1249280
    RcvSocketBuffer 1249280
    Checksum on
  }
}
General {
  HashSize 32768
  HashLimit 131072
  LogFile off
  Syslog off
  LockFile ${join(own.dir, 'conntrackd.lock')}
  UNIX {
    Path ${join(own.dir, 'conntrackd.sock')}
  }
  NetlinkBufferSize 2097152
  NetlinkBufferSizeMaxGrowth 8388608
}
`;
}

/** Primary: commit what the other told, forget it, read the kernel's, tell it. Backup: let go of old entries, ask for all. */
function notifyScript(conf: string): string {
  return `#!/bin/sh
case "$1" in
  primary) for step in -c -f -R -B; do conntrackd -C ${conf} $step; done ;;
  backup) for step in -t -n; do conntrackd -C ${conf} $step; done ;;
esac
`;
}
