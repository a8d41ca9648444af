import type { TableChange, TableEntry } from '@weft/forwarding';
import { deleteOf, entryEquals, orderChanges, putOf } from './entries.ts';
import { rowIdentity } from './row-identity.ts';
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
  /** Who asks for a row. Nearly always one: then no list is made. */
  readonly #contributions = new Map<string, Contribution | readonly Contribution[]>();
  readonly #rowsOfOwner = new Map<string, readonly string[]>();
  /** Rows as they were before the changes under way. */
  readonly #touched = new Map<string, TableEntry | undefined>();

  /** Replaces what `owner` asks for. Changes are collected until {@link take}. */
  set(owner: string, rank: number, entries: readonly TableEntry[]): void {
    const before = this.#rowsOfOwner.get(owner);
    if (entries.length === 0 && before === undefined) return;
    const keys = entries.map(rowIdentity);
    for (const key of before ?? []) if (!keys.includes(key)) this.#replace(key, owner, undefined);
    entries.forEach((entry, i) => {
      this.#replace(keys[i]!, owner, { entry, rank, owner });
    });
    if (keys.length > 0) this.#rowsOfOwner.set(owner, keys);
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
    for (const all of this.#contributions.values()) yield winnerOf(all);
  }

  get size(): number {
    return this.#contributions.size;
  }

  #replace(key: string, owner: string, next: Contribution | undefined): void {
    const all = this.#contributions.get(key);
    if (!this.#touched.has(key)) this.#touched.set(key, all === undefined ? undefined : winnerOf(all));
    const others = (all === undefined ? [] : isList(all) ? all : [all]).filter((one) => one.owner !== owner);
    if (next !== undefined) others.push(next);
    if (others.length === 0) this.#contributions.delete(key);
    else this.#contributions.set(key, others.length === 1 ? others[0]! : others);
  }

  #winner(key: string): TableEntry | undefined {
    const all = this.#contributions.get(key);
    return all === undefined ? undefined : winnerOf(all);
  }
}

function isList(all: Contribution | readonly Contribution[]): all is readonly Contribution[] {
  return Array.isArray(all);
}

function winnerOf(all: Contribution | readonly Contribution[]): TableEntry {
  return isList(all) ? all.reduce((best, one) => (outranks(one, best) ? one : best)).entry : all.entry;
}
