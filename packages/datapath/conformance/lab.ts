import { MemoryTables, type TableChange } from '@weft/forwarding';
import { dropReasonName } from '@weft/model';
import { parseMac } from '@weft/packet';
import { createLabNet, createNetns, ipBatch, ipJson, type LabNet, waitFor } from '@weft/testkit';
import { type FrameSource, inNetns, openPacketSocket, openTap } from '@weft/tuntap';
import { expect } from 'vitest';
import type { Datapath } from '../src/datapath.ts';
import { ensureGuard, protectTenantDevice } from '../src/host/guard.ts';
import { datagram, tunnelled } from './frames.ts';
import { Vm } from './vm.ts';
import { type HostName, PA, PORT_NAMES, PORTS, type PortName, rowsOf, STRANGER_PA } from './world.ts';

/** Makes an engine in the calling thread's network namespace. */
export type EngineFactory = (options: {
  readonly instance: string;
  readonly pa: Uint8Array;
  readonly underlayInterface: string;
}) => Datapath;

export interface ConformanceSetup {
  readonly a: EngineFactory;
  readonly b: EngineFactory;
}

/** Names of VMs that have one: those on hosts A and B. */
export const VM_NAMES: readonly PortName[] = PORT_NAMES.filter((name) => PORTS[name].host !== 'c');

const UNDERLAY_MTU = 1600;
const DEVICE_MTU = 9000;
/** One after another, from VM to VM, over every way there is; their payload says that they are no test's. */
const MARKER_WAYS: readonly (readonly [PortName, PortName])[] = [
  ['red1', 'red3'],
  ['red3', 'red1'],
  ['red1', 'red5'],
  ['red5', 'red4'],
  ['red4', 'red2'],
  ['blue1', 'blue3'],
  ['blue3', 'blue1'],
];

let labs = 0;

/** A host of the lab with its engine. */
export class ConformanceHost {
  readonly name: HostName;
  readonly netns: string;
  readonly underlayMac: Uint8Array;
  readonly #instance: string;
  readonly #factory: EngineFactory;
  #datapath: Datapath;

  constructor(name: HostName, netns: string, underlayMac: string, instance: string, factory: EngineFactory) {
    this.name = name;
    this.netns = netns;
    this.underlayMac = parseMac(underlayMac);
    this.#instance = instance;
    this.#factory = factory;
    // As the agent does, for all engines.
    this.in(ensureGuard);
    this.#datapath = this.#make();
  }

  get datapath(): Datapath {
    return this.#datapath;
  }

  /** Runs in the host's network namespace. */
  in<T>(fn: () => T): T {
    return inNetns(`/run/netns/${this.netns}`, fn);
  }

  apply(changes: readonly TableChange[]): void {
    this.in(() => this.#datapath.apply(changes));
  }

  /** Another engine of the same instance, after the last was closed. */
  makeAnew(): Datapath {
    this.#datapath = this.#make();
    return this.#datapath;
  }

  #make(): Datapath {
    return this.in(() => this.#factory({ instance: this.#instance, pa: PA[this.name], underlayInterface: 'underlay0' }));
  }
}

/** Two hosts with an engine each, their VMs, and an underlay on which the test can write what it likes. */
export class ConformanceLab {
  readonly a: ConformanceHost;
  readonly b: ConformanceHost;
  readonly vms: ReadonlyMap<PortName, Vm>;
  /** Device indexes of the ports, on their hosts. */
  readonly ifindexes: ReadonlyMap<PortName, number>;
  /** Writes to the wire at host A's end, which the engine at B reads; with virtio-net headers. */
  readonly wire: FrameSource;
  readonly net: LabNet;
  readonly #underlayIfindexes: Readonly<Record<'a' | 'b', number>>;
  #before: Readonly<Record<'a' | 'b', ReadonlyMap<string, number>>> = { a: new Map(), b: new Map() };
  #markers = 0;

