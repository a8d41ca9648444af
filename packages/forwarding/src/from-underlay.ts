import { DropReason } from '@weft/model';
import { describeFrame, ETHER_TYPE, getU16, getU24, IP_PROTOCOL, Ipv4Header, Ipv6Header, mapIpv4, VXLAN_FLAG_VNI } from '@weft/packet';
import type { ForwardingContext } from './context.ts';
import { ENCAPSULATION_BYTES, encapsulate } from './encapsulate.ts';
import { judgeProbe } from './gateway/judge-probe.ts';
import { toGateway } from './gateway/to-gateway.ts';
import { type ForwardingTables, TargetKind } from './tables.ts';
import { TracedTables } from './trace.ts';
import { type Accepted, checkTunnelFrame, type TunnelFrame } from './tunnel-check.ts';
import { Action, deliver, drop, effectiveGso, type Gso, handOver, type Verdict } from './verdict.ts';

/** A frame from the physical side. */
export interface UnderlayInput {
  readonly frame: Uint8Array;
  readonly gso?: Gso | undefined;
  /** `other` if its Ethernet destination is another machine (`skb->pkt_type` is not PACKET_HOST). Default `host`. */
  readonly packetType?: 'host' | 'other';
  /** True if the kernel took a VLAN tag off and keeps it as metadata. */
  readonly tagged?: boolean;
}

/** A frame that the VXLAN device has taken out of its tunnel. */
export interface TunnelInput {
  /** The inner frame. */
  readonly frame: Uint8Array;
  readonly gso?: Gso | undefined;
  readonly tagged?: boolean;
  /** Outer source from the tunnel's metadata, 16 bytes. */
  readonly source: Uint8Array;
  readonly vni: number;
  /** True if it carries the mark that the underlay check sets. */
  readonly marked: boolean;
}

const IP_OFFSET = 14;
const OUTER_BYTES_MIN = 34;
const UDP_BYTES = 8;
/** UDP, VXLAN and inner Ethernet header. */
const UDP_LENGTH_MIN = 30;
const ECN_MASK = 3;
const ECN_CE = 3;

/**
 * Decides about a frame from the underlay: whose it is (`PASS` if not Weft's), whether its tunnel header is sound, and whether what it
 * carries may come from where it came. Pure; never throws on a frame's contents.
 * @see docs/datapath-contract.md section 5; RFC 7348 section 4.1; RFC 6040 section 4.2
 */
export function fromUnderlay(tables: ForwardingTables, input: UnderlayInput, context: ForwardingContext): Verdict {
  const { trace } = context;
  if (trace === undefined) return judgeOuter(tables, input, context);
  trace.note('frame', 'from the underlay', describeFrame(input.frame));
  const verdict = judgeOuter(new TracedTables(tables, trace), input, context);
  trace.conclude(verdict);
  return verdict;
}

/**
 * Decides about a frame of the VXLAN device, which sees GSO frames only: the same inner check as `fromUnderlay`. Congestion marks
 * have been carried over by the device.
 */
export function fromTunnel(tables: ForwardingTables, input: TunnelInput, context: ForwardingContext): Verdict {
  const { trace } = context;
  if (trace === undefined) return judgeInner(tables, input, context);
  trace.note('frame', `from the tunnel, VNI ${input.vni}`, describeFrame(input.frame));
  const verdict = judgeInner(new TracedTables(tables, trace), input, context);
  trace.conclude(verdict);
  return verdict;
}

function judgeOuter(tables: ForwardingTables, input: UnderlayInput, context: ForwardingContext): Verdict {
  const { frame } = input;
  const gso = effectiveGso(input.gso);
  const ours = isOurs(input, context);
  if (ours === 'pass') return judgeProbe(input, context) ?? handOver(Action.PASS, frame, gso);
  if (ours === 'fragment') return drop(DropReason.OUTER_FRAGMENT, 0);
  if (input.packetType === 'other') return drop(DropReason.OUTER_NOT_FOR_US, 0);
  if (frame[IP_OFFSET] !== 0x45) return drop(DropReason.OUTER_OPTIONS, 0);
  const totalLength = getU16(frame, IP_OFFSET + 2);
  if (totalLength > frame.length - IP_OFFSET || totalLength < 20 + UDP_BYTES) return drop(DropReason.TRUNCATED_OUTER, 0);
  const udpLength = getU16(frame, OUTER_BYTES_MIN + 4);
  if (udpLength > totalLength - 20 || udpLength < UDP_LENGTH_MIN) return drop(DropReason.TRUNCATED_TUNNEL_HEADER, 0);
  if ((frame[OUTER_BYTES_MIN + UDP_BYTES]! & VXLAN_FLAG_VNI) === 0) return drop(DropReason.VXLAN_VNI_FLAG_CLEAR, 0);
  if (gso !== undefined) return handOver(Action.CLIMB, frame, gso);

  const from: TunnelFrame = {
    tables,
    context,
    bytes: frame,
    offset: ENCAPSULATION_BYTES,
    end: OUTER_BYTES_MIN + udpLength,
    isGso: false,
    tagged: false,
    source: mapIpv4(frame, IP_OFFSET + 12),
    vni: getU24(frame, OUTER_BYTES_MIN + UDP_BYTES + 4),
  };
  const accepted = checkTunnelFrame(from);
  if (typeof accepted === 'number') return drop(accepted, countedVsid(accepted, from.vni));
  const isCongested = (frame[IP_OFFSET + 1]! & ECN_MASK) === ECN_CE;
  const isUnmarkable = isCongested && accepted.packet.ecn === 0;
  if (isUnmarkable && accepted.target.kind === TargetKind.GATEWAY) return drop(DropReason.ECN_CE_ON_NOT_ECT, from.vni);
  const verdict = sendIn(from, accepted, isCongested, undefined);
  return isUnmarkable && verdict.action !== Action.DROP ? drop(DropReason.ECN_CE_ON_NOT_ECT, from.vni) : verdict;
}

