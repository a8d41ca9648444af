/**
 * Frames of one wake-up, in the order of arrival.
 *
 * The views share one buffer that the next batch overwrites: they are valid until the callback that got the batch returns. Copy
 * (`frame.slice()`) what is kept.
 */
export interface FrameBatch extends Iterable<Uint8Array> {
  /** Frames in this batch, at least 1. */
  readonly count: number;
  /**
   * The frame at `index`, virtio-net header first where the device has one.
   *
   * @throws {RangeError} If `index` is not an integer from 0 to `count - 1`.
   */
  frame(index: number): Uint8Array;
}

/** A {@link FrameBatch} over the two arrays that the addon fills: bytes, and pairs (offset, length). */
export class SpanBatch implements FrameBatch {
  count = 0;
  readonly #buffer: Uint8Array;
  readonly #spans: Uint32Array;

  constructor(buffer: Uint8Array, spans: Uint32Array) {
    this.#buffer = buffer;
    this.#spans = spans;
  }

  frame(index: number): Uint8Array {
    if (!Number.isInteger(index) || index < 0 || index >= this.count)
      throw new RangeError(`Cannot take frame ${index}: must be an integer from 0 to ${this.count - 1}`);
    const offset = this.#spans[2 * index]!;
    return this.#buffer.subarray(offset, offset + this.#spans[2 * index + 1]!);
  }

  *[Symbol.iterator](): Iterator<Uint8Array> {
    for (let index = 0; index < this.count; index++) yield this.frame(index);
  }
}
