import type { RingBatch } from '@weft/bpf';
import { isNewerRevision, type NatEvent, type NatEventBatch, NatEventKind } from '@weft/forwarding';
import { decodeNatEventAt } from './events.ts';
import {
  NAT_BLOCK_HEAD,
  NAT_EVENT_BLOCK,
  NAT_EVENT_MAPPING,
  NAT_EVENT_SESSION,
  NAT_MAP_LAYOUT,
  NAT_MAPPING_KEY,
  NAT_SESSION,
} from './layout.ts';

// Tens of thousands of records a second, of which most are looked at and not more: so they are read as words, in place.

const WORD_BYTES = 4;
const word = (byte: number): number => byte / WORD_BYTES;
const KIND = word(NAT_EVENT_BLOCK.kind);
const BLOCK_NETWORK = word(NAT_EVENT_BLOCK.block + NAT_BLOCK_HEAD.networkId);
const MAPPING_NETWORK = word(NAT_EVENT_MAPPING.key + NAT_MAPPING_KEY.networkId);
const SESSION_NETWORK = word(NAT_EVENT_SESSION.session + NAT_SESSION.networkId);
const SESSION_KEY = word(NAT_EVENT_SESSION.key);
const SESSION_KEY_WORDS = word(NAT_MAP_LAYOUT.session.keyBytes);
const SESSION_TICKET = word(NAT_EVENT_SESSION.session + NAT_SESSION.ticket);
const SESSION_REVISION = word(NAT_EVENT_SESSION.session + NAT_SESSION.revision);
/** A chain's entry that another event speaks for. */
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

  forEachChange(isWanted: (networkId: number) => boolean, take: (event: NatEvent) => void): void {
    this.#merge();
    const [told, count] = [this.#told, this.#count];
    for (let i = 0; i < count; i++) {
      const last = told[i]!;
      if (last === MERGED || !isKnown(this.kindAt(i)) || !isWanted(this.networkAt(i))) continue;
      const event = this.eventAt(last);
      if (last === i) take(event);
      else take({ ...event, kind: this.#mergedKind(i, event.kind), timeBootNs: this.#timeAt(i) } as NatEvent);
    }
  }

  #mergedKind(first: number, last: number): number {
    return last === NatEventKind.SESSION_RETIRED ? last : this.kindAt(first);
  }

  #timeAt(index: number): bigint {
    return this.#view.getBigUint64(this.#places[2 * index]! + NAT_EVENT_BLOCK.timeBootNs, true);
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
      while (table[slot] !== 0 && !isSameSession(words, at, places[2 * (table[slot]! - 1)]! / WORD_BYTES)) slot = (slot + 1) & mask;
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

function isKnown(kind: number): boolean {
  return kind >= NatEventKind.BLOCK_GRANTED && kind <= NatEventKind.PORT_RETURNED;
}

function isOfBlock(kind: number): boolean {
  return kind === NatEventKind.BLOCK_GRANTED || kind === NatEventKind.BLOCK_RELEASED;
}

function isOfSession(kind: number): boolean {
  return kind >= NatEventKind.SESSION_ADDED && kind <= NatEventKind.SESSION_RETIRED;
}

/** Tickets are counted one by one over all sessions: their low bits tell those of a moment apart. */
function hash(words: Uint32Array, at: number): number {
  return words[at + SESSION_TICKET]!;
}

function isSameSession(words: Uint32Array, a: number, b: number): boolean {
  if (words[a + SESSION_TICKET] !== words[b + SESSION_TICKET] || words[a + SESSION_TICKET + 1] !== words[b + SESSION_TICKET + 1])
    return false;
  for (let i = SESSION_KEY; i < SESSION_KEY + SESSION_KEY_WORDS; i++) if (words[a + i] !== words[b + i]) return false;
  return true;
}
