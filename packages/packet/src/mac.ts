import { bytesEqual } from './bytes.ts';
import { PacketError } from './errors.ts';

/** A MAC address: 6 bytes in transmission order. A plain Uint8Array, so that slices of frames and map values are addresses too. */
export type MacAddress = Uint8Array;

export const MAC_BYTES = 6;

const CANONICAL = /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/;
const HEX: readonly string[] = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'));

/** ff:ff:ff:ff:ff:ff, a fresh copy for each caller. */
export function broadcastMac(): MacAddress {
  return new Uint8Array(MAC_BYTES).fill(0xff);
}

/**
 * Parses a MAC address in the one form that keys and records use: lowercase, colons, two digits a byte.
 * @throws {PacketError} `WEFT_ERR_PACKET_MAC_INVALID` for any other form.
 */
export function parseMac(text: string): MacAddress {
  if (!CANONICAL.test(text)) {
    throw new PacketError(
      'WEFT_ERR_PACKET_MAC_INVALID',
      `Cannot parse MAC address ${JSON.stringify(text)}: must be six lowercase hexadecimal bytes with colons, like 02:00:00:00:00:01`,
    );
  }
  const mac = new Uint8Array(MAC_BYTES);
  for (let i = 0; i < MAC_BYTES; i++) mac[i] = Number.parseInt(text.slice(i * 3, i * 3 + 2), 16);
  return mac;
}

/**
 * Writes the 6 bytes at `offset` in canonical form, e.g. `02:00:00:00:00:01`.
 * @throws {RangeError} If fewer than 6 bytes are there.
 */
export function formatMac(bytes: Uint8Array, offset = 0): string {
  if (offset < 0 || offset + MAC_BYTES > bytes.length) {
    throw new RangeError(`Cannot format the MAC address at byte ${offset}: needs 6 bytes of a buffer of ${bytes.length}`);
  }
  let text = HEX[bytes[offset]!]!;
  for (let i = 1; i < MAC_BYTES; i++) text += `:${HEX[bytes[offset + i]!]!}`;
  return text;
}

/** True for group addresses (multicast and broadcast): the I/G bit, IEEE 802. Such an address is never a valid source. */
export function isMulticastMac(bytes: Uint8Array, offset = 0): boolean {
  return (bytes[offset]! & 1) === 1;
}

export function isBroadcastMac(bytes: Uint8Array, offset = 0): boolean {
  for (let i = 0; i < MAC_BYTES; i++) if (bytes[offset + i] !== 0xff) return false;
  return true;
}

export function isZeroMac(bytes: Uint8Array, offset = 0): boolean {
  for (let i = 0; i < MAC_BYTES; i++) if (bytes[offset + i] !== 0) return false;
  return true;
}

/** Compares the MAC addresses at two places, without copying either. */
export function macEquals(a: Uint8Array, b: Uint8Array, aOffset = 0, bOffset = 0): boolean {
  return bytesEqual(a, aOffset, b, bOffset, MAC_BYTES);
}
