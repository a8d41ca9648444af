import { ARP_OPERATION, ArpPacket } from './arp.ts';
import { EthernetHeader, isVlanType, VlanTag } from './ethernet.ts';
import { ICMP_HEADER_BYTES, Icmpv4Header, Icmpv6Header } from './icmp.ts';
import { formatIp, formatIpv4 } from './ip.ts';
import { Ipv4Header } from './ipv4.ts';
import { Ipv6Header } from './ipv6.ts';
import { findIpv6UpperLayer } from './ipv6-extensions.ts';
import { formatMac } from './mac.ts';
import { NeighborAdvertisement, NeighborSolicitation } from './neighbor-discovery.ts';
import { NvgreHeader } from './nvgre.ts';
import { ETHER_TYPE, ICMP_CODE_FRAGMENTATION_NEEDED, ICMP_TYPE, ICMPV6_TYPE, IP_PROTOCOL, VXLAN_PORT } from './protocols.ts';
import { TCP_FLAG, TcpHeader } from './tcp.ts';
import { UdpHeader } from './udp.ts';
import { VxlanHeader } from './vxlan.ts';

// Frames in frames in frames: a forged frame could nest tunnels as deep as it is long. Two levels are all that is of use.
const NESTING_MAX = 2;
const TAGS_MAX = 3;

/**
 * One line about a frame, for traces and failing tests, in tcpdump's manner:
 * `02:00:00:00:00:01 > 02:00:00:00:00:02, IPv4 10.0.0.1 > 10.0.0.2, UDP 40000 > 53, 12 bytes`. Frames in VXLAN and NVGRE are
 * described after ` | `. What can't be read is named by its `ParseFailure`; never throws on a frame's contents.
 */
export function describeFrame(bytes: Uint8Array, offset = 0, end: number = bytes.length): string {
  return ethernet(bytes, offset, end, 0);
}

function ethernet(bytes: Uint8Array, offset: number, end: number, depth: number): string {
  const header = EthernetHeader.read(bytes, offset, end);
  if (typeof header === 'string') return `${header} (${Math.max(0, end - offset)} bytes)`;
  let text = `${header.sourceText} > ${header.destinationText}`;
  let { type, payloadOffset } = header;
  for (let tags = 0; isVlanType(type); tags++) {
    if (tags === TAGS_MAX) return `${text}, more VLAN tags`;
    const tag = VlanTag.read(bytes, payloadOffset, end);
    if (typeof tag === 'string') return `${text}, ${tag}`;
    text += `, VLAN ${tag.vlanId}`;
    ({ type, payloadOffset } = tag);
  }
  return `${text}, ${network(bytes, type, payloadOffset, end, depth)}`;
}

function network(bytes: Uint8Array, type: number, offset: number, end: number, depth: number): string {
  if (type === ETHER_TYPE.ipv4) return ipv4(bytes, offset, end, depth);
  if (type === ETHER_TYPE.ipv6) return ipv6(bytes, offset, end, depth);
  if (type === ETHER_TYPE.arp) return arp(bytes, offset, end);
  if (type < 0x0600) return `LLC length ${type}`;
  return `EtherType 0x${type.toString(16).padStart(4, '0')}, ${end - offset} bytes`;
}

function arp(bytes: Uint8Array, offset: number, end: number): string {
  const packet = ArpPacket.read(bytes, offset, end);
  if (typeof packet === 'string') return packet;
  const sender = formatIpv4(bytes, packet.senderIpOffset);
  const target = formatIpv4(bytes, packet.targetIpOffset);
  const mac = formatMac(bytes, packet.senderMacOffset);
  if (packet.operation === ARP_OPERATION.request) return `ARP who-has ${target} tell ${sender} (${mac})`;
  if (packet.operation === ARP_OPERATION.reply) return `ARP ${sender} is-at ${mac}`;
  return `ARP operation ${packet.operation} ${sender} > ${target}`;
}

