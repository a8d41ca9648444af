import { DropReason } from '@weft/model';
import { ipEquals } from '@weft/packet';
import { isNoAddress } from '../address.ts';
import type { ForwardingContext } from '../context.ts';
import { encapsulate } from '../encapsulate.ts';
import { isEchoRequest, turnEcho } from '../gateway-echo.ts';
import { writeGatewayMac } from '../gateway-mac.ts';
import { home } from '../home.ts';
import { readInnerPacket } from '../inner-packet.ts';
import type { ForwardingTables } from '../tables.ts';
import { drop, external, type Gso, type Verdict } from '../verdict.ts';
import { deliverInside, segmentLength, takeHop } from './deliver-inside.ts';
import { enterByAddress, servedNetwork } from './enter.ts';
import { natFlow } from './flow.ts';
import { dropAt, type GatewayFrame } from './gateway-frame.ts';
import { GatewayFlag, GatewayMode, type GatewayNetworkEntry, isStaticOf, mayMap, SourceRuleKind } from './gateway-tables.ts';
import { nptOutward } from './npt.ts';
import { isLive, ownership } from './ownership.ts';
import { isTranslatedError, type Quote, readQuote } from './quote.ts';
import { type NewEnd, rewriteEnd, rewriteQuote } from './rewrite.ts';
import { isFamily, sendInside, tell } from './tell.ts';

/** A frame of a virtual network that came to its gateway, out of its tunnel. */
export interface GatewayInput {
  /** The plain inner frame, cut to its packet. */
  readonly frame: Uint8Array;
  readonly gso?: Gso | undefined;
  readonly networkId: number;
  /** The shard by which it came. */
  readonly shard: number;
  /** The gateway subnet. */
  readonly vsid: number;
  /** Sent on by a former owner: it is not sent on again. */
  readonly isSecondHand: boolean;
}

/**
 * Decides about a frame that leaves its virtual network: answered, peered, translated, sent out.
 * @see docs/gateway-contract.md section 5, whose order of steps this is
 */
export function toGateway(tables: ForwardingTables, input: GatewayInput, context: ForwardingContext): Verdict {
  const { frame, gso, networkId, vsid } = input;
  const { gateway } = context;
  if (gateway === undefined) return drop(DropReason.GATEWAY_NETWORK_UNKNOWN, vsid);
  const packet = readInnerPacket(frame, 0, frame.length, gso !== undefined);
  if (typeof packet === 'number') return drop(packet, vsid);
  const from: GatewayFrame = { tables, gateway: gateway.tables, nat: gateway.nat, context, frame, packet, gso, countedVsid: vsid };

  const network = servedNetwork(from, networkId);
  if (network === undefined || network.shard !== input.shard || network.vsid !== vsid)
    return dropAt(from, DropReason.GATEWAY_NETWORK_UNKNOWN);
  const owned = ownership(from.gateway, network.shard, context.nowBootNs);
  if (owned.state === 'handover' && !input.isSecondHand) {
    return encapsulate(context, owned.to.handoverPa, vsid, frame, packet, packet.ecn, gso, vsid);
  }
  if (owned.state !== 'live') return dropAt(from, DropReason.GATEWAY_NOT_OWNER);

  if (ipEquals(packet.destination, packet.isIpv6 ? network.gateway6 : network.gateway4)) return answer(from, networkId);
  if (tables.lookup(networkId, packet.destination) !== undefined) return dropAt(from, DropReason.GATEWAY_HAIRPIN_INSIDE);
  if (packet.ttl <= 1) return tell(from, { side: 'inside', networkId }, 0);
  const peering = from.gateway.peering(networkId, packet.destination);
  return peering === undefined ? leave(from, networkId, network) : toPeer(from, networkId, network.shard, peering.networkId);
}

