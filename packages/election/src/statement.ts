import type { OwnershipBallot, OwnershipConsent } from '@weft/model';

/*
 * What votes and consents sign: a domain, then every field with its length, so that no two statements have the same bytes. It is not the protobuf form:
 * a certificate carries the ballot once and each signature beside it, and whoever verifies writes these bytes anew.
 */

/** Signs as this node. */
export interface Signer {
  sign(statement: Uint8Array): Uint8Array;
}
/** @returns Whether `signature` is that of `key` under `statement`; never throws. */
export type Verify = (key: string, statement: Uint8Array, signature: Uint8Array) => boolean;

const encoder = new TextEncoder();
const KINDS = { takeover: 1, handover: 2, renewal: 3 } as const;

class Writer {
  #bytes = new Uint8Array(256);
  #length = 0;
  #room(size: number): void {
    if (this.#length + size <= this.#bytes.length) return;
    const grown = new Uint8Array(Math.max(this.#bytes.length * 2, this.#length + size));
    grown.set(this.#bytes);
    this.#bytes = grown;
  }
  u32(value: number): this {
    this.#room(4);
    new DataView(this.#bytes.buffer).setUint32(this.#length, value);
    this.#length += 4;
    return this;
  }
  u64(value: bigint | number): this {
    this.#room(8);
    new DataView(this.#bytes.buffer).setBigUint64(this.#length, BigInt(value));
    this.#length += 8;
    return this;
  }
  text(value: string): this {
    const bytes = encoder.encode(value);
    this.u32(bytes.length).#room(bytes.length);
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.length;
    return this;
  }
  list(values: readonly number[]): this {
    this.u32(values.length);
    for (const value of values) this.u32(value);
    return this;
  }
  done(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }
}

/** What a voter signs: the ballot and its own standing. */
export function voteStatement(
  group: string,
  ballot: OwnershipBallot,
  voter: { readonly id: string; readonly instance: number },
): Uint8Array {
  const { consent } = ballot;
  return new Writer()
    .text('weft.v1.vote')
    .text(group)
    .u32(ballot.config)
    .u64(ballot.epoch)
    .list(ballot.shards)
    .text(ballot.candidate)
    .text(ballot.providerAddress)
    .u32(KINDS[ballot.kind])
    .u32(ballot.leaseMs)
    .u64(ballot.round)
    .u64(consent?.epoch ?? 0n)
    .text(consent?.from ?? '')
    .text(voter.id)
    .u64(voter.instance)
    .done();
}

/** What an owner signs to be replaced. */
export function consentStatement(group: string, consent: Omit<OwnershipConsent, 'signature'>): Uint8Array {
  return new Writer()
    .text('weft.v1.consent')
    .text(group)
    .u64(consent.epoch)
    .list(consent.shards)
    .text(consent.from)
    .text(consent.to)
    .done();
}
