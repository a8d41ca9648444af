import { isIpv4Mapped, parseIp, parsePrefix, prefixContains, prefixesOverlap } from '@weft/packet';
import { type AddressRange, countAddresses, parseRange, rangesOverlap } from './address-ranges.ts';
import type { GatewaySpec, PoolSpec } from './commands.ts';
import type { GatewayMember, GatewayPool, GatewaySegment, Ipv6Mode, TenantAccess } from './gateway-records.ts';
import type { ResourceProblems } from './problems.ts';
import { checkAddress, checkName, checkPrefixText, isName } from './rules.ts';

// The rules for a Gateway's own values, without looking at who uses it.

export const MAX_SHARDS = 256;
export const MAX_MEMBERS = 16;
const MAX_SEGMENTS = 256;
const MAX_POOLS = 64;
/** Addresses that one shard may map to from one pool: what a member's tables hold. */
const MAX_SHARED_A_SHARD = 64;
/** IPv4 addresses of all pools; with their slices they are the bulk of the assignment. */
const MAX_POOL_ADDRESSES = 1_024;
/** External addresses of an assignment, shared and own: with their slices it has to fit in a message twice. */
export const MAX_ASSIGNED_ADDRESSES = 1_024;
const MAX_SHARED = 256;
const DEFAULT_MTU = 1_500;
const MIN_MTU = 1_280;
const INTERFACE = /^[^\s/]{1,15}$/;

/** @returns The segments with ids of 0, defaults filled in; undefined if any is bad. */
export function checkSegments(problems: ResourceProblems, spec: GatewaySpec): GatewaySegment[] | undefined {
  const before = problems.count;
  const path = 'spec.segments';
  if (spec.segments.length === 0 || spec.segments.length > MAX_SEGMENTS)
    problems.add('WEFT_ERR_RULE_SEGMENT', path, spec.segments.length, `must be 1 to ${MAX_SEGMENTS} segments`, 'add one');
  const seen = new Set<string>();
  const segments = spec.segments.map((segment, i): GatewaySegment => {
    const at = `${path}[${i}]`;
    checkOnce(problems, `${at}.name`, segment.name, seen);
    const mtu = segment.mtu === 0 ? DEFAULT_MTU : segment.mtu;
    if (mtu < MIN_MTU || mtu > 65_535)
      problems.add('WEFT_ERR_RULE_SEGMENT', `${at}.mtu`, mtu, `must be from ${MIN_MTU} to 65535`, 'leave it out for 1500');
    for (const [j, text] of segment.onLink.entries()) checkPrefixText(problems, `${at}.onLink[${j}]`, text, 'WEFT_ERR_RULE_PREFIX');
    for (const [j, text] of segment.nextHops.entries()) {
      const address = checkAddress(problems, `${at}.nextHops[${j}]`, text);
      if (address === undefined) continue;
      const family = isIpv4Mapped(address);
      if (segment.nextHops.findIndex((other) => isFamily4(other) === family) !== j)
        problems.add('WEFT_ERR_RULE_SEGMENT', `${at}.nextHops[${j}]`, text, 'must be at most one IPv4 and one IPv6 address', 'remove one');
      if (!segment.onLink.some((prefix) => lies(prefix, text)))
        problems.add(
          'WEFT_ERR_RULE_SEGMENT',
          `${at}.nextHops[${j}]`,
          text,
          'must lie in a prefix of onLink',
          'add the prefix that the segment has',
        );
    }
    checkAccess(problems, `${at}.tenants`, segment.access);
    return { ...segment, id: 0, mtu };
  });
  return problems.count === before ? segments : undefined;
}

/**
 * @param standing The members as they are: whether one is drained stays when that is left out.
 * @returns The members with their interfaces named by segment.
 */
