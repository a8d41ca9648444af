import { spawnSync } from 'node:child_process';
import type { TableChange, Target } from '@weft/forwarding';
import { PortFlag, RouteKind, SpeakerFlag, TargetFlag, TargetKind } from '@weft/forwarding';
import { type DropReason, dropReasonName } from '@weft/model';
import { parseIp, parseMac } from '@weft/packet';
import { rememberNetns } from '@weft/testkit';
import { type FrameSource, inNetns, openTap } from '@weft/tuntap';
import { createKernelDatapath, type KernelDatapath, type KernelDatapathOptions, protectTenantDevice } from '../../src/index.ts';

/*
 *   ns A (host)                      ns B (host)                 … and more
 *   [tap/veth ports]                 [tap/veth ports]
 *        |  from_port                     |
 *      under0 192.0.2.1               under0 192.0.2.2           MTU 1600
 *        |                                |
 *        +------- bridge in ns "switch" --+
 */

let counter = 0;
export const RUN: string = process.pid.toString(36);

export function sh(command: string): string {
  const result = spawnSync('sh', ['-ec', command], { encoding: 'utf8', timeout: 60_000 });
  if (result.status !== 0) throw new Error(`${command}\nfailed with ${result.status}: ${result.stdout}${result.stderr}`);
  return result.stdout;
}

/** Makes the namespace of a test's host; a datapath's instance there has its name. */
export function addHostNetns(name: string): void {
  rememberNetns(name, `/sys/fs/bpf/weft/${name}`);
  sh(`ip netns add ${name}`);
}

export const netnsPath = (name: string): string => `/run/netns/${name}`;

/** nsenter's option for the VM of a port. */
export const inNetnsOf = (port: LabPort): string => `--net=${netnsPath(port.vmNetns!)}`;

/** Commands of `ip` in a network namespace, by one process: starting one takes long in an emulated guest. */
export function ipLines(netns: string, ...lines: readonly string[]): void {
  sh(`ip -n ${netns} -batch - <<'END'\n${lines.join('\n')}\nEND`);
}

/** As `sh`, in a network namespace; /sys stays that of the machine, with its BPF pins. */
export function shIn(netns: string, command: string): string {
  return inNetns(netnsPath(netns), () => sh(command));
}

