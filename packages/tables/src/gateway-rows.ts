import {
  ExternalAddressKind,
  ExternalPrefixKind,
  GatewayFlag,
  GatewayMode,
  type GatewayNetworkEntry,
  type GatewayTableEntry,
  SourceRuleKind,
} from '@weft/forwarding';
import {
  type AssignedAddress,
  type Assignment,
  type ExternalAddress,
  type Gateway,
  type GatewayConnection,
  gatewayAddress,
  grantable,
  isFamily4,
  isGatewaySubnet,
  type NatRule,
  type NetworkGateway,
  networkPath,
  ownSubnets,
  peeringPrefixes,
  type VirtualNetwork,
} from '@weft/model';
import { ipOf, NO_ADDRESS, prefixOfText } from './address.ts';
import type { ExternalDevice, GatewayFacts, NatSetup } from './gateway-facts.ts';

// Rows of a gateway member out of records: pure functions. What can't be read becomes no row, or one that denies.
//
//   Gateway × devices ──► segment, external, external_route          Assignment ──► external_address (shared), nat_pool, nat_slice
//   Assignment × hosts ──► peer_gateway                              VirtualNetwork ──► gateway_network, source_rule, port_forward, peering,
//                                                                        external_address (own), external_prefix, gateway_quota

/** Blocks 0..15 are ports below 1024, which are in no block of a slice. */
const FIRST_BLOCK = 16;
const SLICE_BYTES = 128;
/** Addresses of one pool that the packet path holds. */
const MAX_POOL_ADDRESSES = 64;
/** No source may hold more than this share of its network's blocks. */
const SOURCE_SHARE = 4;
/** Numbers are claimed below this; above it they are pools of IPv6 addresses. */
const IPV6_POOL = 0x8000_0000;
const PROTOCOLS = { tcp: 6, udp: 17, none: 0 } as const;

export interface Rows {
  readonly tables: readonly GatewayTableEntry[];
  readonly nat: readonly NatSetup[];
}

/** Number of the pool that a network's own addresses of a family make. */
export function ownPool(of: Pick<NetworkGateway, 'ownPool'>, family: 4 | 6): number {
  return family === 4 ? of.ownPool : (of.ownPool | IPV6_POOL) >>> 0;
}

/** The way to each segment that this host has the device for. */
export function segmentRows(gateway: Gateway, hostId: string, devices: ReadonlyMap<string, ExternalDevice>): GatewayTableEntry[] {
  const member = gateway.members.find(({ host }) => host === hostId);
  return gateway.segments.flatMap((segment): GatewayTableEntry[] => {
    const name = member?.interfaces.find((one) => one.segment === segment.name)?.interface;
    const device = name === undefined ? undefined : devices.get(name);
    if (device === undefined) return [];
    const { ifindex, mac, address4, address6 } = device;
    const mtuBytes = Math.min(segment.mtu, device.mtuBytes);
    const route = (prefix: string, nextHop: Uint8Array): GatewayTableEntry[] =>
      splitPrefix(prefix).map((key) => ({ table: 'external_route', key: { segment: segment.id, ...key }, value: { nextHop } }));
    return [
      { table: 'external', key: { ifindex }, value: { segment: segment.id, mtuBytes, mac } },
      { table: 'segment', key: { segment: segment.id }, value: { ifindex, mtuBytes, mac, address4, address6 } },
      ...segment.onLink.flatMap((prefix) => route(prefix, NO_ADDRESS)),
      ...segment.nextHops.flatMap((text) => {
        const nextHop = ipOf(text);
        return nextHop === undefined ? [] : route(isFamily4(text) ? '0.0.0.0/0' : '::/0', nextHop);
      }),
    ];
  });
}

/** Who may probe: members and witnesses. */
export function peerRows(assignment: Assignment, { hostId, providerAddresses }: GatewayFacts): GatewayTableEntry[] {
  const known = new Map(assignment.members.map((one) => [one.hostId, one.providerAddress]));
  return assignment.voters.voters
    .concat(assignment.previousVoters?.voters ?? [])
    .filter((voter) => voter.hostId !== hostId)
    .flatMap((voter): GatewayTableEntry[] => {
      const pa = ipOf(known.get(voter.hostId) ?? providerAddresses.get(voter.hostId) ?? '');
      return pa === undefined ? [] : [{ table: 'peer_gateway', key: { pa }, value: 1 }];
    });
}

