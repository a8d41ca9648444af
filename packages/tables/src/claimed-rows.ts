/** A row's final form out of what its claimants say: of each the last row under that key, in their order. */
export type Settle<R> = (rows: readonly { readonly owner: string; readonly row: R }[]) => R;

/** One key's row before and after; undefined: there is none. */
export interface RowChange<R> {
  readonly before: R | undefined;
  readonly after: R | undefined;
}

/**
 * Rows of many owners, several of whom may claim one key. What a change costs follows the rows of the owner that changed, not how many owners there are.
 *
 * The same array as before, by identity, is no change.
 */
export class ClaimedRows<R> {
  readonly #keyOf: (row: R) => string;
  readonly #settle: Settle<R>;
  readonly #of = new Map<string, readonly R[]>();
  /** By key: who claims it. Mostly one. */
  readonly #claimants = new Map<string, Map<string, R>>();
  readonly #rows = new Map<string, R>();
  #changed = new Map<string, R | undefined>();

  constructor(keyOf: (row: R) => string, settle: Settle<R>) {
    this.#keyOf = keyOf;
    this.#settle = settle;
  }

  owners(): IterableIterator<string> {
    return this.#of.keys();
  }

  rows(): IterableIterator<R> {
    return this.#rows.values();
  }

  /** From now on these are the owner's rows; of several with one key the last. */
  set(owner: string, rows: readonly R[]): void {
    const before = this.#of.get(owner) ?? [];
    if (before === rows) return;
    if (rows.length === 0) this.#of.delete(owner);
    else this.#of.set(owner, rows);
    const next = new Map(rows.map((row) => [this.#keyOf(row), row]));
    const keys = new Set(before.map((row) => this.#keyOf(row)));
    for (const [key, row] of next) {
      keys.add(key);
      const claimants = this.#claimants.get(key);
      if (claimants === undefined) this.#claimants.set(key, new Map([[owner, row]]));
      else claimants.set(owner, row);
    }
    for (const key of keys) {
      if (!next.has(key)) this.#claimants.get(key)?.delete(owner);
      this.#resettle(key);
    }
  }

  /** What has become other since the last call. */
  take(): RowChange<R>[] {
    return [...this.taking()];
  }

  /** As `take`, one by one, between which others may work; nothing may be set meanwhile. */
  *taking(): Generator<RowChange<R>> {
    const changed = this.#changed;
    this.#changed = new Map();
    for (const [key, before] of changed) yield { before, after: this.#rows.get(key) };
  }

  #resettle(key: string): void {
    if (!this.#changed.has(key)) this.#changed.set(key, this.#rows.get(key));
    const claimants = this.#claimants.get(key);
    if (claimants === undefined || claimants.size === 0) {
      this.#claimants.delete(key);
      this.#rows.delete(key);
      return;
    }
    const all = [...claimants].map(([owner, row]) => ({ owner, row }));
    if (all.length > 1) all.sort((a, b) => (a.owner < b.owner ? -1 : 1));
    this.#rows.set(key, this.#settle(all));
  }
}
