import type { Context } from './context.ts';
import { incarnationOf, NO_EPOCH } from './epoch.ts';

/** An epoch that far above what is certified is no accident: whoever names it lies, and would use the ballots up. */
const PLAUSIBLE_LEAP = 1n << 20n;

/** The highest epoch heard of, from whomever: a new one has to be above it. */
export class HeardEpochs {
  readonly #context: Context;
  #certified: bigint = NO_EPOCH;
  #highest: bigint = NO_EPOCH;

  constructor(context: Context) {
    this.#context = context;
  }

  get highest(): bigint {
    return this.#highest;
  }
  /** Of those that were granted. */
  get highestCertified(): bigint {
    return this.#certified;
  }

  /** From a verified certificate, or the own packet path. */
  certified(epoch: bigint): void {
    if (epoch > this.#certified) this.#certified = epoch;
    this.add(epoch);
  }

  add(epoch: bigint): void {
    if (epoch > this.#highest) this.#highest = epoch;
  }

  /** @returns False for what somebody merely says and can't be: it is not to be counted. */
  believes(epoch: bigint, from: string): boolean {
    const incarnation = this.#context.configs.newest?.incarnation ?? 0;
    const floor = BigInt(incarnation) << 32n;
    const base = this.#certified > floor ? this.#certified : floor;
    if (epoch <= base + PLAUSIBLE_LEAP || incarnationOf(epoch) < incarnation) return true;
    const told = `${from} names epoch ${epoch}, far above any that was granted: it is not believed`;
    this.#context.alarm('implausible-epoch', from, true, () => told);
    return false;
  }
}
