import type { DropReason } from '@weft/model';
import {
  buildEthernet,
  buildIcmpv4,
  buildIcmpv6,
  buildIpv4,
  buildIpv6,
  ETHER_TYPE,
  ICMP_CODE_FRAGMENTATION_NEEDED,
  ICMP_TYPE,
  ICMPV6_TYPE,
  IP_PROTOCOL,
} from '@weft/packet';
import { gatewayAddress } from './gateway.ts';
import { gatewayMac } from './gateway-mac.ts';
import type { InnerPacket } from './inner-packet.ts';
import { dropFor, type PortFrame } from './port-frame.ts';
import { reply, type Verdict } from './verdict.ts';

const QUOTE_BYTES_MAX = 128;
const ICMPV6_ERROR_TYPES_END = 128;
/** ICMP queries (RFC 1122 section 3.2.2): echo reply, echo, timestamp, timestamp reply. Every other type counts as an error. */
const ICMP_QUERY_TYPES: readonly number[] = [0, 8, 13, 14];

/** An ICMP message, by family: type, code and the four bytes after the checksum. */
export interface ErrorMessage {
  readonly ipv4: { readonly type: number; readonly code: number; readonly rest: number };
  readonly ipv6: { readonly type: number; readonly code: number; readonly rest: number };
}

/** "Time exceeded in transit" (RFC 792, RFC 4443 section 3.3). */
export const TIME_EXCEEDED: ErrorMessage = {
  ipv4: { type: ICMP_TYPE.timeExceeded, code: 0, rest: 0 },
  ipv6: { type: ICMPV6_TYPE.timeExceeded, code: 0, rest: 0 },
};

/** "Fragmentation needed" with the MTU (RFC 1191), "packet too big" (RFC 4443 section 3.2). */
export function tooBig(mtuBytes: number): ErrorMessage {
  return {
    ipv4: { type: ICMP_TYPE.destinationUnreachable, code: ICMP_CODE_FRAGMENTATION_NEEDED, rest: mtuBytes & 0xffff },
    ipv6: { type: ICMPV6_TYPE.packetTooBig, code: 0, rest: mtuBytes >>> 0 },
  };
}

/**
 * Drops a packet and tells its sender why, in the name of the subnet's gateway. Silent about what {@link buildSenderError} is silent about, in
 * a subnet without a gateway of that family, and beyond {@link ErrorLimit}.
 */
export function tellSender(from: PortFrame, packet: InnerPacket, reason: DropReason, error: ErrorMessage): Verdict {
  const { frame, port, context } = from;
  if (context.errors?.take('port', from.ifindex, context.nowBootNs) === false) return dropFor(from, reason);
  const source = gatewayAddress(from.tables, port.vsid, packet.isIpv6);
  if (source === undefined) return dropFor(from, reason);
  const answer = buildSenderError(frame, packet, source, error, { destination: port.mac, source: gatewayMac(port.vsid) });
  return answer === undefined ? dropFor(from, reason) : reply(from.ifindex, answer, port.vsid, reason);
}

/**
 * The frame that tells a packet's sender of an error, from `source`. Undefined for ICMP errors and fragments other than the first (RFC 1122
 * section 3.2.2, RFC 4443 section 2.4).
 */
export function buildSenderError(
  frame: Uint8Array,
  packet: InnerPacket,
  source: Uint8Array,
  error: ErrorMessage,
  macs: { readonly destination: Uint8Array; readonly source: Uint8Array },
): Uint8Array | undefined {
  if (!packet.hasL4Header || isIcmpError(frame, packet)) return undefined;
  const destination = packet.source;
  const quote = frame.subarray(packet.ipOffset, packet.ipOffset + Math.min(packet.ipLength, QUOTE_BYTES_MAX));
  const ip = packet.isIpv6
    ? buildIpv6({ source, destination, nextHeader: IP_PROTOCOL.icmpv6 }, buildIcmpv6({ ...error.ipv6, source, destination }, quote))
    : buildIpv4({ source, destination, protocol: IP_PROTOCOL.icmp }, buildIcmpv4(error.ipv4, quote));
  return buildEthernet({ ...macs, type: packet.isIpv6 ? ETHER_TYPE.ipv6 : ETHER_TYPE.ipv4 }, ip);
}

function isIcmpError(frame: Uint8Array, packet: InnerPacket): boolean {
  const type = frame[packet.l4Offset]!;
  if (packet.isIpv6) return packet.protocol === IP_PROTOCOL.icmpv6 && type < ICMPV6_ERROR_TYPES_END;
  return packet.protocol === IP_PROTOCOL.icmp && !ICMP_QUERY_TYPES.includes(type);
}