function ipv4(bytes: Uint8Array, offset: number, end: number, depth: number): string {
  const ip = Ipv4Header.read(bytes, offset, end);
  if (typeof ip === 'string') return ip;
  let text = `IPv4 ${formatIpv4(bytes, ip.sourceOffset)} > ${formatIpv4(bytes, ip.destinationOffset)}`;
  if (!ip.isChecksumValid) text += ' (bad checksum)';
  if (ip.isFragment) text += fragment(ip.identification, ip.fragmentOffset, ip.moreFragments);
  if (ip.fragmentOffset > 0) return `${text}, protocol ${ip.protocol}, ${ip.payloadLength} bytes`;
  return `${text}, ${transport(bytes, ip.protocol, ip.payloadOffset, ip.payloadEnd, depth, ip.isFragment)}`;
}

function ipv6(bytes: Uint8Array, offset: number, end: number, depth: number): string {
  const ip = Ipv6Header.read(bytes, offset, end);
  if (typeof ip === 'string') return ip;
  let text = `IPv6 ${formatIp(bytes, ip.sourceOffset)} > ${formatIp(bytes, ip.destinationOffset)}`;
  const upper = findIpv6UpperLayer(ip);
  if (typeof upper === 'string') return `${text}, ${upper}`;
  if (upper.hasFragmentHeader) text += fragment(undefined, upper.fragmentOffset, upper.moreFragments);
  if (upper.fragmentOffset > 0) return `${text}, protocol ${upper.protocol}, ${ip.payloadEnd - upper.offset} bytes`;
  return `${text}, ${transport(bytes, upper.protocol, upper.offset, ip.payloadEnd, depth, upper.hasFragmentHeader)}`;
}

function fragment(identification: number | undefined, offset: number, moreFragments: boolean): string {
  const id = identification === undefined ? '' : ` id ${identification}`;
  return ` (fragment${id} offset ${offset}${moreFragments ? '+' : ''})`;
}

function transport(bytes: Uint8Array, protocol: number, offset: number, end: number, depth: number, isFragment: boolean): string {
  switch (protocol) {
    case IP_PROTOCOL.udp:
      return udp(bytes, offset, end, depth, isFragment);
    case IP_PROTOCOL.tcp:
      return tcp(bytes, offset, end);
    case IP_PROTOCOL.icmp:
      return icmpv4(bytes, offset, end);
    case IP_PROTOCOL.icmpv6:
      return icmpv6(bytes, offset, end);
    case IP_PROTOCOL.gre:
      return gre(bytes, offset, end, depth);
    default:
      return `protocol ${protocol}, ${end - offset} bytes`;
  }
}

function udp(bytes: Uint8Array, offset: number, end: number, depth: number, isFragment: boolean): string {
  const header = isFragment ? UdpHeader.readQuoted(bytes, offset, end) : UdpHeader.read(bytes, offset, end);
  if (typeof header === 'string') return header;
  const text = `UDP ${header.sourcePort} > ${header.destinationPort}`;
  if (header.destinationPort !== VXLAN_PORT || isFragment) return `${text}, ${header.length - 8} bytes`;
  const vxlan = VxlanHeader.read(bytes, header.payloadOffset, header.payloadEnd);
  if (typeof vxlan === 'string') return `${text}, ${vxlan}`;
  return `${text}, VXLAN vni ${vxlan.vni}${inner(bytes, vxlan.payloadOffset, header.payloadEnd, depth)}`;
}

function gre(bytes: Uint8Array, offset: number, end: number, depth: number): string {
  const nvgre = NvgreHeader.read(bytes, offset, end);
  if (typeof nvgre === 'string') return `GRE ${nvgre}`;
  return `NVGRE vsid ${nvgre.vsid} flow ${nvgre.flowId}${inner(bytes, nvgre.payloadOffset, end, depth)}`;
}

function inner(bytes: Uint8Array, offset: number, end: number, depth: number): string {
  return depth + 1 >= NESTING_MAX ? `, ${end - offset} bytes` : ` | ${ethernet(bytes, offset, end, depth + 1)}`;
}

const FLAG_LETTERS = [
  [TCP_FLAG.syn, 'S'],
  [TCP_FLAG.fin, 'F'],
  [TCP_FLAG.rst, 'R'],
  [TCP_FLAG.psh, 'P'],
  [TCP_FLAG.urg, 'U'],
  [TCP_FLAG.ece, 'E'],
  [TCP_FLAG.cwr, 'W'],
  [TCP_FLAG.ack, '.'],
] as const;

