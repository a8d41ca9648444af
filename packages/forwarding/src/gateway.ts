import { isIpv4Mapped } from '@weft/packet';
import { isNoAddress } from './address.ts';
import type { ForwardingTables } from './tables.ts';

/** The subnet's gateway address of a family, or undefined: no such subnet, none set (all zero), or one of the other family. */
export function gatewayAddress(tables: ForwardingTables, vsid: number, isIpv6: boolean): Uint8Array | undefined {
  const subnet = tables.subnet(vsid);
  if (subnet === undefined) return undefined;
  if (!isIpv6) return isIpv4Mapped(subnet.gateway4) ? subnet.gateway4 : undefined;
  return isIpv4Mapped(subnet.gateway6) || isNoAddress(subnet.gateway6) ? undefined : subnet.gateway6;
}
