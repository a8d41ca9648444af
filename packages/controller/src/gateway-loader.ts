import type { RecordEntry } from '@weft/bus';
import {
  type Assignment,
  assignmentKey,
  configKey,
  configPrefix,
  type FormerAssignment,
  type Gateway,
  type GatewayWorld,
  type Host,
  isName,
  networkPath,
  parseKey,
  type Resource,
  type ResourceRef,
  type Stored,
  type VirtualNetwork,
  type WeftRecord,
} from '@weft/model';
import { type Author, type ControllerComponents, mapLimit, plannedFrom } from './components.ts';
import { ids } from './ids.ts';
import type { Records } from './records.ts';

const PARALLEL = 16;

/** What of a request concerns gateways. */
export interface GatewayScope {
  /** Gateways that are changed or deleted, by name. */
  readonly changed: ReadonlySet<string>;
  /** Gateways that connections name. */
  readonly named: ReadonlySet<string>;
  /** Hosts to look up. */
  readonly hosts: ReadonlySet<string>;
  /** Networks that connections of the request peer with, by path. */
  readonly peers: ReadonlyMap<string, readonly [tenant: string, network: string]>;
  /** Connections are made: shards and numbers are needed. */
  readonly connects: boolean;
  /** External addresses are made: what is taken is needed. */
  readonly allocates: boolean;
}

const NOTHING: GatewayScope = {
  changed: new Set(),
  named: new Set(),
  hosts: new Set(),
  peers: new Map(),
  connects: false,
  allocates: false,
};

export function scopeOfResources(resources: readonly Resource[]): GatewayScope {
  const scope = {
    changed: new Set<string>(),
    named: new Set<string>(),
    hosts: new Set<string>(),
    peers: new Map(),
    connects: false,
    allocates: false,
  };
  for (const { kind, value } of resources) {
    if (kind === 'gateway') {
      scope.changed.add(value.name);
      for (const { host } of value.members) scope.hosts.add(host);
      for (const host of value.witnesses) scope.hosts.add(host);
    } else if (kind === 'connection') {
      scope.connects = true;
      scope.named.add(value.gateway);
      if (value.mode === 'peering')
        scope.peers.set(networkPath(value.peerTenant, value.peerNetwork), [value.peerTenant, value.peerNetwork]);
    } else if (kind === 'externalAddress') scope.allocates = true;
  }
  return scope;
}

export function scopeOfRefs(refs: readonly ResourceRef[]): GatewayScope {
  return { ...NOTHING, changed: new Set(refs.flatMap((ref) => (ref.kind === 'Gateway' ? [ref.name] : []))) };
}

/** A change that leaves all that networks use of the gateway as it is: they are not looked at, and there may be ten thousand. */
export function scopeOfMembers(gateway: string): GatewayScope {
  return { ...NOTHING, named: new Set([gateway]) };
}

interface GatewayReads {
  readonly records: Records;
  readonly components: ControllerComponents;
  readonly author: Author;
  /** What stands, or stood, where the claim of the network's name points. */
  networkEntry(tenant: string, name: string): Promise<RecordEntry | undefined>;
  /** Whether the document that a claim names holds what is claimed. */
  holds(key: string, claim: { readonly owner: string; readonly ownerKey: string; readonly requestId: string }): Promise<boolean>;
}

/**
 * Reads what a request about gateways can touch.
 * @param networks Networks of the request, as they stand.
 * @param note Takes the entries of documents that may be written.
 */
export async function loadGateways(
  reads: GatewayReads,
  scope: GatewayScope,
  networks: readonly Stored<VirtualNetwork>[],
  note: (entry: RecordEntry) => void,
): Promise<GatewayWorld | undefined> {
  const { records, components } = reads;
  const names = new Set([...scope.changed, ...scope.named, ...networks.flatMap(({ value }) => value.gateway?.gateway ?? [])]);
  if (names.size === 0) return undefined;
  const gateways = new Map<string, Stored<Gateway>>();
  const assignments = new Map<string, Stored<Assignment>>();
  const former = new Map<string, FormerAssignment>();
  await mapLimit([...names], PARALLEL, async (name) => {
    if (!isName(name)) return;
    const id = ids.gateway(name);
    const gateway = await records.get(records.config, configKey.gateway(id));
    const assignment = await records.get(components.store.gateways, assignmentKey(id));
    for (const entry of [gateway, assignment]) if (entry !== undefined) note(entry);
    const known = gateway && plannedFrom(reads.author, gateway);
    const assigned = assignment && plannedFrom(reads.author, assignment);
    if (known?.kind === 'gateway') gateways.set(name, { value: known.value, revision: gateway!.revision });
    if (assigned?.kind === 'assignment') assignments.set(id, { value: assigned.value, revision: assignment!.revision });
    else if (assignment !== undefined) former.set(id, formerOf(assignment));
  });
  const { loads, users } = await shardsOf(reads, scope, gateways, assignments);
  const peers = new Map<string, Stored<VirtualNetwork>>();
  const wanted = new Map(scope.peers);
  if (scope.connects)
    for (const { value } of networks)
      for (const one of value.gateway?.connections ?? [])
        if (one.mode === 'peering') wanted.set(networkPath(one.peerTenant, one.peerNetwork), [one.peerTenant, one.peerNetwork]);
  // Who a peer itself peers with decides whether it may follow to another shard.
  for (let depth = 0, next = [...wanted]; depth < 2 && next.length > 0; depth++) {
    const found: [string, readonly [string, string]][] = [];
    await mapLimit(next, PARALLEL, async ([path, [tenant, name]]) => {
      const entry = peers.has(path) ? undefined : await reads.networkEntry(tenant, name);
      const network = entry && plannedFrom(reads.author, entry);
      if (entry === undefined || network?.kind !== 'network' || network.value.tenant !== tenant || network.value.name !== name) return;
      peers.set(path, { value: network.value, revision: entry.revision });
      note(entry);
      for (const one of network.value.gateway?.connections ?? [])
        if (one.mode === 'peering') found.push([networkPath(one.peerTenant, one.peerNetwork), [one.peerTenant, one.peerNetwork]]);
    });
    next = found;
  }
  const { held, claimed } = await claimsOf(
    reads,
    scope,
    [...gateways.values()].map(({ value }) => value),
  );
  return {
    gateways,
    assignments,
    former,
    hosts: hostsOf(components, [...scope.hosts, ...hostsNamed(gateways)]),
    shardLoads: loads,
    networks: users,
    peers,
    held,
    claimed,
    nextNumber: (await records.numbers.highest()) + 1,
  };
}

