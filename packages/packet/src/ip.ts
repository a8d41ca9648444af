import { bytesEqual, getU16, getU32, setU16 } from './bytes.ts';
import { PacketError } from './errors.ts';

// One address form for both families: 16 bytes, IPv4 as ::ffff:a.b.c.d (RFC 4291 section 2.5.5.2). Keys, records, BPF maps and
// comparisons then need no case for the family. One text form too: a mapped address is written as a dotted quad, and
// `::ffff:10.0.0.1`, though it parses to the same bytes, is not canonical. So equal keys mean equal addresses.

/** An IPv4 or IPv6 address: 16 bytes in network order, IPv4 mapped as `::ffff:a.b.c.d`. */
export type IpAddress = Uint8Array;

export const IP_BYTES = 16;
/** First byte of the 4 IPv4 bytes in a mapped address. */
export const MAPPED_IPV4_OFFSET = 12;

const DECIMAL_BYTE = /^(0|[1-9][0-9]{0,2})$/;
const HEX_GROUP = /^[0-9a-fA-F]{1,4}$/;

/**
 * Parses an address strictly: dotted quad without leading zeros, or RFC 4291 section 2.2 text (full, `::`, or with a dotted quad
 * in the last 32 bits). No zone (`%eth0`), no brackets, no prefix length, no spaces.
 * @returns A fresh buffer of 16 bytes.
 * @throws {PacketError} `WEFT_ERR_PACKET_IP_INVALID`
 */
export function parseIp(text: string): IpAddress {
  const address = new Uint8Array(IP_BYTES);
  const done = text.includes(':') ? parseIpv6Into(text, address) : parseMappedInto(text, address);
  if (done) return address;
  throw new PacketError(
    'WEFT_ERR_PACKET_IP_INVALID',
    `Cannot parse IP address ${JSON.stringify(text)}: must be an IPv4 address like 192.0.2.1 without leading zeros, or an IPv6 address like 2001:db8::1 without zone`,
  );
}

/** True if `text` is an address in the form that `formatIp` writes: dotted quad, or RFC 5952. */
export function isCanonicalIp(text: string): boolean {
  try {
    return formatIp(parseIp(text)) === text;
  } catch (error) {
    if (error instanceof PacketError) return false;
    throw error;
  }
}

/** True for IPv4, i.e. the first 12 bytes are `::ffff:0:0/96`. */
export function isIpv4Mapped(bytes: Uint8Array, offset = 0): boolean {
  return getU32(bytes, offset) === 0 && getU32(bytes, offset + 4) === 0 && getU32(bytes, offset + 8) === 0xffff;
}

/**
 * Writes an address: a mapped one as dotted quad, any other as RFC 5952 (lowercase, no leading zeros, `::` for the longest run of
 * at least two zero groups, the first of equals).
 * @throws {RangeError} If fewer than 16 bytes are there.
 */
export function formatIp(bytes: Uint8Array, offset = 0): string {
  if (offset < 0 || offset + IP_BYTES > bytes.length) {
    throw new RangeError(`Cannot format the IP address at byte ${offset}: needs 16 bytes of a buffer of ${bytes.length}`);
  }
  return isIpv4Mapped(bytes, offset) ? formatIpv4(bytes, offset + MAPPED_IPV4_OFFSET) : formatIpv6(bytes, offset);
}

/** Writes the 4 bytes at `offset`, as in a packet, as dotted quad. */
export function formatIpv4(bytes: Uint8Array, offset = 0): string {
  return `${bytes[offset]!}.${bytes[offset + 1]!}.${bytes[offset + 2]!}.${bytes[offset + 3]!}`;
}

/** Copies the 4 bytes at `offset`, as in a packet, into the 16-byte form; into `target` if given, else into a fresh buffer. */
export function mapIpv4(bytes: Uint8Array, offset = 0, target: Uint8Array = new Uint8Array(IP_BYTES)): IpAddress {
  target.fill(0, 0, 10);
  target[10] = 0xff;
  target[11] = 0xff;
  for (let i = 0; i < 4; i++) target[MAPPED_IPV4_OFFSET + i] = bytes[offset + i]!;
  return target;
}

export function ipEquals(a: IpAddress, b: IpAddress, aOffset = 0, bOffset = 0): boolean {
  return bytesEqual(a, aOffset, b, bOffset, IP_BYTES);
}

/** Orders addresses as 128-bit numbers: negative, 0 or positive. All of IPv4 is one range in that order. */
export function compareIp(a: IpAddress, b: IpAddress): number {
  for (let i = 0; i < IP_BYTES; i += 4) {
    const difference = getU32(a, i) - getU32(b, i);
    if (difference !== 0) return difference;
  }
  return 0;
}

/**
 * A string that is equal for equal addresses only, for `Map` keys: 8 UTF-16 units of 16 bits each. Opaque: not for people, logs or
 * the wire. Several times cheaper than text.
 */
