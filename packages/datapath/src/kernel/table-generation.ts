import type { BpfMap } from '@weft/bpf';

// The programs remember what they decided (bpf/lib/flow_cache.h), for as long as the number in this map stays the same. So it is changed with every change of
// a table: made even before the first write, by which the programs use and keep nothing and judge by the rows as they stand; and odd, another than ever before,
// when the last row is written. A process that is killed in between leaves it even: slower, and right.

/** Tells the programs which decisions still hold. */
export class TableGeneration {
  readonly #map: BpfMap;

  constructor(map: BpfMap) {
    this.#map = map;
  }

  /** Before the first write. From here on every frame is judged by the tables. */
  end(): void {
    this.#write(0n);
  }

  /** After the last write: what is decided from now on may be remembered, and nothing from before is. */
  begin(): void {
    this.#write(1n);
  }

  /** The clock makes numbers that no other process of this instance writes, nor any before: it starts with the kernel, and so do the pins. */
  #write(lowestBit: bigint): void {
    const value = new Uint8Array(8);
    new DataView(value.buffer).setBigUint64(0, (process.hrtime.bigint() << 1n) | lowestBit, true);
    this.#map.update(new Uint8Array(4), value);
  }
}
