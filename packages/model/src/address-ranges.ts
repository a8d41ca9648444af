import { formatIp, isCanonicalIp, isIpv4Mapped, PacketError, parseIp, parsePrefix, prefixFirst, prefixLast } from '@weft/packet';
import type { GatewayPool, GatewaySegment } from './gateway-records.ts';

// Sets of addresses as an operator writes them: an address, a prefix, or `first-last`. Counted in numbers, never listed as a whole: an IPv6
// prefix has more than fit anywhere.

export interface AddressRange {
  readonly family: 4 | 6;
  /** Of the 16-byte form. */
  readonly first: bigint;
  readonly last: bigint;
}

/** Undefined when it is none of the three, or not in canonical form. */
export function parseRange(text: string): AddressRange | undefined {
  try {
    if (text.includes('/')) {
      const prefix = parsePrefix(text);
      return { family: prefix.family, first: numberOf(prefixFirst(prefix)), last: numberOf(prefixLast(prefix)) };
    }
    const [from, to = from, ...more] = text.split('-') as [string, string?];
    if (more.length > 0 || !isCanonicalIp(from) || !isCanonicalIp(to)) return undefined;
    const [first, last] = [parseIp(from), parseIp(to)];
    const family = isIpv4Mapped(first) ? 4 : 6;
    if (isIpv4Mapped(last) !== (family === 4) || numberOf(last) < numberOf(first)) return undefined;
    return { family, first: numberOf(first), last: numberOf(last) };
  } catch (error) {
    if (error instanceof PacketError) return undefined;
    throw error;
  }
}

export function rangesOverlap(a: AddressRange, b: AddressRange): boolean {
  return a.family === b.family && a.first <= b.last && b.first <= a.last;
}

/** The addresses of a pool in rising order, those left out that no host may have: next hops, and network and broadcast addresses. */
export function* poolAddresses(
  pool: Pick<GatewayPool, 'addresses'>,
  segment: Pick<GatewaySegment, 'onLink' | 'nextHops'> | undefined,
  family: 4 | 6,
): Generator<string> {
  const without = new Set<bigint>();
  for (const hop of segment?.nextHops ?? []) without.add(numberOf(parseIp(hop)));
  for (const text of segment?.onLink ?? []) {
    const range = parseRange(text);
    if (range === undefined || range.last - range.first < 3n) continue;
    without.add(range.first);
    if (range.family === 4) without.add(range.last);
  }
  const ranges = pool.addresses.flatMap((text) => parseRange(text) ?? []).filter((range) => range.family === family);
  ranges.sort((a, b) => (a.first < b.first ? -1 : 1));
  for (const { first, last } of ranges) {
    for (let at = first; at <= last; at++) if (!without.has(at)) yield formatIp(bytesOf(at));
  }
}

/** The addresses for SNAT of all networks: the lowest of each family. */
export function sharedAddresses(
  pool: Pick<GatewayPool, 'addresses' | 'shared'>,
  segment: Pick<GatewaySegment, 'onLink' | 'nextHops'> | undefined,
): string[] {
  return ([4, 6] as const).flatMap((family) => firstOf(poolAddresses(pool, segment, family), pool.shared));
}

/** How many addresses, at most `limit`. */
export function countAddresses(
  pool: Pick<GatewayPool, 'addresses'>,
  segment: Pick<GatewaySegment, 'onLink' | 'nextHops'> | undefined,
  family: 4 | 6,
  limit: number,
): number {
  return firstOf(poolAddresses(pool, segment, family), limit).length;
}

/** Whether the address is one that a pool hands out: in its addresses, not shared, and usable. */
export function isHandedOut(
  pool: Pick<GatewayPool, 'addresses' | 'shared'>,
  segment: Pick<GatewaySegment, 'onLink' | 'nextHops'> | undefined,
  address: string,
): boolean {
  const at = parseRange(address);
  if (at === undefined || !isInPool(pool, address)) return false;
  if (sharedAddresses(pool, segment).includes(address)) return false;
  const one = { addresses: [address] };
  return !poolAddresses(one, segment, at.family).next().done;
}

/** Whether a pool names the address, whatever it is for. */
export function isInPool({ addresses }: Pick<GatewayPool, 'addresses'>, address: string): boolean {
  const at = parseRange(address);
  return at !== undefined && addresses.some((text) => contains(parseRange(text), at));
}

function contains(range: AddressRange | undefined, one: AddressRange): boolean {
  return range !== undefined && range.family === one.family && range.first <= one.first && one.last <= range.last;
}

function firstOf(addresses: Iterable<string>, count: number): string[] {
  const found: string[] = [];
  if (count <= 0) return found;
  for (const address of addresses) {
    found.push(address);
    if (found.length >= count) break;
  }
  return found;
}

function numberOf(bytes: Uint8Array): bigint {
  let value = 0n;
  for (const byte of bytes) value = (value << 8n) | BigInt(byte);
  return value;
}

function bytesOf(value: bigint): Uint8Array {
  const bytes = new Uint8Array(16);
  let rest = value;
  for (let i = 15; i >= 0; i--, rest >>= 8n) bytes[i] = Number(rest & 0xffn);
  return bytes;
}
