import type { NatEvent } from './events.ts';
import { NAT_KEY_TEXT, type NatKey, type NatRow, type NatRowOf, type NatTable, type NatUsage, type NatValue } from './rows.ts';

/** A thing to look at by the sweep. */
export type QueueEntry =
  | { readonly kind: 'session'; readonly key: NatKey<'session'>; readonly ticket: bigint }
  | { readonly kind: 'source'; readonly key: NatKey<'source'> };

/** What the first fragment of a datagram told: where the rest goes. */
export interface FragmentRow {
  /** Which datagram: the slot may be another's by now. */
  readonly datagram: string;
  readonly expiresBootNs: bigint;
  readonly networkId: number;
  /** Outbound: the external address; inbound: the CA. */
  readonly address: Uint8Array;
}

export const NAT_TABLES: readonly NatTable[] = [
  'pool',
  'free',
  'block',
  'source',
  'mapping',
  'session',
  'reverse',
  'quota',
  'usage',
  'rate',
  'share',
];

/** State that rows can be read from and written to: {@link NatState}, and the kernel's maps. */
export interface NatStore {
  get<T extends NatTable>(table: T, key: NatKey<T>): NatValue<T> | undefined;
  set<T extends NatTable>(table: T, key: NatKey<T>, value: NatValue<T>): void;
  /** @returns Whether it was there. */
  delete<T extends NatTable>(table: T, key: NatKey<T>): boolean;
  rows<T extends NatTable>(table: T): Iterable<NatRowOf<T>>;
  /** As `set` of each, for many at once. */
  setAll<T extends NatTable>(table: T, rows: readonly Omit<NatRowOf<T>, 'table'>[]): void;
  /** As `delete` of each. */
  deleteAll<T extends NatTable>(table: T, keys: readonly NatKey<T>[]): void;
  /** Puts something at the end of what the sweep looks at. */
  enqueue(entry: QueueEntry): void;
  /** Tickets from now on are above this one. */
  raiseSerial(serial: bigint): void;
}

type Tables = { readonly [T in NatTable]: Map<string, { readonly key: NatKey<T>; value: NatValue<T> }> };

/** All state of one gateway's NAT, in memory. Values that are looked up are the state's own: who writes to them changes it. */
export class NatState implements NatStore {
  readonly #tables = Object.fromEntries(NAT_TABLES.map((table) => [table, new Map()])) as unknown as Tables;
  /** What a sweep will look at, in its order; part of no snapshot. */
  readonly queue: QueueEntry[] = [];
  /** By slot. */
  readonly fragments: Map<string, FragmentRow> = new Map();
  /** The table of sessions is nearly full: networks that have so many begin no more. 0: it is not. */
  sessionsShare = 0;
  /** Counts mappings and sessions ever begun. */
  serial: bigint = 0n;
  /** Events since they were taken last. */
  #events: NatEvent[] = [];

  get<T extends NatTable>(table: T, key: NatKey<T>): NatValue<T> | undefined {
    return this.#table(table).get(NAT_KEY_TEXT[table](key))?.value;
  }

  set<T extends NatTable>(table: T, key: NatKey<T>, value: NatValue<T>): void {
    this.#table(table).set(NAT_KEY_TEXT[table](key), { key, value });
  }

  delete<T extends NatTable>(table: T, key: NatKey<T>): boolean {
    return this.#table(table).delete(NAT_KEY_TEXT[table](key));
  }

  setAll<T extends NatTable>(table: T, rows: readonly Omit<NatRowOf<T>, 'table'>[]): void {
    for (const { key, value } of rows) this.set(table, key, value);
  }

  deleteAll<T extends NatTable>(table: T, keys: readonly NatKey<T>[]): void {
    for (const key of keys) this.delete(table, key);
  }

  size(table: NatTable): number {
    return this.#tables[table].size;
  }

  enqueue(entry: QueueEntry): void {
    this.queue.push(entry);
  }

  raiseSerial(serial: bigint): void {
    if (serial > this.serial) this.serial = serial;
  }

  *rows<T extends NatTable>(table: T): Generator<NatRowOf<T>> {
    for (const { key, value } of this.#table(table).values()) yield { table, key, value };
  }

  /** Every row of every table. */
  *all(): Generator<NatRow> {
    for (const table of NAT_TABLES) yield* this.rows(table) as Generator<NatRow>;
  }

  /** The network's use, made when there is none. */
  usage(networkId: number): NatUsage {
    const found = this.get('usage', { networkId });
    if (found) return found;
    const made: NatUsage = { blocks: 0, sessions: 0, deniedBlocks: 0n, deniedSessions: 0n, exhausted: 0n };
    this.set('usage', { networkId }, made);
    return made;
  }

  nextTicket(): bigint {
    this.serial += 1n;
    return this.serial;
  }

  emit(event: NatEvent): void {
    this.#events.push(event);
  }

  /** Events since the last call, oldest first. */
  takeEvents(): NatEvent[] {
    const events = this.#events;
    this.#events = [];
    return events;
  }

  #table<T extends NatTable>(table: T): Map<string, { readonly key: NatKey<T>; value: NatValue<T> }> {
    return this.#tables[table] as unknown as Map<string, { readonly key: NatKey<T>; value: NatValue<T> }>;
  }
}
