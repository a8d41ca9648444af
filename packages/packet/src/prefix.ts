import { bytesEqual } from './bytes.ts';
import { PacketError } from './errors.ts';
import { formatIp, IP_BYTES, type IpAddress, isIpv4Mapped, parseIp } from './ip.ts';

// A family is part of a prefix and not only a matter of printing: by its bits `::/0` covers the mapped range, i.e. all of IPv4, but
// no operator who writes an IPv6 default route means that. So a family 6 prefix never contains or overlaps IPv4.

/** A network prefix. `length` counts bits of the 16-byte form: an IPv4 /24 is 120. Host bits of `address` are zero. */
export interface IpPrefix {
  readonly address: IpAddress;
  /** 0..128 for family 6, 96..128 for family 4. */
  readonly length: number;
  readonly family: 4 | 6;
}

const LENGTH_TEXT = /^(0|[1-9][0-9]{0,2})$/;

/**
 * Parses `address/length`, e.g. `10.0.0.0/24` or `2001:db8::/32`. A mapped address with a length from 96 is IPv4.
 * @throws {PacketError} `WEFT_ERR_PACKET_PREFIX_INVALID` (not of that form), `WEFT_ERR_PACKET_IP_INVALID` (its address),
 *   `WEFT_ERR_PACKET_PREFIX_HOST_BITS` (bits set beyond the length; the message tells the prefix that may be meant).
 */
export function parsePrefix(text: string): IpPrefix {
  const slash = text.indexOf('/');
  const lengthText = text.slice(slash + 1);
  if (slash < 0 || !LENGTH_TEXT.test(lengthText)) throw invalid(text);
  const addressText = text.slice(0, slash);
  const address = parseIp(addressText);
  const isQuad = !addressText.includes(':');
  const length = Number(lengthText) + (isQuad ? 96 : 0);
  if (length > 128) throw invalid(text);
  const first = maskTo(address, length, 0);
  const family = familyOf(first, length);
  if (!bytesEqual(first, 0, address, 0, IP_BYTES)) {
    const meant = formatPrefix({ address: first, length, family });
    throw new PacketError(
      'WEFT_ERR_PACKET_PREFIX_HOST_BITS',
      `Cannot parse prefix ${JSON.stringify(text)}: bits beyond its length must be zero; write ${meant} if the whole network is meant`,
    );
  }
  return { address, length, family };
}

/**
 * Makes a prefix of an address and a length in bits of the 16-byte form (IPv4 lengths + 96), clearing the host bits.
 * @throws {RangeError} If `length` is not an integer from 0 to 128.
 */
export function prefixOf(address: IpAddress, length: number): IpPrefix {
  if (!Number.isInteger(length) || length < 0 || length > 128) {
    throw new RangeError(`Cannot make a prefix of length ${length}: must be an integer between 0 and 128 (IPv4 lengths + 96)`);
  }
  const first = maskTo(address, length, 0);
  return { address: first, length, family: familyOf(first, length) };
}

/** Writes a prefix with its family's own length: `10.0.0.0/24`, `2001:db8::/32`. */
export function formatPrefix(prefix: IpPrefix): string {
  return prefix.family === 4 ? `${formatIp(prefix.address)}/${prefix.length - 96}` : `${formatIp(prefix.address)}/${prefix.length}`;
}

/** True if `address` lies in `prefix`. Never across families: `::/0` contains no IPv4 address. */
export function prefixContains(prefix: IpPrefix, address: Uint8Array, offset = 0): boolean {
  if (isIpv4Mapped(address, offset) !== (prefix.family === 4)) return false;
  return bitsEqual(prefix.address, address, offset, prefix.length);
}

/** True if some address lies in both. Two prefixes overlap only when one contains the other. */
export function prefixesOverlap(a: IpPrefix, b: IpPrefix): boolean {
  return a.family === b.family && bitsEqual(a.address, b.address, 0, Math.min(a.length, b.length));
}

/** The lowest address, a fresh copy. */
export function prefixFirst(prefix: IpPrefix): IpAddress {
  return maskTo(prefix.address, prefix.length, 0);
}

/** The highest address (IPv4: the subnet's broadcast address), a fresh copy. */
export function prefixLast(prefix: IpPrefix): IpAddress {
  return maskTo(prefix.address, prefix.length, 0xff);
}

export function prefixEquals(a: IpPrefix, b: IpPrefix): boolean {
  return a.length === b.length && a.family === b.family && bytesEqual(a.address, 0, b.address, 0, IP_BYTES);
}

function familyOf(address: IpAddress, length: number): 4 | 6 {
  return length >= 96 && isIpv4Mapped(address) ? 4 : 6;
}

function maskTo(address: IpAddress, length: number, fill: number): IpAddress {
  const result = new Uint8Array(IP_BYTES).fill(fill);
  const whole = length >> 3;
  for (let i = 0; i < whole; i++) result[i] = address[i]!;
  if (whole < IP_BYTES) {
    const hostMask = 0xff >> (length & 7);
    result[whole] = (address[whole]! & ~hostMask) | (fill & hostMask);
  }
  return result;
}

function bitsEqual(a: Uint8Array, b: Uint8Array, bOffset: number, bits: number): boolean {
  const whole = bits >> 3;
  if (!bytesEqual(a, 0, b, bOffset, whole)) return false;
  const rest = bits & 7;
  return rest === 0 || (a[whole]! ^ b[bOffset + whole]!) >> (8 - rest) === 0;
}

function invalid(text: string): PacketError {
  return new PacketError(
    'WEFT_ERR_PACKET_PREFIX_INVALID',
    `Cannot parse prefix ${JSON.stringify(text)}: must be address/length, like 192.0.2.0/24 (0 to 32) or 2001:db8::/32 (0 to 128)`,
  );
}
