import { formatIpv4, MAPPED_IPV4_OFFSET } from '@weft/packet';
import { ipJson } from './command.ts';

/** An IPv4 prefix as the programs compare it: four bytes in network order, read as a little-endian word. */
export interface OnLinkPrefix {
  readonly prefix: number;
  readonly mask: number;
}

interface AddressInfo {
  readonly addr_info?: readonly { readonly family: string; readonly local: string; readonly prefixlen: number }[];
}

const NONE: OnLinkPrefix = { prefix: 0, mask: 0 };

/**
 * The prefix of provider addresses that are neighbours on the underlay: that of `pa` on the device, unless some route leads a part of it
 * elsewhere. For those no route need be looked up frame by frame. None (mask 0) if the address is a /32, or not on this device.
 *
 * @param pa 16 bytes, IPv4 mapped.
 */
export function findOnLinkPrefix(device: string, pa: Uint8Array): OnLinkPrefix {
  const own = formatIpv4(pa, MAPPED_IPV4_OFFSET);
  const infos = ipJson<AddressInfo>(['-4', 'address', 'show', 'dev', device]);
  const address = infos.flatMap((info) => info.addr_info ?? []).find((info) => info.local === own);
  if (address === undefined || address.prefixlen >= 32 || address.prefixlen < 1) return NONE;
  const mask = (0xffff_ffff << (32 - address.prefixlen)) >>> 0;
  const base = new DataView(pa.buffer, pa.byteOffset + MAPPED_IPV4_OFFSET).getUint32(0) & mask;
  const bytes = new DataView(new ArrayBuffer(4));
  bytes.setUint32(0, base >>> 0);
  const network = [0, 1, 2, 3].map((i) => bytes.getUint8(i)).join('.');
  const routes = ipJson<{ dst: string; dev?: string; gateway?: string }>([
    '-4',
    'route',
    'show',
    'table',
    'main',
    'root',
    `${network}/${address.prefixlen}`,
  ]);
  if (routes.length !== 1 || routes[0]!.dev !== device || routes[0]!.gateway !== undefined) return NONE;
  return { prefix: swap32(base), mask: swap32(mask) };
}

function swap32(value: number): number {
  return (((value & 0xff) << 24) | ((value & 0xff00) << 8) | ((value >>> 8) & 0xff00) | ((value >>> 24) & 0xff)) >>> 0;
}
