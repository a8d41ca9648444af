import { DropReason } from '@weft/model';
import { buildIcmpEchoFrame, buildIcmpv4, buildUdpFrame, parseIp, parseMac } from '@weft/packet';
import { Action, RouteKind, TargetKind } from '../../src/index.ts';
import { A, A_SECOND4, B, bind, C, D, F, GATEWAY_MAC, ofPort, PA, patched, RED, route, shard, subnet, tables } from '../fixture.ts';
import type { RuleCase } from './case.ts';
import { frame4 } from './port-ip.ts';

const R = DropReason;

/** A UDP frame of A, routed unless a MAC address is given; `size` bytes of IP packet. */
export function udpTo(destination: string, more: { mac?: Uint8Array; ttl?: number; size?: number; source?: Uint8Array } = {}): Uint8Array {
  const { mac = GATEWAY_MAC, ttl = 64, size = 60 } = more;
  const to = parseIp(destination);
  const isIpv6 = destination.includes(':');
  const source = more.source ?? (isIpv6 ? A.ip6 : A.ip4);
  const fields = { sourceMac: A.mac, destinationMac: mac, source, destination: to, ttl, sourcePort: 40000, destinationPort: 53 };
  return buildUdpFrame(fields, new Uint8Array(size - (isIpv6 ? 48 : 28)));
}

function echoTo(destination: string): Uint8Array {
  const to = parseIp(destination);
  const source = destination.includes(':') ? A.ip6 : A.ip4;
  return buildIcmpEchoFrame({ sourceMac: A.mac, destinationMac: GATEWAY_MAC, source, destination: to, identifier: 1, sequence: 1 });
}

const sent = (
  title: string,
  reason: DropReason,
  frame: Uint8Array,
  action: number = Action.DROP,
  more: Parameters<typeof ofPort>[1] = {},
): RuleCase => ({
  title,
  reason,
  action,
  verdict: () => ofPort(frame, more),
});
const { DROP, REPLY, LOCAL, TUNNEL } = Action;
const noGateway = { tables: tables(subnet(RED, 5001)) };
const ttl1IcmpError = patched(frame4({ protocol: 1, ttl: 1 }, buildIcmpv4({ type: 3, code: 1 }, new Uint8Array(28))), 0, ...GATEWAY_MAC);
const ttl1Fragment = patched(frame4({ ttl: 1, fragmentOffset: 64 }, new Uint8Array(28)), 0, ...GATEWAY_MAC);

