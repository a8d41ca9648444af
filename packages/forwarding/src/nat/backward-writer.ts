const FIRST_BYTES = 64 * 1024;
/** Kept for the next message at most. */
const KEPT_BYTES = 1024 * 1024;
const UINT32 = 0x1_0000_0000;
const WireType = { varint: 0, fixed64: 1, bytes: 2, fixed32: 5 } as const;

/**
 * Writes a protobuf message from its end to its beginning: fields in the reverse of their order, and a nested message's length when its content is there already. Numbers
 * that are 0 and empty bytes are left out, as proto3 has it.
 */
export class BackwardWriter {
  #bytes = new Uint8Array(FIRST_BYTES);
  #view = new DataView(this.#bytes.buffer);
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
    this.#varint(value);
    this.#tag(field, WireType.varint);
  }

  fixed32(field: number, value: number): void {
    if (value === 0) return;
    this.#reserve(4);
    this.#view.setUint32(this.#at, value, true);
    this.#tag(field, WireType.fixed32);
  }

  fixed64(field: number, value: bigint): void {
    if (value === 0n) return;
    this.#reserve(8);
    this.#view.setBigUint64(this.#at, value, true);
    this.#tag(field, WireType.fixed64);
  }

  bytes(field: number, value: Uint8Array): void {
    const { length } = value;
    if (length === 0) return;
    this.#reserve(length);
    const [bytes, at] = [this.#bytes, this.#at];
    // Addresses mostly: a loop is faster than a call for so few.
    if (length > 64) bytes.set(value, at);
    else for (let i = 0; i < length; i++) bytes[at + i] = value[i]!;
    this.#varint(length);
    this.#tag(field, WireType.bytes);
  }

  text(field: number, value: string): void {
    this.bytes(field, new TextEncoder().encode(value));
  }

  /** What was written since the length was `end` is a nested message. */
  group(field: number, end: number): void {
    this.#varint(this.length - end);
    this.#tag(field, WireType.bytes);
  }

  /** @param field Below 16. */
  #tag(field: number, type: number): void {
    this.#reserve(1);
    this.#bytes[this.#at] = (field << 3) | type;
  }

  #varint(value: number): void {
    if (value < 0x80) {
      this.#reserve(1);
      this.#bytes[this.#at] = value;
      return;
    }
    let size = 1;
    for (let rest = value; rest >= 0x80; rest = Math.floor(rest / 0x80)) size++;
    this.#reserve(size);
    let [low, high] = [(value % UINT32) >>> 0, Math.floor(value / UINT32)];
    for (let i = 0; i < size; i++) {
      this.#bytes[this.#at + i] = (low & 0x7f) | (i < size - 1 ? 0x80 : 0);
      low = ((low >>> 7) | ((high & 0x7f) << 25)) >>> 0;
      high >>>= 7;
    }
  }

  #reserve(count: number): void {
    if (this.#at < count) this.#resize(Math.max(2 * this.#bytes.length, this.length + count));
    this.#at -= count;
  }

  /** Keeps what is written, at the end. */
  #resize(size: number): void {
    const written = this.#bytes.subarray(this.#at);
    this.#bytes = new Uint8Array(size);
    this.#view = new DataView(this.#bytes.buffer);
    this.#at = size - written.length;
    this.#bytes.set(written, this.#at);
  }
}
