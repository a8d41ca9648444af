import { type BackwardWriter, BLOCK_PORTS, isNewerRevision, type NatChange, type NatEvent, NatEventKind } from '@weft/forwarding';
import { decodeNatEventAt } from './events.ts';
import {
  NAT_BLOCK_HEAD,
  NAT_BLOCK_KEY,
  NAT_EVENT_BLOCK,
  NAT_EVENT_MAPPING,
  NAT_EVENT_SESSION,
  NAT_MAP_LAYOUT,
  NAT_MAPPING,
  NAT_MAPPING_KEY,
  NAT_PORT,
  NAT_SESSION,
  NAT_SESSION_KEY,
  NAT_SOURCE_STATE,
} from './layout.ts';

// Changes as the kernel's own records, from which the message to a standby is written at once: no event is made in between. The same bytes as those of an event that is made, which a test compares.

const WORD_BYTES = 4;
const ADDRESS_BYTES = 16;
const KIND = NAT_EVENT_BLOCK.kind / WORD_BYTES;
const TIME = NAT_EVENT_BLOCK.timeBootNs / WORD_BYTES;
const SESSION_KEY = NAT_EVENT_SESSION.key / WORD_BYTES;
const SESSION_KEY_WORDS = NAT_MAP_LAYOUT.session.keyBytes / WORD_BYTES;
const TICKET = (NAT_EVENT_SESSION.session + NAT_SESSION.ticket) / WORD_BYTES;
const REVISION = (NAT_EVENT_SESSION.session + NAT_SESSION.revision) / WORD_BYTES;
const HALF = 0x1_0000_0000;

/** Records of a batch that are kept. */
export interface KeptRecords {
  readonly words: Uint32Array;
  readonly bytes: Uint8Array;
}

export function keepRecords(bytes: number): KeptRecords {
  const words = new Uint32Array(Math.ceil(bytes / WORD_BYTES));
  return { words, bytes: new Uint8Array(words.buffer) };
}

export function isOfBlock(kind: number): boolean {
  return kind === NatEventKind.BLOCK_GRANTED || kind === NatEventKind.BLOCK_RELEASED;
}

export function isOfSession(kind: number): boolean {
  return kind >= NatEventKind.SESSION_ADDED && kind <= NatEventKind.SESSION_RETIRED;
}

/** Whether two records, at words `a` and `b`, tell of one session: of its key, and of that the same one in time. */
export function isSameSession(words: Uint32Array, a: number, others: Uint32Array, b: number): boolean {
  if (words[a + TICKET] !== others[b + TICKET] || words[a + TICKET + 1] !== others[b + TICKET + 1]) return false;
  for (let i = SESSION_KEY; i < SESSION_KEY + SESSION_KEY_WORDS; i++) if (words[a + i] !== others[b + i]) return false;
  return true;
}

export class KernelChange implements NatChange {
  readonly networkId: number;
  readonly #kept: KeptRecords;
  /** Where its record begins, in words. */
  readonly #at: number;

  constructor(networkId: number, kept: KeptRecords, at: number) {
    this.networkId = networkId;
    this.#kept = kept;
    this.#at = at;
  }

  get timeMs(): number {
    return this.#number(TIME) / 1e6;
  }

