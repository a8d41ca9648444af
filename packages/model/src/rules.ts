import {
  compareIp,
  formatIp,
  formatMac,
  formatPrefix,
  type IpPrefix,
  ipEquals,
  isCanonicalIp,
  isIpv4Mapped,
  isLinkLocalIp,
  isMulticastIp,
  isMulticastMac,
  isZeroMac,
  PacketError,
  parseIp,
  parseMac,
  parsePrefix,
  prefixContains,
  prefixesOverlap,
  prefixFirst,
  prefixLast,
} from '@weft/packet';
import { isHostId } from './keys.ts';
import type { ResourceProblems } from './problems.ts';
import type { CustomerRoute, Placement, VirtualSubnet } from './records.ts';

// The rules for single values. Each takes a collector and the path of the value in the manifest, and returns the value in the form
// that is used further on, or undefined when it broke a rule.

export const MIN_VSID = 4096;
export const MAX_VSID = 16_777_214;
/** Prefixes of Weft's own MACs, those of subnets' gateway addresses and of gateways' ports; a port may not have one. */
export const RESERVED_MAC_PREFIXES = ['02:57:46', '02:57:47'] as const;
/** First byte of MACs derived from port ids: locally administered, unicast. */
const DERIVED_MAC_FIRST = '06';
export const MAX_SUBNETS = 512;
export const MAX_ROUTES = 1_024;
export const MAX_ADDRESSES = 16;
export const MAX_PLACEMENT_HOSTS = 1_024;

const NAME = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

export function isName(text: string): boolean {
  return NAME.test(text);
}

export function checkName(problems: ResourceProblems, path: string, name: string): boolean {
  if (isName(name)) return true;
  problems.add('WEFT_ERR_RULE_NAME', path, name, 'must be 1 to 63 of a-z, 0-9 and -, and not begin or end with -', 'choose another name');
  return false;
}

/** The MAC of a port that was given none: the same for the same port id, always. */
export function derivedMac(portId: string): string {
  const digits = portId.replaceAll('-', '').slice(-10);
  return [DERIVED_MAC_FIRST, ...digits.match(/../g)!].join(':');
}

export function checkMac(problems: ResourceProblems, path: string, mac: string): boolean {
  let bytes: Uint8Array;
  try {
    bytes = parseMac(mac);
  } catch (error) {
    if (!(error instanceof PacketError)) throw error;
    const canonical = canonicalMac(mac);
    problems.add(
      'WEFT_ERR_RULE_MAC',
      path,
      mac,
      'must be six bytes in lower case hexadecimal with colons, like 02:00:00:00:00:01',
      canonical === undefined ? 'correct it, or leave it out' : `write ${canonical}`,
    );
    return false;
  }
  const broken = isMulticastMac(bytes)
    ? 'must be unicast: its first byte must be even'
    : isZeroMac(bytes)
      ? 'must not be all zeros'
      : RESERVED_MAC_PREFIXES.some((prefix) => mac.startsWith(prefix))
        ? `must not begin with ${RESERVED_MAC_PREFIXES.join(' or ')}, which the gateways have`
        : undefined;
  if (broken === undefined) return true;
  problems.add('WEFT_ERR_RULE_MAC', path, mac, broken, 'take another, or leave it out');
  return false;
}

function canonicalMac(text: string): string | undefined {
  const digits = text.toLowerCase().replace(/[^0-9a-f]/g, '');
  if (digits.length !== 12 || !/^[0-9a-fA-F:.-]+$/.test(text)) return undefined;
  return formatMac(Uint8Array.from(digits.match(/../g)!, (pair) => Number.parseInt(pair, 16)));
}

/** An address in canonical text. */
export function checkAddress(
  problems: ResourceProblems,
  path: string,
  text: string,
  code: 'WEFT_ERR_RULE_ADDRESS' | 'WEFT_ERR_RULE_NEXT_HOP' | 'WEFT_ERR_RULE_GATEWAY' = 'WEFT_ERR_RULE_ADDRESS',
): Uint8Array | undefined {
  if (isCanonicalIp(text)) return parseIp(text);
  let hint = 'correct it';
  try {
    hint = `write ${formatIp(parseIp(text))}`;
  } catch (error) {
    if (!(error instanceof PacketError)) throw error;
    if (text.includes('/')) hint = 'leave the prefix length out: the subnet says it';
  }
  problems.add(code, path, text, 'must be an address in canonical form (dotted quad, or RFC 5952 for IPv6)', hint);
  return undefined;
}

