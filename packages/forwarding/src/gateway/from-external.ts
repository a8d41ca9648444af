import { DropReason } from '@weft/model';
import {
  ARP_OPERATION,
  ArpPacket,
  buildArpFrame,
  describeFrame,
  ETHER_TYPE,
  ETHERNET_HEADER_BYTES,
  getU16,
  ICMPV6_TYPE,
  IP_PROTOCOL,
  isIpv4Mapped,
  isMulticastMac,
  macEquals,
  mapIpv4,
  NEIGHBOR_DISCOVERY_BYTES,
} from '@weft/packet';
import { isLinkLocal6, isNoAddress, isNotUnicast4, isNotUnicast6 } from '../address.ts';
import type { ForwardingContext } from '../context.ts';
import { type InnerPacket, readInnerPacket } from '../inner-packet.ts';
import { advertisement, isNeighborDiscovery } from '../neighbor-discovery.ts';
import type { ForwardingTables } from '../tables.ts';
import { TracedTables } from '../trace.ts';
import { Action, drop, effectiveGso, type Gso, handOver, reply, type Verdict } from '../verdict.ts';
import { enterByAddress, enterByPrefix, servedNetwork } from './enter.ts';
import { dropAt, type GatewayFrame } from './gateway-frame.ts';
import { type ExternalEntry, ExternalPrefixKind, type GatewayTables } from './gateway-tables.ts';
import { isLive, ownership } from './ownership.ts';

/** A frame from the physical network beyond a gateway. */
export interface ExternalInput {
  /** Device it came in by. */
  readonly ifindex: number;
  readonly frame: Uint8Array;
  readonly gso?: Gso | undefined;
  /** True if the kernel took a VLAN tag off and keeps it as metadata. */
  readonly tagged?: boolean;
}

const IP_OFFSET = ETHERNET_HEADER_BYTES;
const HOP_LIMIT = 255;

/** What a step of these needs of the outside. */
interface Outside {
  readonly tables: GatewayTables;
  readonly context: ForwardingContext;
  readonly external: ExternalEntry;
  readonly ifindex: number;
  readonly frame: Uint8Array;
}

/**
 * Decides about a frame from an external device: whose it is (`PASS` if not Weft's), whether it may enter, and where it goes.
 * @see docs/gateway-contract.md section 6
 */
export function fromExternal(tables: ForwardingTables, input: ExternalInput, context: ForwardingContext): Verdict {
  const { trace } = context;
  if (trace === undefined) return judge(tables, input, context);
  trace.note('frame', `from external device ${input.ifindex}`, describeFrame(input.frame));
  const verdict = judge(new TracedTables(tables, trace), input, context);
  trace.conclude(verdict);
  return verdict;
}

function judge(tables: ForwardingTables, input: ExternalInput, context: ForwardingContext): Verdict {
  const { frame, ifindex } = input;
  const gso = effectiveGso(input.gso);
  const pass = handOver(Action.PASS, frame, gso);
  const { gateway } = context;
  const external = gateway?.tables.external(ifindex);
  if (gateway === undefined || external === undefined || input.tagged === true || frame.length < IP_OFFSET) return pass;
  const outside: Outside = { tables: gateway.tables, context, external, ifindex, frame };
  const type = getU16(frame, 12);
  if (type === ETHER_TYPE.arp) return judgeArp(outside) ?? pass;
  if (type === ETHER_TYPE.ipv6) {
    const verdict = judgeNeighbor(outside);
    if (verdict !== undefined) return verdict;
  } else if (type !== ETHER_TYPE.ipv4) {
    return pass;
  }
  return judgePacket(tables, outside, gso, type === ETHER_TYPE.ipv6) ?? pass;
}

/** Steps 2 and 3: for us, sound, from someone, and ours. Undefined: not ours. */
function judgePacket(tables: ForwardingTables, outside: Outside, gso: Gso | undefined, isIpv6: boolean): Verdict | undefined {
  const { frame, context, external } = outside;
  const { segment } = external;
  if (!macEquals(frame, external.mac, 0) || frame.length < IP_OFFSET + (isIpv6 ? 40 : 20)) return undefined;
  const destination = isIpv6 ? frame.slice(IP_OFFSET + 24, IP_OFFSET + 40) : mapIpv4(frame, IP_OFFSET + 16);
  if (isIpv6 && isIpv4Mapped(destination)) return undefined;
  const address = outside.tables.externalAddress(segment, destination);
  const prefix = address === undefined ? outside.tables.externalPrefix(segment, destination) : undefined;
  if (address === undefined && prefix === undefined) return undefined;

  const packet = readInnerPacket(frame, 0, frame.length, gso !== undefined);
  if (typeof packet === 'number') return drop(packet, 0);
  if (isNeighborDiscovery(frame, packet)) return undefined;
  if (!isPossibleSource(outside, packet)) return drop(DropReason.EXTERNAL_SOURCE_INVALID, 0);
  const whole = frame.subarray(0, packet.ipOffset + packet.ipLength);
  const gateway = context.gateway!;
  const from: GatewayFrame = { tables, gateway: gateway.tables, nat: gateway.nat, context, frame: whole, packet, gso, countedVsid: 0 };
  if (address !== undefined) {
    return sendOn(outside, from, address.shard) ?? enterByAddress(from, segment, address, false);
  }
  const isKnown = prefix?.kind === ExternalPrefixKind.FORWARD || prefix?.kind === ExternalPrefixKind.NPT;
  if (prefix === undefined || !isKnown) return dropAt(from, DropReason.EXTERNAL_ADDRESS_DENIED);
  const network = servedNetwork(from, prefix.networkId);
  if (network === undefined || network.segment !== segment) return dropAt(from, DropReason.GATEWAY_NETWORK_UNKNOWN);
  return sendOn(outside, from, network.shard) ?? enterByPrefix({ ...from, countedVsid: network.vsid }, segment, prefix, network);
}

