import { WeftError } from './errors.ts';
import type { AssignedAddress, AssignedMember, AssignedShard, Assignment, Voter, Voters } from './gateway-records.ts';
import type { Host } from './records.ts';
import { planSlices } from './slices.ts';
import type { FormerAssignment } from './world.ts';

// How a gateway's work is divided: a function of the division before and of what is wanted now. It moves as little as it can, and the same
// arguments give the same division, so that two controllers agree and a dry run tells what will be.

/** A member as wanted. */
export interface WantedMember extends Voter {
  readonly providerAddress: string;
  readonly drain: boolean;
}

export interface WantedAddress {
  readonly segment: number;
  readonly address: string;
  /** 0: chosen here, once. */
  readonly shard: number;
  /** 0: a network's own. */
  readonly pool: number;
  /** False for 1:1 addresses, which have no blocks. */
  readonly sliced: boolean;
}

export interface WantedAssignment {
  readonly gatewayId: string;
  /** Where a deleted one of that id had got to. */
  readonly former?: FormerAssignment | undefined;
  readonly gateway: string;
  readonly members: readonly WantedMember[];
  readonly witnesses: readonly Voter[];
  readonly shards: readonly number[];
  readonly addresses: readonly WantedAddress[];
  /** Gives a number that nobody has: for pools of shared addresses. */
  readonly number: () => number;
}

/**
 * The next division. Members that go must be empty (`isEmptyMember`), unless by force: then the incarnation rises, which fences them, and
 * their blocks go to the others at once. One that is made anew goes on above a former one: voters refuse lists that are below what they have accepted.
 */
export function planAssignment(before: Assignment | undefined, wanted: WantedAssignment): Assignment {
  const members = numberMembers(before, wanted.members);
  const active = numbersOf(members.filter((one) => !one.drain));
  const gone = (before?.members ?? []).filter((one) => !members.some(({ member }) => member === one.member));
  const forced = before !== undefined && gone.some(({ member }) => !isEmptyMember(before, member));
  const shards = sameWork(before, wanted.shards, members) ?? planOrders(before?.shards ?? [], wanted.shards, numbersOf(members), active);
  return {
    gatewayId: wanted.gatewayId,
    gateway: wanted.gateway,
    incarnation: before === undefined ? (wanted.former?.incarnation ?? 0) + 1 : before.incarnation + (forced ? 1 : 0),
    ...planVoters(before, votersOf(before, [...wanted.members, ...wanted.witnesses]), (wanted.former?.configId ?? 0) + 1),
    members,
    shards,
    addresses: planAddresses(before?.addresses ?? [], wanted, shards, numbersOf(members), active),
  };
}

/** The same division with a network's own addresses added and removed; nothing else changes. */
export function withAddresses(before: Assignment, add: readonly WantedAddress[], remove: readonly WantedAddress[]): Assignment {
  const gone = new Set(remove.map(addressId));
  const kept = before.addresses.filter((one) => !gone.has(addressId(one)));
  const members = numbersOf(before.members);
  const active = numbersOf(before.members.filter((one) => !one.drain));
  const known = new Set(kept.map(addressId));
  const added = add.filter((one) => !known.has(addressId(one))).map((one) => addressOf(undefined, one, one.shard, 0, members, active));
  return { ...before, addresses: sorted([...kept, ...added]) };
}

/**
 * The same division with shards moved: `to` is the preferred owner of them, whoever it was, and takes them over from whoever has them. It lasts until members
 * are added, drained or undrained, or shards are added: then shards are spread evenly again.
 * @throws {WeftError} `WEFT_ERR_RULE_GATEWAY_MOVE` if there is no such shard or member, or the member is drained.
 */