  private constructor(init: {
    net: LabNet;
    a: ConformanceHost;
    b: ConformanceHost;
    vms: ReadonlyMap<PortName, Vm>;
    ifindexes: ReadonlyMap<PortName, number>;
    underlayIfindexes: Readonly<Record<'a' | 'b', number>>;
  }) {
    this.net = init.net;
    this.a = init.a;
    this.b = init.b;
    this.vms = init.vms;
    this.ifindexes = init.ifindexes;
    this.#underlayIfindexes = init.underlayIfindexes;
    this.wire = this.a.in(() => openPacketSocket({ interfaceName: 'underlay0', vnetHdr: true }));
  }

  static async create(setup: ConformanceSetup): Promise<ConformanceLab> {
    const id = `dpc-${process.pid.toString(36)}-${labs++}`;
    const net = await createLabNet({ name: id, hosts: [{ name: 'a' }, { name: 'b' }], direct: true, mtu: UNDERLAY_MTU });
    try {
      const vmNetns = `weft-${id}-vms`;
      await createNetns(net.registry, [vmNetns], { ipv6: false });
      const [a, b] = (['a', 'b'] as const).map((name) => {
        const host = net.host(name);
        // Recorded before it is made: what a kernel engine pins outlives a test that is killed.
        net.registry.record({ kind: 'pins', path: `/sys/fs/bpf/weft/${id}-${name}` });
        return new ConformanceHost(name, host.netns, host.underlayMac, `${id}-${name}`, setup[name]);
      }) as [ConformanceHost, ConformanceHost];
      await ipBatch([['link', 'add', 'nic2', 'netns', a.netns, 'type', 'veth', 'peer', 'name', 'nic2', 'netns', b.netns]]);
      await ipBatch(
        [
          ['address', 'add', '198.51.100.1/24', 'dev', 'nic2'],
          ['link', 'set', 'nic2', 'up'],
        ],
        a.netns,
      );
      await ipBatch(
        [
          ['address', 'add', '198.51.100.2/24', 'dev', 'nic2'],
          ['link', 'set', 'nic2', 'up'],
        ],
        b.netns,
      );
      const vms = new Map<PortName, Vm>();
      const ifindexes = new Map<PortName, number>();
      for (const name of VM_NAMES) {
        const host = PORTS[name].host === 'a' ? a : b;
        vms.set(name, await plugVm(host, name, vmNetns));
        const [link] = await ipJson<{ ifindex: number }>(['link', 'show', 'dev', name], host.netns);
        ifindexes.set(name, link!.ifindex);
      }
      const underlayIfindexes = {
        a: (await ipJson<{ ifindex: number }>(['link', 'show', 'dev', 'underlay0'], a.netns))[0]!.ifindex,
        b: (await ipJson<{ ifindex: number }>(['link', 'show', 'dev', 'underlay0'], b.netns))[0]!.ifindex,
      };
      const lab = new ConformanceLab({ net, a, b, vms, ifindexes, underlayIfindexes });
      for (const host of [a, b]) {
        host.apply(lab.rows(host));
        for (const name of lab.portsOf(host)) lab.attach(name);
      }
      return lab;
    } catch (error) {
      await net.close();
      throw error;
    }
  }

  vm(name: PortName): Vm {
    return this.vms.get(name)!;
  }

  hostOf(name: PortName): ConformanceHost {
    return PORTS[name].host === 'a' ? this.a : this.b;
  }

  portsOf(host: ConformanceHost): PortName[] {
    return VM_NAMES.filter((name) => PORTS[name].host === host.name);
  }

  ifindex(name: PortName): number {
    return this.ifindexes.get(name) ?? 0;
  }

  /** The rows that a host starts with. */
  rows(host: ConformanceHost): TableChange[] {
    return rowsOf(host.name, (name) => this.ifindex(name));
  }