function judgeInner(tables: ForwardingTables, input: TunnelInput, context: ForwardingContext): Verdict {
  if (!input.marked) return drop(DropReason.NOT_FROM_UNDERLAY, 0);
  const { frame, source, vni } = input;
  const gso = effectiveGso(input.gso);
  const isGso = gso !== undefined;
  const from: TunnelFrame = {
    tables,
    context,
    bytes: frame,
    offset: 0,
    end: frame.length,
    isGso,
    tagged: input.tagged === true,
    source,
    vni,
  };
  const accepted = checkTunnelFrame(from);
  if (typeof accepted === 'number') return drop(accepted, countedVsid(accepted, vni));
  return sendIn(from, accepted, false, gso);
}

/** Whether a frame is a tunnel packet to this host: step 1 of the contract's section 5. */
function isOurs(input: UnderlayInput, context: ForwardingContext): 'pass' | 'fragment' | 'tunnel' {
  const { frame } = input;
  if (frame.length < OUTER_BYTES_MIN || getU16(frame, 12) !== ETHER_TYPE.ipv4) return 'pass';
  const headerLength = (frame[IP_OFFSET]! & 0x0f) * 4;
  if (frame[IP_OFFSET]! >> 4 !== 4 || headerLength < 20 || frame[IP_OFFSET + 9] !== IP_PROTOCOL.udp) return 'pass';
  for (let i = 0; i < 4; i++) if (frame[IP_OFFSET + 16 + i] !== context.pa[12 + i]) return 'pass';
  const fragment = getU16(frame, IP_OFFSET + 6) & 0x3fff;
  if ((fragment & 0x1fff) !== 0) return 'pass';
  const udpOffset = IP_OFFSET + headerLength;
  if (udpOffset + 4 > frame.length || getU16(frame, udpOffset + 2) !== context.udpPort) return 'pass';
  if (fragment !== 0) return 'fragment';
  return input.tagged === true ? 'pass' : 'tunnel';
}

/** Takes the tunnel's headers off, carries a congestion mark over, and sends the frame to its port or where that has moved. */
function sendIn(from: TunnelFrame, accepted: Accepted, isCongested: boolean, gso: Gso | undefined): Verdict {
  const { packet, target, isSecondHand } = accepted;
  const inner = from.bytes.slice(from.offset, packet.ipOffset + packet.ipLength);
  if (isCongested) markCongestion(inner, packet.isIpv6);
  if (target.kind === TargetKind.LOCAL) return deliver(target.ifindexOrShard, inner, gso, from.vni);
  if (target.kind === TargetKind.GATEWAY) {
    const networkId = from.tables.subnet(from.vni)?.networkId ?? 0;
    const input = { frame: inner, gso, networkId, shard: target.ifindexOrShard, vsid: from.vni, isSecondHand };
    return toGateway(from.tables, input, from.context);
  }
  const ecn = isCongested ? ECN_CE : packet.ecn;
  return encapsulate(from.context, target.pa, from.vni, inner, packet, ecn, gso, from.vni);
}

function markCongestion(inner: Uint8Array, isIpv6: boolean): void {
  const ip = isIpv6 ? Ipv6Header.read(inner, IP_OFFSET) : Ipv4Header.read(inner, IP_OFFSET);
  if (ip instanceof Ipv4Header) ip.rewriteEcn(ECN_CE);
  else if (ip instanceof Ipv6Header) ip.ecn = ECN_CE;
}

function countedVsid(reason: DropReason, vni: number): number {
  return reason === DropReason.UNKNOWN_VSID ? 0 : vni;
}