export function checkMembers(
  problems: ResourceProblems,
  spec: GatewaySpec,
  standing: readonly GatewayMember[],
): GatewayMember[] | undefined {
  const before = problems.count;
  if (spec.members.length === 0 || spec.members.length > MAX_MEMBERS)
    problems.add('WEFT_ERR_RULE_MEMBER', 'spec.members', spec.members.length, `must be 1 to ${MAX_MEMBERS} members`, 'add one');
  const names = spec.segments.map(({ name }) => name);
  const members = spec.members.map((member, i): GatewayMember => {
    const at = `spec.members[${i}]`;
    const interfaces = member.interfaces.map((one) => {
      if (one.segment !== '') return one;
      if (names.length > 1)
        problems.add(
          'WEFT_ERR_RULE_MEMBER',
          `${at}.externalInterface`,
          one.interface,
          'must be named by segment, since there are several',
          `write interfaces: {${names.map((name) => `${name}: …`).join(', ')}}`,
        );
      return { ...one, segment: names[0] ?? '' };
    });
    for (const [j, one] of interfaces.entries()) {
      const where = `${at}.interfaces.${one.segment}`;
      if (!names.includes(one.segment))
        problems.add('WEFT_ERR_RULE_MEMBER', where, one.segment, `must be a segment of the gateway (${names.join(', ')})`, 'correct it');
      if (!INTERFACE.test(one.interface))
        problems.add('WEFT_ERR_RULE_MEMBER', where, one.interface, 'must be the name of a network interface', 'see `ip link`');
      if (interfaces.findIndex((other) => other.interface === one.interface) !== j)
        problems.add('WEFT_ERR_RULE_MEMBER', where, one.interface, 'must serve one segment', 'give each segment an interface of its own');
    }
    const missing = names.filter((name) => !interfaces.some((one) => one.segment === name));
    if (missing.length > 0)
      problems.add('WEFT_ERR_RULE_MEMBER', `${at}.interfaces`, member.host, `must have an interface for ${missing.join(', ')}`, 'add it');
    const known = standing.find(({ host }) => host === member.host);
    return { host: member.host, interfaces, drain: member.drain ?? known?.drain ?? false };
  });
  return problems.count === before ? members : undefined;
}

/**
 * @param shards How many the gateway will have: the default of `shared` is at most that.
 * @param standing The pools as they are: their `shared` stays when it is left out.
 * @returns The pools with ids of 0, defaults filled in.
 */
export function checkPools(
  problems: ResourceProblems,
  spec: GatewaySpec,
  shards: number,
  standing: readonly GatewayPool[],
): GatewayPool[] | undefined {
  const before = problems.count;
  if (spec.pools.length > MAX_POOLS)
    problems.add('WEFT_ERR_RULE_LIMIT', 'spec.pools', spec.pools.length, `must be at most ${MAX_POOLS} pools`, 'join some');
  const seen = new Set<string>();
  const taken: { readonly segment: string; readonly range: AddressRange; readonly text: string; readonly pool: string }[] = [];
  let addresses = 0;
  const pools = spec.pools.map((pool, i): GatewayPool => {
    const at = `spec.pools[${i}]`;
    checkOnce(problems, `${at}.name`, pool.name, seen);
    const segment = spec.segments.find(({ name }) => name === (pool.segment === '' ? spec.segments[0]?.name : pool.segment));
    if (segment === undefined || (pool.segment === '' && spec.segments.length !== 1))
      problems.add('WEFT_ERR_RULE_POOL', `${at}.segment`, pool.segment, 'must be a segment of the gateway', 'name one');
    const take = (text: string, path: string, range: AddressRange): void => {
      const other = taken.find((one) => one.segment === segment?.name && rangesOverlap(one.range, range));
      if (other !== undefined)
        problems.add('WEFT_ERR_RULE_POOL', path, text, `must not overlap ${other.text} of pool ${other.pool}`, 'take it out of one');
      taken.push({ segment: segment?.name ?? '', range, text, pool: pool.name });
    };
    for (const [j, text] of pool.addresses.entries()) {
      const range = parseRange(text);
      const path = `${at}.addresses[${j}]`;
      if (range === undefined) {
        problems.add('WEFT_ERR_RULE_POOL', path, text, 'must be an address, a prefix, or first-last, in canonical form', 'correct it');
        continue;
      }
      const rule = unusable(range, segment);
      if (rule !== undefined) problems.add('WEFT_ERR_RULE_POOL', path, text, rule, 'take others');
      if (range.family === 4) addresses += Number(range.last - range.first) + 1;
      take(text, path, range);
    }
    for (const [j, text] of pool.prefixes.entries()) {
      const path = `${at}.prefixes[${j}]`;
      const prefix = checkPrefixText(problems, path, text, 'WEFT_ERR_RULE_PREFIX');
      if (prefix === undefined) continue;
      if (prefix.family !== 6 || prefix.length < 32 || prefix.length > 64)
        problems.add('WEFT_ERR_RULE_POOL', path, text, 'must be an IPv6 prefix of 32 to 64 bits', 'correct it');
      take(text, path, parseRange(text)!);
    }
    checkAccess(problems, `${at}.tenants`, pool.access);
    const sound = problems.count === before;
    const shared = sound ? sharedOf(problems, at, pool, segment, shards, standing) : 0;
    return {
      name: pool.name,
      id: 0,
      segment: segment?.name ?? '',
      segmentId: 0,
      addresses: [...pool.addresses],
      prefixes: [...pool.prefixes],
      shared,
      access: pool.access,
    };
  });
  if (addresses > MAX_POOL_ADDRESSES)
    problems.add(
      'WEFT_ERR_RULE_LIMIT',
      'spec.pools',
      addresses,
      `must be at most ${MAX_POOL_ADDRESSES} IPv4 addresses`,
      'use another gateway',
    );
  return problems.count === before ? pools : undefined;
}