export function moveShards(assignment: Assignment, shards: readonly number[], to: string): Assignment {
  const refuse = (reason: string): WeftError =>
    new WeftError('WEFT_ERR_RULE_GATEWAY_MOVE', `Cannot move shards of gateway ${assignment.gateway} to ${to}: ${reason}`, {
      gateway: assignment.gateway,
      to,
    });
  const target = assignment.members.find(({ hostId }) => hostId === to);
  if (target === undefined) throw refuse(`its members are ${assignment.members.map(({ hostId }) => hostId).join(', ')}`);
  if (target.drain) throw refuse(`it is drained: \`weft gateway undrain ${assignment.gateway} ${to}\` first`);
  if (shards.length === 0) throw refuse('name one shard or more');
  const unknown = shards.find((shard) => !assignment.shards.some(({ id }) => id === shard));
  if (unknown !== undefined)
    throw refuse(`there is no shard ${unknown}; its shards are ${assignment.shards.map(({ id }) => id).join(', ')}`);
  return {
    ...assignment,
    shards: assignment.shards.map((shard) =>
      shards.includes(shard.id)
        ? {
            ...shard,
            order: [target.member, ...shard.order.filter((member) => member !== target.member)],
            placement: shard.placement + 1,
          }
        : shard,
    ),
  };
}

/** True if nothing is the member's any more: no first place, no blocks. */
export function isEmptyMember(assignment: Assignment, member: number): boolean {
  const alone = assignment.members.every((one) => one.member === member || one.drain);
  const preferred = assignment.shards.some((shard) => shard.order[0] === member);
  if (preferred && !alone) return false;
  return !assignment.addresses.some((address) => address.slices.some((slice) => slice.member === member));
}

/** The change of voters is done: majorities of both lists have accepted `configId`. Undefined: that is not the change under way. */
export function settleVoters(assignment: Assignment, configId: number): Assignment | undefined {
  if (assignment.previousVoters === undefined || assignment.voters.configId !== configId) return undefined;
  return { ...assignment, previousVoters: undefined };
}

/**
 * The same division with what hosts say of themselves now: addresses, keys, memories of promises. The division given, if nothing differs.
 * @param hosts By id; one that is not there stays as it was.
 */
export function refreshAssignment(assignment: Assignment, hosts: ReadonlyMap<string, Host>): Assignment {
  const voters = assignment.voters.voters.map((voter) => {
    const host = hosts.get(voter.hostId);
    return host === undefined ? voter : voterOf(host, assignment.gatewayId);
  });
  const members = assignment.members.map((member) => {
    const providerAddress = hosts.get(member.hostId)?.providerAddress ?? member.providerAddress;
    return providerAddress === member.providerAddress ? member : { ...member, providerAddress };
  });
  const next = planVoters(assignment, voters);
  if (next.voters === assignment.voters && members.every((member, i) => member === assignment.members[i])) return assignment;
  return { ...assignment, ...next, members };
}

/** A host as voter of a gateway group. */
export function voterOf(host: Host, gatewayId: string): Voter {
  const memory = host.memories.find((one) => one.gatewayId === gatewayId);
  return { hostId: host.id, publicKey: host.publicKey, instance: memory?.instance ?? 0 };
}

/** After all memory was lost: the incarnation rises above every epoch there was, and a change of voters under way is over. */
export function recoverAssignment(assignment: Assignment): Assignment {
  return { ...assignment, incarnation: assignment.incarnation + 1, previousVoters: undefined };
}

/**
 * The shard for one more network: of the owner that serves the fewest, the one that serves the fewest.
 * @param loads Networks by shard. @param candidates Shards to choose from.
 */
export function chooseShard(
  assignment: Pick<Assignment, 'shards'>,
  loads: ReadonlyMap<number, number>,
  candidates: ReadonlySet<number>,
): number | undefined {
  const ofOwner = new Map<number, number>();
  for (const { id, order } of assignment.shards) ofOwner.set(order[0] ?? 0, (ofOwner.get(order[0] ?? 0) ?? 0) + (loads.get(id) ?? 0));
  const weigh = ({ id, order }: AssignedShard): readonly number[] => [ofOwner.get(order[0] ?? 0)!, loads.get(id) ?? 0, id];
  return least(
    assignment.shards.filter(({ id }) => candidates.has(id)),
    weigh,
  )?.id;
}

