import { DropReason } from '@weft/model';
import { isIpv4Mapped } from '@weft/packet';
import { isNoAddress } from '../address.ts';
import { encapsulate } from '../encapsulate.ts';
import { gatewayMac } from '../gateway-mac.ts';
import { home } from '../home.ts';
import { readInnerPacket } from '../inner-packet.ts';
import { buildSenderError, TIME_EXCEEDED, tooBig } from '../sender-error.ts';
import { type Target, TargetKind } from '../tables.ts';
import { Action, deliver, external, type Gso, type Verdict } from '../verdict.ts';
import { dropAt, type GatewayFrame } from './gateway-frame.ts';

const NO_MAC = new Uint8Array(6);

/** Who is told of an error, and in whose name. Undefined: nobody. */
export type Teller =
  | { readonly side: 'inside'; readonly networkId: number }
  /** `source` zero: nobody. */
  | { readonly side: 'outside'; readonly segment: number; readonly source: Uint8Array }
  | undefined;

/**
 * Drops a packet and tells its sender why: into its network from the gateway CA, or out to the segment. Silent where hosts would be
 * (`buildSenderError`, `ErrorLimit`), and where there is no address to speak from or no way to the sender.
 * @param mtuBytes For PACKET_TOO_BIG: what would fit. 0: TTL_EXCEEDED.
 */
export function tell(from: GatewayFrame, teller: Teller, mtuBytes: number): Verdict {
  const reason = mtuBytes === 0 ? DropReason.TTL_EXCEEDED : DropReason.PACKET_TOO_BIG;
  const error = mtuBytes === 0 ? TIME_EXCEEDED : tooBig(mtuBytes);
  const verdict = teller === undefined || !isInTime(from, teller) ? undefined : teller.side === 'inside' ? inside() : outside();
  return verdict === undefined || verdict.action === Action.DROP ? dropAt(from, reason) : { ...verdict, reason };

  function inside(): Verdict | undefined {
    const { tables, packet } = from;
    if (teller?.side !== 'inside') return undefined;
    const network = from.gateway.gatewayNetwork(teller.networkId);
    if (network === undefined) return undefined;
    const source = packet.isIpv6 ? network.gateway6 : network.gateway4;
    if (isNoAddress(source)) return undefined;
    const target = home(tables, teller.networkId, packet.source);
    if (target === undefined) return undefined;
    const frame = buildSenderError(from.frame, packet, source, error, { destination: target.mac, source: gatewayMac(target.vsid) });
    return frame === undefined ? undefined : sendInside(from, frame, target, undefined);
  }

  function outside(): Verdict | undefined {
    const { packet, gateway } = from;
    if (teller?.side !== 'outside' || isNoAddress(teller.source)) return undefined;
    const route = gateway.externalRoute(teller.segment, packet.source);
    const segment = gateway.segment(teller.segment);
    if (route === undefined || segment === undefined) return undefined;
    const frame = buildSenderError(from.frame, packet, teller.source, error, { destination: NO_MAC, source: NO_MAC });
    if (frame === undefined) return undefined;
    const nextHop = isNoAddress(route.nextHop) ? packet.source : route.nextHop;
    return external(segment.ifindex, nextHop, teller.segment, frame, undefined, from.countedVsid);
  }
}

/** Not more is told than {@link ErrorLimit} lets through. */
function isInTime({ context, countedVsid }: GatewayFrame, teller: NonNullable<Teller>): boolean {
  const id = teller.side === 'inside' ? teller.networkId : countedVsid;
  return context.errors?.take(teller.side, id, context.nowBootNs) ?? true;
}

/** A frame that the gateway itself made, whose Ethernet header is `target`'s, to a port here or elsewhere; a drop if it lives at neither. */
export function sendInside(from: GatewayFrame, frame: Uint8Array, target: Target, gso: Gso | undefined): Verdict {
  switch (target.kind) {
    case TargetKind.LOCAL:
      return deliver(target.ifindexOrShard, frame, gso, from.countedVsid);
    case TargetKind.PEER:
    case TargetKind.REDIRECT: {
      const packet = readInnerPacket(frame, 0, frame.length, gso !== undefined);
      if (typeof packet === 'number') return dropAt(from, packet);
      return encapsulate(from.context, target.pa, target.vsid, frame, packet, packet.ecn, gso, from.countedVsid);
    }
    default:
      return dropAt(from, DropReason.NO_ROUTE);
  }
}

/** True if both are of one family. All-zero bytes are of none. */
export function isFamily(address: Uint8Array, isIpv6: boolean): boolean {
  return isIpv6 ? !isIpv4Mapped(address) && !isNoAddress(address) : isIpv4Mapped(address);
}
