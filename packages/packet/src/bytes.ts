// Big-endian access without DataView: no object per access, and V8 inlines these. Callers have checked the bounds (each view's
// `read` does, once), so the `!` below never meets a missing byte.

export function getU16(bytes: Uint8Array, offset: number): number {
  return (bytes[offset]! << 8) | bytes[offset + 1]!;
}

export function getU24(bytes: Uint8Array, offset: number): number {
  return (bytes[offset]! << 16) | (bytes[offset + 1]! << 8) | bytes[offset + 2]!;
}

export function getU32(bytes: Uint8Array, offset: number): number {
  return ((bytes[offset]! << 24) | (bytes[offset + 1]! << 16) | (bytes[offset + 2]! << 8) | bytes[offset + 3]!) >>> 0;
}

export function setU16(bytes: Uint8Array, offset: number, value: number): void {
  bytes[offset] = value >>> 8;
  bytes[offset + 1] = value;
}

export function setU24(bytes: Uint8Array, offset: number, value: number): void {
  bytes[offset] = value >>> 16;
  bytes[offset + 1] = value >>> 8;
  bytes[offset + 2] = value;
}

export function setU32(bytes: Uint8Array, offset: number, value: number): void {
  bytes[offset] = value >>> 24;
  bytes[offset + 1] = value >>> 16;
  bytes[offset + 2] = value >>> 8;
  bytes[offset + 3] = value;
}

/** Compares `length` bytes of two buffers. */
export function bytesEqual(a: Uint8Array, aOffset: number, b: Uint8Array, bOffset: number, length: number): boolean {
  for (let i = 0; i < length; i++) if (a[aOffset + i] !== b[bOffset + i]) return false;
  return true;
}

/**
 * Refuses a value that its field can't hold: without this a VNI of 2^24 would be sent as VNI 0, into another tenant.
 * @throws {RangeError} If `value` is not an integer between 0 and `max`.
 */
export function checkField(name: string, value: number, max: number): void {
  if (!Number.isInteger(value) || value < 0 || value > max) {
    throw new RangeError(`Cannot encode ${name} ${value}: must be an integer between 0 and ${max}`);
  }
}

/**
 * Refuses a window that is not one inside `bytes`: a caller's mistake, not a bad packet. `offset` beyond `end` is not one, since
 * packet contents (a length field) may lead there; readers report it as truncated.
 * @throws {RangeError} If `offset` or `end` is not a non-negative integer, or `end` is beyond the buffer.
 */
export function checkWindow(bytes: Uint8Array, offset: number, end: number): void {
  if (Number.isInteger(offset) && offset >= 0 && Number.isInteger(end) && end >= 0 && end <= bytes.length) return;
  throw new RangeError(`Cannot read bytes ${offset} to ${end}: must be integers from 0 to the buffer's length, ${bytes.length}`);
}
