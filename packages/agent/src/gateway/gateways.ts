import { type Bus, type Identity, type Store, verifySignature } from '@weft/bus';
import { certificateFault, type FenceRow, hasShard, isOpen, nodesOf, RULES, type ShardRow } from '@weft/election';
import { decodeProbe, isProbe } from '@weft/forwarding';
import {
  type ExternalLink,
  type GatewayPart,
  type GatewayStep,
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
import { ControlLink, type ControlLinkInit } from './control-link.ts';
import { GatewayDirectory, type GatewayGroup } from './directory.ts';
import type { GatewayStorage } from './gateway-storage.ts';
import { GrantLog } from './grant-log.ts';
import { GroupPart } from './group-part.ts';
import { KnownHosts } from './known-hosts.ts';
import type { OwnershipDriver } from './ownership-driver.ts';
import { OwnershipMemories } from './ownership-memories.ts';
import type { OwnershipTables } from './ownership-tables.ts';
import { ShardStates, type ShardView } from './shard-states.ts';
import type { StateKeeper, Succession } from './state/keeper.ts';
import type { SyncedFile } from './synced-file.ts';
import { OwnershipTransport } from './transport.ts';

// Everything of gateways on one machine:
//
//   directory ──groups──► for each group that concerns this machine
//                            member or witness:  OwnershipDriver ──fence──► gateway_shard
//                            has its networks:   HostShards ──────shard───► shard
//   transport: NATS and UDP, shared by all groups

/** How often a start looks whether leases have been renewed. */
const RENEWED_LOOK_MS = 5;

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
  /** A group changed, or what this machine is in one: the role looks again. */
  readonly onChange: () => void;
  /** Shards have another owner by what this machine knows. In the way of every takeover: nothing here may take long. */
  readonly onOwnership: () => void;
  /** What `memories` or `externalLinks` give has changed: the host's record is to be written again. */
  readonly onMemories: () => void;
  /** For tests. */
  readonly openSocket?: NonNullable<ControlLinkInit['openSocket']>;
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
  readonly #groups = new Map<string, GroupPart>();
  readonly #states: ShardStates;
  readonly #memories: OwnershipMemories;
  readonly #steps: AssignmentSteps;
  readonly #grants: GrantLog;
  #links: readonly ExternalLink[] | undefined;
  /** Group by segment, of those groups. */
  #segments: { readonly groups: unknown; readonly groupOf: ReadonlyMap<number, string> } = { groups: undefined, groupOf: new Map() };
  readonly #link: ControlLink;
  #stateKeeper: Pick<StateKeeper, 'bring'> | undefined;
  #settling: Promise<void> = Promise.resolve();
  #stopped = false;

  constructor(init: GatewaysInit) {
    this.#init = init;
    this.#memories = new OwnershipMemories(init.storage);
    this.#states = new ShardStates(() => init.clock.now());
    this.#hosts = new KnownHosts(init.trust, init.storage.file('hosts.bin'), init.logger);
    this.directory = new GatewayDirectory({
      ...init,
      file: init.storage.file('gateways.bin'),
      claimsFile: init.storage.file('shard-claims.txt'),
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
    this.#link = new ControlLink({ ...init, onMessage: (message, from) => this.#onDatagram(message, from) });
    this.#transport = new OwnershipTransport({
      ...init,
      sendDatagram: (address, message) => this.#link.send(address, message),
      addressOf: (hostId) => this.#addressOf(hostId),
      keyOf: (group, hostId) => this.#keyOf(group, hostId),
    });
  }

  async start(): Promise<void> {
    await this.#memories.recall();
    await this.#hosts.start();
    await this.directory.start();
    this.review();
  }

  /**
   * Waits until a majority has renewed every shard that a former process left open here, or it is open no more.
   * @returns Whether that was so within `boundMs`.
   */
  async renewed(boundMs: number): Promise<boolean> {
    const { clock } = this.#init;
    const endMs = clock.now() + boundMs;
    await this.#settling;
    const isWaiting = (): boolean => this.fences().some((row) => isOpen(row, clock.now()) && !this.isConfirmed(row.shard));
    while (isWaiting()) {
      if (this.#stopped || clock.now() >= endMs) return false;
      await new Promise<void>((resolve) => clock.setTimeout(resolve, RENEWED_LOOK_MS));
    }
    return true;
  }

  /** Ownership stops being extended; what the packet path has stays, until its deadline. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#grants.stop();
    await this.directory.stop();
    await this.#settling;
    await this.#hosts.saved;
    for (const group of this.#groups.values()) await group.stop();
    this.#link.close();
  }

  async connected(store: Store): Promise<void> {
    this.directory.setStore(store);
    this.#grants.setStore(store);
    this.poll();
    await this.directory.refresh();
    for (const { id, driver } of this.#groups.values()) if (driver !== undefined) await this.#readGrants(id);
  }

  async #readRecord(): Promise<boolean> {
    const isRead = await this.directory.refresh();
    await this.#settling;
    return isRead;
  }

  /** A small file of this machine's gateway state. */
  file(name: string): Pick<SyncedFile, 'read' | 'write'> {
    return this.#init.storage.file(name);
  }

  /** Asks a controller for a step on a group's assignment; see `AssignmentSteps`. @returns Whether it was taken. */
  async takeStep(gatewayId: string, step: GatewayStep, restsOn?: number): Promise<boolean> {
    return await this.#steps.take(gatewayId, step, restsOn);
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
    return this.#memories.list();
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

  /** The external interfaces of this machine, for its host record. Undefined: this process has not seen any yet. */
  externalLinks(): readonly ExternalLink[] | undefined {
    return this.#links;
  }
  setExternalLinks(links: readonly ExternalLink[]): void {
    // Right after a start no group is known yet, and so no interface.
    if (this.#links === undefined && links.length === 0) return;
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

  /** Whom this machine's host side obeys in a shard. Undefined: nobody yet. */
  obeyed(shard: number): ShardRow | undefined {
    for (const { hosts } of this.#groups.values()) {
      const row = hosts?.row(shard);
      if (row === undefined) continue;
      // Read from the packet path at the start, which knows addresses, when no hosts were known yet.
      return row.owner === '' ? { ...row, owner: this.hostAt(row.providerAddress) ?? '' } : row;
    }
    return undefined;
  }

  /** Whether a segment is another group's than the shard's; one that no gateway has is nobody's. */
  isForeign(shard: number, segment: number): boolean {
    const { groups } = this.directory;
    if (this.#segments.groups !== groups) {
      const all = [...groups].flatMap(([id, { gateway }]) => gateway?.segments.map((one) => [one.id, id] as const) ?? []);
      this.#segments = { groups, groupOf: new Map(all) };
    }
    const group = this.#segments.groupOf.get(segment);
    const config = group === undefined ? undefined : this.#groups.get(group)?.config;
    return config !== undefined && !hasShard(config, shard);
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
    const concerned = new Map<GroupPart, { readonly isNode: boolean }>();
    for (const [id, { assignment }] of this.directory.groups) {
      if (assignment === undefined) continue;
      const config = ownershipConfig(assignment, (host) => this.#hosts.get(host)?.publicKey);
      const isNode = nodesOf(config).has(self);
      // One that concerned it once is followed on: a network of it may come back, and must not find an owner of former times.
      if (!isNode && !used.has(id) && !this.#groups.has(id)) continue;
      const group = this.#groups.get(id) ?? this.#join(id, config);
      this.#groups.set(id, group);
      group.config = config;
      concerned.set(group, { isNode });
    }
    // Of all groups at once: while one is attended to, the others' probes are answered. What is missing before the store was read may only be unknown.
    const nodes = [...concerned].flatMap(([{ config }, { isNode }]) => (isNode ? [...nodesOf(config)] : []));
    if (concerned.size > 0 || this.directory.isRead)
      this.#init.tables.setProbePeers(new Set(nodes.flatMap((host) => this.#addressOf(host) ?? [])));
    for (const [group, { isNode }] of concerned) {
      await this.#link.open();
      group.obey();
      if (!isNode) await group.leave();
      else {
        if (await group.takePart()) void this.#readGrants(group.id);
        group.driver?.step({ kind: 'hosts', hosts: this.#hostsOf() });
      }
    }
    for (const [id, group] of this.#groups) {
      if (concerned.has(group)) continue;
      await group.stop();
      this.#groups.delete(id);
    }
  }

  #onDatagram(message: Uint8Array, from: string): void {
    if (!isProbe(message)) {
      this.#transport.receive(message);
      return;
    }
    const probe = decodeProbe(message);
    if (probe !== undefined) for (const part of this.#groups.values()) part.heardProbe(from, probe);
  }

  #join(id: string, config: OwnershipConfig): GroupPart {
    return new GroupPart(id, config, {
      ...this.#init,
      directory: this.directory,
      transport: this.#transport,
      link: this.#link,
      memories: this.#memories,
      states: this.#states,
      grants: this.#grants,
      addressOf: (hostId) => this.#addressOf(hostId),
      readRecord: async () => await this.#readRecord(),
      takeStep: async (step) => await this.takeStep(id, step),
      stateKeeper: () => this.#stateKeeper,
    });
  }

  /** Whom certificates go to by datagram: every host there is; few have no network of the group, and one datagram is cheap. */
  #hostsOf(): readonly string[] {
    return [...this.#hosts.all()].flatMap(({ id }) => (id === this.#init.hostId ? [] : [id]));
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
}
