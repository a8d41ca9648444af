import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { commitRecord, createIdentity, getRecord, type Identity, signEnvelope } from '@weft/bus';
import type { Datapath, DropCounter } from '@weft/datapath';
import { MemoryTables, rowKey, type TableChange, type TableEntry, type TableName } from '@weft/forwarding';
import {
  type BucketName,
  type Change,
  changeCodec,
  configKey,
  mappingKey,
  type Port,
  type PortBinding,
  type Response,
  TrustStore,
  type VirtualNetwork,
  type WeftRecord,
} from '@weft/model';
import { entryEquals } from '@weft/tables';
import { FakeClock } from '@weft/testkit';
import { PROCESS_SLICES } from '../src/gateway/in-slices.ts';
import { createHostAgent, type DeviceInfo, type Devices, type HostAgent, type HostAgentInit } from '../src/index.ts';
import { type MemoryBus, MemoryStore } from './memory-bus.ts';

// Whole agents in one process: store, bus, packet path, devices and time in memory. `settle` lets everything that is due happen.

export const RDID = '11111111-1111-4111-8111-111111111111';
export const TENANT = 'coke';
export const portId = (n: number): string => `00000000-0000-4000-8000-${n.toString(16).padStart(12, '0')}`;
export const paOf = (host: string): string => `198.51.100.${host.charCodeAt(host.length - 1) - 96}`;

export class MemoryDatapath
  implements Pick<Datapath, 'apply' | 'entries' | 'attachDeviceAsync' | 'detachDevice' | 'attachedDevices' | 'drops' | 'close' | 'destroy'>
{
  readonly engine = 'kernel' as const;
  /** No gateway in these tests: reads find nothing. */
  readonly gateway = { entries: () => [], apply: () => {}, probeStamps: () => [] } as unknown as Datapath['gateway'];
  readonly tables = new MemoryTables();
  readonly attached = new Set<number>();
  /** Changes that changed something. */
  readonly history: TableChange[] = [];
  readonly #rows = new Map<string, TableEntry>();
  counters: DropCounter[] = [];
  fault: Error | undefined;
  attachFault: Error | undefined;
  /** Attaches take until then. */
  attachGate: Promise<void> | undefined;
  /** Who asked for an attach hears no earlier of it. */
  attachReportGate: Promise<void> | undefined;
  /** No port row said READY before its device had the program. */
  attachedBeforeReady = true;
  closed = false;
  destroyed = false;

  apply(changes: readonly TableChange[]): void {
    if (this.fault !== undefined) throw this.fault;
    for (const change of changes) {
      const ready = change.op === 'put' && change.table === 'port' && (change.value.flags & 1) === 1;
      if (ready && !this.attached.has(change.key.ifindex)) this.attachedBeforeReady = false;
    }
    for (const change of changes) {
      const before = this.#rows.get(rowKey(change));
      const same = change.op === 'delete' ? before === undefined : before !== undefined && entryEquals(before, change);
      if (!same) this.history.push(change);
      if (change.op === 'delete') this.#rows.delete(rowKey(change));
      else this.#rows.set(rowKey(change), { table: change.table, key: change.key, value: change.value } as TableEntry);
      this.tables.apply([change]);
    }
  }
  entries(table?: TableName): TableEntry[] {
    return [...this.tables.entries()].filter((entry) => table === undefined || entry.table === table);
  }
  /** Rows that were read, ever. */
  rowsRead = 0;
  *rows(table?: TableName): Generator<TableEntry> {
    for (const row of this.entries(table)) {
      this.rowsRead++;
      yield row;
    }
  }
  async attachDeviceAsync({ ifindex }: { ifindex: number }): Promise<void> {
    await this.attachGate;
    if (this.attachFault !== undefined) throw this.attachFault;
    this.attached.add(ifindex);
    await this.attachReportGate;
  }
  detachDevice(ifindex: number): void {
    this.attached.delete(ifindex);
  }
  attachedDevices(): number[] {
    return [...this.attached];
  }
  drops(): DropCounter[] {
    return this.counters;
  }
  close(): void {
    this.closed = true;
  }
  destroy(): void {
    this.destroyed = true;
  }
}

