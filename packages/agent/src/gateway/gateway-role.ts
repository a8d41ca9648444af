import type { HandlerResult, IncomingRequest, Store } from '@weft/bus';
import { isOpen } from '@weft/election';
import { type GatewayTableChange, type GatewayTableEntry, type GatewayTableName, gatewayRowKey } from '@weft/forwarding';
import { type Assignment, type Gateway, type ReleasedBlocks, type VirtualNetwork, withholdSlices } from '@weft/model';
import { formatMac } from '@weft/packet';
import { diffingGateway, type GatewayFacts, GatewayView, interfaceHolders, type NatSetupChange, natSetupKey } from '@weft/tables';
import { messageOf } from '../errors.ts';
import type { NetworkSession } from '../network-session.ts';
import type { AgentParts, Role, RoleDevices, RoleStatus } from '../role.ts';
import { BlockReleases } from './block-releases.ts';
import { ExternalAddresses } from './external-addresses.ts';
import type { ExternalDeviceState } from './external-devices.ts';
import { GatewayReads } from './gateway-reads.ts';
import { FlowMeter } from './gateway-use.ts';
import { inPieces, inSlices, stepsInSlices } from './in-slices.ts';
import { LeavingNetworks } from './leaving-networks.ts';
import { NatFeed } from './nat-feed.ts';
import type { NatLog } from './nat-log.ts';
import { type ExternalLinkState, type ExternalWires, PacketWires } from './packet-wires.ts';
import { ShardNetworks } from './shard-networks.ts';
import type { StateKeeper, StateKeeperInit } from './state/keeper.ts';

/** How often what is over is retired; docs/gateway-contract.md section 7. */
const NAT_SWEEP_MS = 1_000;
/** How often blocks that go to other members are looked at. */
const RELEASE_MS = 2_000;
/** Devices' addresses are looked at this often; their carrier, MAC address and MTU once a second. */
const ADDRESSES_MS = 10_000;
/** All rows are compared with what the packet path has this often, though nothing was heard. */
const REVIEW_MS = 30_000;
/** A review that took longer than this is followed by a rest as long, but no longer than that, before the next. */
const LONG_REVIEW_MS = 5;
const REVIEW_REST_MS = 500;

/** What port mapping is given, and what is asked of it. */
export interface NatControl {
  apply(changes: readonly NatSetupChange[]): void;
  /** Retires what is over, bit by bit. */
  sweep(): Promise<void>;
  /** Of these blocks, those that are granted here no more and that nobody holds. */
  free(pieces: readonly ReleasedBlocks[]): readonly ReleasedBlocks[];
  /** Whether a network has sessions or blocks here. */
  holds(networkId: number): boolean;
  /** Takes away what is counted of a network that is gone, and holds nothing. */
  forget(networkId: number): void;
}

/** Keeps what flows rest on beyond this member: {@link StateKeeper}. */
export type StateKeeping = Pick<StateKeeper, 'start' | 'stop' | 'bring' | 'lags'>;

/** Tells who has which ports: {@link NatLog}. */
export type NatLogging = Pick<NatLog, 'start' | 'stop' | 'setStore' | 'onEvents' | 'onLost' | 'poll'>;

/** What the role is made with. */
export interface GatewayRoleInit {
  readonly nat: NatControl;
  readonly log: NatLogging;
  readonly makeState: (init: Pick<StateKeeperInit, 'feed' | 'networksOf' | 'shardOf'>) => StateKeeping;
  /** For tests. */
  readonly wires?: ExternalWires;
}

/**
 * The role of a machine that forwards between virtual networks and the outside: follows the networks of its groups' shards, keeps the gateway's tables,
 * attaches external devices, and announces the external addresses of the shards it owns. Who owns what is decided by `Gateways`.
 */