/** A prefix in canonical text, without host bits. */
export function checkPrefixText(
  problems: ResourceProblems,
  path: string,
  text: string,
  code: 'WEFT_ERR_RULE_PREFIX' | 'WEFT_ERR_RULE_ROUTE',
): IpPrefix | undefined {
  try {
    const prefix = parsePrefix(text);
    const canonical = formatPrefix(prefix);
    if (canonical === text) return prefix;
    problems.add(code, path, text, 'must be in canonical form (RFC 5952 for IPv6)', `write ${canonical}`);
  } catch (error) {
    if (!(error instanceof PacketError)) throw error;
    const meant = /write (\S+) if/.exec(error.message)?.[1];
    problems.add(
      code,
      path,
      text,
      'must be address/length without host bits, like 192.0.2.0/24',
      meant === undefined ? 'correct it' : `write ${meant} if the whole network is meant`,
    );
  }
  return undefined;
}

/** Length in the family's own count. */
function familyLength(prefix: IpPrefix): number {
  return prefix.family === 4 ? prefix.length - 96 : prefix.length;
}

/** The prefixes of a subnet, checked each and against each other. Undefined if any is bad. */
export function checkSubnetPrefixes(problems: ResourceProblems, texts: readonly string[]): IpPrefix[] | undefined {
  const path = (i: number): string => `spec.prefixes[${i}]`;
  if (texts.length === 0) {
    problems.add('WEFT_ERR_RULE_PREFIX', 'spec.prefixes', texts, 'must hold at least one prefix', 'add one, like 10.0.0.0/24');
    return undefined;
  }
  const prefixes: IpPrefix[] = [];
  let good = true;
  for (const [i, text] of texts.entries()) {
    const prefix = checkPrefixText(problems, path(i), text, 'WEFT_ERR_RULE_PREFIX');
    if (prefix === undefined) {
      good = false;
      continue;
    }
    const rule = unusableAsSubnet(prefix);
    if (rule !== undefined) {
      problems.add('WEFT_ERR_RULE_PREFIX', path(i), text, rule, 'take another prefix');
      good = false;
    }
    if (prefixes.some((other) => other.family === prefix.family)) {
      problems.add('WEFT_ERR_RULE_PREFIX', path(i), text, 'must be at most one IPv4 and one IPv6 prefix', 'make another virtual subnet');
      good = false;
    }
    prefixes.push(prefix);
  }
  return good ? prefixes : undefined;
}

function unusableAsSubnet(prefix: IpPrefix): string | undefined {
  const length = familyLength(prefix);
  const first = prefixFirst(prefix);
  if (prefix.family === 4) {
    if (length < 8 || length > 30) return 'must have a length from 8 to 30: the network, broadcast and gateway addresses are taken';
    const a = first[12]!;
    if (a === 0 || a === 127 || a >= 224 || isLinkLocalIp(first))
      return 'must be unicast addresses: not 0/8, 127/8, 169.254/16, or from 224 on';
    return undefined;
  }
  if (length < 32 || length > 126) return 'must have a length from 32 to 126';
  if (isMulticastIp(first) || isLinkLocalIp(first) || first[0] === 0) return 'must be unicast addresses: not ::/8, fe80::/10 or ff00::/8';
  return undefined;
}

/** The lowest usable address: the default gateway. */
export function lowestUsable(prefix: IpPrefix): string {
  const address = prefixFirst(prefix);
  address[15]! += 1;
  return formatIp(address);
}

/** Whether an address of the prefix is one that a host may have: not the network's, not the broadcast address. */
function isUsable(prefix: IpPrefix, address: Uint8Array): boolean {
  if (ipEquals(address, prefixFirst(prefix))) return false;
  return prefix.family === 6 || !ipEquals(address, prefixLast(prefix));
}