export class MemoryDevices implements Devices {
  readonly present = new Map<string, DeviceInfo>();
  readonly protectedNames = new Set<string>();
  readonly held = new Set<string>();
  #next = 10;

  add(name: string, kind: 'tap' | 'veth' = 'veth', isTap = false, ownUse?: string): DeviceInfo {
    const info = { name, ifindex: this.#next++, kind, isTap, isUp: false, ownUse };
    this.present.set(name, info);
    return info;
  }
  inspect(name: string): DeviceInfo | undefined {
    return this.present.get(name);
  }
  ifindex(name: string): number | undefined {
    return this.present.get(name)?.ifindex;
  }
  createTap(name: string): DeviceInfo {
    return this.present.get(name) ?? this.add(name, 'tap', true);
  }
  protect(name: string): void {
    this.protectedNames.add(name);
  }
  bringUp(name: string): void {
    if (!this.protectedNames.has(name)) throw new Error(`${name} brought up unprotected`);
  }
  removeTap(name: string): 'removed' | 'absent' | 'held' {
    if (this.held.has(name)) return 'held';
    return this.present.delete(name) ? 'removed' : 'absent';
  }
}

export interface Host {
  readonly id: string;
  readonly identity: Identity;
  bus: MemoryBus;
  agent: HostAgent;
  readonly datapath: MemoryDatapath;
  readonly devices: MemoryDevices;
  readonly stateDirectory: string;
}

/**
 * Work that is done bit by bit and gives others their turn now, in real time; on a busy machine the smallest does. Time that is made must not go on without it.
 */
let pausing = 0;
const { pause } = PROCESS_SLICES;
Object.assign(PROCESS_SLICES, {
  pause: async (): Promise<void> => {
    pausing++;
    await pause();
    pausing--;
  },
});

export class Lab {
  readonly clock = new FakeClock(1_000);
  readonly store = new MemoryStore();
  readonly admin = createIdentity('user');
  readonly controller = createIdentity('controller');
  readonly hosts = new Map<string, Host>();
  readonly logs: { level: string; fields: Record<string, unknown>; message: string }[] = [];
  /** Of the agents' states. Made for the first: a test of parts alone closes no lab. */
  #directory: string | undefined;
  #seed = 12345;
  readonly #writer = this.store.connect('controller');

  /** Principal of the controller, one network with subnets 5001 and 5002 and their claims. */
  async init(networks: readonly VirtualNetwork[] = [network()]): Promise<void> {
    await this.commit(
      'config',
      configKey.principal(this.controller.publicKey),
      { kind: 'principal', value: { key: this.controller.publicKey, name: 'controller', role: 'controller', tenants: [] } },
      this.admin,
    );
    for (const one of networks) await this.putNetwork(one);
  }

  async putNetwork(value: VirtualNetwork): Promise<void> {
    for (const { vsid } of value.subnets) {
      const key = configKey.vsidClaim(vsid);
      if (!this.store.buckets.config.values.has(key))
        await this.commit('config', key, {
          kind: 'claim',
          value: { owner: value.id, requestId: 'request-1', ownerKey: configKey.network(value.id) },
        });
    }
    await this.commit('config', configKey.network(value.id), { kind: 'network', value });
  }

  async putPort(n: number, overrides: Partial<Port> = {}): Promise<Port> {
    const value = port(n, overrides);
    await this.commit('config', configKey.port(value.routingDomainId, value.id), { kind: 'port', value });
    return value;
  }

