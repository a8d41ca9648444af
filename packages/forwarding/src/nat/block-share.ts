import type { NatShare } from './rows.ts';

// Quotas of the networks of a pool may add up to more blocks than it has. Then a quarter of it is kept for networks that have less than their share of that
// quarter: the others take what is left beside. So who has less is not refused for want of blocks, whatever others do.

/** Of a pool. */
const RESERVED = 1 / 4;

export interface PoolUse {
  /** Of each address. */
  readonly rings: readonly {
    /** Blocks of this member's slice. */
    readonly own: number;
    /** How many of them nobody holds. Asked only where quotas add up to more than there is. */
    readonly free: () => number;
  }[];
  readonly networks: readonly { readonly blocks: number; readonly quota: number }[];
}

/** What a network may count on; undefined: all quotas together fit, or there is but one network. */
export function poolShare({ rings, networks }: PoolUse): NatShare | undefined {
  const usable = rings.filter(({ own }) => own > 0);
  const capacity = usable.reduce((sum, { own }) => sum + own, 0);
  const promised = networks.reduce((sum, { quota }) => sum + quota, 0);
  if (networks.length < 2 || capacity === 0 || promised <= capacity) return undefined;
  const reserved = Math.floor(capacity * RESERVED);
  const blocks = Math.max(1, Math.floor(reserved / networks.length));
  // All that those may take who have not more: what they have may be given back before this is looked at again.
  const needed = networks.reduce((sum, one) => sum + (one.blocks <= blocks ? Math.min(blocks, one.quota) : 0), 0);
  return {
    blocks,
    keep: levelOf(
      Math.min(reserved, needed),
      usable.map(({ free }) => free()),
    ),
  };
}

/** How much is to stay of each so that `sum` does of all: of some there is less by now, and then more of the others has to stay. */
function levelOf(sum: number, amounts: readonly number[]): number {
  const rising = amounts.toSorted((a, b) => a - b);
  let rest = sum;
  for (const [i, amount] of rising.entries()) {
    const others = rising.length - i;
    if (rest <= amount * others) return Math.ceil(rest / others);
    rest -= amount;
  }
  // There is not enough: what comes back stays, too.
  return rising.at(-1)! + Math.ceil(rest / rising.length);
}