  /** The same for the oracle. */
  oracle(host: ConformanceHost): MemoryTables {
    return new MemoryTables(this.rows(host));
  }

  attach(name: PortName): void {
    const host = this.hostOf(name);
    host.in(() => host.datapath.attachDevice({ name, ifindex: this.ifindex(name), kind: PORTS[name].kind }));
  }

  detach(name: PortName): void {
    const host = this.hostOf(name);
    host.in(() => host.datapath.detachDevice(this.ifindex(name)));
  }

  /** Puts the tables back to what they were at the start. */
  restoreTables(): void {
    for (const host of [this.a, this.b]) {
      const rows = this.rows(host);
      host.apply(host.in(() => host.datapath.entries()).map(({ table, key }) => ({ op: 'delete', table, key }) as TableChange));
      host.apply(rows);
    }
  }

  /** Forgets what was received and dropped so far. */
  begin(): void {
    for (const vm of this.vms.values()) vm.received.length = 0;
    this.#before = { a: this.#dropCounts(this.a), b: this.#dropCounts(this.b) };
  }

  /**
   * Waits until each VM has received the frames named (in any order), and all frames sent so far have been dealt with; then requires that nobody
   * has received anything else.
   */
  async expectReceived(expected: Partial<Record<PortName, readonly Uint8Array[]>> = {}): Promise<void> {
    await waitFor(() => VM_NAMES.every((name) => this.vm(name).received.length >= (expected[name]?.length ?? 0)), {
      what: `frames to arrive: ${JSON.stringify(Object.fromEntries(Object.entries(expected).map(([name, frames]) => [name, frames.length])))}`,
      show: () => JSON.stringify({ received: VM_NAMES.map((name) => [name, this.vm(name).received.length]), ...this.dropsSince() }),
      deadlineMs: 5_000,
    });
    await this.flush();
    const received = Object.fromEntries(VM_NAMES.map((name) => [name, this.vm(name).frames().map(hex).sort()]));
    expect(received).toEqual(Object.fromEntries(VM_NAMES.map((name) => [name, (expected[name] ?? []).map(hex).sort()])));
  }

  /** Waits for one frame at a VM, whatever else arrives. For tables in which the markers of `expectReceived` have no way. */
  async expectArrival(name: PortName, frame: Uint8Array): Promise<void> {
    await waitFor(
      () =>
        this.vm(name)
          .frames()
          .some((one) => hex(one) === hex(frame)),
      {
        what: `a frame at ${name}`,
        show: () => JSON.stringify({ received: this.vm(name).frames().map(hex), ...this.dropsSince() }),
        deadlineMs: 5_000,
      },
    );
  }

  /** Sends a marker along every way between VMs and waits for all: what was sent before has arrived or has been dropped by then. */
  async flush(): Promise<void> {
    const text = `marker ${process.pid} ${this.#markers++}`;
    for (const [from, to] of MARKER_WAYS) this.vm(from).send(datagram(from, to, text, { sourcePort: 6999 }));
    const isMarker = (frame: Uint8Array): boolean => Buffer.from(frame).includes(text);
    for (const [from, to] of MARKER_WAYS) {
      const { received } = this.vm(to);
      await waitFor(() => received.some(({ frame }) => isMarker(frame)), {
        what: `a marker from ${from} to ${to}`,
        show: () => JSON.stringify(this.dropsSince()),
        deadlineMs: 5_000,
      });
      received.splice(0, received.length, ...received.filter(({ frame }) => !isMarker(frame)));
    }
  }

  /** Waits until exactly these drops have been counted since `begin`: `{ 'red1 NO_ROUTE': 1 }`, with `underlay` and `tunnel` for other devices. */
  async expectDrops(host: ConformanceHost, expected: Readonly<Record<string, number>> = {}): Promise<void> {
    const name = host.name as 'a' | 'b';
    const total = Object.values(expected).reduce((sum, count) => sum + count, 0);
    const found = (): Record<string, number> => this.dropsSince()[name];
    await waitFor(() => Object.values(found()).reduce((sum, count) => sum + count, 0) >= total, {
      what: `drops at host ${host.name}: ${JSON.stringify(expected)}`,
      show: () => JSON.stringify(found()),
      deadlineMs: 5_000,
    });
    expect(found()).toEqual(expected);
  }