/** The gateways in the order of the prefixes; defaults filled in. Undefined if any is bad. */
export function checkGateways(problems: ResourceProblems, prefixes: readonly IpPrefix[], texts: readonly string[]): string[] | undefined {
  if (texts.length === 0) return prefixes.map(lowestUsable);
  const gateways: (string | undefined)[] = prefixes.map(() => undefined);
  let good = true;
  const refuse = (i: number, rule: string, hint: string): void => {
    problems.add('WEFT_ERR_RULE_GATEWAY', `spec.gateways[${i}]`, texts[i], rule, hint);
    good = false;
  };
  for (const [i, text] of texts.entries()) {
    const address = checkAddress(problems, `spec.gateways[${i}]`, text, 'WEFT_ERR_RULE_GATEWAY');
    if (address === undefined) {
      good = false;
      continue;
    }
    const at = prefixes.findIndex((prefix) => prefixContains(prefix, address));
    if (at < 0)
      refuse(
        i,
        `must lie in a prefix of the subnet (${prefixes.map(formatPrefix).join(', ')})`,
        `write ${prefixes.map(lowestUsable).join(' or ')}, or leave it out`,
      );
    else if (!isUsable(prefixes[at]!, address))
      refuse(i, "must not be the network's or the broadcast address", `write ${lowestUsable(prefixes[at]!)}, or leave it out`);
    else if (gateways[at] !== undefined) refuse(i, 'must be one gateway for each prefix', 'remove one');
    else gateways[at] = text;
  }
  return good ? gateways.map((gateway, i) => gateway ?? lowestUsable(prefixes[i]!)) : undefined;
}

export function checkVsidRange(problems: ResourceProblems, vsid: number): boolean {
  if (Number.isInteger(vsid) && vsid >= MIN_VSID && vsid <= MAX_VSID) return true;
  problems.add(
    'WEFT_ERR_RULE_VSID_RANGE',
    'spec.vsid',
    vsid,
    `must be an integer from ${MIN_VSID} to ${MAX_VSID} (RFC 7637)`,
    'take another, or leave it out',
  );
  return false;
}

/** Overlaps among the subnets of one network. `subnets` must have passed `checkSubnetPrefixes`. */
export function overlapsOf(
  subnets: readonly Pick<VirtualSubnet, 'name' | 'prefixes'>[],
): { a: string; b: string; aPrefix: string; bPrefix: string; bIndex: number }[] {
  // Sorted by first address, a prefix can only overlap with the ones open at its place: prefixes nest or are apart.
  const all = subnets.flatMap((subnet) =>
    subnet.prefixes.map((text, index) => ({ name: subnet.name, text, index, prefix: parsePrefix(text) })),
  );
  all.sort((x, y) => compareIp(x.prefix.address, y.prefix.address) || x.prefix.length - y.prefix.length);
  const overlaps: { a: string; b: string; aPrefix: string; bPrefix: string; bIndex: number }[] = [];
  let open: (typeof all)[number] | undefined;
  for (const one of all) {
    if (open !== undefined && open.name !== one.name && prefixesOverlap(open.prefix, one.prefix)) {
      overlaps.push({ a: open.name, b: one.name, aPrefix: open.text, bPrefix: one.text, bIndex: one.index });
      continue;
    }
    open = one;
  }
  return overlaps;
}

/** Customer addresses of a port, each and against its subnet (whose values must be valid). */
export function checkPortAddresses(
  problems: ResourceProblems,
  texts: readonly string[],
  subnet: Pick<VirtualSubnet, 'name' | 'prefixes' | 'gateways'>,
): boolean {
  const before = (i: number): string => `spec.addresses[${i}]`;
  if (texts.length === 0 || texts.length > MAX_ADDRESSES) {
    problems.add(
      'WEFT_ERR_RULE_ADDRESS',
      'spec.addresses',
      texts.length,
      `must hold 1 to ${MAX_ADDRESSES} addresses`,
      'add one of the subnet',
    );
    return false;
  }
  const prefixes = subnet.prefixes.map(parsePrefix);
  let good = true;
  for (const [i, text] of texts.entries()) {
    const address = checkAddress(problems, before(i), text);
    if (address === undefined) {
      good = false;
      continue;
    }
    const refuse = (
      code: 'WEFT_ERR_RULE_ADDRESS_OUTSIDE' | 'WEFT_ERR_RULE_ADDRESS_RESERVED' | 'WEFT_ERR_RULE_ADDRESS_USED',
      rule: string,
      hint: string,
    ): void => {
      problems.add(code, before(i), text, rule, hint);
      good = false;
    };
    const prefix = prefixes.find((one) => prefixContains(one, address));
    if (prefix === undefined)
      refuse(
        'WEFT_ERR_RULE_ADDRESS_OUTSIDE',
        `must lie in a prefix of subnet ${subnet.name} (${subnet.prefixes.join(', ')})`,
        'take an address of the subnet, or another subnet',
      );
    else if (subnet.gateways.includes(text))
      refuse('WEFT_ERR_RULE_ADDRESS_RESERVED', "must not be the subnet's gateway address", 'take another address');
    else if (!isUsable(prefix, address))
      refuse('WEFT_ERR_RULE_ADDRESS_RESERVED', "must not be the subnet's network or broadcast address", 'take another address');
    else if (texts.indexOf(text) !== i) refuse('WEFT_ERR_RULE_ADDRESS_USED', 'must be there once', 'remove one');
  }
  return good;
}