export const PORT_FORWARD_CASES: readonly RuleCase[] = [
  sent('switched to a peer', R.NONE, udpTo('10.0.0.20', { mac: C.mac }), TUNNEL),
  sent('switched, TTL 1 stays', R.NONE, udpTo('10.0.0.20', { mac: C.mac, ttl: 1 }), TUNNEL),
  sent('switched to nobody', R.UNKNOWN_DESTINATION_MAC, udpTo('10.0.0.20', { mac: parseMac('02:00:00:00:00:99') })),
  sent('switched to a denied record', R.UNKNOWN_DESTINATION_MAC, udpTo('10.0.0.25', { mac: parseMac('02:00:00:00:00:25') })),
  sent("switched to another subnet's MAC", R.UNKNOWN_DESTINATION_MAC, udpTo('10.0.1.10', { mac: B.mac })),
  sent("switched to another subnet's gateway", R.UNKNOWN_DESTINATION_MAC, udpTo('10.0.1.10', { mac: parseMac('02:57:46:00:13:8a') })),
  sent('switched to itself', R.DESTINATION_IS_SOURCE, udpTo('10.0.0.11', { mac: A.mac })),
  sent('routed to itself', R.DESTINATION_IS_SOURCE, udpTo('10.0.0.11')),
  sent('routed to what lies behind itself', R.DESTINATION_IS_SOURCE, udpTo('172.16.0.1')),
  sent('routed to a local port', R.NONE, udpTo('10.0.1.10'), LOCAL),
  sent('routed to a local port, IPv6', R.NONE, udpTo('2001:db8:0:1::10'), LOCAL),
  sent('routed to a peer', R.NONE, udpTo('10.0.1.20'), TUNNEL),
  sent('routed within the subnet', R.NONE, udpTo('10.0.0.20'), TUNNEL),
  sent('routed by way of a router VM', R.NONE, udpTo('172.17.0.1'), TUNNEL),
  sent('routed to the gateway', R.NONE, udpTo('198.51.100.1'), TUNNEL),
  sent('routed to the gateway, IPv6', R.NONE, udpTo('2a00::1'), TUNNEL),
  sent('no route', R.NO_ROUTE, udpTo('203.0.113.1')),
  sent('no route, IPv6', R.NO_ROUTE, udpTo('2001:db8:ffff::1')),
  sent('a route of kind 0', R.ROUTE_DENIED, udpTo('10.67.0.1')),
  sent('a blackhole', R.ROUTE_BLACKHOLE, udpTo('10.66.0.1')),
  sent('a longer route wins', R.ROUTE_BLACKHOLE, udpTo('198.51.100.66'), DROP, {
    tables: tables(route(RED, '198.51.100.64', 122, RouteKind.BLACKHOLE)),
  }),
  sent('nobody on the link', R.UNKNOWN_DESTINATION, udpTo('10.0.0.99')),
  sent('denied on the link', R.UNKNOWN_DESTINATION, udpTo('10.0.0.25')),
  sent('a record of another subnet than the route says', R.UNKNOWN_DESTINATION, udpTo('10.0.1.10'), DROP, {
    tables: tables(route(RED, '10.0.1.0', 120, RouteKind.ON_LINK, 5001)),
  }),
  sent('no next hop', R.NEXT_HOP_UNKNOWN, udpTo('172.18.0.1')),
  sent('denied next hop', R.NEXT_HOP_UNKNOWN, udpTo('172.18.0.1'), DROP, {
    tables: tables(route(RED, '172.18.0.0', 112, RouteKind.NEXT_HOP, '10.0.0.25')),
  }),

  sent('echo to the gateway', R.NONE, echoTo('10.0.0.1'), REPLY),
  sent("echo to another subnet's gateway", R.NONE, echoTo('10.0.1.1'), REPLY),
  sent('echo to the IPv6 gateway', R.NONE, echoTo('2001:db8::1'), REPLY),
  sent('echo with TTL 1 to the gateway', R.NONE, patched(echoTo('10.0.0.1'), 22, 1), REPLY),
  sent('UDP to the gateway', R.GATEWAY_NO_SERVICE, udpTo('10.0.0.1')),
  sent('echo reply to the gateway', R.GATEWAY_NO_SERVICE, patched(echoTo('10.0.0.1'), 34, 0)),
  sent('echo of code 1 to the gateway', R.GATEWAY_NO_SERVICE, patched(echoTo('10.0.0.1'), 35, 1)),
  sent('first fragment of an echo to the gateway', R.GATEWAY_NO_SERVICE, patched(echoTo('10.0.0.1'), 20, 0x20)),
  sent('UDP to the IPv6 gateway', R.GATEWAY_NO_SERVICE, udpTo('2001:db8::1')),
  sent('echo to a gateway that is not set', R.UNKNOWN_DESTINATION, echoTo('10.0.0.1'), DROP, noGateway),

  sent('TTL 1', R.TTL_EXCEEDED, udpTo('10.0.1.20', { ttl: 1 }), REPLY),
  sent('TTL 0', R.TTL_EXCEEDED, udpTo('10.0.1.10', { ttl: 0 }), REPLY),
  sent('hop limit 1', R.TTL_EXCEEDED, udpTo('2001:db8:0:1::20', { ttl: 1 }), REPLY),
  sent('TTL 1 without gateway', R.TTL_EXCEEDED, udpTo('10.0.1.20', { ttl: 1 }), DROP, noGateway),
  sent('TTL 1 of an ICMP error', R.TTL_EXCEEDED, patched(ttl1IcmpError, 30, ...D.ip4.subarray(12)), DROP),
  sent('TTL 1 of an echo', R.TTL_EXCEEDED, patched(patched(ttl1IcmpError, 30, ...D.ip4.subarray(12)), 34, 8), REPLY),
  sent('TTL 1 of a later fragment', R.TTL_EXCEEDED, patched(ttl1Fragment, 30, ...D.ip4.subarray(12)), DROP),
  sent('TTL 1 comes before itself as destination', R.TTL_EXCEEDED, udpTo('10.0.0.11', { ttl: 1 }), REPLY),
  sent('unknown destination comes before TTL 1', R.UNKNOWN_DESTINATION, udpTo('10.0.0.99', { ttl: 1 })),

  sent('as large as the MTU', R.NONE, udpTo('10.0.0.20', { mac: C.mac, size: 1400 }), TUNNEL),
  sent('larger than the MTU', R.PACKET_TOO_BIG, udpTo('10.0.0.20', { mac: C.mac, size: 1401 }), REPLY),
  sent('larger than the MTU, routed', R.PACKET_TOO_BIG, udpTo('10.0.1.10', { size: 1401 }), REPLY),
  sent('larger than the MTU, IPv6', R.PACKET_TOO_BIG, udpTo('2001:db8::20', { mac: C.mac, size: 1401 }), REPLY),
  sent('larger than the MTU, without gateway', R.PACKET_TOO_BIG, udpTo('10.0.0.20', { mac: C.mac, size: 1401 }), DROP, noGateway),
  sent('too big comes before no owner', R.PACKET_TOO_BIG, udpTo('198.51.100.1', { size: 1401 }), REPLY, {
    tables: tables(shard(1, new Uint8Array(16))),
  }),
  sent('GSO segments that fit', R.NONE, udpTo('10.0.0.20', { mac: C.mac, size: 9000 }), TUNNEL, { gso: { size: 1372 } }),
  sent('GSO segments that do not fit', R.PACKET_TOO_BIG, udpTo('10.0.0.20', { mac: C.mac, size: 9000 }), REPLY, { gso: { size: 1373 } }),
  sent('GSO of size 0 is none', R.PACKET_TOO_BIG, udpTo('10.0.0.20', { mac: C.mac, size: 9000 }), REPLY, { gso: { size: 0 } }),

  sent('shard without owner', R.NO_GATEWAY_OWNER, udpTo('198.51.100.1'), DROP, { tables: tables(shard(1, new Uint8Array(16))) }),
  sent('shard with owner 0.0.0.0', R.NO_PEER, udpTo('198.51.100.1'), DROP, { tables: tables(shard(1, parseIp('0.0.0.0'))) }),
  sent('unknown shard', R.NO_GATEWAY_OWNER, udpTo('198.51.100.1'), DROP, {
    tables: tables([{ op: 'delete', table: 'shard', key: { id: 1 } }]),
  }),
  sent('a shard of this very host', R.GATEWAY_NETWORK_UNKNOWN, udpTo('198.51.100.1'), DROP, { tables: tables(shard(1, PA)) }),
  sent('a record without host', R.NO_PEER, udpTo('10.0.0.26')),
  sent('a peer that is this host', R.NO_PEER, udpTo('10.0.0.20'), DROP, {
    tables: tables(bind(RED, C, { kind: TargetKind.PEER, pa: PA })),
  }),
  sent('a peer with an IPv6 provider address', R.NO_PEER, udpTo('10.0.0.20'), DROP, {
    tables: tables(bind(RED, C, { kind: TargetKind.PEER, pa: parseIp('2001:db8:f::1') })),
  }),
  sent('65,485 bytes of packet fit', R.NONE, udpTo('10.0.0.20', { mac: C.mac, size: 65_485 }), TUNNEL, { gso: { size: 1000 } }),
  sent('one more does not', R.FRAME_TOO_LARGE, udpTo('10.0.0.20', { mac: C.mac, size: 65_486 }), DROP, { gso: { size: 1000 } }),
  sent('the same to a local port', R.NONE, udpTo('10.0.1.10', { size: 65_486 }), LOCAL, { gso: { size: 1000 } }),
  sent('to a record with a second home', R.NONE, udpTo('10.0.0.30', { mac: F.mac, source: A_SECOND4 }), TUNNEL),
];
