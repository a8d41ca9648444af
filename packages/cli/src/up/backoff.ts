/** How long a supervised process stays down after it died by itself. */
export interface Backoff {
  /** First wait in ms. */
  readonly firstMs: number;
  /** No wait is longer, in ms. */
  readonly maxMs: number;
  /** A process that ran this long, in ms, was well: the next wait is the first again. */
  readonly steadyMs: number;
}

/** 0.5 s, 1 s, 2 s … 30 s: a crash is over before anyone looks, a process that can't start does not eat the machine. */
export const defaultBackoff: Backoff = { firstMs: 500, maxMs: 30_000, steadyMs: 60_000 };

/**
 * The wait after a death.
 *
 * @param deaths How many deaths in a row came before this one, each after less than `steadyMs`.
 * @param ranMs How long the process has run this time.
 * @returns The wait in ms, and the count for the next call.
 */
export function nextWait(backoff: Backoff, deaths: number, ranMs: number): { readonly waitMs: number; readonly deaths: number } {
  const before = ranMs >= backoff.steadyMs ? 0 : deaths;
  return { waitMs: Math.min(backoff.maxMs, backoff.firstMs * 2 ** Math.min(before, 30)), deaths: before + 1 };
}