/** Shared addresses, the pools they make, and of every address the blocks that this member grants from. */
export function addressRows(assignment: Assignment, hostId: string): Rows {
  const member = assignment.members.find((one) => one.hostId === hostId)?.member ?? 0;
  const tables: GatewayTableEntry[] = [];
  const nat: NatSetup[] = [];
  const pools = new Map<number, { segment: number; address: Uint8Array }[]>();
  for (const one of assignment.addresses) {
    const address = ipOf(one.address);
    if (address === undefined) continue;
    const key = { segment: one.segment, address };
    // A network's own address denies until its network says what it is for.
    const kind = one.pool === 0 ? ExternalAddressKind.DENY : ExternalAddressKind.POOL;
    tables.push({ table: 'external_address', key, value: { shard: one.shard, kind, networkId: 0, ca: NO_ADDRESS } });
    if (one.natPool !== 0) pools.set(one.natPool, [...(pools.get(one.natPool) ?? []), key]);
    if (one.slices.length > 0) nat.push({ table: 'nat_slice', key, value: { own: ownBlocks(one, member) } });
  }
  for (const [pool, addresses] of pools)
    nat.push({ table: 'nat_pool', key: { pool }, value: { addresses: addresses.slice(0, MAX_POOL_ADDRESSES) } });
  return { tables, nat };
}

/** The blocks of an address that a member grants from, a bit a block. */
export function ownBlocks(address: Pick<AssignedAddress, 'slices'>, member: number): Uint8Array {
  const own = new Uint8Array(SLICE_BYTES);
  for (const { first, count } of grantable(address, member))
    for (let block = FIRST_BLOCK + first; block < FIRST_BLOCK + first + count; block++) own[block >> 3]! |= 1 << (block & 7);
  return own;
}

/**
 * Rows of one network on a member of its gateway.
 * @param peerOf The network of that path, as far as this member serves it.
 */
export function networkGatewayRows(
  network: VirtualNetwork,
  assignment: Assignment,
  facts: Pick<GatewayFacts, 'mtuBytes' | 'vsidAllowed'>,
  peerOf: (path: string) => VirtualNetwork | undefined,
): Rows {
  const of = network.gateway;
  const subnet = network.subnets.find(isGatewaySubnet);
  const shard = assignment.shards.some(({ id }) => id === of?.shard);
  if (of === undefined || subnet === undefined || !shard || network.networkId === 0 || !facts.vsidAllowed(network.id, subnet.vsid))
    return { tables: [], nat: [] };
  const outside = of.connections.find(({ mode }) => mode !== 'peering');
  const pools = sourcePools(of, outside, assignment);
  const entry: GatewayNetworkEntry = {
    shard: of.shard,
    segment: outside?.segmentId ?? 0,
    vsid: subnet.vsid,
    mode: outside === undefined ? GatewayMode.INSIDE : outside.mode === 'nat' ? GatewayMode.NAT : GatewayMode.FORWARD,
    flags: flagsOf(outside),
    pool: pools.ipv4,
    gateway4: ipOf(gatewayAddress(of, 4) ?? '') ?? NO_ADDRESS,
    gateway6: ipOf(gatewayAddress(of, 6) ?? '') ?? NO_ADDRESS,
    ...nptOf(outside),
    mtuBytes: facts.mtuBytes,
  };
  return {
    tables: [
      { table: 'gateway_network', key: { networkId: network.networkId }, value: entry },
      ...peeringRows(network, of, peerOf),
      ...sourceRows(network.networkId, of, outside, pools.ipv6, assignment),
      ...forwardRows(network.networkId, of),
      ...ownAddressRows(network.networkId, of, assignment),
      ...prefixRows(network, outside),
    ],
    nat: [...ownPools(of), ...quotaOf(network.networkId, outside, pools)],
  };
}

function flagsOf(outside: GatewayConnection | undefined): number {
  switch (outside?.ipv6) {
    case 'nat66':
      return GatewayFlag.NAT66;
    case 'nptv6':
      return GatewayFlag.NPTV6;
    case 'forward':
      return GatewayFlag.FORWARD6;
    default:
      return 0;
  }
}