  async commit(bucket: BucketName, key: string, after: WeftRecord | undefined, identity = this.controller): Promise<void> {
    const store = await this.#writer.open();
    const current = await getRecord(store.bucket(bucket), key);
    const { outcome } = await commitRecord({
      bus: this.#writer,
      bucket: store.bucket(bucket),
      identity,
      key,
      tenant: '',
      current,
      after,
      authorKey: identity.publicKey,
      authorName: 'test',
      requestId: 'request-1',
      nowMs: 1,
    });
    if (outcome.status !== 'committed') throw new Error(`not committed: ${outcome.status}`);
  }

  /** Makes a host and its principal; starts its agent. */
  async host(id: string, options: { admit?: boolean; connected?: boolean; init?: Partial<HostAgentInit> } = {}): Promise<Host> {
    const identity = createIdentity('host');
    if (options.admit !== false) await this.admit(id, identity);
    this.#directory ??= mkdtempSync(join(tmpdir(), 'weft-agent-'));
    const stateDirectory = join(this.#directory, id);
    const host = { id, identity, datapath: new MemoryDatapath(), devices: new MemoryDevices(), stateDirectory } as Host;
    this.hosts.set(id, host);
    await this.startAgent(host, options);
    return host;
  }

  async admit(id: string, identity: Identity): Promise<void> {
    await this.commit(
      'config',
      configKey.principal(identity.publicKey),
      { kind: 'principal', value: { key: identity.publicKey, name: id, role: 'host', tenants: [] } },
      this.admin,
    );
  }

  /** Starts an agent on what the host has: its second start is a restart. */
  async startAgent(
    host: Host,
    options: { connected?: boolean; init?: Partial<HostAgentInit>; startDatapath?: () => void } = {},
  ): Promise<void> {
    host.bus = this.store.connect(host.id, options.connected ?? true);
    host.agent = createHostAgent(
      {
        bus: host.bus,
        trust: new TrustStore([this.admin.publicKey]),
        identity: host.identity,
        datapath: host.datapath,
        devices: host.devices,
        clock: {
          now: () => this.clock.now(),
          unixMs: () => Math.floor(CREATED_UNIX + this.clock.now()),
          setTimeout: (callback, ms) => this.clock.setTimeout(callback, ms),
          clearTimeout: (handle) => this.clock.clearTimeout(handle),
        },
        random: () => this.random(),
        logger: this.#logger(host.id),
        ...(options.startDatapath !== undefined && { startDatapath: options.startDatapath }),
      },
      {
        hostId: host.id,
        providerAddress: paOf(host.id),
        engine: 'kernel',
        underlayMtu: 1500,
        bootId: 'boot-1',
        version: '0.1.0',
        stateDirectory: host.stateDirectory,
        ...options.init,
      },
    );
    await host.agent.start();
    await this.settle();
  }

  /** As after SIGKILL: the process is gone, nothing was said or saved. */
  kill(host: Host): void {
    host.bus.setConnected(false);
    this.store.connections.splice(this.store.connections.indexOf(host.bus), 1);
    this.#killed.push(host.agent);
  }
  readonly #killed: HostAgent[] = [];

  async ask(
    host: Host,
    command: Parameters<MemoryBus['ask']>[1],
    signer = this.admin.publicKey,
  ): Promise<Pick<Response, 'problems' | 'result'>> {
    const answer = host.bus.ask(host.id, command, signer);
    let done = false;
    const finished = answer.finally(() => {
      done = true;
    });
    for (let i = 0; i < 200 && !done; i++) await this.settle(i < 5 ? 0 : 10);
    return await finished;
  }

  bind(
    host: Host,
    n: number,
    overrides: {
      device?: string;
      deviceKind?: 'tap' | 'netdev';
      move?: boolean;
      expectedGeneration?: number;
      rdid?: string;
      signer?: string;
    } = {},
  ) {
    const { device = `tap${n}`, deviceKind = 'tap', move = false, expectedGeneration = 0, rdid = RDID, signer } = overrides;
    return this.ask(
      host,
      { kind: 'bindPort', value: { routingDomainId: rdid, portId: portId(n), device, deviceKind, move, expectedGeneration } },
      signer,
    );
  }

  unbind(host: Host, n: number) {
    return this.ask(host, { kind: 'unbindPort', value: { routingDomainId: RDID, portId: portId(n) } });
  }

  async consistency(host: Host): Promise<{ consistent: boolean; rows: number; differences: readonly string[] }> {
    const { result } = await this.ask(host, { kind: 'consistency', value: {} });
    if (result?.kind !== 'consistency') throw new Error('no consistency result');
    return result.value;
  }

  /** Lets promises and timers that are due run, without moving time beyond `ms`. */
  async settle(ms = 0): Promise<void> {
    const end = this.clock.now() + ms;
    for (;;) {
      for (let isQuiet = false; !isQuiet; ) {
        for (let i = 0; i < 6; i++) await new Promise((resolve) => setImmediate(resolve));
        isQuiet = pausing === 0;
        if (!isQuiet) await new Promise((resolve) => setTimeout(resolve, 1));
      }
      const next = this.clock.nextTimerMs;
      if (next === undefined || next > end) break;
      // A little more: the sum of two fractions may fall short of the third.
      this.clock.advance(next - this.clock.now() + 0.001);
    }
    this.clock.advance(Math.max(0, end - this.clock.now()));
  }

  forge(change: Partial<Change> & Pick<Change, 'bucket' | 'key'>, identity: Identity): Uint8Array {
    const whole: Change = {
      tenant: '',
      replacesRevision: 0,
      operation: 'put',
      before: undefined,
      after: undefined,
      authorKey: identity.publicKey,
      authorName: '',
      requestId: 'request-1',
      timeUnixMs: 1,
      ...change,
    };
    return signEnvelope(identity, 'change', changeCodec.encode(whole));
  }

  random(): number {
    this.#seed = (this.#seed * 1_103_515_245 + 12_345) % 2_147_483_648;
    return this.#seed / 2_147_483_648;
  }

  async close(): Promise<void> {
    for (const host of this.hosts.values()) await Promise.all([host.agent.stop(), this.settle()]);
    for (const agent of this.#killed) await Promise.all([agent.stop(), this.settle()]);
    if (this.#directory !== undefined) rmSync(this.#directory, { recursive: true, force: true });
  }

  #logger(host: string) {
    const at = (level: string) => (fields: object, message: string) => void this.logs.push({ level, fields: { host, ...fields }, message });
    return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
  }
}

const CREATED_UNIX = 1_750_000_000_000;

export function network(overrides: Partial<VirtualNetwork> = {}): VirtualNetwork {
  return {
    id: RDID,
    tenant: TENANT,
    name: 'net',
    networkId: 7,
    subnets: [
      { name: 'blue', vsid: 5001, prefixes: ['192.0.2.0/26'], gateways: ['192.0.2.1'] },
      { name: 'green', vsid: 5002, prefixes: ['192.0.2.64/26'], gateways: ['192.0.2.65'] },
    ],
    routes: [],
    ...overrides,
  };
}

export function port(n: number, overrides: Partial<Port> = {}): Port {
  return {
    id: portId(n),
    tenant: TENANT,
    network: 'net',
    routingDomainId: RDID,
    subnet: 'blue',
    vsid: 5001,
    name: `vm${n}`,
    mac: `02:00:00:00:00:${(n + 16).toString(16).padStart(2, '0')}`,
    addresses: [`192.0.2.${n + 10}`],
    placement: { mode: 'any', hosts: [] },
    ...overrides,
  };
}

export function binding(n: number, hostId: string, generation: number, overrides: Partial<PortBinding> = {}): PortBinding {
  return {
    portId: portId(n),
    routingDomainId: RDID,
    vsid: 5001,
    hostId,
    providerAddress: paOf(hostId),
    generation,
    state: 'bound',
    device: `tap${n}`,
    deviceKind: 'tap',
    previousHostId: '',
    previousProviderAddress: '',
    ...overrides,
  };
}

export const bindingKey = (n: number): string => mappingKey(RDID, 5001, portId(n));
