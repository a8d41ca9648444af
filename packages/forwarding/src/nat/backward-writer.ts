const FIRST_BYTES = 64 * 1024;
/** Kept for the next message at most. */
const KEPT_BYTES = 1024 * 1024;
const UINT32 = 0x1_0000_0000;
/** So few bytes are copied faster by a loop than by a call. Their number is one byte. */
const SHORT = 64;
const WireType = { varint: 0, fixed64: 1, bytes: 2, fixed32: 5 } as const;

/**
 * Writes a protobuf message from its end to its beginning: fields in the reverse of their order, and a nested message's length when its content is there already. Numbers
 * that are 0 and empty bytes are left out, as proto3 has it.
 */
export class BackwardWriter {
  #bytes = new Uint8Array(FIRST_BYTES);
  /** Where what is written begins. */
  #at = FIRST_BYTES;

  reset(): void {
    this.#at = this.#bytes.length;
    if (this.#bytes.length > KEPT_BYTES) this.#resize(FIRST_BYTES);
  }

  /** Bytes written. */
  get length(): number {
    return this.#bytes.length - this.#at;
  }

  /** A copy of what is written. */
  take(): Uint8Array {
    return this.#bytes.slice(this.#at);
  }

  /** uint32, uint64. @param value A whole number up to 2^53. */
  uint(field: number, value: number): void {
    if (value === 0) return;
    this.#tagged(field, WireType.varint, value);
  }

  fixed32(field: number, value: number): void {
    if (value === 0) return;
    const at = this.#reserve(5);
    this.#bytes[at] = (field << 3) | WireType.fixed32;
    this.#word(at + 1, value);
  }

  fixed64(field: number, value: bigint): void {
    this.fixed64Halves(field, Number(value & 0xffff_ffffn), Number(value >> 32n));
  }

  /** As `fixed64`, of a number in two halves. */
  fixed64Halves(field: number, low: number, high: number): void {
    if (low === 0 && high === 0) return;
    const at = this.#reserve(9);
    this.#bytes[at] = (field << 3) | WireType.fixed64;
    this.#word(at + 1, low);
    this.#word(at + 5, high);
  }

  bytes(field: number, value: Uint8Array): void {
    const { length } = value;
    if (length === 0) return;
    if (length <= SHORT) {
      this.bytesOf(field, value, 0, length);
      return;
    }
    const at = this.#reserve(length);
    this.#bytes.set(value, at);
    this.#tagged(field, WireType.bytes, length);
  }

  /** `count` bytes, 1 to 127, of others from byte `from` on. */
  bytesOf(field: number, others: Uint8Array, from: number, count: number): void {
    const at = this.#reserve(count + 2);
    const bytes = this.#bytes;
    bytes[at] = (field << 3) | WireType.bytes;
    bytes[at + 1] = count;
    for (let i = 0; i < count; i++) bytes[at + 2 + i] = others[from + i]!;
  }

  text(field: number, value: string): void {
    this.bytes(field, new TextEncoder().encode(value));
  }

  /** What was written since the length was `end` is a nested message. */
  group(field: number, end: number): void {
    this.#tagged(field, WireType.bytes, this.length - end);
  }

  /** A tag, and the varint behind it. @param field Below 16. */
  #tagged(field: number, type: number, value: number): void {
    const tag = (field << 3) | type;
    if (value < 0x80) {
      const at = this.#reserve(2);
      this.#bytes[at] = tag;
      this.#bytes[at + 1] = value;
    } else if (value < 0x4000) {
      const at = this.#reserve(3);
      this.#bytes[at] = tag;
      this.#bytes[at + 1] = (value & 0x7f) | 0x80;
      this.#bytes[at + 2] = value >>> 7;
    } else this.#longTagged(tag, value);
  }

  #longTagged(tag: number, value: number): void {
    let size = 1;
    for (let rest = value; rest >= 0x80; rest = Math.floor(rest / 0x80)) size++;
    const at = this.#reserve(size + 1);
    this.#bytes[at] = tag;
    let [low, high] = [(value % UINT32) >>> 0, Math.floor(value / UINT32)];
    for (let i = 0; i < size; i++) {
      this.#bytes[at + 1 + i] = (low & 0x7f) | (i < size - 1 ? 0x80 : 0);
      low = ((low >>> 7) | ((high & 0x7f) << 25)) >>> 0;
      high >>>= 7;
    }
  }

  #word(at: number, value: number): void {
    const bytes = this.#bytes;
    bytes[at] = value;
    bytes[at + 1] = value >>> 8;
    bytes[at + 2] = value >>> 16;
    bytes[at + 3] = value >>> 24;
  }

  /** @returns Where to write them. */
  #reserve(count: number): number {
    if (this.#at < count) this.#resize(Math.max(2 * this.#bytes.length, this.length + count));
    this.#at -= count;
    return this.#at;
  }

  /** Keeps what is written, at the end. */
  #resize(size: number): void {
    const written = this.#bytes.subarray(this.#at);
    this.#bytes = new Uint8Array(size);
    this.#at = size - written.length;
    this.#bytes.set(written, this.#at);
  }
}
