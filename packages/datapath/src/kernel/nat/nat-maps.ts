import type { BpfMap } from '@weft/bpf';
import { NAT_TABLES, type NatKey, type NatRowOf, type NatStore, type NatTable, type NatValue, type QueueEntry } from '@weft/forwarding';
import { NAT_CODECS, sessionKey, sourceKey } from './codec.ts';
import {
  NAT_COUNTERS,
  NAT_MAP_LAYOUT,
  NAT_PRESSURE,
  NAT_PRESSURE_BYTES,
  NAT_QUEUE_ENTRY,
  NAT_QUEUE_ENTRY_BYTES,
  NAT_QUEUE_KIND,
} from './layout.ts';

/**
 * The NAT's state in the kernel's maps, row by row. What the programs write meanwhile may be overwritten by `set`: the agent sets rows only of
 * shards that this member does not own, and of tables that are its own to write (`pool`, `free`, `quota`).
 */
export class NatMaps implements NatStore {
  readonly #maps: Readonly<Record<NatTable, BpfMap>>;
  readonly #queue: BpfMap;
  readonly #counters: BpfMap;
  readonly #fragments: BpfMap;
  readonly #pressure: BpfMap;

  /** @param map Gives a map by its name in the compiled object. */
  constructor(map: (name: string) => BpfMap) {
    this.#maps = Object.fromEntries(NAT_TABLES.map((table) => [table, map(NAT_MAP_LAYOUT[table].map)])) as Record<NatTable, BpfMap>;
    this.#queue = map('map_nat_queue');
    this.#counters = map('map_nat_counter');
    this.#fragments = map('map_nat_fragment_slot');
    this.#pressure = map('map_nat_pressure');
  }

  get<T extends NatTable>(table: T, key: NatKey<T>): NatValue<T> | undefined {
    const value = this.#maps[table].lookup(encodeKey(table, key));
    return value && NAT_CODECS[table].decodeValue(viewOf(value));
  }

  set<T extends NatTable>(table: T, key: NatKey<T>, value: NatValue<T>): void {
    const bytes = new Uint8Array(NAT_MAP_LAYOUT[table].valueBytes);
    NAT_CODECS[table].encodeValue(viewOf(bytes), value, key);
    this.#maps[table].update(encodeKey(table, key), bytes);
  }

  delete<T extends NatTable>(table: T, key: NatKey<T>): boolean {
    return this.#maps[table].delete(encodeKey(table, key));
  }

  *rows<T extends NatTable>(table: T): Generator<NatRowOf<T>> {
    const codec = NAT_CODECS[table];
    for (const [key, value] of this.#maps[table].entries()) {
      yield { table, key: codec.decodeKey(viewOf(key)), value: codec.decodeValue(viewOf(value)) };
    }
  }

  setAll<T extends NatTable>(table: T, rows: readonly Omit<NatRowOf<T>, 'table'>[]): void {
    const { keyBytes, valueBytes } = NAT_MAP_LAYOUT[table];
    const codec = NAT_CODECS[table];
    const keys = new Uint8Array(rows.length * keyBytes);
    const values = new Uint8Array(rows.length * valueBytes);
    rows.forEach(({ key, value }, i) => {
      codec.encodeKey(new DataView(keys.buffer, i * keyBytes, keyBytes), key);
      codec.encodeValue(new DataView(values.buffer, i * valueBytes, valueBytes), value, key);
    });
    this.#maps[table].updateBatch(keys, values, rows.length);
  }

  deleteAll<T extends NatTable>(table: T, rows: readonly NatKey<T>[]): void {
    const { keyBytes } = NAT_MAP_LAYOUT[table];
    const keys = new Uint8Array(rows.length * keyBytes);
    rows.forEach((key, i) => {
      NAT_CODECS[table].encodeKey(new DataView(keys.buffer, i * keyBytes, keyBytes), key);
    });
    this.#maps[table].deleteBatch(keys, rows.length);
  }

  enqueue(entry: QueueEntry): void {
    const bytes = new Uint8Array(NAT_QUEUE_ENTRY_BYTES);
    const view = viewOf(bytes);
    view.setUint32(NAT_QUEUE_ENTRY.kind, NAT_QUEUE_KIND[entry.kind], true);
    if (entry.kind === 'session') {
      view.setBigUint64(NAT_QUEUE_ENTRY.ticket, entry.ticket, true);
      sessionKey.encode(view, NAT_QUEUE_ENTRY.key, entry.key);
    } else {
      sourceKey.encode(view, NAT_QUEUE_ENTRY.key, entry.key);
    }
    this.#queue.update(new Uint8Array(0), bytes);
  }

  /** Later fragments of datagrams whose first one has passed already are dropped. */
  forgetFragments(): void {
    for (const [key] of this.#fragments.entries()) this.#fragments.delete(key);
  }

  /** Rows that the table of sessions has. */
  get sessionsMax(): number {
    return this.#maps.session.maxEntries;
  }

  /** The table of sessions is nearly full: networks that have so many begin no more. 0: it is not. */
  set sessionsShare(share: number) {
    const value = new Uint8Array(NAT_PRESSURE_BYTES);
    viewOf(value).setUint32(NAT_PRESSURE.sessionsShare, share, true);
    this.#pressure.update(new Uint8Array(4), value);
  }

  get serial(): bigint {
    return this.#counter('serial');
  }

  /** Never goes back: the programs may count on meanwhile. */
  raiseSerial(serial: bigint): void {
    if (serial <= this.serial) return;
    const key = new Uint8Array(4);
    const value = this.#counters.lookup(key)!;
    viewOf(value).setBigUint64(NAT_COUNTERS.serial, serial, true);
    this.#counters.update(key, value);
  }

  /** Events that found the ring full, and packets dropped for too many processors at one holder. */
  counters(): { readonly eventsLost: bigint; readonly contended: bigint } {
    return { eventsLost: this.#counter('eventsLost'), contended: this.#counter('contended') };
  }

  #counter(field: keyof typeof NAT_COUNTERS): bigint {
    return viewOf(this.#counters.lookup(new Uint8Array(4))!).getBigUint64(NAT_COUNTERS[field], true);
  }
}

function encodeKey<T extends NatTable>(table: T, key: NatKey<T>): Uint8Array {
  const bytes = new Uint8Array(NAT_MAP_LAYOUT[table].keyBytes);
  NAT_CODECS[table].encodeKey(viewOf(bytes), key);
  return bytes;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
