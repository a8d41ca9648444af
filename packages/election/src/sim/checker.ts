import type { OwnershipCertificate } from '@weft/model';
import { epochText } from '../epoch.ts';
import type { ShardRow } from '../io.ts';

/** A promise of docs/ownership.md that a schedule broke. */
export class Violation extends Error {
  readonly rule:
    | 'epoch-granted-twice'
    | 'host-epoch-fell'
    | 'host-two-owners'
    | 'closed-later-than-d'
    | 'block-granted-by-two'
    | 'no-owner'
    | 'not-placed'
    | 'blocks-not-moved';
  constructor(rule: Violation['rule'], message: string) {
    super(`${rule}: ${message}`);
    this.rule = rule;
  }
}

interface Grant {
  readonly epoch: bigint;
  readonly candidate: string;
  /** Which life of the candidate's machine: an epoch names one term of one life. */
  readonly life: number;
}

/** Watches what no single machine can see. */
export class Checker {
  readonly #grants = new Map<string, Grant>();
  readonly #accepted = new Map<string, { epoch: bigint; owner: string }>();
  readonly #owners = new Map<string, string>();
  /** Per shard: the highest epoch granted, and to whom. */
  readonly newest: Map<number, Grant> = new Map();
  moves = 0;

  /**
   * A member has made a certificate: it holds a majority.
   * @returns True if it is a new grant, not a renewal.
   */
  granted(certificate: OwnershipCertificate, life: number): boolean {
    const { epoch, candidate, shards, kind } = certificate.ballot;
    let fresh = false;
    for (const shard of shards) {
      const key = `${shard} ${epoch}`;
      const before = this.#grants.get(key);
      if (before !== undefined && (before.candidate !== candidate || (before.life !== life && kind !== 'renewal'))) {
        throw new Violation(
          'epoch-granted-twice',
          `shard ${shard}, epoch ${epochText(epoch)}: to ${before.candidate} (boot ${before.life}) and to ${candidate} (boot ${life})`,
        );
      }
      if (before !== undefined) continue;
      fresh = true;
      const grant = { epoch, candidate, life };
      this.#grants.set(key, grant);
      const newest = this.newest.get(shard);
      if (newest === undefined || epoch > newest.epoch) {
        this.newest.set(shard, grant);
        if (newest !== undefined && newest.candidate !== candidate) this.moves++;
      }
    }
    return fresh;
  }

  /** A host wrote its shard map. `host` stays the same over its reboots. */
  accepted(host: string, row: ShardRow): void {
    const key = `${host} ${row.shard}`;
    const before = this.#accepted.get(key);
    if (before !== undefined && row.epoch < before.epoch) {
      throw new Violation('host-epoch-fell', `${host}, shard ${row.shard}: ${epochText(before.epoch)}, then ${epochText(row.epoch)}`);
    }
    const owner = this.#owners.get(`${row.shard} ${row.epoch}`);
    if (owner !== undefined && owner !== row.owner) {
      throw new Violation('host-two-owners', `${host}, shard ${row.shard}, epoch ${epochText(row.epoch)}: ${owner} and ${row.owner}`);
    }
    this.#owners.set(`${row.shard} ${row.epoch}`, row.owner);
    this.#accepted.set(key, { epoch: row.epoch, owner: row.owner });
  }
}