export function checkPlacement(problems: ResourceProblems, placement: Placement): boolean {
  if (placement.mode === 'any') return true;
  const path = 'spec.placement';
  if (placement.mode === 'deny') {
    problems.add('WEFT_ERR_RULE_PLACEMENT', path, 'deny', 'must be any host, or a list of hosts', 'leave it out for any host');
    return false;
  }
  if (placement.hosts.length === 0 || placement.hosts.length > MAX_PLACEMENT_HOSTS) {
    problems.add(
      'WEFT_ERR_RULE_PLACEMENT',
      path,
      placement.hosts.length,
      `must list 1 to ${MAX_PLACEMENT_HOSTS} hosts`,
      'leave it out for any host',
    );
    return false;
  }
  let good = true;
  for (const [i, host] of placement.hosts.entries()) {
    if (isHostId(host)) continue;
    problems.add(
      'WEFT_ERR_RULE_PLACEMENT',
      `${path}.hosts[${i}]`,
      host,
      'must be a host id: 1 to 63 of a-z, 0-9 and -',
      'see `weft get hosts`',
    );
    good = false;
  }
  return good;
}

/** Routes by themselves and against the network's subnets; whether next hops exist is judged with the ports. */
export function checkRoutes(problems: ResourceProblems, routes: readonly CustomerRoute[], subnetPrefixes: ReadonlySet<string>): boolean {
  if (routes.length > MAX_ROUTES) {
    problems.add('WEFT_ERR_RULE_LIMIT', 'spec.routes', routes.length, `must be at most ${MAX_ROUTES} routes`, 'split the network');
    return false;
  }
  const seen = new Set<string>();
  let good = true;
  for (const [i, route] of routes.entries()) {
    const path = `spec.routes[${i}]`;
    const prefix = checkPrefixText(problems, `${path}.prefix`, route.prefix, 'WEFT_ERR_RULE_ROUTE');
    if (prefix === undefined) {
      good = false;
      continue;
    }
    if (seen.has(route.prefix)) {
      problems.add('WEFT_ERR_RULE_ROUTE', `${path}.prefix`, route.prefix, 'must be there once', 'remove one');
      good = false;
    }
    seen.add(route.prefix);
    if (subnetPrefixes.has(route.prefix)) {
      problems.add(
        'WEFT_ERR_RULE_ROUTE',
        `${path}.prefix`,
        route.prefix,
        "must not be a virtual subnet's own prefix: that is reached directly",
        'remove the route',
      );
      good = false;
    }
    if (route.kind !== 'next-hop') {
      if (route.nextHop === '') continue;
      problems.add(
        'WEFT_ERR_RULE_NEXT_HOP',
        `${path}.nextHop`,
        route.nextHop,
        `must be absent for a route to ${route.kind === 'gateway' ? 'the gateway' : 'a blackhole'}`,
        'remove it',
      );
      good = false;
      continue;
    }
    const hop = checkAddress(problems, `${path}.nextHop`, route.nextHop, 'WEFT_ERR_RULE_NEXT_HOP');
    if (hop === undefined) good = false;
    else if (isIpv4Mapped(hop) !== (prefix.family === 4)) {
      problems.add(
        'WEFT_ERR_RULE_NEXT_HOP',
        `${path}.nextHop`,
        route.nextHop,
        "must be of the prefix's family",
        'take an address of that family',
      );
      good = false;
    }
  }
  return good;
}