function nptOf(outside: GatewayConnection | undefined): Pick<GatewayNetworkEntry, 'nptInside' | 'nptOutside' | 'nptBits'> {
  const inside = outside?.ipv6 === 'nptv6' ? prefixOfText(outside.ipv6Inside) : undefined;
  const other = outside?.ipv6 === 'nptv6' ? prefixOfText(outside.ipv6Prefix) : undefined;
  if (inside === undefined || other === undefined || inside.length !== other.length)
    return { nptInside: NO_ADDRESS, nptOutside: NO_ADDRESS, nptBits: 0 };
  return { nptInside: inside.address, nptOutside: other.address, nptBits: inside.length };
}

/** Pools of sources without a rule: the network's own addresses, else those shared on its shard. 0: none. */
function sourcePools(
  of: NetworkGateway,
  outside: GatewayConnection | undefined,
  assignment: Assignment,
): { readonly ipv4: number; readonly ipv6: number } {
  const pick = (family: 4 | 6): number => {
    if (outside?.mode !== 'nat') return 0;
    const own = of.externalAddresses.some((one) => one.use === 'snat' && isFamily4(one.address) === (family === 4));
    return own ? ownPool(of, family) : sharedPool(assignment, outside.poolId, of.shard, family);
  };
  return { ipv4: pick(4), ipv6: outside?.ipv6 === 'nat66' ? pick(6) : 0 };
}

function sharedPool(assignment: Assignment, pool: number, shard: number, family: 4 | 6): number {
  const found = assignment.addresses.find(
    (one) => one.pool === pool && pool !== 0 && one.shard === shard && isFamily4(one.address) === (family === 4),
  );
  return found?.natPool ?? 0;
}

function sourceRows(
  networkId: number,
  of: NetworkGateway,
  outside: GatewayConnection | undefined,
  ipv6Pool: number,
  assignment: Assignment,
): GatewayTableEntry[] {
  if (outside?.mode !== 'nat') return [];
  const rule = (prefix: string, kind: SourceRuleKind, pool: number, address: Uint8Array): GatewayTableEntry[] =>
    splitPrefix(prefix).map((key) => ({ table: 'source_rule', key: { networkId, ...key }, value: { kind, pool, address } }));
  const rows = of.natRules.flatMap((one): GatewayTableEntry[] => {
    const external = externalOf(of, one);
    const address = ipOf(external?.address ?? '');
    if (one.kind === 'static')
      return address === undefined
        ? []
        : rule(`${one.customerAddress}/${hostBits(one.customerAddress)}`, SourceRuleKind.STATIC, 0, address);
    if (one.kind !== 'snat') return [];
    // A rule that can't be kept denies: its sources must not leave by another address.
    if (one.pool === '' && (address === undefined || external === undefined)) return rule(one.source, SourceRuleKind.DENY, 0, NO_ADDRESS);
    if (one.pool === '') return rule(one.source, SourceRuleKind.ADDRESS, external!.number, address!);
    const pool = sharedPool(assignment, one.poolId, of.shard, isFamily4(one.source) ? 4 : 6);
    return rule(one.source, pool === 0 ? SourceRuleKind.DENY : SourceRuleKind.POOL, pool, NO_ADDRESS);
  });
  const below = (prefix: string, kind: SourceRuleKind, pool: number): GatewayTableEntry[] =>
    of.natRules.some((one) => one.kind === 'snat' && one.source === prefix) ? [] : rule(prefix, kind, pool, NO_ADDRESS);
  // Below what people wrote. The network's one pool is that of IPv4, so IPv6 by port mapping has a rule of its own. IPv6 as it is: a customer route lets a VM send
  // what lies behind it, be it somebody else's outside; only the prefix that was handed out leaves.
  if (outside.ipv6 === 'nat66') return [...rows, ...below('::/0', ipv6Pool === 0 ? SourceRuleKind.DENY : SourceRuleKind.POOL, ipv6Pool)];
  if (outside.ipv6 !== 'forward') return rows;
  return [...rows, ...below('::/0', SourceRuleKind.DENY, 0), ...below(outside.ipv6Prefix, SourceRuleKind.PLAIN, 0)];
}

