import { type BlockEvent, type MappingEvent, type NatEvent, NatEventKind, type PortChange, type SessionEvent } from './events.ts';
import { giveBlockBack, takeBlockOut } from './free-row.ts';
import {
  BLOCK_PORTS,
  emptyPort,
  type NatAddress,
  type NatKey,
  type NatRow,
  type NatRowOf,
  type NatSession,
  type NatSource,
  type NatSourceState,
  PortState,
  referenceIndex,
  referencePort,
  SessionKind,
  SourceFlag,
} from './rows.ts';
import { reverseKey } from './session.ts';
import type { NatStore } from './state.ts';
import { secondsUp } from './timing.ts';

// The standby's side: what the owner tells is written into one's own tables, so that a takeover has nothing to do for each flow. Events carry what
// is true after them, with versions and tickets, so applying one twice, or an old one late, changes nothing.

/**
 * Applies what another member's NAT has told.
 * @param clockOffsetNs Own boot clock minus the teller's.
 */
export function applyNatEvent(store: NatStore, event: NatEvent, clockOffsetNs: bigint): void {
  switch (event.kind) {
    case NatEventKind.BLOCK_GRANTED:
      applyGrant(store, event, clockOffsetNs);
      break;
    case NatEventKind.BLOCK_RELEASED:
      applyRelease(store, event, clockOffsetNs);
      break;
    case NatEventKind.MAPPING_ADDED:
    case NatEventKind.MAPPING_RETIRED:
    case NatEventKind.PORT_RETURNED:
      applyMapping(store, event, clockOffsetNs);
      break;
    case NatEventKind.SESSION_ADDED:
    case NatEventKind.SESSION_CHANGED:
    case NatEventKind.SESSION_RETIRED:
      applySession(store, event, clockOffsetNs);
  }
}

function applyGrant(store: NatStore, event: BlockEvent, offsetNs: bigint): void {
  const { key, block } = event;
  const grantedBootNs = shift(block.grantedBootNs, offsetNs);
  const known = store.get('block', key);
  if (known === undefined || isNewer(block.version, known.version)) {
    if (known === undefined) addUsage(store, block.networkId, 'blocks', 1);
    takeBlockOut(store, key);
    const ports = Array.from({ length: BLOCK_PORTS }, emptyPort);
    store.set('block', key, { ...block, grantedBootNs, ports });
  }
  applySource(store, block, event.source, { offsetNs, index: block.addressIndex, address: key });
}

function applyRelease(store: NatStore, event: BlockEvent, offsetNs: bigint): void {
  const { key, block } = event;
  const known = store.get('block', key);
  if (known !== undefined && known.version === block.version) {
    store.delete('block', key);
    addUsage(store, block.networkId, 'blocks', -1);
    // The holds of its ports were over before it was given back.
    giveBlockBack(store, key, secondsUp(shift(event.timeBootNs, offsetNs)));
  }
  const sourceKey = { networkId: block.networkId, pool: block.pool, ca: block.ca };
  const source = store.get('source', sourceKey);
  if (source === undefined || !isNewer(event.source.version, source.version)) return;
  if (event.source.blocks === 0) store.delete('source', sourceKey);
  else applySource(store, sourceKey, event.source, { offsetNs });
}

function applyMapping(store: NatStore, event: MappingEvent, offsetNs: bigint): void {
  const { key, mapping } = event;
  const sourceKey = { networkId: key.networkId, pool: mapping.pool, ca: key.ca };
  if (event.kind === NatEventKind.MAPPING_ADDED) {
    if ((store.get('mapping', key)?.ticket ?? 0n) < mapping.ticket) store.set('mapping', key, mapping);
    store.raiseSerial(mapping.ticket);
  } else if (event.kind === NatEventKind.MAPPING_RETIRED && store.get('mapping', key)?.ticket === mapping.ticket) {
    store.delete('mapping', key);
  }
  applySource(store, sourceKey, event.source, { offsetNs });
  const source = store.get('source', sourceKey);
  if (source === undefined) return;
  applyPort(store, source, event.port, offsetNs);
  if (event.link) applyPort(store, source, event.link, offsetNs);
}

