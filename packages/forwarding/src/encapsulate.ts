import { DropReason } from '@weft/model';
import {
  ETHER_TYPE,
  flowHash,
  IP_PROTOCOL,
  internetChecksum,
  ipEquals,
  isIpv4Mapped,
  isUnspecifiedIp,
  setU16,
  setU24,
  tunnelSourcePort,
} from '@weft/packet';
import type { ForwardingContext } from './context.ts';
import type { InnerPacket } from './inner-packet.ts';
import { drop, type Gso, tunnel, type Verdict } from './verdict.ts';

// What is put before the inner frame, 50 bytes (RFC 7348 section 5; docs/datapath-contract.md, "Encapsulation"):
//
//   0   Ethernet 14   both addresses zero: the kernel's neighbour table fills them
//   14  IPv4 20       0x45, ECN of the inner packet, id 0, DF, TTL 64
//   34  UDP 8         source port from the flow hash, checksum 0
//   42  VXLAN 8       I flag, VNI
//   50  inner frame, cut to its IP length

/** Bytes before the inner frame, outer Ethernet included. */
export const ENCAPSULATION_BYTES = 50;
const IP_OFFSET = 14;
const UDP_OFFSET = 34;
const VXLAN_OFFSET = 42;
const OUTER_TTL = 64;
const DONT_FRAGMENT = 0x4000;
const IPV4_LENGTH_MAX = 0xffff;

/**
 * Encapsulates `inner` for the host at `pa`.
 * @param packet The packet of `inner`: its addresses, protocol and ports make the flow hash. Only `ecn` may have changed since.
 * @returns A `TUNNEL` verdict, or a drop: `NO_PEER` (PA zero, not IPv4, or this host's own), `FRAME_TOO_LARGE`.
 */
export function encapsulate(
  context: ForwardingContext,
  pa: Uint8Array,
  vsid: number,
  inner: Uint8Array,
  packet: InnerPacket,
  ecn: number,
  gso: Gso | undefined,
  countedVsid: number,
): Verdict {
  if (!isIpv4Mapped(pa) || isUnspecifiedIp(pa) || ipEquals(pa, context.pa)) return drop(DropReason.NO_PEER, countedVsid);
  const ipLength = ENCAPSULATION_BYTES - IP_OFFSET + inner.length;
  if (ipLength > IPV4_LENGTH_MAX) return drop(DropReason.FRAME_TOO_LARGE, countedVsid);
  const hash = flowHash(packet.source, packet.destination, packet.protocol, packet.sourcePort, packet.destinationPort);
  const frame = new Uint8Array(ENCAPSULATION_BYTES + inner.length);
  setU16(frame, 12, ETHER_TYPE.ipv4);
  frame[IP_OFFSET] = 0x45;
  frame[IP_OFFSET + 1] = ecn;
  setU16(frame, IP_OFFSET + 2, ipLength);
  setU16(frame, IP_OFFSET + 6, DONT_FRAGMENT);
  frame[IP_OFFSET + 8] = OUTER_TTL;
  frame[IP_OFFSET + 9] = IP_PROTOCOL.udp;
  for (let i = 0; i < 4; i++) {
    frame[IP_OFFSET + 12 + i] = context.pa[12 + i]!;
    frame[IP_OFFSET + 16 + i] = pa[12 + i]!;
  }
  setU16(frame, IP_OFFSET + 10, internetChecksum(frame, IP_OFFSET, 20));
  setU16(frame, UDP_OFFSET, tunnelSourcePort(hash));
  setU16(frame, UDP_OFFSET + 2, context.udpPort);
  setU16(frame, UDP_OFFSET + 4, ipLength - 20);
  frame[VXLAN_OFFSET] = 0x08;
  setU24(frame, VXLAN_OFFSET + 4, vsid);
  frame.set(inner, ENCAPSULATION_BYTES);
  return tunnel(pa, vsid, frame, gso, countedVsid);
}
