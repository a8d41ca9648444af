import { getU32, setU32 } from '@weft/packet';

/**
 * What a host believes of one network, in 32 bytes that cost O(1) per change.
 *
 * ```
 * hash = ( Σ over live records  SHA-256("<bucket>\0<key>\0<revision>") )  mod 2^256      big-endian, 32 bytes
 * ```
 * A sum (AdHash, Bellare and Micciancio 1997) doesn't depend on order and can be taken back, so adding or replacing one of 100,000
 * records needs one or two SHA-256 rather than all of them. It detects accidents, not forgeries: digests travel signed, and a false one
 * causes a snapshot from the store, nothing else. Tombstones are left out, so that purging them doesn't make hosts differ.
 */
export type Sha256 = (data: Uint8Array) => Uint8Array;

const LANES = 8;
const text = new TextEncoder();

export class RecordSetHash {
  readonly #sha256: Sha256;
  /** The sum as eight 32-bit lanes, the lowest first. */
  readonly #sum = new Uint32Array(LANES);
  #count = 0;

  constructor(sha256: Sha256) {
    this.#sha256 = sha256;
  }

  /** Number of records in the set. */
  get count(): number {
    return this.#count;
  }

  add(bucket: string, key: string, revision: number): void {
    const term = this.#term(bucket, key, revision);
    let carry = 0;
    for (let lane = 0; lane < LANES; lane++) {
      const sum = this.#sum[lane]! + laneOf(term, lane) + carry;
      this.#sum[lane] = sum;
      carry = sum > 0xffff_ffff ? 1 : 0;
    }
    this.#count++;
  }

  remove(bucket: string, key: string, revision: number): void {
    const term = this.#term(bucket, key, revision);
    let borrow = 0;
    for (let lane = 0; lane < LANES; lane++) {
      const difference = this.#sum[lane]! - laneOf(term, lane) - borrow;
      this.#sum[lane] = difference;
      borrow = difference < 0 ? 1 : 0;
    }
    this.#count--;
  }

  /** The hash, 32 bytes, a fresh buffer. */
  bytes(): Uint8Array {
    const bytes = new Uint8Array(LANES * 4);
    for (let lane = 0; lane < LANES; lane++) setU32(bytes, (LANES - 1 - lane) * 4, this.#sum[lane]!);
    return bytes;
  }

  #term(bucket: string, key: string, revision: number): Uint8Array {
    return this.#sha256(text.encode(`${bucket}\0${key}\0${revision}`));
  }
}

/** Lane 0 is the last four bytes: the term is a big-endian number. */
function laneOf(term: Uint8Array, lane: number): number {
  return getU32(term, (LANES - 1 - lane) * 4);
}
