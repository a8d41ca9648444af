import type { HandlerResult, IncomingRequest, Store } from '@weft/bus';
import { isOpen, TIMING } from '@weft/election';
import type { GatewayTableEntry } from '@weft/forwarding';
import { type Assignment, type Gateway, type ReleasedBlocks, withholdSlices } from '@weft/model';
import { buildAnnouncement, formatIp, formatMac, parseIp } from '@weft/packet';
import { diffGateway, type GatewayFacts, GatewayView, interfaceHolders, type NatSetupChange } from '@weft/tables';
import { openPacketSocket } from '@weft/tuntap';
import { messageOf } from '../errors.ts';
import type { NetworkSession } from '../network-session.ts';
import type { AgentParts, Role, RoleDevices, RoleStatus } from '../role.ts';
import { AddressConflicts } from './address-conflicts.ts';
import { type Announced, Announcer } from './announcer.ts';
import { BlockReleases } from './block-releases.ts';
import { type ExternalDeviceState, readExternalDevices } from './external-devices.ts';
import { GatewayReads } from './gateway-reads.ts';
import { FlowMeter } from './gateway-use.ts';
import { HandoverPause } from './handover-pause.ts';
import { NatFeed } from './nat-feed.ts';
import type { NatLog } from './nat-log.ts';
import type { StateKeeper, StateKeeperInit } from './state/keeper.ts';

/** How often what is over is retired; docs/gateway-contract.md section 7. */
const NAT_SWEEP_MS = 1_000;
/** How often blocks that go to other members are looked at. */
const RELEASE_MS = 2_000;
/** All rows are compared with what the packet path has this often, though nothing was heard. */
const REVIEW_MS = 30_000;

/** What port mapping is given, and what is asked of it. */
export interface NatControl {
  apply(changes: readonly NatSetupChange[]): void;
  /** Retires what is over. */
  sweep(): void;
  /** Of these blocks, those that are granted here no more and that nobody holds. */
  free(pieces: readonly ReleasedBlocks[]): readonly ReleasedBlocks[];
}

/** The physical segments, as this machine has them. */
export interface ExternalWires {
  /** Devices of these names that are there. */
  read(names: ReadonlySet<string>): Promise<Map<string, ExternalDeviceState>>;
  /** Puts a frame on a device's wire. */
  send(device: string, frame: Uint8Array): void;
}

const systemWires: ExternalWires = {
  read: readExternalDevices,
  send: (device, frame) => {
    const socket = openPacketSocket({ interfaceName: device });
    try {
      socket.write(frame);
    } finally {
      socket.close();
    }
  },
};

/** Keeps what flows rest on beyond this member: {@link StateKeeper}. */
export type StateKeeping = Pick<StateKeeper, 'start' | 'stop' | 'bring' | 'lags'>;

/** Tells who has which ports: {@link NatLog}. */
export type NatLogging = Pick<NatLog, 'start' | 'stop' | 'setStore' | 'onEvent' | 'onLost' | 'poll'>;

/** What the role is made with. */
export interface GatewayRoleInit {
  readonly nat: NatControl;
  readonly log: NatLogging;
  readonly makeState: (init: Pick<StateKeeperInit, 'feed' | 'networksOf'>) => StateKeeping;
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
  readonly #announcer: Announcer;
  #devices = new Map<string, ExternalDeviceState>();
  #served: ReadonlySet<string> = new Set();
  readonly #announced = new Map<number, string>();
  readonly #ownedSince = new Map<number, number>();
  readonly #conflicts = new AddressConflicts();
  readonly #pause: HandoverPause;
  #reviewing: Promise<void> | undefined;
  #again = false;
  #stopped = false;
  #endListening: readonly (() => void)[] = [];
  readonly #releases = new Map<string, BlockReleases>();
  #sweptMs = 0;
  #releasedMs = 0;
  #reviewedMs = 0;
  #names: ReadonlySet<string> = new Set();
  /** Network ids by the shard that serves them. */
  #networkIds: ReadonlyMap<number, readonly number[]> = new Map();

