import { DropReason } from '@weft/model';
import {
  buildArpFrame,
  buildEthernet,
  buildIcmpv6,
  buildIpv6,
  buildIpv6Fragment,
  buildNeighborAdvertisement,
  buildNeighborSolicitation,
  buildNeighborSolicitationFrame,
  buildUdpFrame,
  ETHER_TYPE,
  parseIp,
} from '@weft/packet';
import { Action, PortFlag, TargetKind } from '../../src/index.ts';
import { A, A_SECOND4, B, bind, C, GATEWAY_MAC, GATEWAY4, GATEWAY6, ofPort, patched, port, RED, subnet, tables, X } from '../fixture.ts';
import type { RuleCase } from './case.ts';

const UNSPECIFIED6 = parseIp('::');
const LINK_LOCAL = parseIp('fe80::1');
const R = DropReason;

export function arp(targetIp: Uint8Array, more: { senderIp?: Uint8Array; senderMac?: Uint8Array; operation?: number } = {}): Uint8Array {
  return buildArpFrame({ operation: 1, senderMac: A.mac, senderIp: A.ip4, targetIp, ...more });
}

/** A solicitation of A with options as given, padded to whole units by the caller. */
export function solicitation(target: Uint8Array, options: readonly number[] = [1, 1, ...A.mac], source: Uint8Array = A.ip6): Uint8Array {
  return nd(buildIcmpv6({ type: 135, code: 0, source, destination: LINK_LOCAL }, Uint8Array.of(...target, ...options)), source);
}

function nd(message: Uint8Array, source: Uint8Array = A.ip6, hopLimit = 255, nextHeader = 58): Uint8Array {
  const packet = buildIpv6({ source, destination: LINK_LOCAL, nextHeader, hopLimit }, message);
  return buildEthernet({ destination: A.mac, source: A.mac, type: ETHER_TYPE.ipv6 }, packet);
}

const udp = buildUdpFrame({
  sourceMac: A.mac,
  destinationMac: C.mac,
  source: A.ip4,
  destination: C.ip4,
  sourcePort: 1,
  destinationPort: 2,
});
const nsMessage = buildNeighborSolicitation({ source: A.ip6, target: C.ip6, sourceLinkLayerAddress: A.mac });
const nonce = [14, 1, 1, 2, 3, 4, 5, 6];
const ownMac = [1, 1, ...A.mac];
const ns = (options: readonly number[]) => () => ofPort(solicitation(C.ip6, options));
const icmpv6 = (type: number) => () =>
  ofPort(nd(buildIcmpv6({ type, code: 0, source: A.ip6, destination: LINK_LOCAL }, new Uint8Array(16))));

