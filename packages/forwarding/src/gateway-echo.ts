import { DropReason } from '@weft/model';
import { checksumReplace16, getU16, ICMP_TYPE, ICMPV6_TYPE, IP_PROTOCOL, internetChecksum, setU16 } from '@weft/packet';
import { writeGatewayMac } from './gateway-mac.ts';
import type { InnerPacket } from './inner-packet.ts';
import { dropFor, type PortFrame } from './port-frame.ts';
import { reply, type Verdict } from './verdict.ts';

const REPLY_TTL = 64;

/**
 * A frame to the address of a subnet's gateway: a ping is answered, anything else dropped.
 *
 * The reply is the request turned round: addresses swapped, type changed and its checksum with it (RFC 1624), so that data, options,
 * identification and class stay as they were.
 */
export function answerForGateway(from: PortFrame, packet: InnerPacket): Verdict {
  if (!isEchoRequest(from.frame, packet)) return dropFor(from, DropReason.GATEWAY_NO_SERVICE);
  const frame = from.frame.slice(0, packet.ipOffset + packet.ipLength);
  frame.set(from.port.mac, 0);
  writeGatewayMac(frame, 6, from.port.vsid);
  turnEcho(frame, packet);
  return reply(from.ifindex, frame, from.port.vsid);
}

/** Makes an echo request the reply to itself; Ethernet is the caller's. */
export function turnEcho(frame: Uint8Array, packet: InnerPacket): void {
  const { ipOffset, l4Offset } = packet;
  const before = getU16(frame, l4Offset);
  frame[l4Offset] = packet.isIpv6 ? ICMPV6_TYPE.echoReply : ICMP_TYPE.echoReply;
  setU16(frame, l4Offset + 2, checksumReplace16(getU16(frame, l4Offset + 2), before, getU16(frame, l4Offset)));
  if (packet.isIpv6) {
    frame[ipOffset + 7] = REPLY_TTL;
    frame.set(packet.destination, ipOffset + 8);
    frame.set(packet.source, ipOffset + 24);
  } else {
    frame[ipOffset + 8] = REPLY_TTL;
    frame.set(packet.destination.subarray(12), ipOffset + 12);
    frame.set(packet.source.subarray(12), ipOffset + 16);
    setU16(frame, ipOffset + 10, 0);
    setU16(frame, ipOffset + 10, internetChecksum(frame, ipOffset, l4Offset - ipOffset));
  }
}

/** True for a whole echo request, of code 0. */
export function isEchoRequest(frame: Uint8Array, packet: InnerPacket): boolean {
  if (packet.isFragment || packet.protocol !== (packet.isIpv6 ? IP_PROTOCOL.icmpv6 : IP_PROTOCOL.icmp)) return false;
  const type = packet.isIpv6 ? ICMPV6_TYPE.echoRequest : ICMP_TYPE.echoRequest;
  return frame[packet.l4Offset] === type && frame[packet.l4Offset + 1] === 0;
}