  constructor(parts: AgentParts, { nat, log, makeState, wires = systemWires }: GatewayRoleInit) {
    this.#parts = parts;
    this.#nat = nat;
    this.#log = log;
    this.#wires = wires;
    this.feed = new NatFeed(parts.datapath.gateway);
    this.state = makeState({ feed: this.feed, networksOf: (shard) => this.#networkIds.get(shard) ?? [] });
    parts.gateways.setStateKeeper(this.state);
    parts.gateways.setDefender((address) => this.#announceOnce(parseIp(address)));
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
    this.#pause = new HandoverPause(parts.clock, parts.datapath, () => {
      if (!this.#stopped) this.#announce();
    });
    this.#announcer = new Announcer({
      clock: parts.clock,
      isOpen: (shard) => this.#isOpen(shard),
      send: (device, frame) => wires.send(device, frame),
      onError: (device, error) => parts.logger.warn({ device, reason: messageOf(error) }, 'external addresses not announced'),
    });
  }

  async start(): Promise<void> {
    await this.#log.start();
    this.#endListening = [this.feed.listen(this.#meter), this.feed.listen(this.#log)];
    this.state.start();
    this.#reviewSoon();
  }

  async stop({ purge }: { readonly purge: boolean }): Promise<void> {
    this.#stopped = true;
    for (const end of this.#endListening) end();
    await this.#log.stop();
    this.#announcer.stop();
    this.state.stop();
    await this.#reviewing;
    if (purge) for (const ifindex of this.#parts.datapath.gateway.externalDevices()) this.#parts.datapath.gateway.detachExternal(ifindex);
  }

  status(): RoleStatus {
    return { ports: [] };
  }

  async onStore(store: Store): Promise<void> {
    this.#log.setStore(store);
    await this.#review();
  }

  async onRecords(session: NetworkSession): Promise<void> {
    if (this.#served.has(session.rdid)) this.#reviewSoon();
  }

  onGateways(): void {
    // Neighbours send to a lost owner until they hear this: before anything that takes time.
    this.#announce();
    this.#reviewSoon();
  }

  async poll(): Promise<void> {
    const now = this.#parts.clock.now();
    if (now - this.#sweptMs >= NAT_SWEEP_MS) {
      this.#sweptMs = now;
      this.#nat.sweep();
      this.feed.poll();
      this.#log.poll();
    }
    if (now - this.#releasedMs >= RELEASE_MS) {
      this.#releasedMs = now;
      for (const { id, assignment, assignmentRevision } of this.#parts.gateways.memberships())
        if (assignment !== undefined) void this.#releases.get(id)?.look(assignment, assignmentRevision);
    }
    this.#watchClaims(now);
    const seen = await this.#wires.read(this.#names).catch(() => this.#devices);
    if (now - this.#reviewedMs >= REVIEW_MS || markOf(seen) !== markOf(this.#devices)) await this.#review();
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
    do {
      this.#again = false;
      if (this.#stopped) break;
      try {
        await this.#reviewOnce();
        conditions.clear('GATEWAY_TABLES');
      } catch (error) {
        conditions.raise('GATEWAY_TABLES', `Cannot bring the gateway's tables up to date: ${messageOf(error)}; tried again`);
      }
    } while (this.#again);
    this.#reviewing = undefined;
  }

  async #reviewOnce(): Promise<void> {
    const { gateways, networks, datapath, init, trust, conditions } = this.#parts;
    const groups: { gateway: Gateway; assignment: Assignment }[] = [];
    for (const { id, gateway, assignment, assignmentRevision } of gateways.memberships()) {
      if (gateway === undefined || assignment === undefined) continue;
      const releases = this.#releases.get(id) ?? (await this.#openReleases(id));
      const member = assignment.members.find(({ hostId }) => hostId === init.hostId)?.member ?? 0;
      groups.push({ gateway, assignment: releases.outdated(assignmentRevision) ? withholdSlices(assignment, member) : assignment });
    }
    this.#follow(new Set(groups.flatMap(({ assignment }) => assignment.shards.flatMap(({ id }) => gateways.directory.networksOf(id)))));
    const names = new Set(groups.flatMap(({ gateway }) => interfacesOf(gateway, init.hostId)));
    this.#names = names;
    this.#reviewedMs = this.#parts.clock.now();
    this.#devices = await this.#wires.read(names);
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
    const sessions = [...this.#served].flatMap((rdid) => networks.get(rdid) ?? []);
    const facts: GatewayFacts = {
      hostId: init.hostId,
      mtuBytes: init.underlayMtu - 50,
      groups,
      networks: new Map(sessions.flatMap(({ rdid, view }) => (view.network === undefined ? [] : [[rdid, view.network] as const]))),
      vsidAllowed: (rdid, vsid) => networks.get(rdid)?.claimedVsids.has(vsid) === true,
      devices: this.#devices,
      providerAddresses: new Map(trust.hosts().map(({ id, providerAddress }) => [id, providerAddress])),
    };
    const changes = this.#view.update(facts);
    this.#nat.apply(changes.nat);
    this.#networkIds = networksByShard(this.#view.entries());
    const wanted = [...this.#view.entries()].filter(isOurs);
    // Until all that this machine serves has been read once, what the last run left stays.
    const complete = groups.length > 0 && sessions.every((session) => session.complete);
    const diff = diffGateway(datapath.gateway.entries().filter(isOurs), wanted);
    datapath.gateway.apply(complete ? diff : diff.filter(({ op }) => op === 'put'));
    const attached = new Set(datapath.gateway.externalDevices());
    for (const { name, ifindex } of this.#devices.values()) {
      datapath.gateway.attachExternal({ name, ifindex });
      attached.delete(ifindex);
    }
    if (complete) for (const ifindex of attached) datapath.gateway.detachExternal(ifindex);
    for (const { gateway } of groups) {
      // A device that is gone has no carrier.
      const up = interfacesOf(gateway, init.hostId).every((name) => this.#devices.get(name)?.carrier === true);
      gateways.driver(gateway.id)?.step({ kind: 'carrier', up });
    }
    this.#announce();
  }

  async #openReleases(gatewayId: string): Promise<BlockReleases> {
    const { gateways, init, logger } = this.#parts;
    const releases = await BlockReleases.open({
      gatewayId,
      hostId: init.hostId,
      logger,
      file: gateways.file(`blocks-${gatewayId}.txt`),
      free: (pieces) => this.#nat.free(pieces),
      take: async (step) => await gateways.takeStep(gatewayId, step),
    });
    this.#releases.set(gatewayId, releases);
    return releases;
  }

  #follow(wanted: ReadonlySet<string>): void {
    const before = this.#served;
    this.#served = wanted;
    for (const rdid of wanted) if (!before.has(rdid)) this.#parts.networks.join(rdid);
    if ([...before].some((rdid) => !wanted.has(rdid)) || wanted.size !== before.size) this.#parts.onChange();
  }

  /** Tells the groups of claims of their addresses by others. */
  #watchClaims(now: number): void {
    const { datapath, gateways, trust } = this.#parts;
    const { devices, addresses } = this.#external();
    const ownOn = (ifindex: number): Uint8Array[] =>
      addresses.flatMap((row) => (devices.get(row.key.segment)?.ifindex === ifindex ? [row.key.address] : []));
    for (const { ifindex, address, mac } of this.#conflicts.look(datapath.drops(), ownOn)) {
      const row = addresses.find(({ key }) => devices.get(key.segment)?.ifindex === ifindex && Buffer.compare(key.address, address) === 0);
      const since = row === undefined ? undefined : this.#ownedSince.get(row.value.shard);
      if (row === undefined || since === undefined) continue;
      const isMember = trust.hosts().some(({ externalLinks }) => externalLinks.some((link) => link.mac === formatMac(mac)));
      // The former owner's last word, put on the wire before it knew.
      if (isMember && now - since < TIMING.handoverMs) continue;
      for (const { id, assignment } of gateways.memberships()) {
        if (assignment?.shards.some((shard) => shard.id === row.value.shard) !== true) continue;
        gateways.driver(id)?.step({ kind: 'external-conflict', address: formatIp(address) });
      }
    }
  }

  /** Says once more whose an address is: to neighbours that have just heard something else. */
  #announceOnce(address: Uint8Array): void {
    const { devices, addresses } = this.#external();
    for (const { key, value } of addresses) {
      const device = devices.get(key.segment);
      if (device === undefined || !this.#isOpen(value.shard) || Buffer.compare(key.address, address) !== 0) continue;
      for (const frame of buildAnnouncement(device.mac, address)) this.#wires.send(device.name, frame);
    }
  }

  /** Whether the packet path forwards for a shard now, by a grant that this process has heard of. */
  #isOpen(shard: number): boolean {
    const { gateways, clock } = this.#parts;
    const row = gateways.fences().find((one) => one.shard === shard);
    return isOpen(row, clock.now()) && gateways.isConfirmed(shard);
  }

  /** The external addresses, and by segment the device that reaches it. */
  #external() {
    const rows = [...this.#view.entries()];
    const byIndex = new Map([...this.#devices.values()].map((device) => [device.ifindex, device]));
    const devices = new Map<number, ExternalDeviceState>();
    for (const row of rows) {
      const device = row.table === 'segment' ? byIndex.get(row.value.ifindex) : undefined;
      if (row.table === 'segment' && device !== undefined) devices.set(row.key.segment, device);
    }
    return { devices, addresses: rows.flatMap((row) => (row.table === 'external_address' ? [row] : [])) };
  }

  /** Announces the addresses of shards that are owned, and keeps quiet about the others. */
  #announce(): void {
    const { gateways, clock } = this.#parts;
    const now = clock.now();
    const open = new Map(
      [...gateways.fences()].flatMap((row) =>
        isOpen(row, now) && gateways.isConfirmed(row.shard) ? [[row.shard, row.epoch] as const] : [],
      ),
    );
    const external = this.#external();
    const addresses = new Map<number, Announced[]>();
    for (const { key, value } of external.addresses) {
      const device = external.devices.get(key.segment);
      if (device === undefined || !open.has(value.shard)) continue;
      const what = { device: device.name, mac: device.mac, addresses: [key.address] };
      addresses.set(value.shard, [...(addresses.get(value.shard) ?? []), what]);
    }
    for (const shard of this.#announced.keys()) {
      if (addresses.has(shard)) continue;
      this.#announcer.withdraw(shard);
      this.#announced.delete(shard);
      this.#ownedSince.delete(shard);
    }
    const waiting = this.#pause.waiting(new Map([...open].filter(([shard]) => !this.#announced.has(shard))));
    for (const [shard, what] of addresses) {
      if (waiting.has(shard)) continue;
      const mark = `${open.get(shard)} ${what.map((one) => `${one.device}/${formatMac(one.mac)}/${one.addresses.map(formatIp)}`).join(' ')}`;
      if (this.#announced.get(shard) === mark) continue;
      this.#announced.set(shard, mark);
      if (!this.#ownedSince.has(shard)) this.#ownedSince.set(shard, now);
      this.#announcer.announce(shard, what);
    }
  }
}

/** Names of the devices by which a host reaches the segments of a gateway. */
function interfacesOf(gateway: Gateway, hostId: string): string[] {
  return gateway.members.flatMap(({ host, interfaces }) => (host === hostId ? interfaces.map((one) => one.interface) : []));
}

/** What of the devices matters, as text. */
function markOf(devices: ReadonlyMap<string, ExternalDeviceState>): string {
  return JSON.stringify(
    [...devices.values()].map(({ mac, address4, address6, ...rest }) => [rest, [...mac], [...address4], [...address6]]),
  );
}

function networksByShard(rows: Iterable<GatewayTableEntry>): Map<number, number[]> {
  const byShard = new Map<number, number[]>();
  for (const row of rows) {
    if (row.table !== 'gateway_network') continue;
    const { shard } = row.value;
    byShard.set(shard, [...(byShard.get(shard) ?? []), row.key.networkId]);
  }
  return byShard;
}

/** Rows that follow from records; ownership writes the others. */
function isOurs({ table }: GatewayTableEntry): boolean {
  return table !== 'gateway_shard' && table !== 'peer_gateway';
}