export class GatewayRole implements Role {
  readonly name = 'gateway' as const;
  readonly feed: NatFeed;
  readonly state: StateKeeping;
  readonly #reads: GatewayReads;
  readonly #meter = new FlowMeter();
  readonly #parts: AgentParts;
  readonly #nat: NatControl;
  readonly #wires: ExternalWires;
  readonly #log: NatLogging;
  readonly #view = new GatewayView();
  readonly #external: ExternalAddresses;
  #devices = new Map<string, ExternalDeviceState>();
  #served: ReadonlySet<string> = new Set();
  /** What `#served` comes from. */
  #followed: readonly (readonly string[])[] | undefined;
  #reviewing: Promise<void> | undefined;
  #again = false;
  #stopped = false;
  #endListening: readonly (() => void)[] = [];
  readonly #releases = new Map<string, BlockReleases>();
  #sweptMs = 0;
  #releasedMs = 0;
  /** When the packet path's rows were compared with those wanted, all of them; boot clock. */
  #comparedMs = Number.NEGATIVE_INFINITY;
  #wasComplete: boolean | undefined;
  /** The devices, and what is attached to them, are to be looked at in the next review. */
  #devicesAreOld = true;
  #names: ReadonlySet<string> = new Set();
  /** When the devices were last read whole. */
  #seenMs = Number.NEGATIVE_INFINITY;
  /** What networks that are gone leave behind is retired by whoever owns their shard; until then their rows say which that is. */
  readonly #leaving: LeavingNetworks;
  readonly #shardNetworks = new ShardNetworks();
  /** What port mapping is to be given, the last of each row: the view tells of a change once, and what was refused is given again. */
  readonly #owed = new Map<string, NatSetupChange>();
  /** Changes of the view may not have arrived there. */
  #indexIsOld = false;

