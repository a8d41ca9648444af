import type { DropReason } from '@weft/model';
import type { DropCounter } from '../datapath.ts';

/** As many counters as the kernel engine's map holds; a drop beyond is not counted. */
const COUNTERS_MAX = 16_384;
const SAMPLE_BYTES = 64;

type Mutable = { -readonly [K in keyof DropCounter]: DropCounter[K] };

/** Drops by device, subnet and reason, with the head of the last frame of each. */
export class DropTable {
  readonly #counters = new Map<string, Mutable>();

  /** @param frame Not kept: its head is copied. */
  count(ifindex: number, vsid: number, reason: DropReason, frame: Uint8Array, nowBootNs: bigint): void {
    const key = `${ifindex}/${vsid}/${reason}`;
    let counter = this.#counters.get(key);
    if (counter === undefined) {
      if (this.#counters.size >= COUNTERS_MAX) return;
      counter = { ifindex, vsid, reason, packets: 0n, bytes: 0n, lastBootNs: 0n, sample: new Uint8Array(0) };
      this.#counters.set(key, counter);
    }
    counter.packets++;
    counter.bytes += BigInt(frame.length);
    counter.lastBootNs = nowBootNs;
    counter.sample = frame.slice(0, SAMPLE_BYTES);
  }

  /** Copies, which later drops don't change. */
  read(): DropCounter[] {
    return [...this.#counters.values()].map((counter) => ({ ...counter }));
  }

  get packets(): bigint {
    let sum = 0n;
    for (const { packets } of this.#counters.values()) sum += packets;
    return sum;
  }
}