export function ipKey(bytes: Uint8Array, offset = 0): string {
  return String.fromCharCode(
    getU16(bytes, offset),
    getU16(bytes, offset + 2),
    getU16(bytes, offset + 4),
    getU16(bytes, offset + 6),
    getU16(bytes, offset + 8),
    getU16(bytes, offset + 10),
    getU16(bytes, offset + 12),
    getU16(bytes, offset + 14),
  );
}

/** True for 0.0.0.0 and ::, the two unspecified addresses (wildcards in lookup records). */
export function isUnspecifiedIp(bytes: Uint8Array, offset = 0): boolean {
  if (getU32(bytes, offset + 12) !== 0) return false;
  return isIpv4Mapped(bytes, offset) || (getU32(bytes, offset) | getU32(bytes, offset + 4) | getU32(bytes, offset + 8)) === 0;
}

/** True for 224.0.0.0/4 and ff00::/8. The limited broadcast 255.255.255.255 is not multicast: see `isBroadcastIp`. */
export function isMulticastIp(bytes: Uint8Array, offset = 0): boolean {
  if (isIpv4Mapped(bytes, offset)) return (bytes[offset + MAPPED_IPV4_OFFSET]! & 0xf0) === 0xe0;
  return bytes[offset] === 0xff;
}

export function isBroadcastIp(bytes: Uint8Array, offset = 0): boolean {
  return isIpv4Mapped(bytes, offset) && getU32(bytes, offset + MAPPED_IPV4_OFFSET) === 0xffffffff;
}

/** True for fe80::/10 and 169.254.0.0/16. */
export function isLinkLocalIp(bytes: Uint8Array, offset = 0): boolean {
  if (isIpv4Mapped(bytes, offset)) return getU16(bytes, offset + MAPPED_IPV4_OFFSET) === 0xa9fe;
  return bytes[offset] === 0xfe && (bytes[offset + 1]! & 0xc0) === 0x80;
}

/** The multicast address that neighbour solicitations for `address` go to: ff02::1:ffXX:XXXX (RFC 4291 section 2.7.1). */
export function solicitedNodeAddress(address: IpAddress): IpAddress {
  const group = new Uint8Array(IP_BYTES);
  group[0] = 0xff;
  group[1] = 0x02;
  group[11] = 1;
  group[12] = 0xff;
  group.set(address.subarray(13, 16), 13);
  return group;
}

function parseMappedInto(text: string, address: Uint8Array): boolean {
  address[10] = 0xff;
  address[11] = 0xff;
  return parseQuadInto(text, address, MAPPED_IPV4_OFFSET);
}

function parseQuadInto(text: string, address: Uint8Array, offset: number): boolean {
  const parts = text.split('.');
  if (parts.length !== 4) return false;
  for (let i = 0; i < 4; i++) {
    const part = parts[i]!;
    if (!DECIMAL_BYTE.test(part) || Number(part) > 255) return false;
    address[offset + i] = Number(part);
  }
  return true;
}

function parseIpv6Into(text: string, address: Uint8Array): boolean {
  const halves = text.split('::');
  if (halves.length > 2) return false;
  const head = groupsOf(halves[0]!, halves.length === 1);
  const tail = halves.length === 2 ? groupsOf(halves[1]!, true) : [];
  if (head === undefined || tail === undefined) return false;
  const count = head.length + tail.length;
  // `::` stands for at least one group of zeros (RFC 4291 section 2.2).
  if (halves.length === 1 ? count !== 8 : count > 7) return false;
  head.forEach((group, i) => {
    setU16(address, i * 2, group);
  });
  tail.forEach((group, i) => {
    setU16(address, (8 - tail.length + i) * 2, group);
  });
  return true;
}

/** The 16-bit groups on one side of `::`. A dotted quad may only end the whole address. */
function groupsOf(text: string, endsAddress: boolean): number[] | undefined {
  if (text === '') return [];
  const parts = text.split(':');
  const groups: number[] = [];
  for (let i = 0; i < parts.length; i++) {
    const part = parts[i]!;
    if (HEX_GROUP.test(part)) {
      groups.push(Number.parseInt(part, 16));
      continue;
    }
    const quad = new Uint8Array(4);
    if (!endsAddress || i !== parts.length - 1 || !parseQuadInto(part, quad, 0)) return undefined;
    groups.push(getU16(quad, 0), getU16(quad, 2));
  }
  return groups;
}

function formatIpv6(bytes: Uint8Array, offset: number): string {
  let bestStart = -1;
  let bestLength = 1;
  for (let i = 0; i < 8; i++) {
    let length = 0;
    while (i + length < 8 && getU16(bytes, offset + (i + length) * 2) === 0) length++;
    if (length > bestLength) {
      bestStart = i;
      bestLength = length;
    }
    i += length;
  }
  let text = '';
  for (let i = 0; i < 8; i++) {
    if (i === bestStart) {
      text += '::';
      i += bestLength - 1;
      continue;
    }
    if (text !== '' && !text.endsWith(':')) text += ':';
    text += getU16(bytes, offset + i * 2).toString(16);
  }
  return text;
}
