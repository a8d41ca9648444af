import { isHandedOut, sharedAddresses } from './address-ranges.ts';
import { isEmptyMember, planAssignment, shardsWithPool, voterOf, type WantedAddress, withAddresses } from './assignment.ts';
import type { GatewaySpec } from './commands.ts';
import type { Assignment, Gateway, GatewayPool, GatewaySegment } from './gateway-records.ts';
import { isHostId } from './keys.ts';
import type { ResourceProblems } from './problems.ts';
import type { Host, VirtualNetwork } from './records.ts';
import { checkName } from './rules.ts';
import {
  checkMembers,
  checkPools,
  checkSegments,
  isFamily4,
  isOpenTo,
  isOpenToOthers,
  MAX_ASSIGNED_ADDRESSES,
  MAX_SHARDS,
  mappedFamilies,
} from './rules-gateway.ts';
import type { GatewayWorld, IdMaker, PlannedWrite, Stored } from './world.ts';

const SHARDS_A_MEMBER = 4;
const MAX_NAMED = 5;

/** A gateway while it is being put together: as it will be, for the networks that use it in the same request. */
export interface GatewayDraft {
  readonly before: Stored<Gateway> | undefined;
  readonly assigned: Stored<Assignment> | undefined;
  gateway: Gateway;
  assignment: Assignment;
}

/** The gateways of one request, and the numbers it takes. */
export class GatewayDrafts {
  readonly #world: GatewayWorld;
  readonly #ids: Pick<IdMaker, 'gateway'>;
  readonly #drafts = new Map<string, GatewayDraft>();
  #nextNumber: number;

  constructor(world: GatewayWorld, ids: Pick<IdMaker, 'gateway'>) {
    this.#world = world;
    this.#ids = ids;
    this.#nextNumber = world.nextNumber;
  }

  /** A number that nobody has. */
  number(): number {
    return this.#nextNumber++;
  }

  /** The gateway of that name, as it will be. */
  get(name: string): GatewayDraft | undefined {
    const known = this.#drafts.get(name);
    if (known !== undefined) return known;
    const before = this.#world.gateways.get(name);
    const assigned = before && this.#world.assignments.get(before.value.id);
    if (before === undefined || assigned === undefined) return undefined;
    const draft: GatewayDraft = { before, assigned, gateway: before.value, assignment: assigned.value };
    this.#drafts.set(name, draft);
    return draft;
  }

  /** Adds and removes a network's own addresses. */
  change(draft: GatewayDraft, add: readonly WantedAddress[], remove: readonly WantedAddress[]): void {
    draft.assignment = withAddresses(draft.assignment, add, remove);
  }

  /** Plans a Gateway resource. Undefined when it breaks a rule: then nothing is built upon it. */
  plan(spec: GatewaySpec, force: boolean, problems: ResourceProblems): GatewayDraft | undefined {
    const before = this.#world.gateways.get(spec.name);
    const assigned = before && this.#world.assignments.get(before.value.id);
    const found = problems.count;
    checkName(problems, 'metadata.name', spec.name);
    const shards = this.#shards(spec, before?.value, problems);
    const segments = checkSegments(problems, spec);
    const members = segments && checkMembers(problems, spec, before?.value.members ?? []);
    const pools = segments && checkPools(problems, { ...spec, segments }, shards, before?.value.pools ?? []);
    const hosts = this.#hosts(spec, problems);
    if (segments === undefined || members === undefined || pools === undefined || hosts === undefined || problems.count > found)
      return undefined;
    const numbered = this.#numbered(segments, pools, before?.value);
    const gateway: Gateway = {
      id: before?.value.id ?? this.#ids.gateway(spec.name),
      name: spec.name,
      members: members.map((member) => ({ ...member, interfaces: inOrder(member.interfaces, numbered.segments) })),
      witnesses: [...spec.witnesses],
      ...numbered,
      shards,
    };
    const own = (assigned?.value.addresses ?? []).filter((one) => one.pool === 0);
    const assignment = planAssignment(assigned?.value, {
      gatewayId: gateway.id,
      former: this.#world.former.get(gateway.id),
      gateway: gateway.name,
      members: members.map((member) => ({
        ...voterOf(hosts.get(member.host)!, gateway.id),
        providerAddress: paOf(hosts, member.host),
        drain: member.drain,
      })),
      witnesses: spec.witnesses.map((host) => voterOf(hosts.get(host)!, gateway.id)),
      shards: this.#shardIds(shards, assigned?.value),
      addresses: [
        ...gateway.pools.flatMap((pool) => sharedOf(pool, gateway.segments)),
        ...own.map((one) => ({ ...one, sliced: one.slices.length > 0 })),
      ],
      number: () => this.number(),
    });
    if (assignment.addresses.length > MAX_ASSIGNED_ADDRESSES) {
      const rule = `must leave at most ${MAX_ASSIGNED_ADDRESSES} external addresses in use, shared ones and networks' own`;
      problems.add('WEFT_ERR_RULE_LIMIT', 'spec.pools', assignment.addresses.length, rule, 'lower shared, or use another gateway');
    }
    const draft: GatewayDraft = { before, assigned, gateway, assignment };
    if (before !== undefined && assigned !== undefined) {
      if (!force) this.#checkMembersGone(assigned.value, spec, problems);
      this.#checkUses(before.value, draft, problems);
    }
    this.#drafts.set(spec.name, draft);
    return problems.count === found ? draft : undefined;
  }

