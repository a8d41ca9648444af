import type { OwnershipConfig } from '@weft/model';
import type { Context } from './context.ts';

/** How a member came to own a shard. `first`: nobody is known to have owned it before. */
export type Arrival = 'first' | 'from-another';

/*
 * Where a shard belongs. The record counts its decisions about who is first in a shard's order (`placement`): an operator's move, a member added, drained or
 * undrained. An owner notes the placement that stood when it took the shard over from another, in its file; at the very first start, 0:
 *
 *     note < placement, another is first ──► displaced: hands over to that one, by consent, once things are quiet (handover.ts)
 *     note = placement ──► stays, whoever is first: a failure moved the shard here, and nothing is gained by moving it back
 *
 * The note is no promise: lost with the file, it is the present placement, and the shard stays.
 */
export class Placements {
  readonly #context: Context;
  readonly #notes = new Map<number, number>();

  constructor(context: Context) {
    this.#context = context;
    for (const { shard, placement } of context.durable.state.placements) this.#notes.set(shard, placement);
  }

  /** This member owns these shards now. */
  arrived(shards: readonly number[], how: Arrival): void {
    for (const shard of shards) this.#notes.set(shard, how === 'first' ? 0 : (this.#entry(shard)?.placement ?? 0));
    const placements = [...this.#notes].map(([shard, placement]) => ({ shard, placement }));
    this.#context.durable.change({ placements });
  }

  /** Of shards that it owns and knows nothing of: what it finds is how it should be. */
  recall(shards: readonly number[]): void {
    const unknown = shards.filter((shard) => !this.#notes.has(shard) && this.#entry(shard) !== undefined);
    if (unknown.length > 0) this.arrived(unknown, 'from-another');
  }

  /** Whom a shard of this member belongs to, by a decision made since it took it over. Undefined: it stays. */
  displacedTo(shard: number): string | undefined {
    const entry = this.#entry(shard);
    const first = entry?.order[0];
    const note = this.#notes.get(shard);
    if (entry === undefined || note === undefined || note >= entry.placement || first === this.#context.self) return undefined;
    return first;
  }

  #entry(shard: number): OwnershipConfig['shards'][number] | undefined {
    return this.#context.configs.newest?.shards.find((known) => known.shard === shard);
  }
}
