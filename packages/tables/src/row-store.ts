import { rowKey, type TableChange, type TableEntry } from '@weft/forwarding';
import { deleteOf, entryEquals, orderChanges, putOf } from './entries.ts';
import { type Contribution, outranks } from './rows.ts';

/**
 * The rows of one network with their owners: what each port (or the document) asks for, and which of two claims to one row is in force.
 *
 * ```
 *  owner ──set()──► its rows ──► per row: contributions ──► winner ──► TableChange, if it differs from before
 * ```
 * Replacing an owner's rows costs O(its rows), whatever the size of the network.
 */
export class RowStore {
  /** Row key -> who asks for it; never empty. */
  readonly #contributions = new Map<string, Contribution[]>();
  readonly #rowsOfOwner = new Map<string, readonly string[]>();
  /** Rows as they were before the changes under way. */
  readonly #touched = new Map<string, TableEntry | undefined>();

  /** Replaces what `owner` asks for. Changes are collected until {@link take}. */
  set(owner: string, rank: number, entries: readonly TableEntry[]): void {
    const next = new Map<string, TableEntry>();
    for (const entry of entries) next.set(rowKey(entry), entry);
    for (const key of this.#rowsOfOwner.get(owner) ?? []) if (!next.has(key)) this.#replace(key, owner, undefined);
    for (const [key, entry] of next) this.#replace(key, owner, { entry, rank, owner });
    if (next.size > 0) this.#rowsOfOwner.set(owner, [...next.keys()]);
    else this.#rowsOfOwner.delete(owner);
  }

  /** The changes since the last call, in a safe order. */
  take(): TableChange[] {
    const changes: TableChange[] = [];
    for (const [key, before] of this.#touched) {
      const after = this.#winner(key);
      if (after === undefined) {
        if (before !== undefined) changes.push(deleteOf(before));
      } else if (before === undefined || !entryEquals(before, after)) changes.push(putOf(after));
    }
    this.#touched.clear();
    return changes.length > 1 ? orderChanges(changes) : changes;
  }

  *entries(): IterableIterator<TableEntry> {
    for (const key of this.#contributions.keys()) yield this.#winner(key)!;
  }

  get size(): number {
    return this.#contributions.size;
  }

  #replace(key: string, owner: string, next: Contribution | undefined): void {
    if (!this.#touched.has(key)) this.#touched.set(key, this.#winner(key));
    const others = (this.#contributions.get(key) ?? []).filter((one) => one.owner !== owner);
    if (next !== undefined) others.push(next);
    if (others.length > 0) this.#contributions.set(key, others);
    else this.#contributions.delete(key);
  }

  #winner(key: string): TableEntry | undefined {
    const all = this.#contributions.get(key);
    return all?.reduce((best, one) => (outranks(one, best) ? one : best)).entry;
  }
}
