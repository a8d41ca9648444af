import { getU16, getU32, IP_PROTOCOL } from '@weft/packet';
import type { InnerPacket } from '../inner-packet.ts';
import type { NatFlow } from './nat.ts';
import { isEcho, type Quote } from './quote.ts';
import type { End } from './rewrite.ts';

/**
 * A packet as port mapping sees it.
 * @param near Which end of the packet is to be translated: `source` on the way out, `destination` on the way in.
 * @param quote Of an ICMP error: the facts are taken from it, turned round.
 */
export function natFlow(
  frame: Uint8Array,
  packet: InnerPacket,
  near: End,
  quote: Quote | undefined,
  networkId: number,
  segment: number,
): NatFlow {
  const { isIpv6, isFragment, ipLength } = packet;
  const isOut = near === 'source';
  const whole = { networkId, segment, isIpv6, isFragment, ipLength, fragmentId: fragmentId(frame, packet) };
  if (quote !== undefined) {
    const { source, destination, sourcePort, destinationPort, protocol } = quote;
    const [nearAddress, remote] = isOut ? [destination, source] : [source, destination];
    const [nearPort, remotePort] = isOut ? [destinationPort, sourcePort] : [sourcePort, destinationPort];
    return {
      ...whole,
      near: nearAddress,
      remote,
      nearPort,
      remotePort,
      protocol,
      icmpType: 0,
      tcpFlags: 0,
      isError: true,
      hasL4Header: quote.hasL4Header,
    };
  }
  const { source, destination, protocol, l4Offset, hasL4Header } = packet;
  let sourcePort = 0;
  let destinationPort = 0;
  let icmpType = 0;
  let tcpFlags = 0;
  if (hasL4Header) {
    if (protocol === IP_PROTOCOL.tcp || protocol === IP_PROTOCOL.udp) {
      sourcePort = getU16(frame, l4Offset);
      destinationPort = getU16(frame, l4Offset + 2);
      if (protocol === IP_PROTOCOL.tcp) tcpFlags = frame[l4Offset + 13]!;
    } else if (protocol === (isIpv6 ? IP_PROTOCOL.icmpv6 : IP_PROTOCOL.icmp)) {
      icmpType = frame[l4Offset]!;
      if (isEcho(protocol, icmpType, isIpv6)) {
        sourcePort = getU16(frame, l4Offset + 4);
        destinationPort = sourcePort;
      }
    }
  }
  return {
    ...whole,
    near: isOut ? source : destination,
    remote: isOut ? destination : source,
    nearPort: isOut ? sourcePort : destinationPort,
    remotePort: isOut ? destinationPort : sourcePort,
    protocol,
    icmpType,
    tcpFlags,
    isError: false,
    hasL4Header,
  };
}

function fragmentId(frame: Uint8Array, packet: InnerPacket): number {
  if (!packet.isFragment) return 0;
  return packet.isIpv6 ? getU32(frame, packet.l4Offset - 4) : getU16(frame, packet.ipOffset + 4);
}