  constructor(parts: AgentParts, { nat, log, makeState, wires = new PacketWires() }: GatewayRoleInit) {
    this.#parts = parts;
    this.#nat = nat;
    this.#log = log;
    this.#wires = wires;
    this.feed = new NatFeed(parts.datapath.gateway);
    this.state = makeState({
      feed: this.feed,
      networksOf: (shard) => this.#shardNetworks.networksOf(shard),
      shardOf: (networkId) => this.#shardNetworks.shardOf(networkId),
    });
    parts.gateways.setStateKeeper(this.state);
    this.#reads = new GatewayReads({
      parts,
      meter: this.#meter,
      interfaces: () =>
        [...this.#names].sort().map((name) => {
          const device = this.#devices.get(name);
          return { name, isPresent: device !== undefined, hasCarrier: device?.carrier === true };
        }),
      lags: () => this.state.lags(),
    });
    this.#external = new ExternalAddresses({ parts, wires });
    this.#leaving = new LeavingNetworks({ nat, tables: parts.datapath.gateway, clock: parts.clock, networks: this.#shardNetworks });
  }

  async start(): Promise<void> {
    await this.#log.start();
    this.#endListening = [this.feed.listen(this.#meter), this.feed.listen(this.#log)];
    this.state.start();
    this.#devicesAreOld = true;
    this.#reviewSoon();
  }

  async stop({ purge }: { readonly purge: boolean }): Promise<void> {
    this.#stopped = true;
    for (const end of this.#endListening) end();
    await this.#log.stop();
    this.#external.stop();
    this.state.stop();
    await this.#reviewing;
    this.#wires.close();
    if (purge) for (const ifindex of this.#parts.datapath.gateway.externalDevices()) this.#parts.datapath.gateway.detachExternal(ifindex);
  }

  status(): RoleStatus {
    return { ports: [] };
  }

  async onStore(store: Store): Promise<void> {
    this.#log.setStore(store);
    this.#devicesAreOld = true;
    await this.#review();
  }

  async onRecords(session: NetworkSession): Promise<void> {
    if (this.#served.has(session.rdid)) this.#reviewSoon();
  }

  onGateways(): void {
    this.#devicesAreOld = true;
    this.#reviewSoon();
  }

  onOwnership(): void {
    // Neighbours send to a lost owner until they hear this. What the tables want is the same, whoever owns.
    this.#external.announce();
  }

  async poll(): Promise<void> {
    const now = this.#parts.clock.now();
    if (now - this.#sweptMs >= NAT_SWEEP_MS) {
      this.#sweptMs = now;
      await this.#nat.sweep();
      if (this.#stopped) return;
      this.feed.poll();
      this.#log.poll();
      this.#leaving.dismiss();
    }
    if (now - this.#releasedMs >= RELEASE_MS) {
      this.#releasedMs = now;
      for (const { id, assignment, assignmentRevision } of this.#parts.gateways.memberships())
        if (assignment !== undefined) void this.#releases.get(id)?.look(assignment, assignmentRevision);
    }
    this.#external.watchClaims();
    // To read them whole starts a command, for which a process of a gigabyte is copied.
    const isDue = now - this.#comparedMs >= REVIEW_MS;
    // With what was taken, not with the last look: a review may have seen what no look has.
    const areOthers = linksOf(this.#wires.look(this.#names)) !== linksOf(this.#devices);
    if (!isDue && !areOthers && now - this.#seenMs < ADDRESSES_MS) return;
    const seen = await this.#wires.read(this.#names).catch(() => undefined);
    if (seen !== undefined) this.#seenMs = now;
    if (!isDue && (seen === undefined || markOf(seen) === markOf(this.#devices))) return;
    this.#devicesAreOld = true;
    await this.#review();
  }

  uses(rdid: string): boolean {
    return this.#served.has(rdid);
  }

  devices(): RoleDevices {
    return { used: new Set(), untaken: new Set() };
  }

  portAt(): undefined {
    return undefined;
  }

  saved(): Record<string, never> {
    return {};
  }

  handle(incoming: Pick<IncomingRequest, 'request' | 'signer'>): Promise<Pick<HandlerResult, 'result'>> | undefined {
    return this.#reads.handle(incoming);
  }

  #reviewSoon(): void {
    if (this.#reviewing !== undefined) this.#again = true;
    else void this.#review();
  }

  /** Makes the packet path what the records want. Calls while one is under way share the next. */
  async #review(): Promise<void> {
    if (this.#reviewing !== undefined) {
      this.#again = true;
      return this.#reviewing;
    }
    this.#reviewing = this.#reviewUntilQuiet();
    await this.#reviewing;
  }

  async #reviewUntilQuiet(): Promise<void> {
    const { conditions } = this.#parts;
    for (let tookMs = 0; ; ) {
      this.#again = false;
      // Half of the time at most: records of ten thousand networks that are read again come one by one.
      if (tookMs > LONG_REVIEW_MS) await new Promise((resolve) => setTimeout(resolve, Math.min(tookMs, REVIEW_REST_MS)));
      if (this.#stopped) break;
      const begunMs = performance.now();
      try {
        await this.#reviewOnce();
        conditions.clear('GATEWAY_TABLES');
      } catch (error) {
        // What the view said has changed may not have arrived.
        this.#comparedMs = Number.NEGATIVE_INFINITY;
        this.#indexIsOld = true;
        this.#devicesAreOld = true;
        conditions.raise('GATEWAY_TABLES', `Cannot bring the gateway's tables up to date: ${messageOf(error)}; tried again`);
      }
      tookMs = performance.now() - begunMs;
      if (!this.#again) break;
    }
    this.#reviewing = undefined;
  }

  async #reviewOnce(): Promise<void> {
    const { gateways, networks, init, trust, conditions } = this.#parts;
    // Before the store has been read, what is missing may only be unknown: of a shard all of its networks.
    let areAllRead = gateways.directory.isRead;
    const groups: { gateway: Gateway; assignment: Assignment }[] = [];
    for (const { id, gateway, assignment, assignmentRevision } of gateways.memberships()) {
      if (gateway === undefined || assignment === undefined) continue;
      const releases = this.#releases.get(id) ?? (await this.#openReleases(id));
      const member = assignment.members.find(({ hostId }) => hostId === init.hostId)?.member ?? 0;
      groups.push({ gateway, assignment: releases.outdated(assignmentRevision) ? withholdSlices(assignment, member) : assignment });
    }
    await this.#follow(groups.flatMap(({ assignment }) => assignment.shards.map(({ id }) => gateways.directory.networksOf(id))));
    const names = new Set(groups.flatMap(({ gateway }) => interfacesOf(gateway, init.hostId)));
    this.#names = names;
    // Not for records alone: reading devices, and what is attached to them, starts commands, and records come one by one by the thousand.
    const isReading = this.#devicesAreOld;
    this.#devicesAreOld = false;
    if (isReading) this.#devices = await this.#wires.read(names);
    gateways.setExternalLinks(
      [...this.#devices.values()]
        .map(({ name, mac }) => ({ interface: name, mac: formatMac(mac) }))
        .sort((a, b) => (a.interface < b.interface ? -1 : 1)),
    );
    const holders = interfaceHolders(
      groups.map(({ gateway }) => gateway),
      init.hostId,
    );
    for (const name of names) {
      if (this.#devices.has(name)) conditions.clear('EXTERNAL_DEVICE', name);
      else conditions.raise('EXTERNAL_DEVICE', `There is no interface ${name}, which a gateway names for this host`, name);
      const [first, ...others] = holders.get(name)?.named ?? [];
      if (others.length === 0) conditions.clear('EXTERNAL_DEVICE_SHARED', name);
      else
        conditions.raise(
          'EXTERNAL_DEVICE_SHARED',
          `Interface ${name} serves gateway ${first} only, though ${others.join(', ')} names it, too: an interface is one segment's`,
          name,
        );
    }
    const documents = new Map<string, VirtualNetwork>();
    await inSlices(this.#served, (rdid) => {
      const session = networks.get(rdid);
      if (session === undefined) return;
      const { network } = session.view;
      // As it is here, where its document is taken: one that is read a moment later is not among the rows yet.
      areAllRead &&= session.complete;
      if (network !== undefined) documents.set(rdid, network);
    });
    const facts: GatewayFacts = {
      hostId: init.hostId,
      mtuBytes: init.underlayMtu - 50,
      groups,
      networks: documents,
      vsidAllowed: (rdid, vsid) => networks.get(rdid)?.claimedVsids.has(vsid) === true,
      devices: this.#devices,
      providerAddresses: new Map(trust.hosts().map(({ id, providerAddress }) => [id, providerAddress])),
    };
    const changes = await stepsInSlices(this.#view.updating(facts));
    this.#external.takeRows(changes.tables, this.#devices.values());
    await this.#give(changes.nat);
    this.#noteNetworks(changes.tables);
    // Until all that this machine serves has been read once, what the last run left stays.
    const isDismissed = this.#isDismissed();
    const complete = isDismissed || (groups.length > 0 && areAllRead);
    const shards = new Set(isDismissed ? [] : groups.flatMap(({ assignment }) => assignment.shards.map(({ id }) => id)));
    const isCompleted = complete !== this.#wasComplete;
    await this.#bring(changes.tables, complete, shards);
    if (isReading || isCompleted) this.#attach(complete);
    for (const { gateway } of groups) {
      // A device that is gone has no carrier.
      const up = interfacesOf(gateway, init.hostId).every((name) => this.#devices.get(name)?.carrier === true);
      gateways.driver(gateway.id)?.step({ kind: 'carrier', up });
    }
    this.#external.announce();
  }

  async #give(changes: readonly NatSetupChange[]): Promise<void> {
    for (const change of changes) {
      const key = natSetupKey(change);
      this.#owed.delete(key);
      this.#owed.set(key, change);
    }
    await inPieces([...this.#owed.values()], (some) => this.#nat.apply(some));
    this.#owed.clear();
  }

  #attach(complete: boolean): void {
    const { gateway } = this.#parts.datapath;
    const attached = new Set(gateway.externalDevices());
    for (const { name, ifindex } of this.#devices.values()) {
      gateway.attachExternal({ name, ifindex });
      attached.delete(ifindex);
    }
    if (complete) for (const ifindex of attached) gateway.detachExternal(ifindex);
  }

  /**
   * Brings the packet path to the view's rows: by what has changed, and by a comparison of all that is there when it was not known, is not trusted, or has not been looked at for long.
   * @param shards Those that this member may own: what networks leave behind there is retired.
   */
  async #bring(changes: readonly GatewayTableChange[], complete: boolean, shards: ReadonlySet<number>): Promise<void> {
    const { clock, datapath } = this.#parts;
    const isDue = clock.now() - this.#comparedMs >= REVIEW_MS || complete !== this.#wasComplete;
    this.#wasComplete = complete;
    const wanted = (): Iterable<GatewayTableEntry> => chain(ours(this.#view.entries()), this.#leaving.rows());
    const all = isDue ? await stepsInSlices(diffingGateway(ours(datapath.gateway.rows()), wanted())) : [...ours(changes)];
    if (isDue) this.#comparedMs = clock.now();
    const mine = complete ? all : this.#withoutLoss(all);
    await inPieces(this.#leaving.keep(mine, shards), (some) => datapath.gateway.apply(some));
  }

  /** Of changes, those that take nothing from networks which may only be unknown: no row goes, and no external address of a network becomes nobody's. */
  #withoutLoss(changes: readonly GatewayTableChange[]): readonly GatewayTableChange[] {
    const puts = changes.filter(({ op }) => op === 'put');
    const isFreed = (change: GatewayTableChange): boolean =>
      change.op === 'put' && change.table === 'external_address' && change.value.networkId === 0;
    if (!puts.some(isFreed)) return puts;
    const owned = new Set<string>();
    for (const row of this.#parts.datapath.gateway.rows('external_address'))
      if (row.table === 'external_address' && row.value.networkId !== 0) owned.add(gatewayRowKey(row));
    return puts.filter((put) => !isFreed(put) || !owned.has(gatewayRowKey(put)));
  }

  #noteNetworks(changes: readonly GatewayTableChange[]): void {
    if (this.#indexIsOld) {
      this.#indexIsOld = false;
      this.#shardNetworks.clear();
      for (const { key, value } of this.#leaving.rows()) this.#shardNetworks.set(key.networkId, value.shard);
      changes = [...this.#view.entries()].map((row) => ({ op: 'put', ...row }));
    }
    for (const change of changes) {
      if (change.table !== 'gateway_network') continue;
      const { networkId } = change.key;
      if (change.op === 'put') {
        this.#leaving.isBack(networkId);
        this.#shardNetworks.set(networkId, change.value.shard);
      } else if (!this.#leaving.has(networkId)) this.#shardNetworks.delete(networkId);
    }
  }

  /** No gateway names this machine any more, and no deadline of what it served holds: nothing of it is left to serve. */
  #isDismissed(): boolean {
    const { gateways, init, clock } = this.#parts;
    const { groups, isRead } = gateways.directory;
    const isNamed = [...groups.values()].some(
      ({ gateway, assignment }) =>
        gateway?.members.some(({ host }) => host === init.hostId) === true ||
        assignment?.members.some(({ hostId }) => hostId === init.hostId) === true,
    );
    return isRead && !isNamed && !gateways.fences().some((row) => isOpen(row, clock.now()));
  }

  async #openReleases(gatewayId: string): Promise<BlockReleases> {
    const { gateways, init, logger } = this.#parts;
    const releases = await BlockReleases.open({
      gatewayId,
      hostId: init.hostId,
      logger,
      file: gateways.file(`blocks-${gatewayId}.txt`),
      free: (pieces) => this.#nat.free(pieces),
      take: async (step, restsOn) => await gateways.takeStep(gatewayId, step, restsOn),
    });
    this.#releases.set(gatewayId, releases);
    return releases;
  }

  /** @param ofShards The networks of each shard: the same array as long as they are the same. */
  async #follow(ofShards: readonly (readonly string[])[]): Promise<void> {
    const known = this.#followed;
    if (known !== undefined && known.length === ofShards.length && known.every((networks, i) => networks === ofShards[i])) return;
    this.#followed = ofShards;
    const before = this.#served;
    const wanted = new Set(ofShards.flat());
    this.#served = wanted;
    await this.#parts.networks.joinAll([...wanted].filter((rdid) => !before.has(rdid)));
    if ([...before].some((rdid) => !wanted.has(rdid)) || wanted.size !== before.size) this.#parts.onChange();
  }
}

/** Names of the devices by which a host reaches the segments of a gateway. */
function interfacesOf(gateway: Gateway, hostId: string): string[] {
  return gateway.members.flatMap(({ host, interfaces }) => (host === hostId ? interfaces.map((one) => one.interface) : []));
}

/** What of the devices changes often, as text. */
function linksOf(devices: ReadonlyMap<string, ExternalLinkState>): string {
  const texts = [...devices].map(([name, { ifindex, mac, mtuBytes, carrier }]) => [name, ifindex, mtuBytes, carrier, ...mac].join(' '));
  return texts.sort().join('\n');
}

/** What of the devices matters, as text. */
function markOf(devices: ReadonlyMap<string, ExternalDeviceState>): string {
  return JSON.stringify(
    [...devices.values()].map(({ mac, address4, address6, ...rest }) => [rest, [...mac], [...address4], [...address6]]),
  );
}

function* chain<T>(...all: Iterable<T>[]): Generator<T> {
  for (const some of all) yield* some;
}

/** Rows that follow from records; ownership writes the others. */
function* ours<R extends { readonly table: GatewayTableName }>(rows: Iterable<R>): Generator<R> {
  for (const row of rows) if (row.table !== 'gateway_shard' && row.table !== 'peer_gateway') yield row;
}
