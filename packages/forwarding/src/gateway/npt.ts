import { getU16, setU16 } from '@weft/packet';
import type { GatewayNetworkEntry } from './gateway-tables.ts';

// Prefix translation without state and without touching checksums (RFC 6296): the prefix is exchanged, and what that adds to the one's
// complement sum of the address is taken off one of its other words:
//
//   prefix of at most 48 bits    bits 48 to 63, the subnet (section 3.4)
//   longer                       the first word of the interface identifier that is not all ones (section 3.5)
//
// All ones has no counterpart, since it counts as zero does.

const BITS_MAX = 64;
const SUBNET_WORD = 3;
const WORDS = 8;

type Prefixes = Pick<GatewayNetworkEntry, 'nptInside' | 'nptOutside' | 'nptBits'>;

/** @returns The outside address of an inside one, or undefined if it is not in the prefix or has no counterpart. */
export function nptOutward(network: Prefixes, address: Uint8Array): Uint8Array | undefined {
  return translate(address, network.nptInside, network.nptOutside, network.nptBits);
}

/** @returns The inside address of an outside one, or undefined. */
export function nptInward(network: Prefixes, address: Uint8Array): Uint8Array | undefined {
  return translate(address, network.nptOutside, network.nptInside, network.nptBits);
}

function translate(address: Uint8Array, from: Uint8Array, to: Uint8Array, bits: number): Uint8Array | undefined {
  if (bits < 1 || bits > BITS_MAX) return undefined;
  const translated = address.slice();
  let sum = 0;
  for (let i = 0; i < BITS_MAX / 8; i++) {
    const mask = bits - i * 8 >= 8 ? 0xff : bits <= i * 8 ? 0 : (0xff00 >> (bits - i * 8)) & 0xff;
    if ((address[i]! & mask) !== (from[i]! & mask)) return undefined;
    translated[i] = (address[i]! & ~mask) | (to[i]! & mask);
    // What the prefix loses, and the complement of what it gets.
    const shift = i % 2 === 0 ? 8 : 0;
    sum += ((from[i]! & mask) << shift) + (((to[i]! & mask) ^ 0xff) << shift);
  }
  const word = bits <= 48 ? SUBNET_WORD : wordThatIsNotOnes(address);
  if (word === WORDS) return undefined;
  const before = getU16(translated, word * 2);
  if (before === 0xffff) return undefined;
  sum += before;
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  setU16(translated, word * 2, sum === 0xffff ? 0 : sum);
  return translated;
}

function wordThatIsNotOnes(address: Uint8Array): number {
  let word = SUBNET_WORD + 1;
  while (word < WORDS && getU16(address, word * 2) === 0xffff) word++;
  return word;
}
