import { randomBytes } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { type Bus, type Identity, type Store, verifySignature } from '@weft/bus';
import { type Alarm, certificateFault, type FenceRow, isOpen, type Output, RULES, type ShardRow, TIMING } from '@weft/election';
import {
  type ExternalLink,
  type GatewayPart,
  type GatewayStep,
  type OwnershipCertificate,
  type OwnershipConfig,
  type OwnershipMember,
  type OwnershipMemory,
  ownershipConfig,
  type TrustStore,
} from '@weft/model';
import type { AgentClock, AgentLogger } from '../components.ts';
import type { Conditions } from '../conditions.ts';
import { messageOf } from '../errors.ts';
import { AssignmentSteps } from './assignment-steps.ts';
import { ControlSocket, type ControlSocketInit } from './control-socket.ts';
import { GatewayDirectory, type GatewayGroup } from './directory.ts';
import { GrantLog } from './grant-log.ts';
import { handoverMac } from './handover-mac.ts';
import { HostShards } from './host-shards.ts';
import { KnownHosts } from './known-hosts.ts';
import { OwnershipDriver } from './ownership-driver.ts';
import { readOwnershipFile } from './ownership-file.ts';
import { KernelProbes, type ProbeReply } from './probe-port.ts';
import { ShardStates, type ShardView } from './shard-states.ts';
import type { StateKeeper, Succession } from './state/keeper.ts';
import { SyncedFile } from './synced-file.ts';
import { OwnershipTransport } from './transport.ts';

// Everything of gateways on one machine:
//
//   directory ──groups──► for each group that concerns this machine
//                            member or witness:  OwnershipDriver ──fence──► gateway_shard
//                            has its networks:   HostShards ──────shard───► shard
//   transport: NATS and UDP, shared by all groups

/** What of the packet path ownership writes and reads. */
export interface OwnershipTables {
  /** Rows of `shard`, as the kernel has them. */
  shardRows(): readonly ShardRow[];
  writeShard(row: ShardRow): void;
  /** Rows of `gateway_shard`. */
  fenceRows(): readonly FenceRow[];
  /** @param handoverMac Where late frames from outside go on to, while the row says so; zero: nowhere. */
  writeFence(row: FenceRow, handoverMac: Uint8Array): void;
  probeReplies(): readonly ProbeReply[];
  /** Provider addresses whose probes are answered: members and voters of the groups that this machine is part of. */
  setProbePeers(addresses: ReadonlySet<string>): void;
}

export interface GatewaysInit {
  readonly hostId: string;
  readonly providerAddress: string;
  readonly bootId: string;
  /** Files of this agent's state directory. */
  readonly storage: GatewayStorage;
  readonly bus: Bus;
  readonly identity: Identity;
  readonly trust: TrustStore;
  readonly clock: AgentClock;
  readonly random: () => number;
  readonly logger: AgentLogger;
  readonly conditions: Conditions;
  readonly tables: OwnershipTables;
  /** Gateway ids that networks with ports on this host use. */
  readonly used: () => ReadonlySet<string>;
  /** Ownership of a shard changed on this machine, or a group did: the role looks again. */
  readonly onChange: () => void;
  /** What `memories` or `externalLinks` give has changed: the host's record is to be written again. */
  readonly onMemories: () => void;
  /** For tests. */
  readonly openSocket?: (init: ControlSocketInit) => Promise<Pick<ControlSocket, 'send' | 'close'>>;
}

/** Small files that are on disk when `write` resolves. */
export interface GatewayStorage {
  file(name: string): Pick<SyncedFile, 'read' | 'write'>;
  names(): readonly string[];
}

export function gatewayStorage(directory: string): GatewayStorage {
  return { file: (name) => new SyncedFile(join(directory, name)), names: () => readdirSync(directory) };
}

interface RunningGroup {
  readonly id: string;
  config: OwnershipConfig;
  driver: OwnershipDriver | undefined;
  hosts: HostShards | undefined;
}

/** What this machine is in a group that concerns it. */
export interface InvolvedGroup {
  readonly id: string;
  readonly part: GatewayPart;
  readonly config: OwnershipConfig;
  readonly shards: readonly ShardView[];
}