  /** Drops since `begin`, by device and reason. */
  dropsSince(): Record<'a' | 'b', Record<string, number>> {
    const since = (host: ConformanceHost, before: ReadonlyMap<string, number>): Record<string, number> => {
      const counts = [...this.#dropCounts(host)].map(([key, count]) => [key, count - (before.get(key) ?? 0)] as const);
      return Object.fromEntries(counts.filter(([, count]) => count > 0));
    };
    return { a: since(this.a, this.#before.a), b: since(this.b, this.#before.b) };
  }

  /** A tunnel frame's outer fields for the wire from A to B, or as a stranger or a changed host would have them. */
  outer(changes: { readonly from?: HostName | 'stranger'; readonly vni?: number } = {}) {
    const { from = 'a', vni = 5001 } = changes;
    return {
      sourceMac: this.a.underlayMac,
      destinationMac: this.b.underlayMac,
      source: from === 'stranger' ? STRANGER_PA : PA[from],
      destination: PA.b,
      vni,
    };
  }

  /** A tunnel frame for the wire from A to B. */
  tunnelFrame(outer: { readonly from?: HostName | 'stranger'; readonly vni?: number }, inner: Uint8Array): Uint8Array {
    return tunnelled(this.outer(outer), inner);
  }

  /** Writes a frame on the wire from A to B. */
  inject(frame: Uint8Array): void {
    const bytes = new Uint8Array(10 + frame.length);
    bytes.set(frame, 10);
    this.wire.write(bytes);
  }

  async close(): Promise<void> {
    this.wire.close();
    for (const vm of this.vms.values()) vm.close();
    for (const host of [this.a, this.b]) host.in(() => host.datapath.destroy());
    await this.net.close();
  }

  #dropCounts(host: ConformanceHost): Map<string, number> {
    const names = new Map<number, string>([[this.#underlayIfindexes[host.name as 'a' | 'b'], 'underlay']]);
    for (const name of this.portsOf(host)) names.set(this.ifindex(name), name);
    const counts = new Map<string, number>();
    for (const { ifindex, reason, packets } of host.in(() => host.datapath.drops())) {
      const key = `${names.get(ifindex) ?? 'tunnel'} ${dropReasonName(reason)}`;
      counts.set(key, (counts.get(key) ?? 0) + Number(packets));
    }
    return counts;
  }
}

const hex = (frame: Uint8Array): string => Buffer.from(frame).toString('hex');

/** Makes a port's device on its host, protected and up, and whoever is behind it. */
async function plugVm(host: ConformanceHost, name: PortName, vmNetns: string): Promise<Vm> {
  let source: FrameSource;
  if (PORTS[name].kind === 'tap') {
    source = host.in(() => openTap({ name, vnetHdr: true }));
    await ipBatch([['link', 'set', name, 'mtu', String(DEVICE_MTU)]], host.netns);
  } else {
    const size = ['mtu', String(DEVICE_MTU)];
    await ipBatch([
      ['link', 'add', name, ...size, 'netns', host.netns, 'type', 'veth', 'peer', 'name', `vm-${name}`, ...size, 'netns', vmNetns],
    ]);
    await ipBatch([['link', 'set', `vm-${name}`, 'arp', 'off', 'up']], vmNetns);
    source = inNetns(`/run/netns/${vmNetns}`, () => openPacketSocket({ interfaceName: `vm-${name}`, vnetHdr: true }));
  }
  host.in(() => protectTenantDevice(name));
  await ipBatch([['link', 'set', name, 'up']], host.netns);
  return new Vm(source);
}
