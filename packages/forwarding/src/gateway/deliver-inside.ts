import { DropReason } from '@weft/model';
import { Ipv4Header, Ipv6Header } from '@weft/packet';
import { encapsulate } from '../encapsulate.ts';
import { writeGatewayMac } from '../gateway-mac.ts';
import { home } from '../home.ts';
import { type InnerPacket, readInnerPacket, segmentHeaderLength } from '../inner-packet.ts';
import { type Target, TargetKind } from '../tables.ts';
import { deliver, type Verdict } from '../verdict.ts';
import { dropAt, type GatewayFrame } from './gateway-frame.ts';
import type { GatewayNetworkEntry } from './gateway-tables.ts';
import type { Quote } from './quote.ts';
import { type NewEnd, rewriteEnd, rewriteQuote } from './rewrite.ts';
import { type Teller, tell } from './tell.ts';

/** How the packet's destination becomes the CA; undefined: it is the CA. */
export interface InwardTranslation {
  readonly to: NewEnd;
  /** Of an ICMP error: its quote, whose source changes alike. */
  readonly quote?: { readonly quote: Quote; readonly to: NewEnd } | undefined;
}

/**
 * Delivers a packet in a network, from outside it: docs/gateway-contract.md section 6, step 5.
 * @param teller Who hears of a packet too old or too big.
 */
export function deliverInside(
  from: GatewayFrame,
  networkId: number,
  network: GatewayNetworkEntry,
  translation: InwardTranslation | undefined,
  teller: Teller,
): Verdict {
  const { packet, tables, context, gso } = from;
  const target = home(tables, networkId, translation?.to.address ?? packet.destination);
  if (target === undefined) return dropAt(from, DropReason.UNKNOWN_DESTINATION);
  if (!isPort(target)) return dropAt(from, DropReason.NO_ROUTE);
  if (packet.ttl <= 1) return tell(from, teller, 0);
  if (segmentLength(from) > network.mtuBytes) return tell(from, teller, network.mtuBytes);
  if (target.kind === TargetKind.LOCAL) {
    // The host that gets a tunnel frame looks at this; here, that host is this one.
    const source = home(tables, networkId, packet.source);
    if (source?.kind !== TargetKind.SHARD || source.ifindexOrShard !== network.shard) {
      return dropAt(from, DropReason.SOURCE_ADDRESS_SPOOFED);
    }
  }
  const frame = from.frame.slice();
  if (translation !== undefined) {
    const { to, quote } = translation;
    if (quote !== undefined) rewriteQuote(frame, packet, quote.quote, 'source', quote.to);
    rewriteEnd(frame, packet, 'destination', to);
  }
  frame.set(target.mac, 0);
  writeGatewayMac(frame, 6, target.vsid);
  takeHop(frame, packet);
  if (target.kind === TargetKind.LOCAL) return deliver(target.ifindexOrShard, frame, gso, from.countedVsid);
  const sent = readInnerPacket(frame, 0, frame.length, gso !== undefined);
  if (typeof sent === 'number') return dropAt(from, sent);
  return encapsulate(context, target.pa, target.vsid, frame, sent, sent.ecn, gso, from.countedVsid);
}

function isPort({ kind }: Target): boolean {
  return kind === TargetKind.LOCAL || kind === TargetKind.PEER || kind === TargetKind.REDIRECT;
}

/** Bytes of the IP packet, or of each segment of a GSO frame. */
export function segmentLength({ frame, packet, gso }: GatewayFrame): number {
  return gso === undefined ? packet.ipLength : segmentHeaderLength(frame, packet) + gso.size;
}

export function takeHop(frame: Uint8Array, packet: InnerPacket): void {
  const ip = packet.isIpv6 ? Ipv6Header.read(frame, packet.ipOffset) : Ipv4Header.read(frame, packet.ipOffset);
  if (ip instanceof Ipv4Header) ip.decrementTtl();
  else if (ip instanceof Ipv6Header) ip.hopLimit = packet.ttl - 1;
}
