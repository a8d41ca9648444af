import { DropReason } from '@weft/model';
import { ARP_OPERATION, ArpPacket, buildArpFrame, ETHERNET_HEADER_BYTES, ipEquals, macEquals } from '@weft/packet';
import { findNeighbor, isOwnAddress } from './neighbor.ts';
import { dropFor, type PortFrame } from './port-frame.ts';
import { reply, type Verdict } from './verdict.ts';

/**
 * Judges an ARP frame of a port: answered from the tables, or dropped; none is ever forwarded.
 * @see docs/datapath-contract.md section 4, "ARP"; RFC 826, RFC 5227 section 1.1 (probe)
 */
export function judgeArp(from: PortFrame): Verdict {
  const { frame, port } = from;
  const arp = ArpPacket.read(frame, ETHERNET_HEADER_BYTES);
  if (typeof arp === 'string') {
    return dropFor(from, arp === 'TRUNCATED_ARP' ? DropReason.TRUNCATED_ARP : DropReason.MALFORMED_ARP);
  }
  const sender = arp.copySenderIp();
  const target = arp.copyTargetIp();
  if (!macEquals(frame, port.mac, arp.senderMacOffset)) return dropFor(from, DropReason.ARP_SENDER_SPOOFED);
  if (!isZero(frame, arp.senderIpOffset) && !isOwnAddress(from, sender)) return dropFor(from, DropReason.ARP_SENDER_SPOOFED);
  if (arp.operation !== ARP_OPERATION.request) return dropFor(from, DropReason.ARP_NOT_A_REQUEST);
  if (ipEquals(target, sender)) return dropFor(from, DropReason.ARP_ANNOUNCEMENT);
  const neighbor = findNeighbor(from, target, false);
  if (neighbor === undefined) return dropFor(from, DropReason.ARP_TARGET_UNKNOWN);
  const answer = buildArpFrame({
    operation: ARP_OPERATION.reply,
    senderMac: neighbor.mac,
    senderIp: target,
    targetMac: port.mac,
    targetIp: sender,
  });
  return reply(from.ifindex, answer, port.vsid);
}

function isZero(frame: Uint8Array, offset: number): boolean {
  return (frame[offset]! | frame[offset + 1]! | frame[offset + 2]! | frame[offset + 3]!) === 0;
}