/** Where the assignment had got to that was deleted; or, if this very request has made a new one in its place already, where that began. */
function formerOf({ record, change }: RecordEntry): FormerAssignment {
  const of = (found: WeftRecord | undefined, steps: number): FormerAssignment =>
    found?.kind === 'assignment'
      ? { incarnation: found.value.incarnation - steps, configId: found.value.voters.configId - steps }
      : { incarnation: 0, configId: 0 };
  return record === undefined ? of(change.before, 0) : of(record, 1);
}

/** By the gateways, as they stand. */
function hostsNamed(gateways: ReadonlyMap<string, Stored<Gateway>>): string[] {
  return [...gateways.values()].flatMap(({ value }) => [...value.members.map(({ host }) => host), ...value.witnesses]);
}

function hostsOf({ trust }: ControllerComponents, wanted: Iterable<string>): Map<string, Host> {
  const hosts = new Map<string, Host>();
  for (const id of wanted) {
    const host = trust.host(id);
    if (host !== undefined) hosts.set(id, host);
  }
  return hosts;
}

/** Networks by shard, from the claims; of gateways that change, the networks themselves. */
async function shardsOf(
  { records, author }: GatewayReads,
  scope: GatewayScope,
  gateways: ReadonlyMap<string, Stored<Gateway>>,
  assignments: ReadonlyMap<string, Stored<Assignment>>,
): Promise<{ loads: Map<number, number>; users: Map<string, Stored<VirtualNetwork>[]> }> {
  const loads = new Map<number, number>();
  const users = new Map<string, Stored<VirtualNetwork>[]>();
  if (!scope.connects && scope.changed.size === 0) return { loads, users };
  const gatewayOf = new Map<number, string>();
  for (const name of scope.changed) {
    const id = gateways.get(name)?.value.id;
    for (const shard of (id === undefined ? undefined : assignments.get(id))?.value.shards ?? []) gatewayOf.set(shard.id, id!);
  }
  const claims = await records.all(records.config, configPrefix.allShardClaims);
  await mapLimit(claims, PARALLEL, async (entry) => {
    const parsed = parseKey('config', entry.key);
    if (parsed?.kind !== 'claim' || entry.record?.kind !== 'claim') return;
    const shard = Number(parsed.tokens[0]);
    loads.set(shard, (loads.get(shard) ?? 0) + 1);
    const id = gatewayOf.get(shard);
    if (id === undefined) return;
    const found = await records.get(records.config, entry.record.value.ownerKey);
    const network = found && plannedFrom(author, found);
    if (found === undefined || network?.kind !== 'network' || network.value.gateway?.shard !== shard) return;
    users.set(id, [...(users.get(id) ?? []), { value: network.value, revision: found.revision }]);
  });
  return { loads, users };
}

/** Claims of external addresses, prefixes and segments of the gateways. */
async function claimsOf(
  reads: GatewayReads,
  scope: GatewayScope,
  gateways: readonly Gateway[],
): Promise<{ held: Map<string, string>; claimed: Set<string> }> {
  const { records } = reads;
  const held = new Map<string, string>();
  const claimed = new Set<string>();
  if (!scope.connects && !scope.allocates) return { held, claimed };
  const segments = new Set(gateways.flatMap((gateway) => gateway.segments.map(({ id }) => id)));
  await mapLimit([...segments], 4, async (segment) => {
    const entries = [
      ...(await records.all(records.config, configPrefix.externalClaims(segment))),
      ...(await records.all(records.config, configPrefix.externalPrefixClaims(segment))),
    ];
    const forward = await records.value(configKey.forwardClaim(segment), 'claim');
    if (forward !== undefined) entries.push(forward.entry);
    await mapLimit(entries, PARALLEL, async (entry) => {
      if (entry.record?.kind !== 'claim') return;
      claimed.add(entry.key);
      // What no document holds is a leftover, or under way: taking it decides, not the plan.
      if (await reads.holds(entry.key, entry.record.value)) held.set(entry.key, entry.record.value.owner);
    });
  });
  return { held, claimed };
}
