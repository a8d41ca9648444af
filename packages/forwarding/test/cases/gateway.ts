import { DropReason } from '@weft/model';
import {
  buildArpFrame,
  buildEthernet,
  buildIcmpEchoFrame,
  buildIcmpv4,
  buildIpv4,
  buildUdp,
  buildUdpFrame,
  ETHER_TYPE,
  parseIp,
  parseMac,
} from '@weft/packet';
import {
  Action,
  type ExternalAddressEntry,
  ExternalAddressKind,
  ExternalPrefixKind,
  encodeProbe,
  type ForwardingContext,
  fromExternal,
  fromUnderlay,
  GatewayFlag,
  GatewayMode,
  type GatewayNetworkEntry,
  type GatewayTableChange,
  gatewayMac,
  gatewayPortMac,
  MemoryGatewayTables,
  type MemoryTables,
  noNat,
  ProbeType,
  RouteKind,
  SourceRuleKind,
  type TableChange,
  TargetKind,
  toGateway,
  type Verdict,
} from '../../src/index.ts';
import { A, BLUE, C, CONTEXT, D, GATEWAY, HOST_C, NOW, PA, patched, RED, route, STRANGER, shard, tables, target, Y } from '../fixture.ts';
import type { RuleCase } from './case.ts';

// This host as the gateway of red and blue, on segment 1 (device 21, MTU 1300): .9 the member's own, .10 POOL, .20 STATIC of D, .30 DENY. Red's IPv6 by
// NPT, 2001:db8::/48 to 2001:db8:1::/48. 10.8/16 is blue's as red sees it, 10.7/16 red's as blue sees it.

export const VSID = 5003;
export const OUTSIDE = parseIp('198.51.100.7');
export const OUTSIDE6 = parseIp('2a00::7');
export const STATIC_ADDRESS = parseIp('203.0.113.20');
export const EXTERNAL_MAC = parseMac('02:00:00:00:ee:01');
export const NEIGHBOR_MAC = parseMac('02:00:00:00:ee:99');
const DEVICE = 21;
const NONE16 = new Uint8Array(16);

export const RED_GATEWAY: GatewayNetworkEntry = {
  shard: 1,
  segment: 1,
  vsid: VSID,
  mode: GatewayMode.FORWARD,
  flags: GatewayFlag.NPTV6,
  pool: 1,
  gateway4: GATEWAY.ip4,
  gateway6: GATEWAY.ip6,
  nptInside: parseIp('2001:db8::'),
  nptOutside: parseIp('2001:db8:1::'),
  nptBits: 48,
  mtuBytes: 1280,
};

export const network = (networkId: number, more: Partial<GatewayNetworkEntry> = {}): GatewayTableChange => ({
  op: 'put',
  table: 'gateway_network',
  key: { networkId },
  value: { ...RED_GATEWAY, ...more },
});

export const owned = (deadlineBootNs: bigint, handoverUntilBootNs = 0n): GatewayTableChange => ({
  op: 'put',
  table: 'gateway_shard',
  key: { shard: 1 },
  value: { epoch: 3n, deadlineBootNs, handoverUntilBootNs, handoverPa: HOST_C, handoverMac: parseMac('02:00:00:00:ee:f0') },
});

export const rule = (source: Uint8Array, kind: number, address: Uint8Array = NONE16): GatewayTableChange => ({
  op: 'put',
  table: 'source_rule',
  key: { networkId: RED, prefix: source, prefixLength: 128 },
  value: { kind: kind as SourceRuleKind, pool: 1, address },
});

const peering = (networkId: number, prefix: string, other: number): GatewayTableChange => ({
  op: 'put',
  table: 'peering',
  key: { networkId, prefix: parseIp(prefix), prefixLength: 112 },
  value: { networkId: other, flags: 0 },
});

export const address = (text: string, kind: ExternalAddressKind, more: Partial<ExternalAddressEntry> = {}): GatewayTableChange => ({
  op: 'put',
  table: 'external_address',
  key: { segment: 1, address: parseIp(text) },
  value: { shard: 1, kind, networkId: 0, ca: NONE16, ...more },
});

