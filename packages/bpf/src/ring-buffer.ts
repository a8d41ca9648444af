import { guard } from './errors.ts';
import type { BpfMap } from './map.ts';
import { type NativeRingBuffer, native } from './native.ts';

/**
 * Reads a ring buffer map on the event loop, which it keeps alive until `close()`.
 *
 * Each record is given to `onRecord` in the order of the ring. Records of a wake-up (at most 256) are views of one buffer that is theirs alone: keep
 * them as long as needed; a kept record keeps its batch of up to 256 KiB plus one record. Errors thrown by `onRecord` are thrown on the event loop,
 * and the rest of that batch is lost.
 *
 * One reader a map: two would share the records between them.
 */
export class RingBuffer {
  readonly #native: NativeRingBuffer;
  #closed = false;

  /** @throws {BpfError} if `map` is not a ring buffer. The map's descriptor may be closed afterwards. */
  constructor(map: BpfMap, onRecord: (record: Uint8Array) => void) {
    const onBatch = (bytes: Uint8Array, lengths: readonly number[]): void => {
      let offset = 0;
      for (const length of lengths) {
        if (this.#closed) return;
        onRecord(bytes.subarray(offset, offset + length));
        offset += length;
      }
    };
    this.#native = guard(`read ring buffer "${map.name}"`, () => new (native().RingBuffer)(map.fd, onBatch));
  }

  /** Hands over what waits, at most 256 records, now instead of at the next wake-up. @returns How many. */
  consume(): number {
    return this.#closed ? 0 : this.#native.consume();
  }

  /** Stops reading; no record comes after it. Idempotent; allowed in the callback. */
  close(): void {
    this.#closed = true;
    this.#native.close();
  }
}