/** Shards that have a shared address of the pool, of each of the families. */
export function shardsWithPool(assignment: Assignment, pool: number, families: readonly (4 | 6)[]): Set<number> {
  const has = (shard: number, family: 4 | 6): boolean =>
    assignment.addresses.some((one) => one.pool === pool && one.shard === shard && one.address.includes(':') === (family === 6));
  const shards = assignment.shards.filter(({ id }) => families.every((family) => has(id, family)));
  return new Set(shards.map(({ id }) => id));
}

export function addressId({ segment, address }: { readonly segment: number; readonly address: string }): string {
  return `${segment}/${address}`;
}

function numberMembers(before: Assignment | undefined, wanted: readonly WantedMember[]): AssignedMember[] {
  const known = new Map((before?.members ?? []).map((one) => [one.hostId, one.member]));
  const used = new Set(known.values());
  for (const { slices } of before?.addresses ?? []) for (const slice of slices) used.add(slice.member).add(slice.movingTo);
  let next = 1;
  const fresh = (): number => {
    while (used.has(next)) next++;
    used.add(next);
    return next;
  };
  return wanted
    .map(({ hostId, providerAddress, drain }) => ({ member: known.get(hostId) ?? fresh(), hostId, providerAddress, drain }))
    .sort((a, b) => a.member - b.member);
}

function numbersOf(members: readonly AssignedMember[]): number[] {
  return members.map(({ member }) => member);
}

/**
 * A new list takes effect only when majorities of the old and the new accept it. While one change is under way the old list stays the one
 * before it: grants of any list in between needed its majority, too.
 */
function planVoters(before: Assignment | undefined, wanted: readonly Voter[], first = 1): Pick<Assignment, 'voters' | 'previousVoters'> {
  const voters = wanted
    .map(({ hostId, publicKey, instance }) => ({ hostId, publicKey, instance }))
    .sort((a, b) => (a.hostId < b.hostId ? -1 : 1));
  if (before === undefined) return { voters: { configId: first, voters }, previousVoters: undefined };
  if (sameVoters(before.voters.voters, voters)) return { voters: before.voters, previousVoters: before.previousVoters };
  const next: Voters = { configId: before.voters.configId + 1, voters };
  const previous = before.previousVoters ?? before.voters;
  // Of a list whose memories are mostly unknown no majority can ever have granted anything: there is nothing to wait for.
  return { voters: next, previousVoters: canGrant(previous) ? previous : undefined };
}

function canGrant({ voters }: Voters): boolean {
  return voters.filter(({ instance }) => instance !== 0).length * 2 > voters.length;
}

/** All of them; but of two only one, the one that votes alone already if there is such: a pair that votes by two stops when either stops. */
function votersOf(before: Assignment | undefined, all: readonly Voter[]): readonly Voter[] {
  if (all.length !== 2) return all;
  const alone = before?.voters.voters.length === 1 ? before.voters.voters[0]!.hostId : undefined;
  const [first, second] = all as readonly [Voter, Voter];
  return [all.find(({ hostId }) => hostId === alone) ?? (first.hostId < second.hostId ? first : second)];
}

function sameVoters(a: readonly Voter[], b: readonly Voter[]): boolean {
  const same = (x: Voter, y: Voter): boolean => x.hostId === y.hostId && x.publicKey === y.publicKey && x.instance === y.instance;
  return a.length === b.length && a.every((voter, i) => same(voter, b[i]!));
}

/** The orders as they are, if there is nothing to divide anew: the same members work on the same shards. */
function sameWork(
  before: Assignment | undefined,
  shards: readonly number[],
  members: readonly AssignedMember[],
): readonly AssignedShard[] | undefined {
  const text = (ids: readonly number[], all: readonly AssignedMember[]): string =>
    JSON.stringify([[...ids].sort((a, b) => a - b), all.map(({ member, drain }) => [member, drain])]);
  if (before === undefined) return undefined;
  const known = before.shards.map(({ id }) => id);
  return text(known, before.members) === text(shards, members) ? before.shards : undefined;
}

