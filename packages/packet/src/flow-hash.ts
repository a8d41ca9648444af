import { getU16, getU32 } from './bytes.ts';
import { ETHERNET_HEADER_BYTES, EthernetHeader } from './ethernet.ts';
import { Ipv4Header } from './ipv4.ts';
import { Ipv6Header } from './ipv6.ts';
import { ETHER_TYPE, IP_PROTOCOL } from './protocols.ts';

// The flow hash: Weft's own, mirrored bit by bit by the BPF programs, so that the outer UDP source port of any frame can be
// predicted by tests and by `trace` (the kernel's skb hash is keyed by a random secret). Not meant to resist an attacker.
//
//   w[0..3]  inner source address, 16 bytes (IPv4 mapped), as four big-endian u32
//   w[4..7]  inner destination address, likewise
//   w[8]     source port << 16 | destination port
//   w[9]     protocol
//
//   h = 0x9e3779b9
//   for i in 0..9:  h ^= w[i];  h = h * 0x85ebca6b mod 2^32;  h ^= h >>> 13
//   h = h * 0xc2b2ae35 mod 2^32;  h ^= h >>> 16
//
// Fields of a frame:
//   - IPv4: protocol as in the header. Ports if it is TCP or UDP, the packet is no fragment (offset 0 and MF clear) and its total
//     length holds them; else 0. So all fragments of a packet take one path.
//   - IPv6: protocol = next header of the fixed header; or, if that is 44, of the fragment header behind it. Ports if it is TCP or
//     UDP, the packet is no fragment (offset 0 and M clear; RFC 6946's atomic fragments have ports) and its payload length holds
//     them. Other extension headers are not walked: their number is the protocol (the packet path refuses them anyway).
//   - Not IP, or unreadable: the hash of nothing, 0 (callers drop such frames before they need a port).

const FRAGMENT_HEADER_BYTES = 8;
const SEED = 0x9e3779b9;
const MULTIPLIER = 0x85ebca6b;
const FINAL_MULTIPLIER = 0xc2b2ae35;

/** Outer source ports are 49152..65535: the dynamic range of RFC 6335, as RFC 7348 section 4.1 advises. */
export const TUNNEL_SOURCE_PORT_FIRST = 49152;
const TUNNEL_SOURCE_PORT_MASK = 0x3fff;

function mix(hash: number, word: number): number {
  const h = Math.imul(hash ^ word, MULTIPLIER);
  return h ^ (h >>> 13);
}

function finish(hash: number, protocol: number, ports: number): number {
  const h = Math.imul(mix(mix(hash, ports), protocol), FINAL_MULTIPLIER);
  return (h ^ (h >>> 16)) >>> 0;
}

/**
 * The flow hash of a 5-tuple.
 * @param source Inner source address, 16 bytes (IPv4 mapped).
 * @param destination Inner destination address, 16 bytes.
 * @param protocol u8
 * @param sourcePort u16; 0 for fragments and for protocols other than TCP and UDP.
 * @returns u32
 */
export function flowHash(
  source: Uint8Array,
  destination: Uint8Array,
  protocol: number,
  sourcePort: number,
  destinationPort: number,
): number {
  let h = SEED;
  for (let i = 0; i < 16; i += 4) h = mix(h, getU32(source, i));
  for (let i = 0; i < 16; i += 4) h = mix(h, getU32(destination, i));
  return finish(h, protocol, (sourcePort << 16) | destinationPort);
}

/** The flow hash of the inner Ethernet frame at `offset`, without copying addresses; 0 if it is not readable IP. */
export function flowHashOfFrame(bytes: Uint8Array, offset = 0, end: number = bytes.length): number {
  const ethernet = EthernetHeader.read(bytes, offset, end);
  if (typeof ethernet === 'string') return 0;
  const type = getU16(bytes, offset + 12);
  if (type === ETHER_TYPE.ipv4) return hashIpv4(bytes, offset + ETHERNET_HEADER_BYTES, end);
  if (type === ETHER_TYPE.ipv6) return hashIpv6(bytes, offset + ETHERNET_HEADER_BYTES, end);
  return 0;
}

/** The outer UDP source port for a hash: 49152 + its low 14 bits. */
export function tunnelSourcePort(hash: number): number {
  return TUNNEL_SOURCE_PORT_FIRST + (hash & TUNNEL_SOURCE_PORT_MASK);
}

function hashIpv4(bytes: Uint8Array, offset: number, end: number): number {
  const ip = Ipv4Header.read(bytes, offset, end);
  if (typeof ip === 'string') return 0;
  const prefix = mix(mix(mix(SEED, 0), 0), 0xffff);
  let h = mix(prefix, getU32(bytes, ip.sourceOffset));
  h = mix(mix(mix(mix(h, 0), 0), 0xffff), getU32(bytes, ip.destinationOffset));
  const ports = ip.isFragment ? 0 : portsOf(bytes, ip.protocol, ip.payloadOffset, ip.payloadEnd);
  return finish(h, ip.protocol, ports);
}

function hashIpv6(bytes: Uint8Array, offset: number, end: number): number {
  const ip = Ipv6Header.read(bytes, offset, end);
  if (typeof ip === 'string') return 0;
  let h = SEED;
  for (let i = 0; i < 32; i += 4) h = mix(h, getU32(bytes, ip.sourceOffset + i));
  const { nextHeader, payloadOffset, payloadEnd } = ip;
  if (nextHeader !== IP_PROTOCOL.fragment) return finish(h, nextHeader, portsOf(bytes, nextHeader, payloadOffset, payloadEnd));
  if (payloadEnd - payloadOffset < FRAGMENT_HEADER_BYTES) return 0;
  const protocol = bytes[payloadOffset]!;
  const isFragment = (getU16(bytes, payloadOffset + 2) & 0xfff9) !== 0;
  return finish(h, protocol, isFragment ? 0 : portsOf(bytes, protocol, payloadOffset + FRAGMENT_HEADER_BYTES, payloadEnd));
}

function portsOf(bytes: Uint8Array, protocol: number, offset: number, end: number): number {
  if (protocol !== IP_PROTOCOL.tcp && protocol !== IP_PROTOCOL.udp) return 0;
  return end - offset < 4 ? 0 : getU32(bytes, offset);
}
