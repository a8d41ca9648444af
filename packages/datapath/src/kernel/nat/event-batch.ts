import type { RingBatch } from '@weft/bpf';
import { isNewerRevision, type NatChange, type NatEvent, type NatEventBatch, NatEventKind } from '@weft/forwarding';
import { isOfBlock, isOfSession, isSameSession, KernelChange, keepRecords } from './change.ts';
import { decodeNatEventAt } from './events.ts';
import { NAT_BLOCK_HEAD, NAT_EVENT_BLOCK, NAT_EVENT_MAPPING, NAT_EVENT_SESSION, NAT_MAPPING_KEY, NAT_SESSION } from './layout.ts';

// Tens of thousands of records a second, of which most are looked at and not more: so they are read as words, in place.

const WORD_BYTES = 4;
const word = (byte: number): number => byte / WORD_BYTES;
const KIND = word(NAT_EVENT_BLOCK.kind);
const TIME = word(NAT_EVENT_BLOCK.timeBootNs);
const BLOCK_NETWORK = word(NAT_EVENT_BLOCK.block + NAT_BLOCK_HEAD.networkId);
const MAPPING_NETWORK = word(NAT_EVENT_MAPPING.key + NAT_MAPPING_KEY.networkId);
const SESSION_NETWORK = word(NAT_EVENT_SESSION.session + NAT_SESSION.networkId);
const SESSION_TICKET = word(NAT_EVENT_SESSION.session + NAT_SESSION.ticket);
const SESSION_REVISION = word(NAT_EVENT_SESSION.session + NAT_SESSION.revision);
/** A chain's entry that another event speaks for, or that nobody wants. */
const MERGED = -1;

/** Batches of `map_nat_events`, one at a time. One object, for all of them. */
export class KernelNatBatch implements NatEventBatch {
  #count = 0;
  #bytes: Uint8Array = new Uint8Array();
  #words: Uint32Array = new Uint32Array();
  #view: DataView = new DataView(this.#bytes.buffer);
  #places: RingBatch['places'] = new Uint32Array();
  /** Of each event: which one has the values it is told with; itself, mostly. */
  #told = new Int32Array();
  /** Events by their session and ticket, one more than the index, 0: none. A power of two, at least twice as many as there are events. */
  #table = new Int32Array();

  /** Puts other records in the place of those before. */
  read({ count, bytes, places }: RingBatch): void {
    if (bytes !== this.#bytes) {
      this.#bytes = bytes;
      this.#words = new Uint32Array(bytes.buffer, bytes.byteOffset, Math.floor(bytes.byteLength / WORD_BYTES));
      this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    }
    this.#places = places;
    this.#count = count;
  }

  get count(): number {
    return this.#count;
  }

  kindAt(index: number): number {
    return this.#words[this.#wordAt(index) + KIND]!;
  }

  networkAt(index: number): number {
    const at = this.#wordAt(index);
    const kind = this.#words[at + KIND]!;
    if (isOfSession(kind)) return this.#words[at + SESSION_NETWORK]!;
    return this.#words[at + (isOfBlock(kind) ? BLOCK_NETWORK : MAPPING_NETWORK)]!;
  }

  eventAt(index: number): NatEvent {
    const event = decodeNatEventAt(this.#view, this.#places[2 * index]!);
    if (event === undefined) throw new RangeError(`Cannot read event ${index}: its kind, ${this.kindAt(index)}, is not known`);
    return event;
  }

  forEachChange(isWanted: (networkId: number) => boolean, take: (change: NatChange) => void): void {
    this.#merge();
    const [told, words, places, count] = [this.#told, this.#words, this.#places, this.#count];
    let room = 0;
    for (let i = 0; i < count; i++) {
      if (told[i] === MERGED || !isKnown(this.kindAt(i)) || !isWanted(this.networkAt(i))) told[i] = MERGED;
      else room += aligned(places[2 * told[i]! + 1]!);
    }
    if (room === 0) return;
    const kept = keepRecords(room);
    for (let i = 0, to = 0; i < count; i++) {
      const last = told[i]!;
      if (last === MERGED) continue;
      const [from, first, size] = [this.#wordAt(last), this.#wordAt(i), word(aligned(places[2 * last + 1]!))];
      for (let j = 0; j < size; j++) kept.words[to + j] = words[from + j]!;
      if (words[from + KIND] !== NatEventKind.SESSION_RETIRED) kept.words[to + KIND] = words[first + KIND]!;
      kept.words[to + TIME] = words[first + TIME]!;
      kept.words[to + TIME + 1] = words[first + TIME + 1]!;
      take(new KernelChange(this.networkAt(i), kept, to));
      to += size;
    }
  }

  #wordAt(index: number): number {
    return this.#places[2 * index]! / WORD_BYTES;
  }

  /** Fills `#told`, as `mergeSessionEvents` would. */
  #merge(): void {
    const count = this.#count;
    if (this.#told.length < count) {
      this.#told = new Int32Array(count);
      this.#table = new Int32Array(2 ** Math.ceil(Math.log2(4 * count)));
    }
    const [told, table, words, places] = [this.#told, this.#table, this.#words, this.#places];
    const mask = table.length - 1;
    table.fill(0);
    for (let i = 0; i < count; i++) {
      told[i] = i;
      const at = places[2 * i]! / WORD_BYTES;
      const kind = words[at + KIND]!;
      if (!isOfSession(kind)) continue;
      let slot = hash(words, at) & mask;
      while (table[slot] !== 0 && !isSameSession(words, at, words, places[2 * (table[slot]! - 1)]! / WORD_BYTES)) slot = (slot + 1) & mask;
      const first = table[slot]! - 1;
      if (first < 0) {
        table[slot] = i + 1;
        continue;
      }
      told[i] = MERGED;
      const best = places[2 * told[first]!]! / WORD_BYTES;
      if (words[best + KIND] === NatEventKind.SESSION_RETIRED) continue;
      if (kind === NatEventKind.SESSION_RETIRED || isNewerRevision(words[at + SESSION_REVISION]!, words[best + SESSION_REVISION]!))
        told[first] = i;
    }
  }
}

function aligned(bytes: number): number {
  return Math.ceil(bytes / WORD_BYTES) * WORD_BYTES;
}

function isKnown(kind: number): boolean {
  return kind >= NatEventKind.BLOCK_GRANTED && kind <= NatEventKind.PORT_RETURNED;
}

/** Tickets are counted one by one over all sessions: their low bits tell those of a moment apart. */
function hash(words: Uint32Array, at: number): number {
  return words[at + SESSION_TICKET]!;
}
