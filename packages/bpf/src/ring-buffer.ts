import { guard } from './errors.ts';
import type { BpfMap } from './map.ts';
import { type NativeRingBuffer, native } from './native.ts';

/** What a batch holds at most, but for its last record: a batch of so much may not be all there is. */
const BATCH_RECORDS = 256;
const BATCH_BYTES = 256 * 1024;

/** Records as they stood in the ring, one after the other. The memory is used again: all of it is valid until the reader that it was given to returns. */
export interface RingBatch {
  readonly count: number;
  readonly bytes: Uint8Array;
  /** Of record i, in `bytes`: `places[2 * i]` is where it begins, a multiple of 8; `places[2 * i + 1]` how many bytes it has. */
  readonly places: Uint32Array;
}

/** Each record by itself, or all that there are together. */
export type RingReader = ((record: Uint8Array) => void) | { readonly onBatch: (batch: RingBatch) => void };

export interface RingOptions {
  /**
   * How long the ring is left alone once it has been read to its end, ms; 0, the default: not at all. Under load, a record each few microseconds, every record would wake the reader and
   * interrupt the processor that wrote it; so they come in batches, at most this much later.
   */
  readonly restMs?: number;
  /** Records of one batch, at most. Default: 256. */
  readonly batchRecords?: number;
}

/**
 * Reads a ring buffer map on the event loop, which it keeps alive until `close()`.
 *
 * Records are given to `reader` in the order of the ring. One that takes them one by one may keep them: those of a wake-up (at most 256) are views of one buffer that is theirs alone; a kept
 * record keeps its batch of up to 256 KiB plus one record. One that takes batches may not: nothing is made for a batch but what the reader makes itself. Errors thrown by the reader are thrown
 * on the event loop, and the rest of that batch is lost.
 *
 * One reader a map: two would share the records between them.
 */
export class RingBuffer {
  readonly #native: NativeRingBuffer;
  readonly #restMs: number;
  #resting: NodeJS.Timeout | undefined;
  #closed = false;

  /** @throws {BpfError} if `map` is not a ring buffer. The map's descriptor may be closed afterwards. */
  constructor(map: BpfMap, reader: RingReader, { restMs = 0, batchRecords = BATCH_RECORDS }: RingOptions = {}) {
    this.#restMs = restMs;
    const shared = new Uint8Array(BATCH_BYTES);
    const places = new Uint32Array(2 * batchRecords);
    const read = typeof reader === 'function' ? this.#oneByOne(reader, places) : reader.onBatch;
    const onBatch = (count: number, bytes: Uint8Array): void => {
      const endsAt = places[2 * count - 2]! + places[2 * count - 1]!;
      if (count < batchRecords && endsAt < BATCH_BYTES) this.#rest();
      if (!this.#closed) read({ count, bytes, places });
    };
    this.#native = guard(`read ring buffer "${map.name}"`, () => new (native().RingBuffer)(map.fd, onBatch, shared, places));
  }

  /** Hands over what waits, at most one batch, now instead of at the next wake-up. @returns How many records. */
  consume(): number {
    return this.#closed ? 0 : this.#native.consume();
  }

  /** Stops reading; no record comes after it. Idempotent; allowed in the callback. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#resting);
    this.#native.close();
  }

  #oneByOne(onRecord: (record: Uint8Array) => void, places: Uint32Array): (batch: RingBatch) => void {
    return ({ count, bytes }) => {
      const last = 2 * count - 2;
      // A reader that reads in its turn would find other places.
      const [kept, at] = [bytes.slice(0, places[last]! + places[last + 1]!), places.slice(0, 2 * count)];
      for (let i = 0; i < count; i++) {
        if (this.#closed) return;
        onRecord(kept.subarray(at[2 * i]!, at[2 * i]! + at[2 * i + 1]!));
      }
    };
  }

  #rest(): void {
    if (this.#restMs === 0 || this.#resting !== undefined || this.#closed) return;
    this.#native.rest();
    this.#resting = setTimeout(() => {
      this.#resting = undefined;
      // Under load there is something each time: nobody needs to be woken for it.
      try {
        this.#native.consume();
      } finally {
        if (this.#resting === undefined && !this.#closed) this.#native.wake();
      }
    }, this.#restMs);
  }
}
