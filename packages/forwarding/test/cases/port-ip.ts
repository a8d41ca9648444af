import { DropReason } from '@weft/model';
import {
  buildEthernet,
  buildIpFrame,
  buildIpv4,
  buildIpv6,
  buildIpv6Fragment,
  buildTcp,
  buildUdp,
  buildUdpFrame,
  ETHER_TYPE,
  parseIp,
} from '@weft/packet';
import { Action, RouteKind } from '../../src/index.ts';
import { A, A_SECOND4, C, E, GATEWAY_MAC, ofPort, patched, RED, route, tables, X } from '../fixture.ts';
import type { RuleCase } from './case.ts';

const R = DropReason;
const ends4 = { source: A.ip4, destination: C.ip4 };
const ends6 = { source: A.ip6, destination: C.ip6 };

export function frame4(fields: Partial<Parameters<typeof buildIpv4>[0]>, payload: Uint8Array): Uint8Array {
  const packet = buildIpv4({ ...ends4, protocol: 17, ...fields }, payload);
  return buildEthernet({ destination: C.mac, source: A.mac, type: ETHER_TYPE.ipv4 }, packet);
}

export function frame6(fields: Partial<Parameters<typeof buildIpv6>[0]>, payload: Uint8Array): Uint8Array {
  const packet = buildIpv6({ ...ends6, nextHeader: 17, ...fields }, payload);
  return buildEthernet({ destination: C.mac, source: A.mac, type: ETHER_TYPE.ipv6 }, packet);
}

export const udp4: Uint8Array = buildUdp({ ...ends4, sourcePort: 40000, destinationPort: 53 }, new Uint8Array(8));
export const udp6: Uint8Array = buildUdp({ ...ends6, sourcePort: 40000, destinationPort: 53 }, new Uint8Array(8));
const tcp4 = buildTcp({ ...ends4, sourcePort: 40000, destinationPort: 80 }, new Uint8Array(8));
const sound4 = frame4({}, udp4);
const sound6 = frame6({}, udp6);

const fragment6 = (nextHeader: number, fragmentOffset: number, moreFragments: boolean, payload: Uint8Array): Uint8Array =>
  frame6({ nextHeader: 44 }, buildIpv6Fragment({ nextHeader, fragmentOffset, moreFragments, identification: 1 }, payload));

function udpBetween(source: string, destination: string, sourcePort: number, destinationPort: number, destinationMac = C.mac): Uint8Array {
  const fields = {
    sourceMac: A.mac,
    destinationMac,
    source: parseIp(source),
    destination: parseIp(destination),
    sourcePort,
    destinationPort,
  };
  return buildUdpFrame(fields, new Uint8Array(8));
}

const dropped = (title: string, reason: DropReason, frame: Uint8Array, more: Parameters<typeof ofPort>[1] = {}): RuleCase => ({
  title,
  reason,
  verdict: () => ofPort(frame, more),
});
const tunnelled = (title: string, frame: Uint8Array): RuleCase => ({
  title,
  reason: R.NONE,
  action: Action.TUNNEL,
  verdict: () => ofPort(frame),
});

const BROADCAST_MAC = new Uint8Array(6).fill(0xff);

