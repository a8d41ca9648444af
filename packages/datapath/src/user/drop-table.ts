import type { DropReason } from '@weft/model';
import type { DropCounter } from '../datapath.ts';

/** As many counters as the kernel engine's map holds; a drop beyond is counted by its reason alone. */
const COUNTERS_MAX = 16_384;
const SAMPLE_BYTES = 64;

type Mutable = { -readonly [K in keyof DropCounter]: DropCounter[K] };

/** Drops by device, subnet and reason, with the head of the last frame of each. */
export class DropTable {
  readonly #counters = new Map<string, Mutable>();

  /** @param frame Not kept: its head is copied. */
  count(ifindex: number, vsid: number, reason: DropReason, frame: Uint8Array, nowBootNs: bigint): void {
    const counter = this.#counter(ifindex, vsid, reason);
    counter.packets++;
    counter.bytes += BigInt(frame.length);
    counter.lastBootNs = nowBootNs;
    counter.sample = frame.slice(0, SAMPLE_BYTES);
  }

  /** Copies, which later drops don't change. */
  read(): DropCounter[] {
    return [...this.#counters.values()].map((counter) => ({ ...counter }));
  }

  /** Removes the counters of a device. */
  forget(ifindex: number): void {
    for (const [key, counter] of this.#counters) if (counter.ifindex === ifindex) this.#counters.delete(key);
  }

  get packets(): bigint {
    let sum = 0n;
    for (const { packets } of this.#counters.values()) sum += packets;
    return sum;
  }

  #counter(ifindex: number, vsid: number, reason: DropReason): Mutable {
    const key = `${ifindex}/${vsid}/${reason}`;
    const found = this.#counters.get(key);
    if (found !== undefined) return found;
    if (this.#counters.size >= COUNTERS_MAX && (ifindex !== 0 || vsid !== 0)) return this.#counter(0, 0, reason);
    const made = { ifindex, vsid, reason, packets: 0n, bytes: 0n, lastBootNs: 0n, sample: new Uint8Array(0) };
    this.#counters.set(key, made);
    return made;
  }
}
