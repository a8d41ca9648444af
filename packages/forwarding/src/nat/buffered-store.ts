import { NAT_KEY_TEXT, type NatKey, type NatRowOf, type NatTable, type NatValue } from './rows.ts';
import { NAT_TABLES, type NatStore, type QueueEntry } from './state.ts';

interface Row<T extends NatTable> {
  readonly key: NatKey<T>;
  /** Undefined: there is none. */
  value: NatValue<T> | undefined;
  isDirty: boolean;
}
type Tables = { readonly [T in NatTable]: Map<string, Row<T>> };

/**
 * A store whose changes are kept until `flush`, so that many changes of one row are written once, and all of a table at once. Between two flushes nobody else
 * may write to those rows of the store below.
 */
export class BufferedNatStore implements NatStore {
  readonly #below: NatStore;
  readonly #tables = Object.fromEntries(NAT_TABLES.map((table) => [table, new Map()])) as unknown as Tables;
  #serial = 0n;

  constructor(below: NatStore) {
    this.#below = below;
  }

  get<T extends NatTable>(table: T, key: NatKey<T>): NatValue<T> | undefined {
    return this.#row(table, key).value;
  }

  set<T extends NatTable>(table: T, key: NatKey<T>, value: NatValue<T>): void {
    const rows = this.#table(table);
    const name = NAT_KEY_TEXT[table](key);
    const known = rows.get(name);
    if (known === undefined) rows.set(name, { key, value, isDirty: true });
    else Object.assign(known, { value, isDirty: true });
  }

  delete<T extends NatTable>(table: T, key: NatKey<T>): boolean {
    const row = this.#row(table, key);
    const was = row.value !== undefined;
    if (was) Object.assign(row, { value: undefined, isDirty: true });
    return was;
  }

  /** Rows of the store below: what is not flushed isn't seen. */
  rows<T extends NatTable>(table: T): Iterable<NatRowOf<T>> {
    return this.#below.rows(table);
  }

  setAll<T extends NatTable>(table: T, rows: readonly Omit<NatRowOf<T>, 'table'>[]): void {
    for (const { key, value } of rows) this.set(table, key, value);
  }

  deleteAll<T extends NatTable>(table: T, keys: readonly NatKey<T>[]): void {
    for (const key of keys) this.delete(table, key);
  }

  /** At once. */
  enqueue(entry: QueueEntry): void {
    this.#below.enqueue(entry);
  }

  raiseSerial(serial: bigint): void {
    if (serial > this.#serial) this.#serial = serial;
  }

  /** Writes what was changed, and forgets what it has read. */
  flush(): void {
    if (this.#serial > 0n) this.#below.raiseSerial(this.#serial);
    this.#serial = 0n;
    for (const table of NAT_TABLES) this.#flushTable(table);
  }

  #flushTable<T extends NatTable>(table: T): void {
    const rows = this.#table(table);
    const changed = [...rows.values()].filter(({ isDirty }) => isDirty);
    rows.clear();
    const gone = changed.filter(({ value }) => value === undefined).map(({ key }) => key);
    const put = changed.flatMap(({ key, value }) => (value === undefined ? [] : [{ key, value }]));
    if (gone.length > 0) this.#below.deleteAll(table, gone);
    if (put.length > 0) this.#below.setAll(table, put);
  }

  #row<T extends NatTable>(table: T, key: NatKey<T>): Row<T> {
    const rows = this.#table(table);
    const name = NAT_KEY_TEXT[table](key);
    let row = rows.get(name);
    if (row === undefined) {
      row = { key, value: this.#below.get(table, key), isDirty: false };
      rows.set(name, row);
    }
    return row;
  }

  #table<T extends NatTable>(table: T): Map<string, Row<T>> {
    return this.#tables[table] as unknown as Map<string, Row<T>>;
  }
}