function sharedOf(
  problems: ResourceProblems,
  at: string,
  pool: PoolSpec,
  segment: GatewaySegment | undefined,
  shards: number,
  standing: readonly GatewayPool[],
): number {
  const count = (family: 4 | 6): number => countAddresses(pool, segment, family, 2 * MAX_SHARED);
  const most = Math.max(count(4), count(6));
  const known = standing.find(({ name }) => name === pool.name);
  const shared = pool.shared ?? (known === undefined ? Math.min(Math.ceil(most / 2), shards) : Math.min(known.shared, most));
  const limit = Math.min(MAX_SHARED, MAX_SHARED_A_SHARD * shards);
  if (shared > Math.min(most, limit))
    problems.add(
      'WEFT_ERR_RULE_POOL',
      `${at}.shared`,
      shared,
      `must be at most the addresses of the pool that hosts can have (${most}), and ${limit}`,
      'lower it, or leave it out',
    );
  return shared;
}

function unusable(range: AddressRange, segment: GatewaySegment | undefined): string | undefined {
  const at = (text: string): AddressRange => parseRange(text)!;
  const bad =
    range.family === 4 ? ['0.0.0.0/8', '127.0.0.0/8', '169.254.0.0/16', '224.0.0.0-255.255.255.255'] : ['::/8', 'fe80::/10', 'ff00::/8'];
  const first = bad.find((text) => rangesOverlap(at(text), range));
  if (first !== undefined) return `must be unicast addresses: not ${first}`;
  const hop = segment?.nextHops.find((text) => {
    const one = parseRange(text);
    return one !== undefined && one.first === range.first && one.last === range.last;
  });
  return hop === undefined ? undefined : 'must not be the next hop of the segment';
}

function checkOnce(problems: ResourceProblems, path: string, name: string, seen: Set<string>): void {
  checkName(problems, path, name);
  if (seen.has(name)) problems.add('WEFT_ERR_RULE_DUPLICATE', path, name, 'must be there once', 'rename one of the two');
  seen.add(name);
}

function checkAccess(problems: ResourceProblems, path: string, access: TenantAccess): void {
  for (const [i, tenant] of access.tenants.entries()) checkName(problems, `${path}[${i}]`, tenant);
}

/** Whether a tenant may use it. */
export function isOpenTo(access: TenantAccess, tenant: string): boolean {
  return access.mode === 'any' || (access.mode === 'list' && isName(tenant) && access.tenants.includes(tenant));
}

/** Whether anybody but a tenant may use it. */
export function isOpenToOthers(access: TenantAccess, tenant: string): boolean {
  return access.mode === 'any' || (access.mode === 'list' && access.tenants.some((one) => one !== tenant));
}

/** Families that a NAT connection maps to addresses of the pool. */
export function mappedFamilies(pool: Pick<GatewayPool, 'addresses'>, ipv6: Ipv6Mode): (4 | 6)[] {
  const families: (4 | 6)[] = pool.addresses.some((text) => isFamily4(text)) ? [4] : [];
  return ipv6 === 'nat66' ? [...families, 6] : families;
}

export function isFamily4(address: string): boolean {
  return !address.includes(':');
}

/** Whether an address, or a whole prefix, lies in a prefix. All must be valid. */
export function lies(prefix: string, inner: string): boolean {
  const outer = parsePrefix(prefix);
  if (!inner.includes('/')) return prefixContains(outer, parseIp(inner));
  const one = parsePrefix(inner);
  return prefixesOverlap(outer, one) && one.length >= outer.length;
}
