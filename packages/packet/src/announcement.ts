import { ARP_OPERATION } from './arp.ts';
import { buildArpFrame, type MacLike, toIp, toMac } from './build-link.ts';
import { buildNeighborAdvertisementFrame, multicastMacOf } from './build-neighbor-discovery.ts';
import { isIpv4Mapped, parseIp } from './ip.ts';
import { broadcastMac } from './mac.ts';

const ALL_NODES = parseIp('ff02::1');

/**
 * The frames that tell a segment who has an address now, so that neighbours replace what they remember.
 *
 * IPv4: two ARP announcements (RFC 5227 section 3), one as request and one as reply, since some stacks heed only one of them.
 * IPv6: an unsolicited neighbour advertisement to all nodes with the override flag (RFC 4861 section 7.2.6).
 */
export function buildAnnouncement(mac: MacLike, address: Uint8Array | string): Uint8Array[] {
  const ip = toIp(address);
  const own = toMac(mac);
  if (isIpv4Mapped(ip)) {
    const fields = { senderMac: own, senderIp: ip, targetIp: ip, destination: broadcastMac() };
    return [
      buildArpFrame({ ...fields, operation: ARP_OPERATION.request }),
      buildArpFrame({ ...fields, operation: ARP_OPERATION.reply, targetMac: own }),
    ];
  }
  return [
    buildNeighborAdvertisementFrame({
      sourceMac: own,
      destinationMac: multicastMacOf(ALL_NODES),
      source: ip,
      destination: ALL_NODES,
      target: ip,
      targetLinkLayerAddress: own,
      isOverride: true,
    }),
  ];
}
