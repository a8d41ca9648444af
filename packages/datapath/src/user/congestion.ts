import { ETHER_TYPE, getU16, Ipv4Header, Ipv6Header } from '@weft/packet';

const IP_OFFSET = 14;
const CE = 3;

/**
 * Carries a congestion mark of the tunnel's header over to the inner frame, in place.
 * @param outerTos The outer header's TOS byte.
 * @returns False if the inner packet can't carry it, and is to be dropped.
 * @see RFC 6040 section 4.2
 */
export function carryCongestion(outerTos: number, inner: Uint8Array): boolean {
  if ((outerTos & CE) !== CE) return true;
  const isIpv4 = getU16(inner, 12) === ETHER_TYPE.ipv4;
  const ip = isIpv4 ? Ipv4Header.read(inner, IP_OFFSET) : Ipv6Header.read(inner, IP_OFFSET);
  if (typeof ip === 'string' || ip.ecn === 0) return false;
  if (ip instanceof Ipv4Header) ip.rewriteEcn(CE);
  else ip.ecn = CE;
  return true;
}
