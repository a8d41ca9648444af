import { DropReason } from '@weft/model';
import { ETHER_TYPE, ETHERNET_HEADER_BYTES, formatIp, getU16, ipEquals, isIpv4Mapped, macEquals } from '@weft/packet';
import type { ForwardingContext } from './context.ts';
import { checkEtherType } from './ether-type.ts';
import { isGatewayMac } from './gateway-mac.ts';
import { home, isNotUnicast, usesLinkLocal } from './home.ts';
import { type InnerPacket, readInnerPacket } from './inner-packet.ts';
import { isNeighborDiscovery } from './neighbor-discovery.ts';
import { type ForwardingTables, type ShardEntry, type Target, TargetKind } from './tables.ts';

// The check of what comes out of a tunnel, shared by both ways in: docs/datapath-contract.md section 5, step 4 a to f. The frame
// carries the *destination's* VNI, so the VNI says nothing about the sender. What counts is the inner source: where it lives in the
// VNI's network must be where the frame came from.
//
//   first hand    the address lives at the outer source, as host or as owner of its gateway shard
//   second hand   it lived there until just now; or the port it goes to did, and that host sends it on
//
// A second-hand frame is never sent on again, so no frame can circle.

/** An inner frame, with what the tunnel said about it. */
export interface TunnelFrame {
  readonly tables: ForwardingTables;
  readonly context: ForwardingContext;
  /** Buffer that holds the inner frame from `offset` to `end`. */
  readonly bytes: Uint8Array;
  readonly offset: number;
  readonly end: number;
  readonly isGso: boolean;
  readonly tagged: boolean;
  /** Outer source, 16 bytes. */
  readonly source: Uint8Array;
  readonly vni: number;
}

/** A frame that may go to `target`: a `LOCAL` port, a `REDIRECT` to where it has moved, or the `GATEWAY` here. */
export interface Accepted {
  readonly packet: InnerPacket;
  readonly target: Target;
  readonly isSecondHand: boolean;
}

type Hand = 'first' | 'second' | 'none';

/** @returns Where the frame goes, or the reason to drop it. */
export function checkTunnelFrame(from: TunnelFrame): Accepted | DropReason {
  const { tables, bytes, offset, vni } = from;
  const networkId = tables.subnet(vni)?.networkId ?? 0;
  if (networkId === 0) return DropReason.UNKNOWN_VSID;

  if (from.end - offset < ETHERNET_HEADER_BYTES) return DropReason.TRUNCATED_ETHERNET;
  const type = getU16(bytes, offset + 12);
  const fault = checkEtherType(type, from.tagged);
  if (fault !== DropReason.NONE) return fault;
  if (type !== ETHER_TYPE.ipv4 && type !== ETHER_TYPE.ipv6) return DropReason.ETHERTYPE_NOT_ALLOWED;

  const packet = readInnerPacket(bytes, offset, from.end, from.isGso);
  if (typeof packet === 'number') return packet;
  if (isNeighborDiscovery(bytes, packet)) return DropReason.ND_NOT_TUNNELLED;
  if (isNotUnicast(bytes, offset, packet)) return DropReason.NOT_UNICAST;
  if (usesLinkLocal(packet)) return DropReason.LINK_LOCAL_NOT_FORWARDED;
  if (packet.isIpv6 && isIpv4Mapped(packet.source)) return DropReason.SOURCE_ADDRESS_SPOOFED;

  const source = home(tables, networkId, packet.source);
  const hand = source === undefined ? 'none' : handOf(from, source);
  from.context.trace?.note('identity', `${formatIp(packet.source)} from host ${formatIp(from.source)}`, HAND_TEXT[hand]);
  if (source === undefined || hand === 'none') {
    const isSpeaker = tables.speaker(from.source, networkId) !== undefined;
    return isSpeaker ? DropReason.SOURCE_NOT_AT_THIS_PEER : DropReason.UNKNOWN_PEER;
  }
  const isOwnMac = source.vsid === vni && macEquals(bytes, source.mac, offset + 6);
  if (!isOwnMac && !isGatewayMac(bytes, offset + 6, vni)) return DropReason.SOURCE_MAC_NOT_AT_THIS_PEER;

  const target = destinationOf(from);
  const isSecondHand = hand === 'second';
  if (target?.kind === TargetKind.LOCAL || target?.kind === TargetKind.GATEWAY) return { packet, target, isSecondHand };
  if (target?.kind !== TargetKind.REDIRECT) return DropReason.NO_LOCAL_PORT;
  return isSecondHand ? DropReason.REDIRECT_LOOP : { packet, target, isSecondHand };
}

const HAND_TEXT: Record<Hand, string> = {
  first: 'lives there',
  second: 'was there, or came by way of a host that the port has left',
  none: 'does not live there',
};

function handOf(from: TunnelFrame, source: Target): Hand {
  const shard = source.kind === TargetKind.SHARD ? from.tables.shard(source.ifindexOrShard) : undefined;
  if (isFirstHand(from, source, shard)) return 'first';
  if (wasAt(from, source) || (shard !== undefined && wasAt(from, shard))) return 'second';
  const target = destinationOf(from);
  if (target?.kind === TargetKind.LOCAL) return wasAt(from, target) ? 'second' : 'none';
  // Sent on by the shard's former owner.
  const former = target?.kind === TargetKind.GATEWAY ? from.tables.shard(target.ifindexOrShard) : undefined;
  return former !== undefined && wasAt(from, former) ? 'second' : 'none';
}

function isFirstHand(from: TunnelFrame, source: Target, shard: ShardEntry | undefined): boolean {
  switch (source.kind) {
    case TargetKind.PEER:
    case TargetKind.REDIRECT:
      return ipEquals(source.pa, from.source);
    case TargetKind.SHARD:
      return shard !== undefined && ipEquals(shard.pa, from.source);
    default:
      return false;
  }
}

function wasAt(from: TunnelFrame, record: { readonly prevPa: Uint8Array; readonly prevUntilBootNs: bigint }): boolean {
  return from.context.nowBootNs < record.prevUntilBootNs && ipEquals(record.prevPa, from.source);
}

function destinationOf(from: TunnelFrame): Target | undefined {
  return from.tables.l2(from.vni, from.bytes.subarray(from.offset, from.offset + 6));
}