const externalRoute = (prefix: string, prefixLength: number, nextHop: Uint8Array = NONE16): GatewayTableChange => ({
  op: 'put',
  table: 'external_route',
  key: { segment: 1, prefix: parseIp(prefix), prefixLength },
  value: { nextHop },
});

const externalPrefix = (prefix: string, prefixLength: number, kind: number, networkId = RED): GatewayTableChange => ({
  op: 'put',
  table: 'external_prefix',
  key: { segment: 1, prefix: parseIp(prefix), prefixLength },
  value: { networkId, kind: kind as ExternalPrefixKind },
});

const GATEWAY_BASE: readonly GatewayTableChange[] = [
  { op: 'put', table: 'external', key: { ifindex: DEVICE }, value: { segment: 1, mtuBytes: 1300, mac: EXTERNAL_MAC } },
  {
    op: 'put',
    table: 'segment',
    key: { segment: 1 },
    value: { ifindex: DEVICE, mtuBytes: 1300, mac: EXTERNAL_MAC, address4: parseIp('203.0.113.9'), address6: NONE16 },
  },
  owned(NOW + 10n),
  network(RED),
  network(BLUE, { vsid: 6003, mode: GatewayMode.INSIDE, flags: 0 }),
  externalRoute('203.0.113.0', 120),
  externalRoute('198.51.100.0', 120, parseIp('203.0.113.1')),
  externalRoute('2a00::', 16, parseIp('2001:db8:9::1')),
  address('203.0.113.10', ExternalAddressKind.POOL),
  address('203.0.113.20', ExternalAddressKind.STATIC, { networkId: RED, ca: D.ip4 }),
  address('203.0.113.30', ExternalAddressKind.DENY),
  address('203.0.113.40', ExternalAddressKind.STATIC, { networkId: RED, ca: parseIp('10.0.0.99') }),
  address('203.0.113.50', ExternalAddressKind.STATIC, { networkId: RED, ca: GATEWAY.ip4 }),
  address('203.0.113.60', ExternalAddressKind.STATIC, { networkId: 99, ca: D.ip4 }),
  externalPrefix('10.0.0.0', 112, ExternalPrefixKind.FORWARD),
  externalPrefix('10.9.0.0', 112, ExternalPrefixKind.DENY),
  externalPrefix('2001:db8:1::', 48, ExternalPrefixKind.NPT),
  peering(RED, '10.8.0.0', BLUE),
  peering(BLUE, '10.7.0.0', RED),
  rule(D.ip4, SourceRuleKind.STATIC, STATIC_ADDRESS),
  { op: 'put', table: 'peer_gateway', key: { pa: HOST_C }, value: 1 },
];

export const BLUE_MEMBER = parseIp('10.8.0.20');
export const RED_TO_BLUE = parseIp('10.7.0.20');

/** What hosts' tables say besides: the gateway's port, the outside of both, and the peers' addresses. */
const HOST_ROWS: readonly TableChange[] = [
  shard(1, PA),
  {
    op: 'put',
    table: 'l2',
    key: { vsid: VSID, mac: gatewayPortMac(VSID) },
    value: target({ kind: TargetKind.GATEWAY, mac: gatewayPortMac(VSID), vsid: VSID, ifindexOrShard: 1 }),
  },
  {
    op: 'put',
    table: 'lookup',
    key: { networkId: BLUE, ca: BLUE_MEMBER },
    value: target({ kind: TargetKind.PEER, mac: Y.mac, vsid: Y.vsid, pa: HOST_C }),
  },
  {
    op: 'put',
    table: 'lookup',
    key: { networkId: RED, ca: RED_TO_BLUE },
    value: target({ kind: TargetKind.PEER, mac: C.mac, vsid: C.vsid, pa: HOST_C }),
  },
  route(RED, '0.0.0.0', 96, RouteKind.NEXT_HOP, '10.0.2.2'),
];

export function gatewayContext(...more: readonly GatewayTableChange[]): ForwardingContext {
  return { ...CONTEXT, gateway: { tables: new MemoryGatewayTables([...GATEWAY_BASE, ...more]), nat: noNat, underlayIfindex: 3 } };
}

