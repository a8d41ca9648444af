import { DropReason } from '@weft/model';
import { Ipv4Header, Ipv6Header, ipEquals } from '@weft/packet';
import { isNoAddress } from './address.ts';
import { encapsulate } from './encapsulate.ts';
import { toGateway } from './gateway/to-gateway.ts';
import { gatewayAddress } from './gateway.ts';
import { answerForGateway } from './gateway-echo.ts';
import { isGatewayMac, writeGatewayMac } from './gateway-mac.ts';
import { livesAt } from './home.ts';
import { type InnerPacket, segmentHeaderLength } from './inner-packet.ts';
import { dropFor, type PortFrame } from './port-frame.ts';
import { TIME_EXCEEDED, tellSender, tooBig } from './sender-error.ts';
import { RouteKind, type Target, TargetKind } from './tables.ts';
import { deliver, type Verdict } from './verdict.ts';

/**
 * Sends a checked IP packet of a port on: by MAC address within its subnet, or routed when its destination is the gateway's MAC.
 * @see docs/datapath-contract.md section 4, "Forward"
 */
export function forward(from: PortFrame, packet: InnerPacket): Verdict {
  const { frame, port, context } = from;
  if (isGatewayMac(frame, 0, port.vsid)) {
    context.trace?.note('destination MAC', `gateway of subnet ${port.vsid}`, 'routed');
    return routed(from, packet);
  }
  const target = from.tables.l2(port.vsid, frame.subarray(0, 6));
  if (target === undefined || target.kind === TargetKind.DENY) return dropFor(from, DropReason.UNKNOWN_DESTINATION_MAC);
  return send(from, packet, target, port.vsid, false);
}

function routed(from: PortFrame, packet: InnerPacket): Verdict {
  const { tables } = from;
  const { networkId } = from.port;
  const route = tables.route(networkId, packet.destination);
  if (route === undefined) return dropFor(from, DropReason.NO_ROUTE);
  let target: Target | undefined;
  switch (route.kind) {
    case RouteKind.ON_LINK:
      target = tables.lookup(networkId, packet.destination);
      if (target === undefined || target.kind === TargetKind.DENY || target.vsid !== route.vsid) {
        const gateway = gatewayAddress(tables, route.vsid, packet.isIpv6);
        const isGateway = gateway !== undefined && ipEquals(gateway, packet.destination);
        return isGateway ? answerForGateway(from, packet) : dropFor(from, DropReason.UNKNOWN_DESTINATION);
      }
      break;
    case RouteKind.NEXT_HOP:
      target = tables.lookup(networkId, route.nextHop);
      if (target === undefined || target.kind === TargetKind.DENY) return dropFor(from, DropReason.NEXT_HOP_UNKNOWN);
      break;
    case RouteKind.BLACKHOLE:
      return dropFor(from, DropReason.ROUTE_BLACKHOLE);
    default:
      return dropFor(from, DropReason.ROUTE_DENIED);
  }
  if (packet.ttl <= 1) return tellSender(from, packet, DropReason.TTL_EXCEEDED, TIME_EXCEEDED);
  return send(from, packet, target, target.vsid, true);
}

function send(from: PortFrame, packet: InnerPacket, target: Target, vsid: number, isRouted: boolean): Verdict {
  const { context, gso, ifindex, port } = from;
  if (livesAt(target, ifindex)) return dropFor(from, DropReason.DESTINATION_IS_SOURCE);
  const segmentLength = gso === undefined ? packet.ipLength : segmentHeaderLength(from.frame, packet) + gso.size;
  context.trace?.note('size', `${segmentLength} bytes`, segmentLength > port.mtuBytes ? `above the MTU ${port.mtuBytes}` : 'fits');
  if (segmentLength > port.mtuBytes) return tellSender(from, packet, DropReason.PACKET_TOO_BIG, tooBig(port.mtuBytes));
  const frame = from.frame.slice(0, packet.ipOffset + packet.ipLength);
  if (isRouted) rewriteAsRouter(frame, packet, target);
  switch (target.kind) {
    case TargetKind.LOCAL:
      return deliver(target.ifindexOrShard, frame, gso, port.vsid);
    case TargetKind.PEER:
    case TargetKind.REDIRECT:
      return encapsulate(context, target.pa, vsid, frame, packet, packet.ecn, gso, port.vsid);
    case TargetKind.SHARD: {
      const shard = from.tables.shard(target.ifindexOrShard);
      if (shard === undefined || isNoAddress(shard.pa)) return dropFor(from, DropReason.NO_GATEWAY_OWNER);
      if (ipEquals(shard.pa, context.pa)) {
        const { networkId } = from.port;
        return toGateway(from.tables, { frame, gso, networkId, shard: target.ifindexOrShard, vsid, isSecondHand: false }, context);
      }
      return encapsulate(context, shard.pa, vsid, frame, packet, packet.ecn, gso, port.vsid);
    }
    default:
      return dropFor(from, DropReason.NO_PEER);
  }
}

/** What a router does to a frame: MAC addresses, and one hop off. */
function rewriteAsRouter(frame: Uint8Array, packet: InnerPacket, target: Target): void {
  frame.set(target.mac, 0);
  writeGatewayMac(frame, 6, target.vsid);
  const ip = packet.isIpv6 ? Ipv6Header.read(frame, packet.ipOffset) : Ipv4Header.read(frame, packet.ipOffset);
  if (ip instanceof Ipv4Header) ip.decrementTtl();
  else if (ip instanceof Ipv6Header) ip.hopLimit = packet.ttl - 1;
}