/** A ping of the gateway CA; nothing else is served there. */
function answer(from: GatewayFrame, networkId: number): Verdict {
  const { packet, tables } = from;
  if (!isEchoRequest(from.frame, packet)) return dropAt(from, DropReason.GATEWAY_NO_SERVICE);
  const target = home(tables, networkId, packet.source);
  if (target === undefined) return dropAt(from, DropReason.UNKNOWN_DESTINATION);
  const frame = from.frame.slice();
  frame.set(target.mac, 0);
  writeGatewayMac(frame, 6, target.vsid);
  turnEcho(frame, packet);
  return sendInside(from, frame, target, from.gso);
}

/** To another virtual network, if both say so and one owner serves both. */
function toPeer(from: GatewayFrame, networkId: number, shard: number, peerId: number): Verdict {
  const peer = servedNetwork(from, peerId);
  const isAccepted = from.gateway.peering(peerId, from.packet.source)?.networkId === networkId;
  if (peer === undefined || peer.shard !== shard || !isAccepted) return dropAt(from, DropReason.PEERING_NOT_ACCEPTED);
  return deliverInside({ ...from, countedVsid: peer.vsid }, peerId, peer, undefined, { side: 'inside', networkId });
}

/** How a source leaves. `NPT` is no kind of a rule. */
type Way = { readonly kind: SourceRuleKind | 'NPT'; readonly pool: number; readonly address: Uint8Array };

const NO_ADDRESS = new Uint8Array(16);
/** A network's pool of IPv6 addresses has the number of its other one, and this. */
const IPV6_POOL = 0x8000_0000;

function leave(from: GatewayFrame, networkId: number, network: GatewayNetworkEntry): Verdict {
  const { packet, gateway, context } = from;
  const isError = isTranslatedError(from.frame, packet);
  const quote = isError ? readQuote(from.frame, packet) : undefined;
  // An error may come from a router VM; it leaves as the packet that it tells of came in.
  const subject = quote?.destination ?? packet.source;
  const rule = gateway.sourceRule(networkId, subject);
  const way: Way | undefined = rule ?? wayOf(network, packet.isIpv6);
  if (way === undefined) return dropAt(from, DropReason.GATEWAY_OUTSIDE_DENIED);
  if (!isKnown(way) || (way.kind === SourceRuleKind.STATIC && !isFamily(way.address, packet.isIpv6))) {
    return dropAt(from, DropReason.SOURCE_RULE_DENIED);
  }
  // What it quotes is the sender's word. It may choose among the network's own addresses; untranslated the source leaves by its own rule only.
  if (way.kind === SourceRuleKind.PLAIN && quote !== undefined) {
    const own: Way | undefined = gateway.sourceRule(networkId, packet.source) ?? wayOf(network, packet.isIpv6);
    if (own?.kind !== SourceRuleKind.PLAIN) return dropAt(from, DropReason.SOURCE_RULE_DENIED);
  }
  const segment = gateway.segment(network.segment);
  if (segment === undefined) return dropAt(from, DropReason.EXTERNAL_NO_ROUTE);
  const address = gateway.externalAddress(network.segment, packet.destination);
  const isHairpin = address !== undefined && isLive(gateway, address.shard, context.nowBootNs);
  const route = gateway.externalRoute(network.segment, packet.destination);
  if (route === undefined && !isHairpin) return dropAt(from, DropReason.EXTERNAL_NO_ROUTE);
  if (segmentLength(from) > segment.mtuBytes) return tell(from, { side: 'inside', networkId }, segment.mtuBytes);
  if (isError && quote === undefined && way.kind !== SourceRuleKind.PLAIN) return dropAt(from, DropReason.ICMP_QUOTE_INVALID);

  const frame = translated(from, networkId, network, way, quote);
  if (typeof frame === 'number') return dropAt(from, frame);
  if (isHairpin) {
    const sent = readInnerPacket(frame, 0, frame.length, from.gso !== undefined);
    if (typeof sent === 'number') return dropAt(from, sent);
    return enterByAddress({ ...from, frame, packet: sent, countedVsid: 0 }, network.segment, address, true);
  }
  takeHop(frame, packet);
  const nextHop = route === undefined || isNoAddress(route.nextHop) ? packet.destination : route.nextHop;
  return external(segment.ifindex, nextHop, network.segment, frame, from.gso, from.countedVsid);
}