export async function until<T>(what: string, check: () => T | Promise<T>, timeoutMs = 10_000): Promise<NonNullable<T>> {
  const end = Date.now() + timeoutMs;
  for (;;) {
    const result = await check();
    if (result) return result as NonNullable<T>;
    if (Date.now() > end) throw new Error(`Waited ${timeoutMs} ms in vain for: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

export interface LabPort {
  readonly host: LabHost;
  readonly device: string;
  readonly ifindex: number;
  readonly kind: 'tap' | 'veth';
  readonly ca: string;
  readonly ca6: string;
  readonly mac: string;
  readonly vsid: number;
  readonly networkId: number;
  /** Namespace of the VM, if it has a stack of its own. */
  readonly vmNetns?: string;
  /** The VM's side of a TAP without a stack. */
  readonly tap?: FrameSource;
}

export class LabHost {
  readonly netns: string;
  readonly pa: string;
  readonly datapath: KernelDatapath;

  constructor(netns: string, pa: string, datapath: KernelDatapath) {
    this.netns = netns;
    this.pa = pa;
    this.datapath = datapath;
  }

  in<T>(fn: () => T): T {
    return inNetns(netnsPath(this.netns), fn);
  }
}

export interface PortInit {
  readonly kind: 'tap' | 'veth';
  readonly subnet: { readonly vsid: number; readonly networkId: number; readonly prefix: string };
  readonly number: number;
  /** A TAP's VM has a network stack (a second TAP in a namespace, joined by this process). Default: frames by hand. */
  readonly withStack?: boolean;
  readonly mtuBytes?: number;
  readonly offloads?: readonly ('csum' | 'tso4' | 'tso6' | 'ecn' | 'uso4' | 'uso6')[];
}

const UNDERLAY_MTU = 1600;
/** WEFT_OLD_KERNEL=1 tries what kernel 6.1 has, on any kernel. */
const OLD_KERNEL = process.env['WEFT_OLD_KERNEL'] === '1' ? { kernel61: true, tcx: false } : {};
const VM_OFFLOADS = ['csum', 'tso4', 'tso6', 'ecn'] as const;

/** Two hosts and ports on them. All is removed by `close()`. */
export class Lab {
  readonly hosts: LabHost[] = [];
  readonly ports: LabPort[] = [];
  readonly #id: string = `wdp${RUN}${(counter++).toString(36)}`;
  readonly #netns: string[] = [];
  #plugged = 0;
  readonly #taps: FrameSource[] = [];

  readonly #switch: string;

  constructor(options: Partial<KernelDatapathOptions> = {}, hostCount = 2) {
    this.#switch = this.#addNetns('switch');
    sh(`ip -n ${this.#switch} link add br0 type bridge mcast_snooping 0; ip -n ${this.#switch} link set br0 mtu ${UNDERLAY_MTU} up`);
    for (let i = 0; i < hostCount; i++) {
      const netns = this.#addNetns(String.fromCharCode(97 + i));
      const pa = `192.0.2.${i + 1}`;
      this.plug(netns, pa);
      const datapath = inNetns(netnsPath(netns), () =>
        createKernelDatapath({ instance: netns, pa: parseIp(pa), underlayInterface: 'under0', ...OLD_KERNEL, ...options }),
      );
      this.hosts.push(new LabHost(netns, pa, datapath));
    }
  }

  /** Connects a namespace to the underlay. */
  plug(netns: string, address: string): void {
    const port = `s${this.#plugged++}`;
    sh(`ip link add under0 mtu ${UNDERLAY_MTU} netns ${netns} type veth peer name ${port} mtu ${UNDERLAY_MTU} netns ${this.#switch}`);
    sh(
      `ip -n ${this.#switch} link set ${port} master br0 up; ip -n ${netns} addr add ${address}/24 dev under0; ip -n ${netns} link set under0 up`,
    );
  }

  get a(): LabHost {
    return this.hosts[0]!;
  }

  get b(): LabHost {
    return this.hosts[1]!;
  }

  get c(): LabHost {
    return this.hosts[2]!;
  }

  addNetns(suffix: string): string {
    return this.#addNetns(suffix);
  }

  addPort(host: LabHost, init: PortInit): LabPort {
    const { kind, subnet, number } = init;
    const device = `p${number}-${subnet.vsid}`;
    const mac = `02:00:00:00:${(subnet.vsid & 0xff).toString(16).padStart(2, '0')}:${number.toString(16).padStart(2, '0')}`;
    const vmMtu = init.mtuBytes ?? 1450;
    const ca = `${subnet.prefix}.${number}`;
    const ca6 = `2001:db8:${subnet.vsid}::${number}`;
    let vmNetns: string | undefined;
    let tap: FrameSource | undefined;
    const wantsStack = kind === 'veth' || init.withStack === true;
    if (wantsStack) vmNetns = this.#addNetns(`vm${number}-${subnet.vsid}`);
    if (kind === 'veth') {
      sh(`ip link add ${device} mtu 9000 netns ${host.netns} type veth peer name eth0 netns ${vmNetns}`);
    } else {
      const offloads = init.offloads ?? VM_OFFLOADS;
      const hostTap = host.in(() => openTap({ name: device, vnetHdr: true, offloads }));
      this.#taps.push(hostTap);
      if (vmNetns === undefined) tap = hostTap;
      else {
        const vmTap = inNetns(netnsPath(vmNetns), () => openTap({ name: 'eth0', vnetHdr: true, offloads }));
        this.#taps.push(vmTap);
        join(hostTap, vmTap);
      }
    }
    if (vmNetns !== undefined) {
      ipLines(
        vmNetns,
        `link set eth0 address ${mac} mtu ${vmMtu}`,
        `addr add ${ca}/24 dev eth0`,
        `addr add ${ca6}/64 dev eth0 nodad`,
        'link set eth0 up',
        `route add default via ${subnet.prefix}.254`,
        `route add default via 2001:db8:${subnet.vsid}::fe`,
      );
    }
    const ifindex = host.in(() => {
      protectTenantDevice(device);
      sh(`ip link set ${device} up`);
      return Number(sh(`cat /sys/class/net/${device}/ifindex 2>/dev/null || ip -o link show ${device} | cut -d: -f1`));
    });
    const port: LabPort = {
      host,
      device,
      ifindex,
      kind,
      ca,
      ca6,
      mac,
      vsid: subnet.vsid,
      networkId: subnet.networkId,
      ...(vmNetns && { vmNetns }),
      ...(tap && { tap }),
    };
    this.ports.push(port);
    for (const at of this.hosts) at.datapath.apply(this.rowsOf(port, at, vmMtu));
    host.in(() => host.datapath.attachDevice({ name: device, ifindex, kind }));
    return port;
  }

  /** What `at` must know of a port. */
  rowsOf(port: LabPort, at: LabHost, mtuBytes = 1450): TableChange[] {
    const { vsid, networkId, ifindex } = port;
    const isHere = port.host === at;
    const mac = parseMac(port.mac);
    const zero = new Uint8Array(16);
    const target: Target = {
      mac,
      kind: isHere ? TargetKind.LOCAL : TargetKind.PEER,
      flags: isHere && port.kind === 'veth' ? TargetFlag.VETH : 0,
      vsid,
      ifindexOrShard: isHere ? ifindex : 0,
      pa: parseIp(port.host.pa),
      prevPa: zero,
      prevUntilBootNs: 0n,
      generation: 1n,
    };
    const prefix4 = port.ca.replace(/\d+$/, '0');
    const gateway4 = parseIp(port.ca.replace(/\d+$/, '254'));
    const gateway6 = parseIp(`2001:db8:${vsid}::fe`);
    const onLink = { kind: RouteKind.ON_LINK, vsid, nextHop: zero };
    const rows: TableChange[] = [
      { op: 'put', table: 'subnet', key: { vsid }, value: { networkId, flags: 0, gateway4, gateway6 } },
      { op: 'put', table: 'route', key: { networkId, prefix: parseIp(prefix4), prefixLength: 120 }, value: onLink },
      { op: 'put', table: 'route', key: { networkId, prefix: parseIp(`2001:db8:${vsid}::`), prefixLength: 64 }, value: onLink },
      { op: 'put', table: 'lookup', key: { networkId, ca: parseIp(port.ca) }, value: target },
      { op: 'put', table: 'lookup', key: { networkId, ca: parseIp(port.ca6) }, value: target },
      { op: 'put', table: 'l2', key: { vsid, mac }, value: target },
    ];
    for (const host of this.hosts)
      if (host !== at) rows.push({ op: 'put', table: 'speaker', key: { pa: parseIp(host.pa), networkId }, value: SpeakerFlag.HOST });
    if (isHere) {
      const flags = PortFlag.READY | (port.kind === 'veth' ? PortFlag.VETH : 0);
      rows.push({ op: 'put', table: 'port', key: { ifindex }, value: { networkId, vsid, mtuBytes, flags, mac } });
    }
    return rows;
  }

  close(): void {
    for (const tap of this.#taps) tap.close();
    for (const host of this.hosts) host.in(() => host.datapath.destroy());
    for (const netns of this.#netns) sh(`ip netns del ${netns}`);
  }

  #addNetns(suffix: string): string {
    const name = `${this.#id}-${suffix}`;
    addHostNetns(name);
    sh(`ip -n ${name} link set lo up`);
    this.#netns.push(name);
    inNetns(netnsPath(name), () => {
      sh('sysctl -qw net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.accept_ra=0 net.ipv6.conf.default.addr_gen_mode=1');
    });
    return name;
  }
}

/** A VM's NIC and its device on the host, as a hypervisor joins them; virtio-net headers pass along. */
function join(one: FrameSource, other: FrameSource): void {
  const pump = (from: FrameSource, to: FrameSource): void => {
    from.start((batch) => {
      for (const frame of batch) {
        try {
          to.write(frame);
        } catch {
          // A full queue or a device that is down loses frames, as hardware does.
        }
      }
    });
  };
  pump(one, other);
  pump(other, one);
}

/** A virtio-net header of 10 bytes and a frame, as one write to a TAP. */
export function withVnetHeader(
  frame: Uint8Array,
  header: {
    readonly gsoType?: number;
    readonly gsoSize?: number;
    readonly headerBytes?: number;
    readonly checksum?: readonly [start: number, offset: number];
  } = {},
): Uint8Array {
  const bytes = new Uint8Array(VNET_HEADER_BYTES + frame.length);
  const view = new DataView(bytes.buffer);
  view.setUint8(0, header.checksum === undefined ? 0 : 1);
  view.setUint8(1, header.gsoType ?? 0);
  view.setUint16(2, header.headerBytes ?? 0, true);
  view.setUint16(4, header.gsoSize ?? 0, true);
  view.setUint16(6, header.checksum?.[0] ?? 0, true);
  view.setUint16(8, header.checksum?.[1] ?? 0, true);
  bytes.set(frame, VNET_HEADER_BYTES);
  return bytes;
}

export const VNET_HEADER_BYTES = 10;
/** VIRTIO_NET_HDR_GSO_* */
export const GSO_TYPE = { tcp4: 1, udpFragments: 3, tcp6: 4, udp: 5 } as const;

/** Packets dropped so far at a host for a reason. */
export function dropCount(host: LabHost, reason: DropReason): number {
  return host.in(() => host.datapath.drops().reduce((sum, counter) => sum + (counter.reason === reason ? Number(counter.packets) : 0), 0));
}

/** Sum of drops by reason name, for messages of failed tests. */
export function dropsOf(host: LabHost): string {
  return JSON.stringify(
    host
      .in(() => host.datapath.drops())
      .map(({ ifindex, vsid, reason, packets }) => ({ ifindex, vsid, reason: dropReasonName(reason), packets: Number(packets) })),
  );
}