  get ticket(): number | undefined {
    return isOfSession(this.#word(KIND)) ? this.#number(TICKET) : undefined;
  }

  event(): NatEvent {
    const { buffer } = this.#kept.words;
    const event = decodeNatEventAt(new DataView(buffer), this.#at * WORD_BYTES);
    if (event === undefined) throw new RangeError(`Cannot read a change: its kind, ${this.#word(KIND)}, is not known`);
    return event;
  }

  mergedWith(next: NatChange): NatChange | undefined {
    if (!(next instanceof KernelChange)) throw new TypeError('Changes of two readers cannot be one');
    const [words, others] = [this.#kept.words, next.#kept.words];
    const [kind, other] = [this.#word(KIND), next.#word(KIND)];
    if (!isOfSession(kind) || !isOfSession(other) || !isSameSession(words, this.#at, others, next.#at)) return undefined;
    if (kind === NatEventKind.SESSION_RETIRED) return this;
    if (other !== NatEventKind.SESSION_RETIRED) {
      if (!isNewerRevision(next.#word(REVISION), this.#word(REVISION))) return this;
      others[next.#at + KIND] = kind;
    }
    others[next.#at + TIME] = words[this.#at + TIME]!;
    others[next.#at + TIME + 1] = words[this.#at + TIME + 1]!;
    return next;
  }

  write(writer: BackwardWriter): void {
    const at = this.#at * WORD_BYTES;
    const kind = this.#word(KIND);
    const end = writer.length;
    const { bytes } = this.#kept;
    if (isOfSession(kind)) {
      session(writer, this.#kept, at + NAT_EVENT_SESSION.session);
      sessionKey(writer, this.#kept, at + NAT_EVENT_SESSION.key);
      writer.group(5, end);
    } else if (isOfBlock(kind)) {
      source(writer, this.#kept, at + NAT_EVENT_BLOCK.source);
      blockHead(writer, this.#kept, at + NAT_EVENT_BLOCK.block);
      blockKey(writer, this.#kept, at + NAT_EVENT_BLOCK.key);
      writer.group(3, end);
    } else {
      const linkReference = u32(this.#kept, at + NAT_EVENT_MAPPING.linkReference);
      if (linkReference !== 0) portChange(writer, 5, this.#kept, linkReference, at + NAT_EVENT_MAPPING.link);
      portChange(writer, 4, this.#kept, u32(this.#kept, at + NAT_EVENT_MAPPING.reference), at + NAT_EVENT_MAPPING.port);
      source(writer, this.#kept, at + NAT_EVENT_MAPPING.source);
      mapping(writer, this.#kept, at + NAT_EVENT_MAPPING.mapping);
      mappingKey(writer, this.#kept, at + NAT_EVENT_MAPPING.key);
      writer.group(4, end);
    }
    u64Field(writer, 2, this.#kept, at + NAT_EVENT_BLOCK.timeBootNs);
    writer.uint(1, bytes[at + NAT_EVENT_BLOCK.kind]!);
  }

  #word(word: number): number {
    return this.#kept.words[this.#at + word]!;
  }

  #number(word: number): number {
    return this.#word(word) + this.#word(word + 1) * HALF;
  }
}

const u32 = ({ words }: KeptRecords, at: number): number => words[at / WORD_BYTES]!;
const port = ({ bytes }: KeptRecords, at: number): number => (bytes[at]! << 8) | bytes[at + 1]!;

function u64Field(writer: BackwardWriter, field: number, { words }: KeptRecords, at: number): void {
  writer.fixed64Halves(field, words[at / WORD_BYTES]!, words[at / WORD_BYTES + 1]!);
}

function sessionKey(writer: BackwardWriter, kept: KeptRecords, at: number): void {
  const end = writer.length;
  const K = NAT_SESSION_KEY;
  writer.uint(6, kept.bytes[at + K.protocol]!);
  writer.uint(5, port(kept, at + K.remotePort));
  writer.uint(4, port(kept, at + K.externalPort));
  writer.bytesOf(3, kept.bytes, at + K.remote, ADDRESS_BYTES);
  writer.bytesOf(2, kept.bytes, at + K.address, ADDRESS_BYTES);
  writer.uint(1, u32(kept, at + K.segment));
  writer.group(1, end);
}

function session(writer: BackwardWriter, kept: KeptRecords, at: number): void {
  const end = writer.length;
  const S = NAT_SESSION;
  u64Field(writer, 9, kept, at + S.ticket);
  u64Field(writer, 8, kept, at + S.toldBootNs);
  u64Field(writer, 7, kept, at + S.expiresBootNs);
  writer.fixed32(6, u32(kept, at + S.revision));
  writer.uint(5, u32(kept, at + S.flags));
  writer.uint(4, kept.bytes[at + S.kind]!);
  writer.uint(3, port(kept, at + S.insidePort));
  writer.bytesOf(2, kept.bytes, at + S.ca, ADDRESS_BYTES);
  writer.uint(1, u32(kept, at + S.networkId));
  writer.group(2, end);
}

function mappingKey(writer: BackwardWriter, kept: KeptRecords, at: number): void {
  const end = writer.length;
  const K = NAT_MAPPING_KEY;
  writer.uint(4, kept.bytes[at + K.protocol]!);
  writer.uint(3, port(kept, at + K.port));
  writer.bytesOf(2, kept.bytes, at + K.ca, ADDRESS_BYTES);
  writer.uint(1, u32(kept, at + K.networkId));
  writer.group(1, end);
}

function mapping(writer: BackwardWriter, kept: KeptRecords, at: number): void {
  const end = writer.length;
  const M = NAT_MAPPING;
  u64Field(writer, 5, kept, at + M.ticket);
  writer.uint(4, port(kept, at + M.externalPort));
  writer.bytesOf(3, kept.bytes, at + M.address, ADDRESS_BYTES);
  writer.uint(2, u32(kept, at + M.segment));
  writer.uint(1, u32(kept, at + M.pool));
  writer.group(2, end);
}

function source(writer: BackwardWriter, kept: KeptRecords, at: number): void {
  const end = writer.length;
  const S = NAT_SOURCE_STATE;
  u64Field(writer, 12, kept, at + S.idleBootNs);
  writer.uint(11, u32(kept, at + S.addressCount));
  writer.uint(10, u32(kept, at + S.flags));
  writer.uint(9, u32(kept, at + S.mappings));
  writer.uint(8, u32(kept, at + S.blocks));
  writer.uint(7, u32(kept, at + S.newest));
  writer.uint(6, u32(kept, at + S.freshLeft));
  writer.uint(5, u32(kept, at + S.fresh));
  writer.uint(4, u32(kept, at + S.freeCount));
  writer.uint(3, u32(kept, at + S.freeTail));
  writer.uint(2, u32(kept, at + S.freeHead));
  writer.fixed32(1, u32(kept, at + S.version));
  writer.group(3, end);
}

function portChange(writer: BackwardWriter, field: number, kept: KeptRecords, reference: number, at: number): void {
  const end = writer.length;
  const P = NAT_PORT;
  u64Field(writer, 7, kept, at + P.freeAtBootNs);
  writer.fixed32(6, u32(kept, at + P.version));
  writer.uint(5, u32(kept, at + P.next));
  writer.uint(4, port(kept, at + P.insidePort));
  writer.uint(3, kept.bytes[at + P.protocol]!);
  writer.uint(2, kept.bytes[at + P.state]!);
  writer.uint(1, reference & (BLOCK_PORTS - 1));
  writer.group(2, end);
  writer.fixed32(1, reference);
  writer.group(field, end);
}

function blockKey(writer: BackwardWriter, kept: KeptRecords, at: number): void {
  const end = writer.length;
  const K = NAT_BLOCK_KEY;
  writer.uint(3, kept.bytes[at + K.block]! | (kept.bytes[at + K.block + 1]! << 8));
  writer.bytesOf(2, kept.bytes, at + K.address, ADDRESS_BYTES);
  writer.uint(1, u32(kept, at + K.segment));
  writer.group(1, end);
}

function blockHead(writer: BackwardWriter, kept: KeptRecords, at: number): void {
  const end = writer.length;
  const H = NAT_BLOCK_HEAD;
  writer.fixed32(8, u32(kept, at + H.version));
  writer.uint(7, u32(kept, at + H.addressIndex));
  writer.uint(6, u32(kept, at + H.next));
  u64Field(writer, 5, kept, at + H.grantedBootNs);
  u64Field(writer, 4, kept, at + H.epoch);
  writer.bytesOf(3, kept.bytes, at + H.ca, ADDRESS_BYTES);
  writer.uint(2, u32(kept, at + H.pool));
  writer.uint(1, u32(kept, at + H.networkId));
  writer.group(2, end);
}