export const PORT_LINK_CASES: readonly RuleCase[] = [
  { title: 'unknown device', reason: R.NO_PORT, verdict: () => ofPort(udp, { ifindex: 99 }) },
  { title: 'network 0', reason: R.NO_PORT, verdict: () => ofPort(udp, { tables: tables(port(0, A)) }) },
  { title: 'not ready', reason: R.PORT_NOT_READY, verdict: () => ofPort(udp, { tables: tables(port(RED, A, { flags: PortFlag.VETH })) }) },
  {
    title: 'not ready comes before network 0',
    reason: R.PORT_NOT_READY,
    verdict: () => ofPort(udp, { tables: tables(port(0, A, { flags: 0 })) }),
  },
  { title: '13 bytes', reason: R.TRUNCATED_ETHERNET, verdict: () => ofPort(udp.slice(0, 13)) },
  { title: 'no bytes', reason: R.TRUNCATED_ETHERNET, verdict: () => ofPort(new Uint8Array(0)) },
  { title: '802.1Q', reason: R.VLAN_TAG_NOT_ALLOWED, verdict: () => ofPort(patched(udp, 12, 0x81, 0)) },
  { title: '802.1ad', reason: R.VLAN_TAG_NOT_ALLOWED, verdict: () => ofPort(patched(udp, 12, 0x88, 0xa8)) },
  { title: 'type 0x9100', reason: R.VLAN_TAG_NOT_ALLOWED, verdict: () => ofPort(patched(udp, 12, 0x91, 0)) },
  { title: 'tag in the metadata', reason: R.VLAN_TAG_NOT_ALLOWED, verdict: () => ofPort(udp, { tagged: true }) },
  { title: 'spanning tree', reason: R.LLC_NOT_ALLOWED, verdict: () => ofPort(patched(udp, 12, 0, 0x26)) },
  { title: 'type 0x05ff', reason: R.LLC_NOT_ALLOWED, verdict: () => ofPort(patched(udp, 12, 5, 0xff)) },
  { title: 'type 0x0600', reason: R.ETHERTYPE_NOT_ALLOWED, verdict: () => ofPort(patched(udp, 12, 6, 0)) },
  { title: 'LLDP', reason: R.ETHERTYPE_NOT_ALLOWED, verdict: () => ofPort(patched(udp, 12, 0x88, 0xcc)) },
  { title: "another's MAC", reason: R.SOURCE_MAC_SPOOFED, verdict: () => ofPort(patched(udp, 6, ...C.mac)) },
  {
    title: 'spoofed MAC before unknown type',
    reason: R.SOURCE_MAC_SPOOFED,
    verdict: () => ofPort(patched(udp, 6, 2, 2, 2, 2, 2, 2, 0x88, 0xcc)),
  },

  { title: 'ARP of 27 bytes', reason: R.TRUNCATED_ARP, verdict: () => ofPort(arp(C.ip4).slice(0, 41)) },
  { title: 'hardware type 6', reason: R.MALFORMED_ARP, verdict: () => ofPort(patched(arp(C.ip4), 14, 0, 6)) },
  { title: 'protocol IPv6', reason: R.MALFORMED_ARP, verdict: () => ofPort(patched(arp(C.ip4), 16, 0x86, 0xdd)) },
  { title: 'address lengths', reason: R.MALFORMED_ARP, verdict: () => ofPort(patched(arp(C.ip4), 18, 6, 16)) },
  { title: "ARP sender with another's MAC", reason: R.ARP_SENDER_SPOOFED, verdict: () => ofPort(patched(arp(C.ip4), 22, ...C.mac)) },
  { title: "ARP sender with another's address", reason: R.ARP_SENDER_SPOOFED, verdict: () => ofPort(arp(C.ip4, { senderIp: C.ip4 })) },
  {
    title: 'ARP sender behind a router',
    reason: R.ARP_SENDER_SPOOFED,
    verdict: () => ofPort(arp(C.ip4, { senderIp: parseIp('172.16.0.5') })),
  },
  {
    title: 'ARP sender bound to this port in another subnet',
    reason: R.ARP_SENDER_SPOOFED,
    verdict: () => {
      const other = { ...A, vsid: 5002, ip4: parseIp('10.0.1.77') };
      return ofPort(arp(C.ip4, { senderIp: other.ip4 }), { tables: tables(bind(RED, other, { kind: TargetKind.LOCAL })) });
    },
  },
  { title: 'ARP reply', reason: R.ARP_NOT_A_REQUEST, verdict: () => ofPort(arp(C.ip4, { operation: 2 })) },
  {
    title: 'forged ARP reply is spoofed first',
    reason: R.ARP_SENDER_SPOOFED,
    verdict: () => ofPort(arp(A.ip4, { operation: 2, senderIp: C.ip4 })),
  },
  { title: 'gratuitous ARP', reason: R.ARP_ANNOUNCEMENT, verdict: () => ofPort(arp(A.ip4)) },
  { title: 'ARP for nobody', reason: R.ARP_TARGET_UNKNOWN, verdict: () => ofPort(arp(parseIp('10.0.0.99'))) },
  { title: 'ARP for a denied record', reason: R.ARP_TARGET_UNKNOWN, verdict: () => ofPort(arp(parseIp('10.0.0.25'))) },
  { title: 'ARP for another subnet', reason: R.ARP_TARGET_UNKNOWN, verdict: () => ofPort(arp(B.ip4)) },
  { title: 'ARP for the own second address', reason: R.ARP_TARGET_UNKNOWN, verdict: () => ofPort(arp(A_SECOND4)) },
  { title: "ARP for another subnet's gateway", reason: R.ARP_TARGET_UNKNOWN, verdict: () => ofPort(arp(parseIp('10.0.1.1'))) },
  {
    title: 'ARP for a gateway that is not set',
    reason: R.ARP_TARGET_UNKNOWN,
    verdict: () => ofPort(arp(GATEWAY4), { tables: tables(subnet(RED, 5001)) }),
  },
  { title: 'ARP request', reason: R.NONE, action: Action.REPLY, verdict: () => ofPort(arp(C.ip4)) },
  { title: 'ARP probe', reason: R.NONE, action: Action.REPLY, verdict: () => ofPort(arp(C.ip4, { senderIp: parseIp('0.0.0.0') })) },
  {
    title: 'ARP request, padded',
    reason: R.NONE,
    action: Action.REPLY,
    verdict: () => ofPort(Uint8Array.of(...arp(C.ip4), ...new Uint8Array(18))),
  },
  { title: 'ARP for the gateway', reason: R.NONE, action: Action.REPLY, verdict: () => ofPort(arp(GATEWAY4)) },
  { title: 'ARP for a port that moved', reason: R.NONE, action: Action.REPLY, verdict: () => ofPort(arp(parseIp('10.0.0.24'))) },
  { title: "ARP of blue's port", reason: R.NONE, action: Action.REPLY, verdict: () => ofPort(arp(C.ip4), { ifindex: X.ifindex }) },

  { title: 'solicitation in a first fragment', reason: R.ND_FRAGMENTED, verdict: () => ofPort(ndFragment(0, true)) },
  { title: 'router solicitation', reason: R.ND_ROUTER_SOLICITATION, verdict: icmpv6(133) },
  { title: 'router advertisement', reason: R.ROUTER_ADVERTISEMENT_NOT_ALLOWED, verdict: icmpv6(134) },
  {
    title: 'neighbour advertisement',
    reason: R.ND_ADVERTISEMENT,
    verdict: () => ofPort(nd(buildNeighborAdvertisement({ source: A.ip6, destination: LINK_LOCAL, target: A.ip6 }))),
  },
  { title: 'ICMPv6 redirect', reason: R.ND_REDIRECT_NOT_ALLOWED, verdict: icmpv6(137) },
  { title: 'hop limit 254', reason: R.MALFORMED_ND, verdict: () => ofPort(nd(nsMessage, A.ip6, 254)) },
  { title: 'code 1', reason: R.MALFORMED_ND, verdict: () => ofPort(nd(patched(nsMessage, 1, 1))) },
  { title: '23 bytes', reason: R.MALFORMED_ND, verdict: () => ofPort(nd(nsMessage.slice(0, 23))) },
  { title: '28 bytes', reason: R.MALFORMED_ND, verdict: () => ofPort(nd(nsMessage.slice(0, 28))) },
  { title: '48 bytes', reason: R.MALFORMED_ND, verdict: ns([...ownMac, ...nonce, ...new Uint8Array(8)]) },
  { title: 'multicast target', reason: R.MALFORMED_ND, verdict: () => ofPort(solicitation(parseIp('ff02::1'))) },
  { title: 'option of length 0', reason: R.MALFORMED_ND, verdict: ns([1, 0, ...A.mac]) },
  { title: 'option of 16 bytes', reason: R.MALFORMED_ND, verdict: ns([14, 2, ...new Uint8Array(14)]) },
  { title: 'option of another type', reason: R.MALFORMED_ND, verdict: ns([2, 1, ...A.mac]) },
  { title: 'two addresses', reason: R.MALFORMED_ND, verdict: ns([...ownMac, ...ownMac]) },
  { title: 'two nonces', reason: R.MALFORMED_ND, verdict: ns([...nonce, ...nonce]) },
  { title: "option with another's MAC", reason: R.ND_SENDER_SPOOFED, verdict: ns([1, 1, ...C.mac]) },
  { title: "second option with another's MAC", reason: R.ND_SENDER_SPOOFED, verdict: ns([...nonce, 1, 1, ...C.mac]) },
  { title: "solicitation from another's address", reason: R.ND_SENDER_SPOOFED, verdict: () => ofPort(solicitation(C.ip6, ownMac, C.ip6)) },
  { title: 'duplicate address detection', reason: R.ND_DAD_PROBE, verdict: () => ofPort(solicitation(A.ip6, nonce, UNSPECIFIED6)) },
  { title: 'solicitation for nobody', reason: R.ND_TARGET_UNKNOWN, verdict: () => ofPort(solicitation(parseIp('2001:db8::99'))) },
  { title: 'solicitation for the own address', reason: R.ND_TARGET_UNKNOWN, verdict: () => ofPort(solicitation(A.ip6)) },
  { title: 'solicitation for another subnet', reason: R.ND_TARGET_UNKNOWN, verdict: () => ofPort(solicitation(B.ip6)) },
  {
    title: 'solicitation for :: in a subnet without gateway',
    reason: R.ND_TARGET_UNKNOWN,
    verdict: () => ofPort(solicitation(UNSPECIFIED6), { tables: tables(subnet(RED, 5001)) }),
  },
  { title: 'solicitation', reason: R.NONE, action: Action.REPLY, verdict: () => ofPort(solicitation(C.ip6)) },
  { title: 'solicitation without options', reason: R.NONE, action: Action.REPLY, verdict: ns([]) },
  { title: 'solicitation with nonce', reason: R.NONE, action: Action.REPLY, verdict: ns(nonce) },
  { title: 'solicitation with both options', reason: R.NONE, action: Action.REPLY, verdict: ns([...nonce, ...ownMac]) },
  { title: 'solicitation for the gateway', reason: R.NONE, action: Action.REPLY, verdict: () => ofPort(solicitation(GATEWAY6)) },
  {
    title: 'solicitation from a link-local address',
    reason: R.NONE,
    action: Action.REPLY,
    verdict: () => ofPort(solicitation(C.ip6, ownMac, LINK_LOCAL)),
  },
  {
    title: 'solicitation as a host sends it',
    reason: R.NONE,
    action: Action.REPLY,
    verdict: () =>
      ofPort(buildNeighborSolicitationFrame({ source: A.ip6, target: C.ip6, sourceMac: A.mac, sourceLinkLayerAddress: A.mac })),
  },
  { title: 'solicitation in an atomic fragment', reason: R.NONE, action: Action.REPLY, verdict: () => ofPort(ndFragment(0, false)) },
  {
    title: 'solicitation between IPv4-mapped addresses does not crash',
    reason: R.NONE,
    action: Action.REPLY,
    verdict: () => ofPort(patched(solicitation(C.ip6), 22, ...A.ip4)),
  },
  {
    title: 'gateway MAC of the subnet is not a port',
    reason: R.SOURCE_MAC_SPOOFED,
    verdict: () => ofPort(patched(udp, 6, ...GATEWAY_MAC)),
  },
];

function ndFragment(fragmentOffset: number, moreFragments: boolean): Uint8Array {
  return nd(buildIpv6Fragment({ nextHeader: 58, fragmentOffset, moreFragments, identification: 1 }, nsMessage), A.ip6, 255, 44);
}