/** Only what is newer; sessions are counted here as they come and go, not as the teller saw them. */
function applyPort(store: NatStore, source: NatSource, { reference, port }: PortChange, offsetNs: bigint): void {
  const address = source.addresses[referenceIndex(reference)];
  if (address === undefined) return;
  const number = referencePort(reference);
  const key = { segment: address.segment, address: address.address, block: number >>> 6 };
  const block = store.get('block', key);
  const known = block?.ports[number & 63];
  if (block === undefined || known === undefined || !isNewer(port.version, known.state === PortState.FRESH ? block.version : known.version))
    return;
  const sessions = port.state === PortState.USED && known.state === PortState.USED ? known.sessions : 0;
  block.ports[number & 63] = { ...port, sessions, freeAtBootNs: shift(port.freeAtBootNs, offsetNs) };
  store.set('block', key, block);
}

function applySession(store: NatStore, event: SessionEvent, offsetNs: bigint): void {
  const { key, session } = event;
  const known = store.get('session', key);
  if (event.kind === NatEventKind.SESSION_RETIRED) {
    if (known?.ticket === session.ticket) removeSession(store, key, known);
    return;
  }
  // Tickets grow, over takeovers too, since whoever hears of one goes on above it.
  if (known !== undefined && known.ticket > session.ticket) return;
  if (known !== undefined && known.ticket < session.ticket) removeSession(store, key, known);
  if (known?.ticket === session.ticket && !isNewer(session.revision, known.revision)) return;
  const { expiresBootNs, toldBootNs } = session;
  const next = { ...session, expiresBootNs: shift(expiresBootNs, offsetNs), toldBootNs: shift(toldBootNs, offsetNs) };
  store.set('session', key, next);
  if (known?.ticket !== session.ticket) beginSession(store, key, next);
}

/** A session's end moves with each packet, and is told now and then only: a row may know a later one of the same revision. */
function prolongSession(store: NatStore, { key, value }: NatRowOf<'session'>, offsetNs: bigint): void {
  const known = store.get('session', key);
  const expiresBootNs = shift(value.expiresBootNs, offsetNs);
  if (known?.ticket !== value.ticket || known.revision !== value.revision || known.expiresBootNs >= expiresBootNs) return;
  store.set('session', key, { ...known, expiresBootNs });
}

/** What stands beside a new session: its count, its way back, its place in the sweep's queue. */
function beginSession(store: NatStore, key: NatKey<'session'>, session: NatSession): void {
  store.raiseSerial(session.ticket);
  addUsage(store, session.networkId, 'sessions', 1);
  if (session.kind === SessionKind.FORWARD) store.set('reverse', reverseKey(key, session), pickExternal(key));
  else countSession(store, key, 1);
  store.enqueue({ kind: 'session', key, ticket: session.ticket });
}

export function removeSession(store: NatStore, key: NatKey<'session'>, session: NatSession): void {
  store.delete('session', key);
  addUsage(store, session.networkId, 'sessions', -1);
  if (session.kind === SessionKind.FORWARD) store.delete('reverse', reverseKey(key, session));
  else countSession(store, key, -1);
}

function countSession(store: NatStore, key: NatKey<'session'>, by: number): void {
  const blockKey = { segment: key.segment, address: key.address, block: key.externalPort >>> 6 };
  const block = store.get('block', blockKey);
  const port = block?.ports[key.externalPort & 63];
  if (block === undefined || port === undefined || port.state !== PortState.USED) return;
  port.sessions = Math.max(0, port.sessions + by);
  store.set('block', blockKey, block);
}

function applySource(
  store: NatStore,
  of: NatKey<'source'>,
  state: NatSourceState,
  more: { readonly offsetNs: bigint; readonly index?: number; readonly address?: NatAddress },
): void {
  const key = { networkId: of.networkId, pool: of.pool, ca: of.ca };
  const known = store.get('source', key);
  if (known === undefined && more.address === undefined) return;
  const isNews = known === undefined || isNewer(state.version, known.version);
  const next = isNews ? { ...state, idleBootNs: shift(state.idleBootNs, more.offsetNs) } : known;
  const addresses = [...(known?.addresses ?? [])];
  const { index, address } = more;
  // Late news of this holder may still name an address that is missing; of an earlier holder of the same key it must not.
  if (index !== undefined && address !== undefined && index < next.addressCount && (isNews || addresses[index] === undefined)) {
    addresses[index] = { segment: address.segment, address: address.address };
  }
  // Whether it stands in the queue is each member's own affair.
  const queued = known !== undefined && known.flags & SourceFlag.QUEUED;
  const isIdle = next.mappings === 0 && next.idleBootNs !== 0n;
  const flags = (next.flags & ~SourceFlag.QUEUED) | (queued || isIdle ? SourceFlag.QUEUED : 0);
  store.set('source', key, { ...next, flags, addresses });
  if (isIdle && !queued) store.enqueue({ kind: 'source', key });
}