/** Orders: first places within 1 of each other and with the fewest moves; second places alike as far as the first allow. */
function planOrders(
  before: readonly AssignedShard[],
  ids: readonly number[],
  members: readonly number[],
  active: readonly number[],
): AssignedShard[] {
  const wanted = [...ids].sort((a, b) => a - b);
  const known = new Map(before.map((shard) => [shard.id, shard.order]));
  const placements = new Map(before.map((shard) => [shard.id, shard.placement]));
  const owners = active.length > 0 ? active : members;
  const first = new Map<number, number>();
  for (const id of wanted) {
    const owner = known.get(id)?.[0];
    if (owner !== undefined && owners.includes(owner)) first.set(id, owner);
  }
  const quota = quotas(wanted.length, owners, countOf(first.values()));
  const count = countOf(first.values());
  // Surplus gives up its newest shards.
  for (const id of wanted.toReversed()) {
    const owner = first.get(id);
    if (owner === undefined || count.get(owner)! <= quota.get(owner)!) continue;
    first.delete(id);
    count.set(owner, count.get(owner)! - 1);
  }
  for (const id of wanted) {
    if (first.has(id)) continue;
    const open = owners.filter((owner) => (count.get(owner) ?? 0) < quota.get(owner)!);
    const owner = least(open, (one) => [count.get(one) ?? 0, one])!;
    first.set(id, owner);
    count.set(owner, (count.get(owner) ?? 0) + 1);
  }
  const standby = planStandbys(wanted, known, first, owners);
  return wanted.map((id) => {
    const head = [first.get(id)!, standby.get(id)].filter((one): one is number => one !== undefined);
    const rest = (known.get(id) ?? []).filter((one) => members.includes(one));
    const all = [...new Set([...head, ...rest, ...members])];
    const drained = (one: number): boolean => !owners.includes(one);
    const order = [...all.filter((one) => !drained(one)), ...all.filter(drained)];
    const isNew = known.get(id)?.[0] !== order[0];
    return { id, order, placement: (placements.get(id) ?? 0) + (isNew ? 1 : 0) };
  });
}

function planStandbys(
  ids: readonly number[],
  known: ReadonlyMap<number, readonly number[]>,
  first: ReadonlyMap<number, number>,
  owners: readonly number[],
): Map<number, number> {
  const standby = new Map<number, number>();
  if (owners.length < 2) return standby;
  const limit = Math.ceil(ids.length / owners.length);
  const count = new Map<number, number>();
  const pairs = new Map<string, number>();
  const take = (id: number, one: number): void => {
    const pair = `${first.get(id)}/${one}`;
    pairs.set(pair, (pairs.get(pair) ?? 0) + 1);
    standby.set(id, one);
    count.set(one, (count.get(one) ?? 0) + 1);
  };
  for (const id of ids) {
    const [owner, second] = known.get(id) ?? [];
    // Who has lost the first place knows the shard's state best.
    for (const one of [owner, second]) {
      if (one === undefined || standby.has(id) || one === first.get(id) || !owners.includes(one) || (count.get(one) ?? 0) >= limit)
        continue;
      take(id, one);
    }
  }
  for (const id of ids) {
    if (standby.has(id)) continue;
    const own = first.get(id)!;
    // One member's shards fall to all the others, rather than to one.
    const ring = (one: number): number => (owners.indexOf(one) - owners.indexOf(own) + owners.length) % owners.length;
    const one = least(
      owners.filter((other) => other !== own),
      (other) => [count.get(other) ?? 0, pairs.get(`${own}/${other}`) ?? 0, ring(other)],
    );
    if (one !== undefined) take(id, one);
  }
  return standby;
}

/** How many each may have: equal within 1, the larger shares to those that have most. */
export function quotas(total: number, among: readonly number[], has: ReadonlyMap<number, number>): Map<number, number> {
  const base = Math.floor(total / among.length);
  const larger = total % among.length;
  const order = [...among].sort((a, b) => (has.get(b) ?? 0) - (has.get(a) ?? 0) || a - b);
  return new Map(order.map((one, i) => [one, base + (i < larger ? 1 : 0)]));
}