  /** What must be written. */
  writes(): { gateways: PlannedWrite<Gateway>[]; assignments: PlannedWrite<Assignment>[] } {
    const gateways: PlannedWrite<Gateway>[] = [];
    const assignments: PlannedWrite<Assignment>[] = [];
    for (const { before, assigned, gateway, assignment } of this.#drafts.values()) {
      if (!same(before?.value, gateway)) gateways.push({ before, after: gateway });
      if (!same(assigned?.value, assignment)) assignments.push({ before: assigned, after: assignment });
    }
    return { gateways, assignments };
  }

  #shards(spec: GatewaySpec, before: Gateway | undefined, problems: ResourceProblems): number {
    const shards = spec.shards === 0 ? (before?.shards ?? Math.min(MAX_SHARDS, SHARDS_A_MEMBER * spec.members.length)) : spec.shards;
    if (shards > MAX_SHARDS) problems.add('WEFT_ERR_RULE_SHARDS', 'spec.shards', shards, `must be 1 to ${MAX_SHARDS}`, 'leave it out');
    return Math.min(shards, MAX_SHARDS);
  }

  /** Shards that stay are the oldest. */
  #shardIds(count: number, before: Assignment | undefined): number[] {
    const ids = (before?.shards ?? [])
      .map(({ id }) => id)
      .sort((a, b) => a - b)
      .slice(0, count);
    while (ids.length < count) ids.push(this.number());
    return ids;
  }

  #hosts(spec: GatewaySpec, problems: ResourceProblems): ReadonlyMap<string, Host> | undefined {
    const hosts = new Map<string, Host>();
    const named = [
      ...spec.members.map(({ host }, i) => ({ host, path: `spec.members[${i}].host` })),
      ...spec.witnesses.map((host, i) => ({ host, path: `spec.witnesses[${i}]` })),
    ];
    let good = true;
    for (const { host, path } of named) {
      const record = isHostId(host) ? this.#world.hosts.get(host) : undefined;
      if (record === undefined) {
        problems.add('WEFT_ERR_RULE_HOST_UNKNOWN', path, host, 'must be a host that has registered itself', 'see `weft get hosts`');
        good = false;
      } else if (hosts.has(host)) {
        problems.add('WEFT_ERR_RULE_HOST_UNKNOWN', path, host, 'must be named once, as member or as witness', 'remove one');
        good = false;
      } else hosts.set(host, record);
    }
    return good ? hosts : undefined;
  }

  /** Segments and pools keep their numbers by name. */
  #numbered(
    segments: readonly GatewaySegment[],
    pools: readonly GatewayPool[],
    before: Gateway | undefined,
  ): { segments: GatewaySegment[]; pools: GatewayPool[] } {
    const numbered = segments.map((segment) => ({
      ...segment,
      id: before?.segments.find(({ name }) => name === segment.name)?.id ?? this.number(),
    }));
    return {
      segments: numbered,
      pools: pools.map((pool) => ({
        ...pool,
        id: before?.pools.find(({ name }) => name === pool.name)?.id ?? this.number(),
        segmentId: numbered.find(({ name }) => name === pool.segment)!.id,
      })),
    };
  }

  #checkMembersGone(before: Assignment, spec: GatewaySpec, problems: ResourceProblems): void {
    for (const { hostId, member, drain } of before.members) {
      if (spec.members.some(({ host }) => host === hostId) || (drain && isEmptyMember(before, member))) continue;
      problems.add(
        'WEFT_ERR_RULE_MEMBER_NOT_DRAINED',
        'spec.members',
        hostId,
        `must still name ${hostId}, which ${drain ? 'still has blocks of ports' : 'was not drained'}`,
        `run \`weft gateway drain ${spec.name} ${hostId}\` first, or apply with --force when the host is gone for good`,
      );
    }
  }

  /** What networks use of the gateway as it is must be there, and be theirs, after. */
  #checkUses(before: Gateway, { gateway, assignment }: GatewayDraft, problems: ResourceProblems): void {
    const networks = (this.#world.networks.get(before.id) ?? []).map(({ value }) => value);
    const shards = new Set(assignment.shards.map(({ id }) => id));
    const users = networks.filter((network) => network.gateway !== undefined && !shards.has(network.gateway.shard));
    if (users.length > 0) inUse(problems, 'spec.shards', gateway.shards, 'keep the shards of', users.map(pathOf));
    for (const pool of before.pools) checkPoolUses(pool, gateway, assignment, networks, problems);
    for (const segment of before.segments) {
      const after = gateway.segments.find(({ id }) => id === segment.id);
      const used = networks.filter(
        (network) =>
          network.gateway?.connections.some((one) => one.mode === 'forward' && one.segmentId === segment.id) &&
          !(after !== undefined && isOpenTo(after.access, network.tenant)),
      );
      if (used.length > 0) inUse(problems, 'spec.segments', segment.name, `leave segment ${segment.name} to`, used.map(pathOf));
      this.#checkForwarded(segment, gateway, networks, problems);
    }
  }

  /** Who is forwarded to a segment says what addresses there are on it: no pool of others may be there. */
  #checkForwarded(segment: GatewaySegment, { pools }: Gateway, networks: readonly VirtualNetwork[], problems: ResourceProblems): void {
    for (const network of networks) {
      const isForwarded = network.gateway?.connections.some((one) => one.mode === 'forward' && one.segmentId === segment.id) === true;
      const pool = pools.find((one) => one.segmentId === segment.id && isOpenToOthers(one.access, network.tenant));
      if (!isForwarded || pool === undefined) continue;
      inUse(
        problems,
        'spec.pools',
        pool.name,
        `be closed to others than the tenant whose network is forwarded to segment ${segment.name}:`,
        [pathOf(network)],
      );
    }
  }
}

