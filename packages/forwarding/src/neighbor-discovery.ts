import { DropReason } from '@weft/model';
import {
  buildEthernet,
  buildIpv6,
  ETHER_TYPE,
  ICMPV6_TYPE,
  IP_PROTOCOL,
  internetChecksum,
  macEquals,
  ND_OPTION,
  NEIGHBOR_DISCOVERY_BYTES,
  pseudoHeaderSum6,
  setU16,
} from '@weft/packet';
import { isLinkLocal6, isNoAddress } from './address.ts';
import type { InnerPacket } from './inner-packet.ts';
import { findNeighbor, isOwnAddress, type Neighbor } from './neighbor.ts';
import { dropFor, type PortFrame } from './port-frame.ts';
import { reply, type Verdict } from './verdict.ts';

const OPTION_BYTES = 8;
const SOLICITATION_BYTES_MAX = NEIGHBOR_DISCOVERY_BYTES + 2 * OPTION_BYTES;
const TARGET_OFFSET = 8;
const HOP_LIMIT = 255;
const FLAG_ROUTER = 0x80;
const FLAGS_SOLICITED_OVERRIDE = 0x60;

/** True for ICMPv6 types 133 to 137 (RFC 4861 section 4), in a whole packet or a first fragment. */
export function isNeighborDiscovery(frame: Uint8Array, packet: InnerPacket): boolean {
  if (!packet.isIpv6 || packet.protocol !== IP_PROTOCOL.icmpv6 || !packet.hasL4Header) return false;
  const type = frame[packet.l4Offset]!;
  return type >= ICMPV6_TYPE.routerSolicitation && type <= ICMPV6_TYPE.redirect;
}

/**
 * Judges neighbour discovery of a port: solicitations are answered from the tables, all else is dropped.
 * @see docs/datapath-contract.md section 4, "IPv6"; RFC 4861 section 7.1.1; RFC 6980 (no fragments)
 */
export function judgeNeighborDiscovery(from: PortFrame, packet: InnerPacket): Verdict {
  if (packet.isFragment) return dropFor(from, DropReason.ND_FRAGMENTED);
  switch (from.frame[packet.l4Offset]!) {
    case ICMPV6_TYPE.routerSolicitation:
      return dropFor(from, DropReason.ND_ROUTER_SOLICITATION);
    case ICMPV6_TYPE.routerAdvertisement:
      return dropFor(from, DropReason.ROUTER_ADVERTISEMENT_NOT_ALLOWED);
    case ICMPV6_TYPE.neighborSolicitation:
      return judgeSolicitation(from, packet);
    case ICMPV6_TYPE.neighborAdvertisement:
      return dropFor(from, DropReason.ND_ADVERTISEMENT);
    default:
      return dropFor(from, DropReason.ND_REDIRECT_NOT_ALLOWED);
  }
}

function judgeSolicitation(from: PortFrame, packet: InnerPacket): Verdict {
  const fault = checkSolicitation(from, packet);
  if (fault !== DropReason.NONE) return dropFor(from, fault);
  const { source } = packet;
  if (isNoAddress(source)) return dropFor(from, DropReason.ND_DAD_PROBE);
  if (!isLinkLocal6(source) && !isOwnAddress(from, source)) return dropFor(from, DropReason.ND_SENDER_SPOOFED);
  const targetOffset = packet.l4Offset + TARGET_OFFSET;
  const target = from.frame.slice(targetOffset, targetOffset + 16);
  const neighbor = findNeighbor(from, target, true);
  if (neighbor === undefined) return dropFor(from, DropReason.ND_TARGET_UNKNOWN);
  return reply(from.ifindex, advertisement(neighbor, target, from.port.mac, source), from.port.vsid);
}

function checkSolicitation(from: PortFrame, packet: InnerPacket): DropReason {
  const { frame, port } = from;
  const { l4Offset, l4Length } = packet;
  if (packet.ttl !== HOP_LIMIT || frame[l4Offset + 1] !== 0) return DropReason.MALFORMED_ND;
  if (l4Length < NEIGHBOR_DISCOVERY_BYTES || l4Length > SOLICITATION_BYTES_MAX || l4Length % OPTION_BYTES !== 0)
    return DropReason.MALFORMED_ND;
  if (frame[l4Offset + TARGET_OFFSET] === 0xff) return DropReason.MALFORMED_ND;
  let seen = -1;
  let isRepeated = false;
  for (let at = l4Offset + NEIGHBOR_DISCOVERY_BYTES; at < l4Offset + l4Length; at += OPTION_BYTES) {
    const type = frame[at]!;
    if (frame[at + 1] !== 1) return DropReason.MALFORMED_ND;
    if (type === ND_OPTION.sourceLinkLayerAddress) {
      if (!macEquals(frame, port.mac, at + 2)) return DropReason.ND_SENDER_SPOOFED;
    } else if (type !== ND_OPTION.nonce) {
      return DropReason.MALFORMED_ND;
    }
    isRepeated ||= type === seen;
    seen = type;
  }
  return isRepeated ? DropReason.MALFORMED_ND : DropReason.NONE;
}

/** The answer, 86 bytes. Not made by the packet package's builder, which refuses IPv4-mapped addresses that a tenant may well send. */
export function advertisement(neighbor: Neighbor, target: Uint8Array, askerMac: Uint8Array, asker: Uint8Array): Uint8Array {
  const message = new Uint8Array(NEIGHBOR_DISCOVERY_BYTES + OPTION_BYTES);
  message[0] = ICMPV6_TYPE.neighborAdvertisement;
  message[4] = FLAGS_SOLICITED_OVERRIDE | (neighbor.isGateway ? FLAG_ROUTER : 0);
  message.set(target, TARGET_OFFSET);
  message[NEIGHBOR_DISCOVERY_BYTES] = ND_OPTION.targetLinkLayerAddress;
  message[NEIGHBOR_DISCOVERY_BYTES + 1] = 1;
  message.set(neighbor.mac, NEIGHBOR_DISCOVERY_BYTES + 2);
  const sum = pseudoHeaderSum6(target, 0, asker, 0, IP_PROTOCOL.icmpv6, message.length);
  setU16(message, 2, internetChecksum(message, 0, message.length, sum));
  const ip = buildIpv6({ source: target, destination: asker, nextHeader: IP_PROTOCOL.icmpv6, hopLimit: HOP_LIMIT }, message);
  return buildEthernet({ destination: askerMac, source: neighbor.mac, type: ETHER_TYPE.ipv6 }, ip);
}
