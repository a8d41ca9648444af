import { type Assignment, grantable, type ReleasedBlocks, releasable } from '@weft/model';
import type { Rules } from './rules.ts';

/** Blocks that are looked at in one go; the others come in turn. */
const BLOCKS_A_LOOK = 4_032;

/*
 * A member's consents to give up NAT blocks. It grants new blocks from its own slices only, so two owners of one shard, for the D in which both may forward,
 * never give one block to two tenants. Slices change hands in the group's record, which is written by CAS on its revision:
 *
 *     mine ──record marks it as moving──► granted no more ──free, seen twice──► note of the revision on disk ──consent to that revision──► the other's
 *
 * A consent may have taken effect though its answer was lost. So from then on a record older than the one it rests on, which a file of before a restart or a
 * store that lost writes may show, says nothing about what this member may grant. A record that calls the move off is a newer one, and the consent comes too
 * late for it: one of the two wins by CAS. So a member that has lost its note needs no more than the newest record: a block that a consent of its own may
 * still give away is marked in it.
 */
export class BlockConsents {
  readonly #rules: Pick<Rules, 'mayGrantBy'>;
  #noted: number;
  #turn = 0;
  #isSecond = false;
  #free = new Set<string>();

  /** @param noted Revision of the record that the last consent rests on, from the note on disk; 0: there is none. */
  constructor(noted: number, rules: Pick<Rules, 'mayGrantBy'>) {
    this.#noted = noted;
    this.#rules = rules;
  }

  get noted(): number {
    return this.#noted;
  }

  /** True: this member may have given blocks away since that revision. */
  outdated(revision: number): boolean {
    return !this.#rules.mayGrantBy(this.#noted, revision);
  }

  /** What of an address `member` may grant by this record. */
  grantable(address: Assignment['addresses'][number], member: number, revision: number): ReturnType<typeof grantable> {
    return this.outdated(revision) ? [] : grantable(address, member);
  }

  /** Some of the pieces that the record asks `member` to give up, each in its turn: whether they are free is to be looked at now. */
  candidates(assignment: Assignment, member: number, revision: number): readonly ReleasedBlocks[] {
    const moving = releasable(assignment, member);
    if (moving.length === 0 || revision === 0 || this.outdated(revision)) return [];
    const chosen: ReleasedBlocks[] = [];
    let blocks = 0;
    for (let i = 0; i < moving.length && blocks < BLOCKS_A_LOOK; i++) {
      const piece = moving[(this.#turn + i) % moving.length]!;
      chosen.push(piece);
      blocks += piece.count;
    }
    // Each is looked at twice in a row, if there are more than one look takes.
    if (chosen.length < moving.length && this.#isSecond) this.#turn = (this.#turn + chosen.length) % moving.length;
    this.#isSecond = !this.#isSecond;
    return chosen;
  }

  /**
   * What is consented to: of the free pieces those that were free at the last look, too. While a snapshot is being taken in, what somebody holds is missing for
   * a moment.
   * @param free What the packet path grants no more, and nobody holds.
   */
  agree(free: readonly ReleasedBlocks[]): readonly ReleasedBlocks[] {
    const before = this.#free;
    this.#free = new Set();
    const found: ReleasedBlocks[] = [];
    for (const { segment, address, first, count } of free) {
      for (let at = first; at < first + count; at++) {
        const name = `${segment} ${address} ${at}`;
        this.#free.add(name);
        if (!before.has(name)) continue;
        const last = found.at(-1);
        const follows = last?.segment === segment && last.address === address && last.first + last.count === at;
        if (follows) found[found.length - 1] = { ...last, count: last.count + 1 };
        else found.push({ segment, address, first: at, count: 1 });
      }
    }
    return found;
  }

  /** The note of `revision` is on disk: only now may a consent that rests on it leave. */
  written(revision: number): void {
    this.#noted = Math.max(this.#noted, revision);
  }
}
