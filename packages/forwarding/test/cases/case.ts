import type { DropReason } from '@weft/model';
import type { Verdict } from '../../src/index.ts';

/** One rule of the contract: a frame, and what must become of it. */
export interface RuleCase {
  readonly title: string;
  readonly reason: DropReason;
  /** Default `DROP`. */
  readonly action?: number;
  readonly verdict: () => Verdict;
}