function forwardRows(networkId: number, of: NetworkGateway): GatewayTableEntry[] {
  return of.natRules.flatMap((one): GatewayTableEntry[] => {
    const external = one.kind === 'forward' ? externalOf(of, one) : undefined;
    const [address, ca, protocol] = [ipOf(external?.address ?? ''), ipOf(one.customerAddress), PROTOCOLS[one.protocol]];
    if (external === undefined || address === undefined || ca === undefined || protocol === 0) return [];
    const count = Math.max(0, one.lastPort - one.firstPort + 1);
    return Array.from({ length: count }, (_, i) => ({
      table: 'port_forward',
      key: { segment: external.segmentId, address, port: one.firstPort + i, protocol },
      value: { networkId, port: one.customerPort + i, ca },
    }));
  });
}

/** Only addresses that the assignment has given to the network's shard. */
function ownAddressRows(networkId: number, of: NetworkGateway, assignment: Assignment): GatewayTableEntry[] {
  const given = new Set(
    assignment.addresses.filter((one) => one.pool === 0 && one.shard === of.shard).map((one) => `${one.segment}/${one.address}`),
  );
  return of.externalAddresses.flatMap((one): GatewayTableEntry[] => {
    const address = ipOf(one.address);
    if (address === undefined || !given.has(`${one.segmentId}/${one.address}`)) return [];
    const rule = of.natRules.find((each) => each.kind === 'static' && each.externalAddress === one.name);
    const ca = ipOf(rule?.customerAddress ?? '');
    const base = { shard: of.shard, networkId: 0, ca: NO_ADDRESS };
    const key = { segment: one.segmentId, address };
    if (one.use !== 'static') {
      const kind = one.use === 'snat' ? ExternalAddressKind.POOL : ExternalAddressKind.RESERVED;
      return [{ table: 'external_address', key, value: { ...base, kind, networkId } }];
    }
    // Without a rule it serves nothing; it is ours all the same.
    if (ca === undefined) return [{ table: 'external_address', key, value: { ...base, kind: ExternalAddressKind.DENY } }];
    return [{ table: 'external_address', key, value: { shard: of.shard, kind: ExternalAddressKind.STATIC, networkId, ca } }];
  });
}

/** Prefixes that the outside routes to the network as they are, or translated. */
function prefixRows(network: VirtualNetwork, outside: GatewayConnection | undefined): GatewayTableEntry[] {
  if (outside === undefined) return [];
  const row = (prefix: string, kind: ExternalPrefixKind): GatewayTableEntry[] =>
    splitPrefix(prefix).map((key) => ({
      table: 'external_prefix',
      key: { segment: outside.segmentId, ...key },
      value: { networkId: network.networkId, kind },
    }));
  if (outside.ipv6 === 'nptv6') return row(outside.ipv6Prefix, ExternalPrefixKind.NPT);
  if (outside.ipv6 !== 'forward') return [];
  const routed = network.routes.filter(({ kind, prefix }) => kind === 'next-hop' && prefix !== '0.0.0.0/0' && prefix !== '::/0');
  const all = [...ownSubnets(network).flatMap(({ prefixes }) => prefixes), ...routed.map(({ prefix }) => prefix)];
  const reached = all.filter((prefix) => outside.mode === 'forward' || (!isFamily4(prefix) && lies6(outside.ipv6Prefix, prefix)));
  return [...new Set(reached)].flatMap((prefix) => row(prefix, ExternalPrefixKind.FORWARD));
}

/** What is not accepted by both sides leads nowhere, rather than to the outside. */
function peeringRows(
  network: VirtualNetwork,
  of: NetworkGateway,
  peerOf: (path: string) => VirtualNetwork | undefined,
): GatewayTableEntry[] {
  const { networkId } = network;
  return of.connections.flatMap((one): GatewayTableEntry[] => {
    if (one.mode !== 'peering') return [];
    const peer = peerOf(networkPath(one.peerTenant, one.peerNetwork));
    const same = peer?.gateway?.gatewayId === of.gatewayId && peer.gateway.shard === of.shard ? peer : undefined;
    const agreed = peeringPrefixes(network, one, same);
    const row = (prefix: string, to: number): GatewayTableEntry[] =>
      splitPrefix(prefix).map((key) => ({ table: 'peering', key: { networkId, ...key }, value: { networkId: to, flags: 0 } }));
    return [
      ...one.accepts.filter((prefix) => !agreed.includes(prefix)).flatMap((prefix) => row(prefix, 0)),
      ...agreed.flatMap((prefix) => row(prefix, same?.networkId ?? 0)),
    ];
  });
}