export const hostTables: MemoryTables = tables(HOST_ROWS);

/** The verdict about a frame that red's gateway has got out of its tunnel. */
export function atGateway(frame: Uint8Array, ...more: readonly GatewayTableChange[]): Verdict {
  return toGateway(hostTables, { frame, networkId: RED, shard: 1, vsid: VSID, isSecondHand: false }, gatewayContext(...more));
}

export function fromOutside(frame: Uint8Array, ...more: readonly GatewayTableChange[]): Verdict {
  return fromExternal(hostTables, { ifindex: DEVICE, frame }, gatewayContext(...more));
}

/** UDP from red to its gateway. */
export function out(source: Uint8Array, destination: Uint8Array, more: { ttl?: number; size?: number } = {}): Uint8Array {
  const { ttl = 64, size = 60 } = more;
  const header = destination[10] === 0xff && destination[0] === 0 ? 28 : 48;
  const macs = { sourceMac: gatewayMac(VSID), destinationMac: gatewayPortMac(VSID) };
  return buildUdpFrame({ ...macs, source, destination, ttl, sourcePort: 40000, destinationPort: 53 }, new Uint8Array(size - header));
}

/** UDP from the outside. */
export function into(destination: Uint8Array, more: { source?: Uint8Array; ttl?: number; size?: number } = {}): Uint8Array {
  const isIpv4 = destination[10] === 0xff && destination[0] === 0;
  const { source = isIpv4 ? OUTSIDE : OUTSIDE6, ttl = 64, size = 60 } = more;
  const macs = { sourceMac: NEIGHBOR_MAC, destinationMac: EXTERNAL_MAC };
  return buildUdpFrame(
    { ...macs, source, destination, ttl, sourcePort: 53, destinationPort: 40000 },
    new Uint8Array(size - (isIpv4 ? 28 : 48)),
  );
}

/** An error from `source` about UDP from `quoted.source` to `quoted.destination`. */
export function errorAbout(
  ends: { source: Uint8Array; destination: Uint8Array; isOut: boolean },
  quoted: { source: Uint8Array; destination: Uint8Array },
): Uint8Array {
  const udp = buildUdp({ ...quoted, sourcePort: 4000, destinationPort: 5000 }, new Uint8Array(8));
  const message = buildIcmpv4({ type: 3, code: 1 }, buildIpv4({ ...quoted, protocol: 17 }, udp));
  const macs = ends.isOut
    ? { source: gatewayMac(VSID), destination: gatewayPortMac(VSID) }
    : { source: NEIGHBOR_MAC, destination: EXTERNAL_MAC };
  const { source, destination } = ends;
  return buildEthernet({ ...macs, type: ETHER_TYPE.ipv4 }, buildIpv4({ source, destination, protocol: 1 }, message));
}

const arp = (senderIp: string, targetIp: string, senderMac: Uint8Array = NEIGHBOR_MAC): Uint8Array =>
  buildArpFrame({ operation: 1, senderMac, senderIp: parseIp(senderIp), targetIp: parseIp(targetIp) });

function probe(source: Uint8Array, bend: (payload: Uint8Array) => void = () => undefined): Verdict {
  const payload = encodeProbe({ type: ProbeType.REQUEST, nonce: 7n, shards: [{ shard: 1, epoch: 0n, isForwarding: false }] });
  bend(payload);
  const ends = { sourceMac: NEIGHBOR_MAC, destinationMac: EXTERNAL_MAC, source, destination: PA, sourcePort: 4790, destinationPort: 4790 };
  return fromUnderlay(hostTables, { frame: buildUdpFrame(ends, payload) }, gatewayContext());
}

const R = DropReason;
const { DROP, REPLY, TUNNEL, EXTERNAL, PASS, LOCAL } = Action;
const one = (title: string, reason: DropReason, verdict: () => Verdict, action: number = DROP): RuleCase => ({
  title,
  reason,
  action,
  verdict,
});
const expired = owned(NOW);
const handover = owned(NOW, NOW + 1n);
const ping = (destination: Uint8Array): Uint8Array =>
  buildIcmpEchoFrame({
    sourceMac: gatewayMac(VSID),
    destinationMac: gatewayPortMac(VSID),
    source: C.ip4,
    destination,
    identifier: 1,
    sequence: 1,
  });
