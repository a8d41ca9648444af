import { type IpPrefix, PacketError, parseIp, parseMac, parsePrefix } from '@weft/packet';

// Records carry text that their codec has checked; a fold must not throw all the same. What can't be read becomes `undefined`, which
// denies: no row.

export function ipOf(text: string): Uint8Array | undefined {
  return quietly(() => parseIp(text));
}

export function macOf(text: string): Uint8Array | undefined {
  return quietly(() => parseMac(text));
}

export function prefixOfText(text: string): IpPrefix | undefined {
  return quietly(() => parsePrefix(text));
}

export const NO_ADDRESS: Uint8Array = new Uint8Array(16);

/** IPv4 as `::ffff:0:0/96`. */
export const IPV4_PREFIX: { readonly address: Uint8Array; readonly length: number } = {
  address: Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0),
  length: 96,
};

function quietly<T>(parse: () => T): T | undefined {
  try {
    return parse();
  } catch (error) {
    if (error instanceof PacketError) return undefined;
    throw error;
  }
}