/** Pools of a network's own addresses: those for SNAT together, and each that a rule may name by itself. */
function ownPools(of: NetworkGateway): NatSetup[] {
  const place = (one: ExternalAddress): { segment: number; address: Uint8Array }[] => {
    const address = ipOf(one.address);
    return address === undefined ? [] : [{ segment: one.segmentId, address }];
  };
  const pool = (number: number, all: readonly ExternalAddress[]): NatSetup[] => {
    const addresses = all.flatMap(place).slice(0, MAX_POOL_ADDRESSES);
    return addresses.length === 0 ? [] : [{ table: 'nat_pool', key: { pool: number }, value: { addresses } }];
  };
  const snat = of.externalAddresses.filter(({ use }) => use === 'snat');
  const named = new Set(of.natRules.filter(({ kind }) => kind === 'snat').map(({ externalAddress }) => externalAddress));
  return [
    ...([4, 6] as const).flatMap((family) =>
      pool(
        ownPool(of, family),
        snat.filter((one) => isFamily4(one.address) === (family === 4)),
      ),
    ),
    ...of.externalAddresses.filter((one) => named.has(one.name) && one.use !== 'static').flatMap((one) => pool(one.number, [one])),
  ];
}

function quotaOf(
  networkId: number,
  outside: GatewayConnection | undefined,
  of: { readonly ipv4: number; readonly ipv6: number },
): NatSetup[] {
  if (outside?.mode !== 'nat') return [];
  const { blocks, flows, newFlowsPerSecond } = outside.quota;
  const pools = [of.ipv4, of.ipv6].filter((pool) => pool !== 0);
  const value = { blocks, blocksPerSource: Math.ceil(blocks / SOURCE_SHARE), sessions: flows, newFlowsPerSecond, pools };
  return [{ table: 'gateway_quota', key: { networkId }, value }];
}

function externalOf(of: NetworkGateway, rule: NatRule): ExternalAddress | undefined {
  return rule.externalAddress === '' ? undefined : of.externalAddresses.find(({ name }) => name === rule.externalAddress);
}

function hostBits(address: string): number {
  return isFamily4(address) ? 32 : 128;
}

function lies6(outer: string, inner: string): boolean {
  const [a, b] = [prefixOfText(outer), prefixOfText(inner)];
  if (a === undefined || b === undefined || a.family !== b.family || b.length < a.length) return false;
  for (let bit = 0; bit < a.length; bit++) if (bitOf(a.address, bit) !== bitOf(b.address, bit)) return false;
  return true;
}

function bitOf(address: Uint8Array, bit: number): number {
  return (address[bit >> 3]! >> (7 - (bit & 7))) & 1;
}

/**
 * A prefix as keys of a table of longest prefixes. By its bits a short IPv6 prefix covers the mapped range, i.e. all of IPv4, which nobody means by
 * it: such a one is split, and of ::/8 only the prefix of NAT64 (RFC 6052) is kept, since no host has another address in it.
 */
export function splitPrefix(text: string): { readonly prefix: Uint8Array; readonly prefixLength: number }[] {
  const prefix = prefixOfText(text);
  if (prefix === undefined) return [];
  const isShort = prefix.family === 6 && prefix.length <= 80 && prefix.address.every((byte) => byte === 0);
  if (!isShort) return [{ prefix: prefix.address, prefixLength: prefix.length }];
  const parts = [{ prefix: Uint8Array.of(0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), prefixLength: 96 }];
  for (let bit = prefix.length; bit < 8; bit++) {
    const sibling = new Uint8Array(16);
    sibling[0] = 0x80 >> bit;
    parts.push({ prefix: sibling, prefixLength: bit + 1 });
  }
  return parts;
}