const remove = (table: 'segment' | 'external_address', text = ''): GatewayTableChange =>
  table === 'segment' ? { op: 'delete', table, key: { segment: 1 } } : { op: 'delete', table, key: { segment: 1, address: parseIp(text) } };

export const GATEWAY_CASES: readonly RuleCase[] = [
  one('out as it is', R.NONE, () => atGateway(out(C.ip4, OUTSIDE)), EXTERNAL),
  one('out by prefix translation', R.NONE, () => atGateway(out(C.ip6, OUTSIDE6)), EXTERNAL),
  one('out by a static address', R.NONE, () => atGateway(out(D.ip4, OUTSIDE)), EXTERNAL),
  one('of a network that has none', R.GATEWAY_NETWORK_UNKNOWN, () =>
    atGateway(out(C.ip4, OUTSIDE), network(RED, { mode: GatewayMode.DENY })),
  ),
  one('of another shard', R.GATEWAY_NETWORK_UNKNOWN, () => atGateway(out(C.ip4, OUTSIDE), network(RED, { shard: 2 }))),
  one('after the deadline', R.GATEWAY_NOT_OWNER, () => atGateway(out(C.ip4, OUTSIDE), expired)),
  one('during a hand-over', R.NONE, () => atGateway(out(C.ip4, OUTSIDE), handover), TUNNEL),
  one('ping of the gateway', R.NONE, () => atGateway(ping(GATEWAY.ip4)), TUNNEL),
  one('something else to the gateway', R.GATEWAY_NO_SERVICE, () => atGateway(out(C.ip4, GATEWAY.ip4))),
  one('to the own network', R.GATEWAY_HAIRPIN_INSIDE, () => atGateway(out(C.ip4, D.ip4))),
  one('TTL used up', R.TTL_EXCEEDED, () => atGateway(out(C.ip4, OUTSIDE, { ttl: 1 })), TUNNEL),
  one('TTL used up, no address to tell it from', R.TTL_EXCEEDED, () =>
    atGateway(out(C.ip4, OUTSIDE, { ttl: 1 }), network(RED, { gateway4: NONE16 })),
  ),
  one('peering', R.NONE, () => atGateway(out(RED_TO_BLUE, BLUE_MEMBER)), TUNNEL),
  one('peering of one side', R.PEERING_NOT_ACCEPTED, () => atGateway(out(C.ip4, BLUE_MEMBER))),
  one('peering with another shard', R.PEERING_NOT_ACCEPTED, () => atGateway(out(RED_TO_BLUE, BLUE_MEMBER), network(BLUE, { shard: 2 }))),
  one('IPv4 stays inside', R.GATEWAY_OUTSIDE_DENIED, () => atGateway(out(C.ip4, OUTSIDE), network(RED, { mode: GatewayMode.INSIDE }))),
  one('IPv6 stays inside', R.GATEWAY_OUTSIDE_DENIED, () => atGateway(out(C.ip6, OUTSIDE6), network(RED, { flags: 0 }))),
  one('a source that is denied', R.SOURCE_RULE_DENIED, () => atGateway(out(C.ip4, OUTSIDE), rule(C.ip4, SourceRuleKind.DENY))),
  one('untranslated, from another network’s prefix', R.SOURCE_RULE_DENIED, () =>
    atGateway(out(C.ip4, OUTSIDE), externalPrefix('10.0.0.0', 120, ExternalPrefixKind.FORWARD, BLUE)),
  ),
  one('untranslated, from an external address', R.SOURCE_RULE_DENIED, () =>
    atGateway(out(C.ip4, OUTSIDE), address('10.0.0.20', ExternalAddressKind.RESERVED)),
  ),
  one('by prefix translation to a prefix that another network has by now', R.SOURCE_RULE_DENIED, () =>
    atGateway(out(C.ip6, OUTSIDE6), externalPrefix('2001:db8:1::', 48, ExternalPrefixKind.NPT, BLUE)),
  ),
  one('a static address that another network has by now', R.SOURCE_RULE_DENIED, () =>
    atGateway(out(D.ip4, OUTSIDE), address('203.0.113.20', ExternalAddressKind.STATIC, { networkId: BLUE, ca: D.ip4 })),
  ),
  one('a static address that is nobody’s, or of another use', R.SOURCE_RULE_DENIED, () =>
    atGateway(out(D.ip4, OUTSIDE), address('203.0.113.20', ExternalAddressKind.DENY, { networkId: RED })),
  ),
  one('a rule of a later version', R.SOURCE_RULE_DENIED, () => atGateway(out(C.ip4, OUTSIDE), rule(C.ip4, 9))),
  one('a static address of the other family', R.SOURCE_RULE_DENIED, () =>
    atGateway(out(C.ip4, OUTSIDE), rule(C.ip4, SourceRuleKind.STATIC, OUTSIDE6)),
  ),
  one('a source outside the prefix', R.NPT_NOT_TRANSLATABLE, () =>
    atGateway(out(C.ip6, OUTSIDE6), network(RED, { nptInside: parseIp('2001:db9::') })),
  ),
  one('a subnet that is all ones', R.NPT_NOT_TRANSLATABLE, () => atGateway(out(parseIp('2001:db8:0:ffff::1'), OUTSIDE6))),
  one('no segment', R.EXTERNAL_NO_ROUTE, () => atGateway(out(C.ip4, OUTSIDE), remove('segment'))),
  one('no route', R.EXTERNAL_NO_ROUTE, () => atGateway(out(C.ip4, parseIp('192.0.9.1')))),
  one('too big', R.PACKET_TOO_BIG, () => atGateway(out(C.ip4, OUTSIDE, { size: 1301 })), TUNNEL),
  one('of the segment’s size', R.NONE, () => atGateway(out(C.ip4, OUTSIDE, { size: 1300 })), EXTERNAL),
  one('an error without its quote', R.ICMP_QUOTE_INVALID, () =>
    atGateway(
      patched(errorAbout({ source: D.ip4, destination: OUTSIDE, isOut: true }, { source: OUTSIDE, destination: D.ip4 }), 42, 0x65),
      rule(D.ip4, SourceRuleKind.STATIC, STATIC_ADDRESS),
    ),
  ),
  one(
    'an error of a router VM',
    R.NONE,
    () => atGateway(errorAbout({ source: C.ip4, destination: OUTSIDE, isOut: true }, { source: OUTSIDE, destination: D.ip4 })),
    EXTERNAL,
  ),
  // What leaves untranslated leaves by its own source's rule, whatever it quotes.
  one('an error that quotes what may leave as it is, of a source that may not', R.SOURCE_RULE_DENIED, () =>
    atGateway(
      errorAbout({ source: C.ip4, destination: OUTSIDE, isOut: true }, { source: OUTSIDE, destination: parseIp('10.0.0.77') }),
      rule(C.ip4, SourceRuleKind.DENY),
    ),
  ),
  one('an error that quotes what may leave as it is, of a source that is to be translated', R.SOURCE_RULE_DENIED, () =>
    atGateway(errorAbout({ source: D.ip4, destination: OUTSIDE, isOut: true }, { source: OUTSIDE, destination: C.ip4 })),
  ),
  one(
    'an error of a router VM, as it is',
    R.NONE,
    () =>
      atGateway(errorAbout({ source: C.ip4, destination: OUTSIDE, isOut: true }, { source: OUTSIDE, destination: parseIp('10.0.0.77') })),
    EXTERNAL,
  ),
  one('hairpin', R.NONE, () => atGateway(out(C.ip4, STATIC_ADDRESS)), TUNNEL),
  one(
    'hairpin to what another owns',
    R.NONE,
    () => atGateway(out(C.ip4, STATIC_ADDRESS), { ...address('203.0.113.20', ExternalAddressKind.STATIC, { shard: 2 }) }),
    EXTERNAL,
  ),
  one('no port mapping', R.NAT_POOL_UNKNOWN, () => atGateway(out(C.ip4, OUTSIDE), rule(C.ip4, SourceRuleKind.POOL))),

  one('in by a static address', R.NONE, () => fromOutside(into(STATIC_ADDRESS)), TUNNEL),
  one('in as it is', R.NONE, () => fromOutside(into(C.ip4)), TUNNEL),
  one('in to a port here', R.NONE, () => fromOutside(into(A.ip4)), LOCAL),
  one('in by prefix translation', R.NONE, () => fromOutside(into(parseIp('2001:db8:1:fffe::20'))), TUNNEL),
  one('to the host itself', R.NONE, () => fromOutside(into(parseIp('203.0.113.9'))), PASS),
  one('to another MAC address', R.NONE, () => fromOutside(patched(into(STATIC_ADDRESS), 0, ...NEIGHBOR_MAC)), PASS),
  one('to an address without use', R.EXTERNAL_ADDRESS_DENIED, () => fromOutside(into(parseIp('203.0.113.30')))),
  one('to a prefix that is denied', R.EXTERNAL_ADDRESS_DENIED, () => fromOutside(into(parseIp('10.9.0.1')))),
  one('to a network that is gone', R.GATEWAY_NETWORK_UNKNOWN, () => fromOutside(into(parseIp('203.0.113.60')))),
  one('to nobody', R.UNKNOWN_DESTINATION, () => fromOutside(into(parseIp('203.0.113.40')))),
  one('to what is behind the gateway', R.NO_ROUTE, () => fromOutside(into(parseIp('203.0.113.50')))),
  one('from one of our addresses', R.EXTERNAL_SOURCE_INVALID, () => fromOutside(into(STATIC_ADDRESS, { source: parseIp('203.0.113.10') }))),
  one('from a group', R.EXTERNAL_SOURCE_INVALID, () => fromOutside(into(STATIC_ADDRESS, { source: parseIp('224.0.0.1') }))),
  one('from an inside address to a port here', R.SOURCE_ADDRESS_SPOOFED, () => fromOutside(into(A.ip4, { source: C.ip4 }))),
  one('in after the deadline', R.GATEWAY_NOT_OWNER, () => fromOutside(into(STATIC_ADDRESS), expired)),
  one('in during a hand-over', R.NONE, () => fromOutside(into(STATIC_ADDRESS), handover), REPLY),
  one('in, TTL used up', R.TTL_EXCEEDED, () => fromOutside(into(STATIC_ADDRESS, { ttl: 1 })), EXTERNAL),
  one('in, too big', R.PACKET_TOO_BIG, () => fromOutside(into(C.ip4, { size: 1281 })), EXTERNAL),
  one('an error about what did not come from us', R.ICMP_QUOTE_INVALID, () =>
    fromOutside(errorAbout({ source: OUTSIDE, destination: STATIC_ADDRESS, isOut: false }, { source: D.ip4, destination: OUTSIDE })),
  ),
  one('ARP for one of ours', R.NONE, () => fromOutside(arp('203.0.113.1', '203.0.113.20')), REPLY),
  one('ARP for one of ours, after the deadline', R.NONE, () => fromOutside(arp('203.0.113.1', '203.0.113.20'), expired), PASS),
  one('ARP for another', R.NONE, () => fromOutside(arp('203.0.113.1', '203.0.113.9')), PASS),
  one('ARP that claims one of ours', R.EXTERNAL_ADDRESS_CONFLICT, () => fromOutside(arp('203.0.113.20', '203.0.113.20'))),
  one('our own announcement', R.NONE, () => fromOutside(arp('203.0.113.20', '203.0.113.20', EXTERNAL_MAC)), PASS),

  one('a probe', R.NONE, () => probe(HOST_C), REPLY),
  one('a probe of a stranger', R.PROBE_UNKNOWN_PEER, () => probe(STRANGER)),
  one('a probe of a later version', R.PROBE_MALFORMED, () => probe(HOST_C, (payload) => payload.set([2], 4))),
];
