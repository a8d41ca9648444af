import type { Context } from './context.ts';
import { makeEpoch } from './epoch.ts';
import type { HeardEpochs } from './heard-epochs.ts';

/** Epochs that one write sets aside. */
const RESERVED = 16n;
/** No further above what is certified: each start of the process begins above what the one before has set aside, and others do not believe a leap of 2^20 (heard-epochs.ts). */
const MOST_AHEAD = 1n << 12n;

/*
 * Epochs that this member may ask votes for. It must never ask for one a second time as if it were new, also not after a restart: so the file names, before any vote is asked for, an epoch
 * that none asked for is above. As that costs a write, several are set aside at once, while nothing is going on:
 *
 *     asked for by a former process, at most │ asked for by this one │ set aside, on disk │ free
 *                               the file's at the start ──►                         the file's now ──►
 *
 * What is set aside belongs to the process that did so; the next one begins above it, and never uses the rest.
 */
export class EpochReserve {
  readonly #context: Pick<Context, 'durable' | 'rules'>;
  readonly #heard: Pick<HeardEpochs, 'highest' | 'highestCertified'>;
  /** Nothing at or below it is asked for, or for a second time. */
  #used: bigint;
  /** On disk: up to here it may ask without another write. */
  #reserved: bigint;
  /** Of the file that names all that is set aside, also what is not on disk yet. */
  #version: number;

  constructor(context: Pick<Context, 'durable' | 'rules'>, heard: Pick<HeardEpochs, 'highest' | 'highestCertified'>) {
    this.#context = context;
    this.#heard = heard;
    this.#used = context.durable.state.proposed;
    this.#reserved = this.#used;
    this.#version = context.durable.version;
  }

  /** The epoch to ask votes for next: above all that was heard of, and all that this member may have asked for. Undefined: the incarnation has none left. */
  next(incarnation: number): bigint | undefined {
    const { highest } = this.#heard;
    if (highest > this.#used) this.#used = highest;
    return this.#context.rules.chooseEpoch(incarnation, this.#used);
  }

  /** Uses an epoch. @param then Runs once it may be asked for: at once if it was set aside, else when it is on disk. */
  use(epoch: bigint, then: () => void): void {
    if (epoch > this.#used) this.#used = epoch;
    if (epoch <= this.#reserved) {
      then();
      return;
    }
    this.#setAside(epoch, then);
  }

  /** Sets epochs aside if few are left. To be called when no election is under way: a write now is in nobody's way. */
  refill(incarnation: number): void {
    const next = this.next(incarnation);
    const { durable } = this.#context;
    if (next === undefined || next + RESERVED / 2n <= durable.state.proposed || next > this.#heard.highestCertified + MOST_AHEAD) return;
    const last = makeEpoch(incarnation, 0xffff_ffff);
    const upTo = next + RESERVED - 1n;
    this.#setAside(upTo < last ? upTo : last, () => {});
  }

  #setAside(upTo: bigint, then: () => void): void {
    const { durable } = this.#context;
    if (upTo > durable.state.proposed) this.#version = durable.change({ proposed: upTo });
    const { proposed } = durable.state;
    durable.when(this.#version, () => {
      if (proposed > this.#reserved) this.#reserved = proposed;
      then();
    });
  }
}