function isPossibleSource(outside: Outside, { source, isIpv6 }: InnerPacket): boolean {
  if (isIpv6 ? isNotUnicast6(source) || isLinkLocal6(source) : isNotUnicast4(source)) return false;
  return !isOurs(outside, source);
}

/** True for an external address of this segment whose shard we own now. */
function isOurs({ tables, external, context }: Outside, address: Uint8Array): boolean {
  const entry = tables.externalAddress(external.segment, address);
  return entry !== undefined && isLive(tables, entry.shard, context.nowBootNs);
}

/** Step 3: the frame to the new owner while a hand-over lasts; undefined if we own the shard. */
function sendOn(outside: Outside, from: GatewayFrame, shard: number): Verdict | undefined {
  const owned = ownership(outside.tables, shard, outside.context.nowBootNs);
  if (owned.state === 'live') return undefined;
  if (owned.state === 'none' || owned.to.handoverMac.every((byte) => byte === 0)) return dropAt(from, DropReason.GATEWAY_NOT_OWNER);
  const frame = from.frame.slice();
  frame.set(owned.to.handoverMac, 0);
  frame.set(outside.external.mac, 6);
  return { ...reply(outside.ifindex, frame, 0), gso: from.gso };
}

/** ARP for an external address of ours. Undefined: the host's affair. */
function judgeArp(outside: Outside): Verdict | undefined {
  const { frame, external, ifindex } = outside;
  if (!macEquals(frame, external.mac, 0) && !isBroadcast(frame)) return undefined;
  const arp = ArpPacket.read(frame, IP_OFFSET);
  if (typeof arp === 'string' || (arp.operation !== ARP_OPERATION.request && arp.operation !== ARP_OPERATION.reply)) return undefined;
  const senderMac = frame.slice(IP_OFFSET + 8, IP_OFFSET + 14);
  if (isMulticastMac(senderMac, 0)) return undefined;
  const sender = arp.copySenderIp();
  const target = arp.copyTargetIp();
  if (!macEquals(senderMac, external.mac, 0) && isOurs(outside, sender)) return drop(DropReason.EXTERNAL_ADDRESS_CONFLICT, 0);
  if (arp.operation !== ARP_OPERATION.request || !isOurs(outside, target) || isOurs(outside, sender)) return undefined;
  const answer = { operation: ARP_OPERATION.reply, senderMac: external.mac, senderIp: target, targetMac: senderMac, targetIp: sender };
  return reply(ifindex, buildArpFrame(answer), 0);
}

/** Neighbour discovery about an external address of ours (RFC 4861 sections 7.1, 7.2). Undefined: the host's affair, or no such message. */
function judgeNeighbor(outside: Outside): Verdict | undefined {
  const { frame, external, ifindex } = outside;
  const isForUs = macEquals(frame, external.mac, 0) || (frame[0] === 0x33 && frame[1] === 0x33);
  const message = IP_OFFSET + 40;
  if (!isForUs || frame.length < message + NEIGHBOR_DISCOVERY_BYTES) return undefined;
  const isMessage = frame[IP_OFFSET]! >> 4 === 6 && frame[IP_OFFSET + 6] === IP_PROTOCOL.icmpv6 && frame[IP_OFFSET + 7] === HOP_LIMIT;
  const length = getU16(frame, IP_OFFSET + 4);
  if (!isMessage || length < NEIGHBOR_DISCOVERY_BYTES || length > frame.length - message || frame[message + 1] !== 0) return undefined;
  const type = frame[message];
  if (type !== ICMPV6_TYPE.neighborSolicitation && type !== ICMPV6_TYPE.neighborAdvertisement) return undefined;
  const target = frame.slice(message + 8, message + 24);
  if (isIpv4Mapped(target) || !isOurs(outside, target)) return undefined;
  const senderMac = frame.slice(6, 12);
  const isOwn = macEquals(senderMac, external.mac, 0);
  const source = frame.slice(IP_OFFSET + 8, IP_OFFSET + 24);
  if (isOwn || isMulticastMac(senderMac, 0) || source[0] === 0xff || isIpv4Mapped(source)) return undefined;
  const isClaim = type === ICMPV6_TYPE.neighborAdvertisement || isNoAddress(source) || isOurs(outside, source);
  if (isClaim) return drop(DropReason.EXTERNAL_ADDRESS_CONFLICT, 0);
  return reply(ifindex, advertisement({ mac: external.mac, isGateway: true }, target, senderMac, source), 0);
}

function isBroadcast(frame: Uint8Array): boolean {
  for (let i = 0; i < 6; i++) if (frame[i] !== 0xff) return false;
  return true;
}
