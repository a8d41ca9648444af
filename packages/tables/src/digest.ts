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

const MODULUS = 1n << 256n;
const text = new TextEncoder();

export class RecordSetHash {
  readonly #sha256: Sha256;
  #sum = 0n;
  #count = 0;

  constructor(sha256: Sha256) {
    this.#sha256 = sha256;
  }

  /** Number of records in the set. */
  get count(): number {
    return this.#count;
  }

  add(bucket: string, key: string, revision: number): void {
    this.#sum = (this.#sum + this.#term(bucket, key, revision)) % MODULUS;
    this.#count++;
  }

  remove(bucket: string, key: string, revision: number): void {
    this.#sum = (this.#sum - this.#term(bucket, key, revision) + MODULUS) % MODULUS;
    this.#count--;
  }

  /** The hash, 32 bytes, a fresh buffer. */
  bytes(): Uint8Array {
    const bytes = new Uint8Array(32);
    let rest = this.#sum;
    for (let i = 31; i >= 0; i--) {
      bytes[i] = Number(rest & 0xffn);
      rest >>= 8n;
    }
    return bytes;
  }

  #term(bucket: string, key: string, revision: number): bigint {
    const hash = this.#sha256(text.encode(`${bucket}\0${key}\0${revision}`));
    let term = 0n;
    for (const byte of hash) term = (term << 8n) | BigInt(byte);
    return term;
  }
}