function tcp(bytes: Uint8Array, offset: number, end: number): string {
  const header = TcpHeader.read(bytes, offset, end);
  if (typeof header === 'string') return header;
  const flags = FLAG_LETTERS.filter(([bit]) => (header.flags & bit) !== 0).map(([, letter]) => letter);
  const ack = (header.flags & TCP_FLAG.ack) === 0 ? '' : ` ack ${header.acknowledgment}`;
  const what = `TCP ${header.sourcePort} > ${header.destinationPort} [${flags.join('') || 'none'}] seq ${header.sequence}${ack}`;
  return `${what}, ${end - header.payloadOffset} bytes`;
}

function icmpv4(bytes: Uint8Array, offset: number, end: number): string {
  const header = Icmpv4Header.read(bytes, offset, end);
  if (typeof header === 'string') return header;
  const length = `${end - offset - ICMP_HEADER_BYTES} bytes`;
  if (header.isEcho) {
    return `ICMP echo ${header.isEchoRequest ? 'request' : 'reply'} id ${header.identifier} seq ${header.sequence}, ${length}`;
  }
  if (header.type === ICMP_TYPE.destinationUnreachable && header.code === ICMP_CODE_FRAGMENTATION_NEEDED) {
    return `ICMP fragmentation needed, mtu ${header.nextHopMtu}${quoted4(bytes, header.payloadOffset, end)}`;
  }
  const what = `ICMP type ${header.type} code ${header.code}`;
  return header.isError ? what + quoted4(bytes, header.payloadOffset, end) : `${what}, ${length}`;
}

function icmpv6(bytes: Uint8Array, offset: number, end: number): string {
  const header = Icmpv6Header.read(bytes, offset, end);
  if (typeof header === 'string') return header;
  const length = `${end - offset - ICMP_HEADER_BYTES} bytes`;
  if (header.isEcho) {
    return `ICMPv6 echo ${header.isEchoRequest ? 'request' : 'reply'} id ${header.identifier} seq ${header.sequence}, ${length}`;
  }
  if (header.type === ICMPV6_TYPE.packetTooBig) {
    return `ICMPv6 packet too big, mtu ${header.mtu}${quoted6(bytes, header.payloadOffset, end)}`;
  }
  if (header.type === ICMPV6_TYPE.neighborSolicitation) {
    const message = NeighborSolicitation.read(bytes, offset, end);
    return typeof message === 'string' ? message : `ND who-has ${formatIp(bytes, message.targetOffset)}`;
  }
  if (header.type === ICMPV6_TYPE.neighborAdvertisement) {
    const message = NeighborAdvertisement.read(bytes, offset, end);
    if (typeof message === 'string') return message;
    const mac = message.targetLinkLayerAddressOffset;
    return `ND ${formatIp(bytes, message.targetOffset)}${mac < 0 ? '' : ` is-at ${formatMac(bytes, mac)}`}`;
  }
  const what = `ICMPv6 type ${header.type} code ${header.code}`;
  return header.isError ? what + quoted6(bytes, header.payloadOffset, end) : `${what}, ${length}`;
}

// An error's quote is usually cut, and in HNV's own messages (type 5 and 3, code 10) it isn't an IP packet at all.
function quoted4(bytes: Uint8Array, offset: number, end: number): string {
  const ip = Ipv4Header.readQuoted(bytes, offset, end);
  if (typeof ip === 'string') return `, quotes ${end - offset} bytes`;
  return `, quotes ${formatIpv4(bytes, ip.sourceOffset)} > ${formatIpv4(bytes, ip.destinationOffset)} protocol ${ip.protocol}`;
}

function quoted6(bytes: Uint8Array, offset: number, end: number): string {
  const ip = Ipv6Header.readQuoted(bytes, offset, end);
  if (typeof ip === 'string') return `, quotes ${end - offset} bytes`;
  return `, quotes ${formatIp(bytes, ip.sourceOffset)} > ${formatIp(bytes, ip.destinationOffset)} next header ${ip.nextHeader}`;
}