/** Whether the pool is there is said as little as whom else it is open to. */
export function poolFor(
  { gateway }: GatewayDraft,
  name: string,
  tenant: string,
  path: string,
  problems: ResourceProblems,
): GatewayPool | undefined {
  const pool = gateway.pools.find((one) => one.name === name);
  if (pool !== undefined && isOpenTo(pool.access, tenant)) return pool;
  problems.add(
    'WEFT_ERR_RULE_POOL',
    path,
    name,
    `must be a pool of gateway ${gateway.name} that is open to tenant ${tenant}`,
    'ask an admin',
  );
  return undefined;
}

function checkPoolUses(
  pool: GatewayPool,
  gateway: Gateway,
  assignment: Assignment,
  networks: readonly VirtualNetwork[],
  problems: ResourceProblems,
): void {
  const after = gateway.pools.find(({ id }) => id === pool.id);
  const segment = gateway.segments.find(({ id }) => id === after?.segmentId);
  const users: string[] = [];
  for (const network of networks) {
    const of = network.gateway!;
    const open = after !== undefined && after.segmentId === pool.segmentId && isOpenTo(after.access, network.tenant);
    const serves = (families: readonly (4 | 6)[]): boolean =>
      open && (pool.shared === 0 || shardsWithPool(assignment, pool.id, families).has(of.shard));
    for (const one of of.connections) {
      if (one.poolId !== pool.id) continue;
      if (!serves(mappedFamilies(pool, one.ipv6)) || (one.ipv6Prefix !== '' && !after?.prefixes.includes(one.ipv6Prefix)))
        users.push(`GatewayConnection ${pathOf(network)}/${one.name}`);
    }
    for (const one of of.externalAddresses) {
      if (one.poolId !== pool.id || (open && isHandedOut(after, segment, one.address))) continue;
      users.push(`ExternalAddress ${pathOf(network)}/${one.name} (${one.address})`);
    }
    for (const one of of.natRules)
      if (one.poolId === pool.id && !serves([isFamily4(one.source) ? 4 : 6])) users.push(`NatRule ${pathOf(network)}/${one.name}`);
  }
  if (users.length > 0) inUse(problems, 'spec.pools', pool.name, `leave of pool ${pool.name} what is used by`, users);
}

function inUse(problems: ResourceProblems, path: string, value: unknown, what: string, users: readonly string[]): void {
  const named = users.slice(0, MAX_NAMED).join(', ') + (users.length > MAX_NAMED ? ` and ${users.length - MAX_NAMED} more` : '');
  problems.add('WEFT_ERR_RULE_IN_USE', path, value, `must ${what} ${named}`, 'delete those first');
}

function pathOf(network: VirtualNetwork): string {
  return `${network.tenant}/${network.name}`;
}

function sharedOf(pool: GatewayPool, segments: readonly GatewaySegment[]): WantedAddress[] {
  const segment = segments.find(({ id }) => id === pool.segmentId);
  return sharedAddresses(pool, segment).map((address) => ({ segment: pool.segmentId, address, shard: 0, pool: pool.id, sliced: true }));
}

function paOf(hosts: ReadonlyMap<string, Host>, id: string): string {
  return hosts.get(id)!.providerAddress;
}

function inOrder<T extends { readonly segment: string }>(interfaces: readonly T[], segments: readonly GatewaySegment[]): T[] {
  return segments.map(({ name }) => interfaces.find((one) => one.segment === name)!);
}

/** Equal as documents: whatever the order of their keys. */
function same(a: unknown, b: unknown): boolean {
  return JSON.stringify(canonical(a)) === JSON.stringify(canonical(b));
}

function canonical(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(canonical);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).filter(([, part]) => part !== undefined);
  return Object.fromEntries(entries.map(([name, part]) => [name, canonical(part)] as const).sort(([a], [b]) => (a < b ? -1 : 1)));
}