function countOf(values: Iterable<number>): Map<number, number> {
  const count = new Map<number, number>();
  for (const value of values) count.set(value, (count.get(value) ?? 0) + 1);
  return count;
}

function planAddresses(
  before: readonly AssignedAddress[],
  { addresses: wanted, number }: WantedAssignment,
  shards: readonly AssignedShard[],
  members: readonly number[],
  active: readonly number[],
): AssignedAddress[] {
  const known = new Map(before.map((one) => [addressId(one), one]));
  const there = new Set(shards.map(({ id }) => id));
  const shardOf = (one: WantedAddress): number => {
    if (one.shard !== 0) return one.shard;
    const at = known.get(addressId(one));
    return at !== undefined && there.has(at.shard) ? at.shard : 0;
  };
  // An address for as many members, then shards, as there are.
  const onShard = new Map<string, number>();
  const onOwner = new Map<string, number>();
  const owner = new Map(shards.map(({ id, order }) => [id, order[0] ?? 0]));
  const count = (map: Map<string, number>, key: string): number => map.get(key) ?? 0;
  const note = (kind: string, shard: number): void => {
    onShard.set(`${kind}/${shard}`, count(onShard, `${kind}/${shard}`) + 1);
    onOwner.set(`${kind}/${owner.get(shard)}`, count(onOwner, `${kind}/${owner.get(shard)}`) + 1);
  };
  const kindOf = ({ pool, address }: Pick<WantedAddress, 'pool' | 'address'>): string => `${pool}/${address.includes(':') ? 6 : 4}`;
  for (const one of wanted) if (shardOf(one) !== 0) note(kindOf(one), shardOf(one));
  const natPools = new Map(before.map((one) => [`${kindOf(one)}/${one.shard}`, one.natPool]));
  const natPoolOf = (one: WantedAddress, shard: number): number => {
    if (one.pool === 0) return 0;
    const key = `${kindOf(one)}/${shard}`;
    if (!natPools.has(key)) natPools.set(key, number());
    return natPools.get(key)!;
  };
  return sorted(
    wanted.map((one) => {
      let shard = shardOf(one);
      if (shard === 0) {
        const weigh = ({ id }: AssignedShard): readonly number[] => [
          count(onOwner, `${kindOf(one)}/${owner.get(id)}`),
          count(onShard, `${kindOf(one)}/${id}`),
          id,
        ];
        shard = least(shards, weigh)?.id ?? 0;
        note(kindOf(one), shard);
      }
      return addressOf(known.get(addressId(one)), one, shard, natPoolOf(one, shard), members, active);
    }),
  );
}

function addressOf(
  before: AssignedAddress | undefined,
  { segment, address, pool, sliced }: WantedAddress,
  shard: number,
  natPool: number,
  members: readonly number[],
  active: readonly number[],
): AssignedAddress {
  return { segment, address, shard, pool, natPool, slices: sliced ? planSlices(before?.slices ?? [], members, active) : [] };
}

function sorted(addresses: readonly AssignedAddress[]): AssignedAddress[] {
  return [...addresses].sort((a, b) => a.segment - b.segment || (a.address < b.address ? -1 : a.address > b.address ? 1 : 0));
}

/** The item of least weight; weights are compared number by number. */
function least<T>(items: readonly T[], weigh: (item: T) => readonly number[]): T | undefined {
  let best: { readonly item: T; readonly weight: readonly number[] } | undefined;
  for (const item of items) {
    const weight = weigh(item);
    if (best === undefined || isLess(weight, best.weight)) best = { item, weight };
  }
  return best?.item;
}

function isLess(a: readonly number[], b: readonly number[]): boolean {
  const at = a.findIndex((value, i) => value !== b[i]);
  return at >= 0 && a[at]! < b[at]!;
}
