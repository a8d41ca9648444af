import type { OwnershipCertificate } from '@weft/model';
import type { Context } from './context.ts';
import { NO_EPOCH } from './epoch.ts';
import type { ShardState } from './io.ts';

/** What a member knows of one shard. */
export interface ShardView {
  /** The highest there is. */
  certificate: OwnershipCertificate | undefined;
  /** When it first heard of that epoch. */
  certifiedAt: number;
  /** Since when this member has reason to stand for the shard. */
  wantedSince: number | undefined;
  notBefore: number;
  state: ShardState;
}

/** A member's views of the shards, and what it says of their states. */
export class ShardViews {
  readonly #context: Context;
  readonly #views = new Map<number, ShardView>();

  constructor(context: Context) {
    this.#context = context;
  }

  of(shard: number): ShardView {
    let view = this.#views.get(shard);
    if (view === undefined) {
      view = { certificate: undefined, certifiedAt: -Infinity, wantedSince: undefined, notBefore: -Infinity, state: 'none' };
      this.#views.set(shard, view);
    }
    return view;
  }

  /** @param ownEpoch Given if this member owns the shard. */
  state(shard: number, state: ShardState, ownEpoch?: bigint): void {
    const view = this.of(shard);
    if (view.state === state && state !== 'owner') return;
    view.state = state;
    const ballot = view.certificate?.ballot;
    const [epoch, owner] = ownEpoch === undefined ? [ballot?.epoch ?? NO_EPOCH, ballot?.candidate ?? ''] : [ownEpoch, this.#context.self];
    this.#context.put({ kind: 'state', shard, state, epoch, owner });
  }
}