export function addUsage(store: NatStore, networkId: number, field: 'blocks' | 'sessions', by: number): void {
  const usage = store.get('usage', { networkId }) ?? { blocks: 0, sessions: 0, deniedBlocks: 0n, deniedSessions: 0n, exhausted: 0n };
  store.set('usage', { networkId }, { ...usage, [field]: Math.max(0, usage[field] + by) });
}

function pickExternal(key: NatKey<'session'>): { segment: number; address: Uint8Array; externalPort: number } {
  return { segment: key.segment, address: key.address, externalPort: key.externalPort };
}

/** Counters modulo 2^32. */
function isNewer(version: number, known: number): boolean {
  return ((version - known) | 0) > 0;
}

/** A time of the teller's boot clock in one's own; 0 is none. */
function shift(ns: bigint, offsetNs: bigint): bigint {
  if (ns === 0n) return 0n;
  return ns + offsetNs > 0n ? ns + offsetNs : 1n;
}

/**
 * Tables that a snapshot holds, in its order: ports are counted and found by their block and holder, so these come first. The other tables are the agent's
 * own, or follow from these.
 */
export const SNAPSHOT_TABLES = ['source', 'block', 'mapping', 'session'] as const;

/** A row of a snapshot. */
export type NatSnapshotRow = Extract<NatRow, { table: (typeof SNAPSHOT_TABLES)[number] }>;

/** All that a standby needs, row by row. */
export function* snapshotNat(store: NatStore): Generator<NatSnapshotRow> {
  for (const table of SNAPSHOT_TABLES) yield* store.rows(table) as Iterable<NatSnapshotRow>;
}

/**
 * Puts a row of a snapshot. Changes may be applied before it, between two rows, and after it: what is newer stays.
 * @param counted Of a block: sessions of each port that are counted already; none is given otherwise.
 */
export function restoreNatRow(store: NatStore, row: NatSnapshotRow, offsetNs: bigint, counted: readonly number[] = []): void {
  switch (row.table) {
    case 'block': {
      const { value } = row;
      const known = store.get('block', row.key);
      // A block's ports count their sessions as they are put here, each once.
      const ports = value.ports.map((port, i) => ({
        ...port,
        sessions: counted[i] ?? 0,
        freeAtBootNs: shift(port.freeAtBootNs, offsetNs),
      }));
      store.set('block', row.key, { ...value, grantedBootNs: shift(value.grantedBootNs, offsetNs), ports });
      if (known === undefined) addUsage(store, value.networkId, 'blocks', 1);
      takeBlockOut(store, row.key);
      return;
    }
    case 'source': {
      const idleBootNs = shift(row.value.idleBootNs, offsetNs);
      const isIdle = row.value.mappings === 0;
      const queued = ((store.get('source', row.key)?.flags ?? 0) & SourceFlag.QUEUED) !== 0;
      const flags = (row.value.flags & ~SourceFlag.QUEUED) | (isIdle || queued ? SourceFlag.QUEUED : 0);
      store.set('source', row.key, { ...row.value, flags, idleBootNs });
      if (isIdle && !queued) store.enqueue({ kind: 'source', key: row.key });
      return;
    }
    case 'mapping':
      if ((store.get('mapping', row.key)?.ticket ?? 0n) < row.value.ticket) store.set('mapping', row.key, row.value);
      store.raiseSerial(row.value.ticket);
      return;
    case 'session':
      applySession(store, { kind: NatEventKind.SESSION_ADDED, timeBootNs: 0n, key: row.key, session: row.value }, offsetNs);
      prolongSession(store, row, offsetNs);
  }
}