/** How a source without a rule leaves; undefined: not at all. */
function wayOf(network: GatewayNetworkEntry, isIpv6: boolean): Way | undefined {
  const pool = isIpv6 ? (network.pool | IPV6_POOL) >>> 0 : network.pool;
  const way = (kind: Way['kind']): Way => ({ kind, pool, address: NO_ADDRESS });
  if (!isIpv6) {
    if (network.mode === GatewayMode.FORWARD) return way(SourceRuleKind.PLAIN);
    return network.mode === GatewayMode.NAT ? way(SourceRuleKind.POOL) : undefined;
  }
  if ((network.flags & GatewayFlag.NPTV6) !== 0) return way('NPT');
  if ((network.flags & GatewayFlag.FORWARD6) !== 0) return way(SourceRuleKind.PLAIN);
  return (network.flags & GatewayFlag.NAT66) !== 0 ? way(SourceRuleKind.POOL) : undefined;
}

function isKnown({ kind }: Way): boolean {
  return kind === 'NPT' || (kind >= SourceRuleKind.POOL && kind <= SourceRuleKind.ADDRESS);
}

/** Whether an address may leave to the segment as what it is only by somebody else: an external address, or one of another network's prefix. */
function isOthers({ gateway }: GatewayFrame, segment: number, address: Uint8Array, networkId: number): boolean {
  const prefix = gateway.externalPrefix(segment, address);
  return (prefix !== undefined && prefix.networkId !== networkId) || gateway.externalAddress(segment, address) !== undefined;
}

/** A copy of the frame with its source as the outside knows it, or the reason why there is none. */
function translated(
  from: GatewayFrame,
  networkId: number,
  network: GatewayNetworkEntry,
  way: Way,
  quote: Quote | undefined,
): Uint8Array | DropReason {
  const { packet } = from;
  if (way.kind === SourceRuleKind.PLAIN) {
    return isOthers(from, network.segment, packet.source, networkId) ? DropReason.SOURCE_RULE_DENIED : from.frame.slice();
  }
  let to: NewEnd;
  let quoted: NewEnd | undefined;
  if (way.kind === 'NPT') {
    const address = nptOutward(network, packet.source);
    if (address === undefined) return DropReason.NPT_NOT_TRANSLATABLE;
    if (isOthers(from, network.segment, address, networkId)) return DropReason.SOURCE_RULE_DENIED;
    to = { address };
    const quotedAddress = quote === undefined ? undefined : nptOutward(network, quote.destination);
    quoted = quotedAddress === undefined ? undefined : { address: quotedAddress };
  } else if (way.kind === SourceRuleKind.STATIC) {
    const address = from.gateway.externalAddress(network.segment, way.address);
    if (!isStaticOf(address, networkId, network.shard)) return DropReason.SOURCE_RULE_DENIED;
    to = { address: way.address };
    quoted = to;
  } else {
    const flow = natFlow(from.frame, packet, 'source', quote, networkId, network.segment);
    const result = from.nat.outbound(flow, { kind: way.kind, pool: way.pool }, from.context.nowBootNs);
    if (result.reason !== DropReason.NONE) return result.reason;
    if (!isFamily(result.address, packet.isIpv6)) return DropReason.NAT_POOL_UNKNOWN;
    const address = from.gateway.externalAddress(network.segment, result.address);
    if (!mayMap(address, networkId, network.shard)) return DropReason.SOURCE_RULE_DENIED;
    quoted = { address: result.address, port: result.port };
    to = quote === undefined ? quoted : { address: result.address };
  }
  const frame = from.frame.slice();
  if (quote !== undefined && quoted !== undefined) rewriteQuote(frame, packet, quote, 'destination', quoted);
  rewriteEnd(frame, packet, 'source', to);
  return frame;
}