export const PORT_IP_CASES: readonly RuleCase[] = [
  dropped('19 bytes of IPv4', R.TRUNCATED_IPV4, sound4.slice(0, 33)),
  dropped('version 6 in an IPv4 frame', R.MALFORMED_IPV4, patched(sound4, 14, 0x65)),
  dropped('IHL 4', R.MALFORMED_IPV4, patched(sound4, 14, 0x44)),
  dropped('IHL beyond the frame', R.TRUNCATED_IPV4, patched(sound4.slice(0, 40), 14, 0x4f)),
  dropped('total length below the header', R.MALFORMED_IPV4, patched(sound4, 16, 0, 19)),
  dropped('total length beyond the frame', R.TRUNCATED_IPV4, patched(sound4, 16, 0, sound4.length - 13)),
  dropped('IPv4 GSO frame with padding', R.MALFORMED_IPV4, patched(sound4, 16, 0, sound4.length - 15), { gso: { size: 100 } }),
  dropped('TCP of 19 bytes', R.TRUNCATED_L4, frame4({ protocol: 6 }, tcp4.slice(0, 19))),
  dropped('UDP of 7 bytes', R.TRUNCATED_L4, frame4({}, udp4.slice(0, 7))),
  dropped('ICMP of 7 bytes', R.TRUNCATED_L4, frame4({ protocol: 1 }, new Uint8Array(7))),
  dropped('first fragment with a short UDP header', R.TRUNCATED_L4, frame4({ moreFragments: true }, udp4.slice(0, 7))),
  dropped('TCP data offset 4', R.MALFORMED_TCP, frame4({ protocol: 6 }, patched(tcp4, 12, 0x40))),
  dropped('TCP data offset beyond the segment', R.MALFORMED_TCP, frame4({ protocol: 6 }, patched(tcp4, 12, 0x80))),
  dropped('TCP fragment at offset 8', R.TINY_FRAGMENT, frame4({ protocol: 6, fragmentOffset: 8 }, new Uint8Array(8))),
  tunnelled('UDP fragment at offset 8', frame4({ fragmentOffset: 8 }, new Uint8Array(8))),
  tunnelled('later fragment of 1 byte', frame4({ fragmentOffset: 1480 }, new Uint8Array(1))),
  tunnelled('other protocol without payload', frame4({ protocol: 253 }, new Uint8Array(0))),
  tunnelled('ICMPv6 number over IPv4 is a protocol like others', frame4({ protocol: 58 }, new Uint8Array(3))),

  dropped('DHCP client', R.DHCP_NOT_SERVED, udpBetween('0.0.0.0', '255.255.255.255', 68, 67, BROADCAST_MAC)),
  dropped('0.0.0.0 with other ports', R.SOURCE_ADDRESS_SPOOFED, udpBetween('0.0.0.0', '255.255.255.255', 68, 69, BROADCAST_MAC)),
  dropped('DHCP client in a fragment', R.SOURCE_ADDRESS_SPOOFED, patched(udpBetween('0.0.0.0', '10.0.0.20', 68, 67), 20, 0x20)),
  dropped('DHCP server', R.DHCP_SERVER_NOT_ALLOWED, udpBetween('10.0.0.10', '255.255.255.255', 67, 68, BROADCAST_MAC)),
  dropped('DHCP server with a forged source', R.DHCP_SERVER_NOT_ALLOWED, udpBetween('10.0.0.1', '10.0.0.20', 67, 68)),
  tunnelled('DHCP relay traffic between servers', udpBetween('10.0.0.10', '10.0.0.20', 67, 67)),
  dropped("another's address", R.SOURCE_ADDRESS_SPOOFED, udpBetween('10.0.0.20', '10.0.0.24', 1, 2)),
  dropped("another local port's address", R.SOURCE_ADDRESS_SPOOFED, udpBetween('10.0.1.10', '10.0.0.20', 1, 2)),
  dropped('an address of nobody', R.SOURCE_ADDRESS_SPOOFED, udpBetween('203.0.113.9', '10.0.0.20', 1, 2)),
  dropped('an address behind another router', R.SOURCE_ADDRESS_SPOOFED, udpBetween('172.17.0.9', '10.0.0.20', 1, 2)),
  dropped('an address behind the gateway', R.SOURCE_ADDRESS_SPOOFED, udpBetween('198.51.100.9', '10.0.0.20', 1, 2)),
  dropped("the gateway's own address", R.SOURCE_ADDRESS_SPOOFED, udpBetween('10.0.0.1', '10.0.0.20', 1, 2)),
  dropped('a broadcast source', R.SOURCE_ADDRESS_SPOOFED, udpBetween('255.255.255.255', '10.0.0.20', 1, 2)),
  dropped('an address in a blackhole that names this port', R.SOURCE_ADDRESS_SPOOFED, udpBetween('172.19.0.9', '10.0.0.20', 1, 2), {
    tables: tables(route(RED, '172.19.0.0', 112, RouteKind.BLACKHOLE, '10.0.0.10')),
  }),
  tunnelled('second address of the port', udpBetween('10.0.0.11', '10.0.0.20', 1, 2)),
  tunnelled('an address behind this router VM', udpBetween('172.16.9.9', '10.0.0.20', 1, 2)),
  dropped('broadcast', R.NOT_UNICAST, udpBetween('10.0.0.10', '255.255.255.255', 1, 2, BROADCAST_MAC)),
  dropped('group MAC, unicast address', R.NOT_UNICAST, udpBetween('10.0.0.10', '10.0.0.20', 1, 2, BROADCAST_MAC)),
  dropped('multicast', R.NOT_UNICAST, udpBetween('10.0.0.10', '224.0.0.1', 1, 2)),
  dropped('class E', R.NOT_UNICAST, udpBetween('10.0.0.10', '240.0.0.1', 1, 2)),
  dropped('loopback', R.NOT_UNICAST, udpBetween('10.0.0.10', '127.9.9.9', 1, 2)),
  dropped('network 0', R.NOT_UNICAST, udpBetween('10.0.0.10', '0.0.0.1', 1, 2)),
  dropped('spoofed broadcast is spoofed first', R.SOURCE_ADDRESS_SPOOFED, udpBetween('10.0.0.20', '255.255.255.255', 1, 2, BROADCAST_MAC)),

  dropped('39 bytes of IPv6', R.TRUNCATED_IPV6, sound6.slice(0, 53)),
  dropped('version 4 in an IPv6 frame', R.MALFORMED_IPV6, patched(sound6, 14, 0x45)),
  dropped('payload length beyond the frame', R.TRUNCATED_IPV6, patched(sound6, 18, 0, sound6.length - 53)),
  dropped('payload length 0', R.MALFORMED_IPV6, patched(sound6, 18, 0, 0)),
  dropped('jumbogram', R.MALFORMED_IPV6, patched(sound6, 18, 0, 0, 0)),
  dropped('IPv6 GSO frame with padding', R.MALFORMED_IPV6, patched(sound6, 18, 0, sound6.length - 55), { gso: { size: 100 } }),
  tunnelled('no next header, nothing', frame6({ nextHeader: 59 }, new Uint8Array(0))),
  dropped('fragment header of 7 bytes', R.TRUNCATED_L4, frame6({ nextHeader: 44 }, new Uint8Array(7))),
  ...[0, 43, 51, 60, 135, 139, 140].map((nextHeader) =>
    dropped(`extension ${nextHeader}`, R.IPV6_EXTENSION_NOT_ALLOWED, frame6({ nextHeader }, new Uint8Array(24))),
  ),
  ...[0, 43, 44, 51, 60, 135, 139, 140].map((nextHeader) =>
    dropped(
      `extension ${nextHeader} behind a fragment header`,
      R.IPV6_EXTENSION_NOT_ALLOWED,
      fragment6(nextHeader, 0, true, new Uint8Array(24)),
    ),
  ),
  dropped('ICMPv6 of 7 bytes', R.TRUNCATED_L4, frame6({ nextHeader: 58 }, new Uint8Array(7))),
  dropped('UDP of 7 bytes, IPv6', R.TRUNCATED_L4, frame6({}, udp6.slice(0, 7))),
  dropped('UDP of 7 bytes behind a fragment header', R.TRUNCATED_L4, fragment6(17, 0, true, udp6.slice(0, 7))),
  dropped('TCP data offset 4, IPv6', R.MALFORMED_TCP, frame6({ nextHeader: 6 }, patched(tcp4, 12, 0x40))),
  tunnelled('later fragment with any bytes', fragment6(6, 8, false, new Uint8Array(3))),
  tunnelled('first fragment, IPv6', fragment6(17, 0, true, udp6)),
  tunnelled('atomic fragment', fragment6(17, 0, false, udp6)),
  tunnelled('ICMP number over IPv6 is a protocol like others', frame6({ nextHeader: 1 }, new Uint8Array(3))),
  tunnelled('later fragment that looks like ND', fragment6(58, 8, false, Uint8Array.of(135, 0, 0, 0, 0, 0, 0, 0))),

  dropped('source ::', R.SOURCE_ADDRESS_SPOOFED, udpBetween('::', '2001:db8::20', 1, 2)),
  dropped('IPv4-mapped source', R.SOURCE_ADDRESS_SPOOFED, frame6({ source: A.ip4 }, udp6)),
  dropped('link-local source', R.LINK_LOCAL_NOT_FORWARDED, udpBetween('fe80::10', '2001:db8::20', 1, 2)),
  dropped('link-local destination', R.LINK_LOCAL_NOT_FORWARDED, udpBetween('2001:db8::10', 'febf::20', 1, 2)),
  dropped('DHCPv6 server', R.DHCP_SERVER_NOT_ALLOWED, udpBetween('2001:db8::10', '2001:db8::20', 547, 546)),
  tunnelled('another port to 546', udpBetween('2001:db8::10', '2001:db8::20', 548, 546)),
  dropped("another's IPv6 address", R.SOURCE_ADDRESS_SPOOFED, udpBetween('2001:db8::20', '2001:db8::24', 1, 2)),
  dropped('IPv6 multicast', R.NOT_UNICAST, udpBetween('2001:db8::10', 'ff0e::1', 1, 2)),
  dropped('IPv6 group MAC', R.NOT_UNICAST, udpBetween('2001:db8::10', '2001:db8::20', 1, 2, BROADCAST_MAC)),
  dropped('destination ::', R.NOT_UNICAST, udpBetween('2001:db8::10', '::', 1, 2)),
  dropped('destination ::1', R.NOT_UNICAST, udpBetween('2001:db8::10', '::1', 1, 2)),
  dropped('IPv4-mapped destination', R.NOT_UNICAST, frame6({ destination: C.ip4 }, udp6)),
  dropped('destination ::2', R.NO_ROUTE, patched(udpBetween('2001:db8::10', '::2', 1, 2), 0, ...GATEWAY_MAC)),

  tunnelled('protocol 41', buildIpFrame({ sourceMac: A.mac, destinationMac: C.mac, source: A_SECOND4, destination: C.ip4, protocol: 41 })),
  tunnelled('to a port that moved', udpBetween('10.0.0.10', '10.0.0.24', 1, 2, E.mac)),
  {
    title: 'blue, with the very same frame, reaches its own peer',
    reason: R.NONE,
    action: Action.TUNNEL,
    verdict: () => ofPort(sound4, { ifindex: X.ifindex }),
  },
];