export class Gateways {
  readonly directory: GatewayDirectory;
  readonly #init: GatewaysInit;
  readonly #hosts: KnownHosts;
  readonly #transport: OwnershipTransport;
  readonly #groups = new Map<string, RunningGroup>();
  readonly #states: ShardStates;
  readonly #memories = new Map<string, number>();
  readonly #steps: AssignmentSteps;
  readonly #grants: GrantLog;
  #links: readonly ExternalLink[] = [];
  #defend: (address: string) => void = () => {};
  #socket: Pick<ControlSocket, 'send' | 'close'> | undefined;
  #socketTimer: unknown;
  #stateKeeper: Pick<StateKeeper, 'bring'> | undefined;
  #settling: Promise<void> = Promise.resolve();
  #stopped = false;

  constructor(init: GatewaysInit) {
    this.#init = init;
    this.#states = new ShardStates(() => init.clock.now());
    this.#hosts = new KnownHosts(init.trust, init.storage.file('hosts.bin'), init.logger);
    this.directory = new GatewayDirectory({
      ...init,
      file: init.storage.file('gateways.bin'),
      onChange: () => this.review(),
      isInvolved: () => this.#groups.size > 0 || init.used().size > 0,
      onProblem: (reason) =>
        reason === undefined ? init.conditions.clear('GATEWAYS_NOT_READ') : init.conditions.raise('GATEWAYS_NOT_READ', reason),
    });
    this.#steps = new AssignmentSteps({ ...init, directory: this.directory });
    this.#grants = new GrantLog({
      ...init,
      isGenuine: (group, certificate) => {
        const config = this.#groups.get(group)?.config;
        return config !== undefined && certificateFault(config, certificate, verifySignature, RULES) === undefined;
      },
    });
    this.#transport = new OwnershipTransport({
      ...init,
      sendDatagram: (address, message) => this.#send(address, message),
      addressOf: (hostId) => this.#addressOf(hostId),
      keyOf: (group, hostId) => this.#keyOf(group, hostId),
    });
  }

  async start(): Promise<void> {
    await this.#recallMemories();
    await this.#hosts.start();
    await this.directory.start();
    this.review();
  }

  /** Ownership stops being extended; what the packet path has stays, until its deadline. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#init.clock.clearTimeout(this.#socketTimer);
    this.#grants.stop();
    await this.directory.stop();
    await this.#settling;
    await this.#hosts.saved;
    for (const group of this.#groups.values()) {
      await group.driver?.stop();
      await group.hosts?.stop();
    }
    this.#socket?.close();
  }

  async connected(store: Store): Promise<void> {
    this.directory.setStore(store);
    this.#grants.setStore(store);
    this.poll();
    await this.directory.refresh();
    for (const { id, driver } of this.#groups.values()) if (driver !== undefined) await this.#readGrants(id);
  }

  /** A small file of this machine's gateway state. */
  file(name: string): Pick<SyncedFile, 'read' | 'write'> {
    return this.#init.storage.file(name);
  }

  /** Asks a controller for a step on a group's assignment. @returns Whether it was taken. */
  async takeStep(gatewayId: string, step: GatewayStep): Promise<boolean> {
    return await this.#steps.take(gatewayId, step);
  }

  /** Grants as they were recorded: news for a node that has lost its file, or was away for long. Each is verified by its certificate. */
  async #readGrants(gatewayId: string): Promise<void> {
    try {
      for (const certificate of await this.#grants.recorded(gatewayId)) {
        // The host side first: once the member has heard of a grant, its owner is not asked to tell this machine again.
        this.#groups.get(gatewayId)?.hosts?.take(certificate);
        this.driver(gatewayId)?.step({ kind: 'recorded', certificate });
      }
    } catch (error) {
      this.#init.logger.info({ gateway: gatewayId, reason: messageOf(error) }, 'recorded grants not read');
    }
  }

  /** Who has a provider address; right after a restart too, when a hand-over may come that names its former owner. */
  hostAt(address: string): string | undefined {
    for (const { id, providerAddress } of this.#hosts.all()) if (providerAddress === address) return id;
    return undefined;
  }

  /** Where hosts are may have changed, a witness's address among it: no record of a group says so. */
  poll(): void {
    if (this.#hosts.look()) this.review();
  }

  /** Groups, networks or trust have changed: starts and stops what follows from it. */
  review(): void {
    this.#settling = this.#settling.then(async () => {
      if (this.#stopped) return;
      try {
        await this.#review();
      } catch (error) {
        this.#init.logger.error({ reason: (error as Error).message }, 'gateway groups can not be taken up');
      }
      this.#init.onChange();
    });
  }

  /** What this machine remembers by, for each group that it votes in, or did. */
  memories(): readonly OwnershipMemory[] {
    return [...this.#memories]
      .map(([gatewayId, instance]) => ({ gatewayId, instance }))
      .sort((a, b) => (a.gatewayId < b.gatewayId ? -1 : 1));
  }

  /** Every group that concerns this machine, for those who ask. */
  involved(): readonly InvolvedGroup[] {
    const self = this.#init.hostId;
    const [rows, fences] = [this.#init.tables.shardRows(), this.#init.tables.fenceRows()];
    return [...this.#groups].map(([id, { config }]) => {
      const isMember = config.members.some((member) => member.id === self);
      const isVoter = [...config.voters, ...(config.previous?.voters ?? [])].some((voter) => voter.id === self);
      const shards = config.shards.map(({ shard }) => shard);
      return { id, part: isMember ? 'member' : isVoter ? 'witness' : 'host', config, shards: this.#states.views(id, shards, rows, fences) };
    });
  }

  /** The external interfaces of this machine, for its host record. */
  externalLinks(): readonly ExternalLink[] {
    return this.#links;
  }
  setExternalLinks(links: readonly ExternalLink[]): void {
    if (JSON.stringify(links) === JSON.stringify(this.#links)) return;
    this.#links = links;
    this.#init.onMemories();
  }

  driver(gatewayId: string): OwnershipDriver | undefined {
    return this.#groups.get(gatewayId)?.driver;
  }

  /** Shards that this machine owns now, and who would own them next. */
  successions(): readonly Succession[] {
    const now = this.#init.clock.now();
    const open = new Map([...this.fences()].flatMap((row) => (isOpen(row, now) ? [[row.shard, row.epoch] as const] : [])));
    return [...this.#groups.values()].flatMap(({ config, driver }) =>
      config.shards.flatMap(({ shard }) => {
        const epoch = open.get(shard);
        return driver === undefined || epoch === undefined ? [] : [{ shard, epoch, to: driver.node.successor(shard) }];
      }),
    );
  }

  /** True: a majority has granted or renewed the shard since this process began. */
  isConfirmed(shard: number): boolean {
    return [...this.#groups.values()].some(({ driver }) => driver?.node.isConfirmed(shard) === true);
  }

  /** A member of a group that this machine is a member of. */
  member(hostId: string): OwnershipMember | undefined {
    for (const { config } of this.memberships()) {
      const member = config.members.find(({ id }) => id === hostId);
      if (member !== undefined) return member;
    }
    return undefined;
  }

  isMemberAddress(providerAddress: string): boolean {
    return [...this.memberships()].some(({ config }) => config.members.some((member) => member.providerAddress === providerAddress));
  }

  /** Who brings the state of shards to their next owner before a planned move. */
  setStateKeeper(keeper: Pick<StateKeeper, 'bring'>): void {
    this.#stateKeeper = keeper;
  }

  /** Who answers for an external address that somebody else claims. */
  setDefender(defend: (address: string) => void): void {
    this.#defend = defend;
  }

  /** What the packet path may forward for, and until when. */
  fences(): readonly FenceRow[] {
    return this.#init.tables.fenceRows();
  }

  /** Groups that this machine is a member of. */
  *memberships(): IterableIterator<GatewayGroup & { readonly id: string; readonly config: OwnershipConfig }> {
    for (const [id, { config }] of this.#groups) {
      const group = this.directory.groups.get(id);
      if (group !== undefined && config.members.some((member) => member.id === this.#init.hostId)) yield { ...group, id, config };
    }
  }

  async #review(): Promise<void> {
    const used = this.#init.used();
    const self = this.#init.hostId;
    const peers = new Set<string>();
    for (const [id, { assignment }] of this.directory.groups) {
      if (assignment === undefined) continue;
      const config = ownershipConfig(assignment, (host) => this.#hosts.get(host)?.publicKey);
      const isNode = [...config.members, ...config.voters].some((node) => node.id === self);
      if (!isNode && !used.has(id)) continue;
      let group = this.#groups.get(id);
      if (group === undefined) {
        group = { id, config, driver: undefined, hosts: undefined };
        this.#groups.set(id, group);
      }
      group.config = config;
      await this.#openSocket();
      if (isNode) {
        for (const { id: host } of [...config.members, ...config.voters]) {
          const address = this.#addressOf(host);
          if (address !== undefined) peers.add(address);
        }
      }
      this.#init.tables.setProbePeers(peers);
      group.hosts ??= this.#startHosts(id);
      group.hosts.configure(config);
      if (isNode) {
        const isNew = group.driver === undefined;
        group.driver ??= await this.#startDriver(id);
        group.driver.configure(config);
        if (isNew) void this.#readGrants(id);
        group.driver.step({ kind: 'hosts', hosts: this.#hostsOf() });
      } else if (group.driver !== undefined) {
        await group.driver.stop();
        group.driver = undefined;
      }
    }
    for (const [id, group] of this.#groups) {
      if (this.directory.groups.get(id)?.assignment !== undefined) continue;
      await group.driver?.stop();
      await group.hosts?.stop();
      this.#groups.delete(id);
    }
  }

  /** Whom certificates go to by datagram: every host there is; few have no network of the group, and one datagram is cheap. */
  #hostsOf(): readonly string[] {
    return [...this.#hosts.all()].flatMap(({ id }) => (id === this.#init.hostId ? [] : [id]));
  }

  #startHosts(group: string): HostShards {
    const { clock, tables, hostId } = this.#init;
    return new HostShards({
      group,
      hostId,
      clock,
      transport: this.#transport,
      components: { verify: verifySignature, random: () => this.#random53(), timing: TIMING, rules: RULES },
      rows: tables.shardRows(),
      write: (row) => {
        tables.writeShard(row);
        this.#states.obeyed(row);
        this.#init.onChange();
      },
      askOwn: (ask) => this.#groups.get(group)?.driver?.answerOwn(ask),
      needConfig: () => void this.directory.refresh(),
      alarm: (alarm) => this.#alarm(group, alarm),
    });
  }

  async #startDriver(group: string): Promise<OwnershipDriver> {
    const { clock, logger, hostId, bootId, tables, identity } = this.#init;
    const driver = await OwnershipDriver.start({
      group,
      hostId,
      bootId,
      clock,
      logger,
      transport: this.#transport,
      file: this.#fileOf(group),
      components: {
        signer: identity,
        verify: verifySignature,
        random: () => this.#random53(),
        timing: TIMING,
        rules: RULES,
      },
      probes: new KernelProbes({
        clock,
        addressOf: (host) => this.#addressOf(host),
        sendDatagram: (address, message) => this.#send(address, message),
        readReplies: () => tables.probeReplies(),
      }),
      rows: tables.fenceRows(),
      fence: (row) => tables.writeFence(row, this.#handoverMac(group, row)),
      on: {
        certificate: (certificate, record) => this.#onCertificate(group, certificate, record),
        announce: () => this.#init.onChange(),
        state: (output) => this.#onState(group, output),
        handover: (output) => this.#onHandover(group, output),
        needConfig: () => void this.directory.refresh(),
        settled: (configId, certificate) => this.#settleVoters(group, configId, certificate),
        defend: (address) => this.#defend(address),
        // Blocks change hands by the assignment's record and a note on disk (block-releases.ts); the machine is given no slices.
        sliceConsent: () => {},
        sliceReclaim: () => {},
        alarm: (alarm) => this.#alarm(group, alarm),
      },
    });
    if (this.#memories.get(group) !== driver.node.instance) {
      this.#memories.set(group, driver.node.instance);
      this.#init.onMemories();
    }
    return driver;
  }

  /** From the files, before any group is known: a host record without them would take the voter out of its list. */
  async #recallMemories(): Promise<void> {
    for (const name of this.#init.storage.names()) {
      const group = /^ownership-([0-9a-f-]{36})\.bin$/.exec(name)?.[1];
      if (group === undefined) continue;
      const state = await readOwnershipFile(this.#fileOf(group), () => {});
      if (state !== undefined) this.#memories.set(group, state.instance);
    }
  }

  #fileOf(group: string): Pick<SyncedFile, 'read' | 'write'> {
    return this.#init.storage.file(`ownership-${group}.bin`);
  }

  #onState(group: string, output: Output & { kind: 'state' }): void {
    const { shard, state, epoch, owner } = output;
    this.#init.logger.info({ gateway: group, shard, state, owner, epoch: String(epoch) }, 'ownership');
    this.#states.entered(group, shard, state);
    this.#init.onChange();
  }

  #onCertificate(group: string, certificate: OwnershipCertificate, record: boolean): void {
    this.#groups.get(group)?.hosts?.take(certificate);
    if (record) this.#grants.record(group, certificate);
  }

  /** A grant that had majorities of the new list of voters and of the one before: the controller may record that the new one took effect. */
  #settleVoters(gatewayId: string, configId: number, certificate: OwnershipCertificate): void {
    const { assignment } = this.directory.groups.get(gatewayId) ?? {};
    if (assignment?.previousVoters === undefined || assignment.voters.configId !== configId) return;
    void this.takeStep(gatewayId, { kind: 'votersSettled', value: { configId, certificate } });
  }

  #handoverMac(group: string, { shard, handoverTo }: FenceRow): Uint8Array {
    const known = this.directory.groups.get(group);
    return known === undefined || handoverTo === '' ? new Uint8Array(6) : handoverMac(known, shard, handoverTo, this.#init.trust.hosts());
  }

  #onHandover(group: string, output: Output & { kind: 'handover' }): void {
    if (output.step !== 'sync') return;
    const { shards, to } = output;
    const synced = (): void => this.driver(group)?.step({ kind: 'synced', shards });
    // A machine without the role has no state, and none to own.
    if (this.#stateKeeper === undefined) queueMicrotask(synced);
    else void this.#stateKeeper.bring(shards, to, TIMING.syncMs).then(synced);
  }

  #alarm(group: string, alarm: Alarm): void {
    const { conditions } = this.#init;
    const subject = `${group} ${alarm.code} ${alarm.about}`.trim();
    if (alarm.active) conditions.raise('GATEWAY_OWNERSHIP', alarm.message, subject);
    else conditions.clear('GATEWAY_OWNERSHIP', subject);
  }

  async #openSocket(): Promise<void> {
    if (this.#socket !== undefined || this.#stopped) return;
    const { providerAddress, conditions, clock } = this.#init;
    try {
      this.#socket = await (this.#init.openSocket ?? ControlSocket.open)({
        providerAddress,
        onMessage: (message) => this.#transport.receive(message),
        onError: () => {
          this.#socket = undefined;
          this.#socketTimer = clock.setTimeout(() => void this.#openSocket(), 1_000);
        },
      });
      conditions.clear('CONTROL_PORT');
    } catch (error) {
      conditions.raise('CONTROL_PORT', (error as Error).message);
      this.#socketTimer = clock.setTimeout(() => void this.#openSocket(), 5_000);
    }
  }

  async #send(address: string, message: Uint8Array): Promise<Error | undefined> {
    return this.#socket === undefined ? new Error('the control socket is not open') : await this.#socket.send(address, message);
  }

  #addressOf(hostId: string): string | undefined {
    for (const { config } of this.#groups.values()) {
      const member = config.members.find(({ id }) => id === hostId);
      if (member !== undefined) return member.providerAddress;
    }
    return this.#hosts.get(hostId)?.providerAddress;
  }

  #keyOf(group: string, hostId: string): string | undefined {
    const config = this.#groups.get(group)?.config;
    const node = [...(config?.voters ?? []), ...(config?.members ?? [])].find(({ id }) => id === hostId);
    return node?.key ?? this.#hosts.get(hostId)?.publicKey;
  }

  #random53(): number {
    // Nobody may guess a nonce: an answer to it proves that the probe arrived.
    return Number(randomBytes(8).readBigUInt64BE() >> 11n);
  }
}
