import { addUsage, applyNatEvent, type NatSnapshotRow, removeSession, restoreNatRow } from './apply.ts';
import { type NatEvent, NatEventKind } from './events.ts';
import { giveBlockBack } from './free-row.ts';
import {
  BLOCK_PORTS,
  NAT_KEY_TEXT,
  type NatBlock,
  type NatKey,
  type NatMapping,
  type NatPort,
  type NatRowOf,
  type NatSession,
  PortState,
  SessionKind,
} from './rows.ts';
import type { NatStore } from './state.ts';
import { HOLD_NS, secondsUp } from './timing.ts';

/** Networks that a snapshot is about. */
export interface NatNetworks {
  has(networkId: number): boolean;
}

/**
 * A snapshot on its way in: puts an owner's state in the place of what is known of its networks, without a moment in which flows that both know are missing. An owner that dies in
 * the middle leaves what was known before, less what its holders and blocks had contradicted, and more by what it had told.
 *
 *   row … row        holders and blocks: kept aside, as they come first
 *   settle           mappings and sessions whose port is another's by now go, then the blocks and holders that are gone; the new ones take their places
 *   row, change …    mappings, sessions, and changes among them: each is noted
 *   end              mappings and sessions that nobody has named go
 *
 * A port has one holder at every moment, since what held it before has gone when a block with another's word on it is written.
 */
export class NatSnapshotIntake {
  readonly #store: NatStore;
  readonly #networks: NatNetworks;
  readonly #sources = new Map<string, NatRowOf<'source'>>();
  readonly #blocks = new Map<string, NatRowOf<'block'>>();
  /** Keys of mappings and sessions that were named since the beginning. */
  readonly #named: { readonly mapping: Set<string>; readonly session: Set<string> } = { mapping: new Set(), session: new Set() };
  #isSettled = false;

  constructor(store: NatStore, networks: NatNetworks) {
    this.#store = store;
    this.#networks = networks;
  }

  /** False: `settle` is to be run before mappings, sessions, changes and the end. */
  get isSettled(): boolean {
    return this.#isSettled;
  }

  /** @throws {Error} If a mapping or session comes before `settle`. */
  row(row: NatSnapshotRow, offsetNs: bigint): void {
    switch (row.table) {
      case 'source':
        this.#sources.set(NAT_KEY_TEXT.source(row.key), row);
        return;
      case 'block':
        this.#blocks.set(NAT_KEY_TEXT.block(row.key), row);
        return;
      default:
        this.#demandSettled(row.table);
        if (row.table === 'mapping') this.#nameMapping(row.key, row.value);
        else this.#nameSession(row.key, row.value, offsetNs);
        restoreNatRow(this.#store, row, offsetNs);
    }
  }

  /** Applies what happened meanwhile. @throws {Error} If it comes before `settle`. */
  change(event: NatEvent, offsetNs: bigint): void {
    this.#demandSettled('change');
    if (event.kind === NatEventKind.MAPPING_ADDED) this.#nameMapping(event.key, event.mapping);
    else if (event.kind === NatEventKind.SESSION_ADDED || event.kind === NatEventKind.SESSION_CHANGED)
      this.#nameSession(event.key, event.session, offsetNs);
    applyNatEvent(this.#store, event, offsetNs);
  }

  /**
   * All holders and blocks are there. Gives control back after each row that it looks at; what it has changed until then holds together.
   * @param nowBootNs Blocks of the own slice that are gone may be granted again after the hold from then on.
   */
  *settle(offsetNs: bigint, nowBootNs: bigint): Generator<void> {
    if (this.#isSettled) return;
    const staying = new Map<string, readonly boolean[]>();
    for (const { key, value } of this.#store.rows('block')) {
      const name = NAT_KEY_TEXT.block(key);
      if (this.#networks.has(value.networkId)) staying.set(name, portsThatStay(value, this.#blocks.get(name)?.value));
      yield;
    }
    const stays = (key: NatKey<'block'>, port: number): boolean => staying.get(NAT_KEY_TEXT.block(key))?.[port % BLOCK_PORTS] === true;
    for (const { key, value } of this.#store.rows('session')) {
      const isTheirs = this.#networks.has(value.networkId) && value.kind === SessionKind.MAPPING;
      if (isTheirs && !stays(blockOf(key, key.externalPort), key.externalPort)) removeSession(this.#store, key, value);
      yield;
    }
    for (const { key, value } of this.#store.rows('mapping')) {
      if (this.#networks.has(key.networkId) && !stays(blockOf(value, value.externalPort), value.externalPort))
        this.#store.delete('mapping', key);
      yield;
    }
    for (const { key, value } of this.#store.rows('block')) {
      if (this.#networks.has(value.networkId)) this.#clear(key, value, nowBootNs);
      yield;
    }
    for (const { key } of this.#store.rows('source')) {
      if (this.#networks.has(key.networkId) && !this.#sources.has(NAT_KEY_TEXT.source(key))) this.#store.delete('source', key);
      yield;
    }
    for (const row of this.#sources.values()) {
      restoreNatRow(this.#store, row, offsetNs);
      yield;
    }
    for (const [name, row] of this.#blocks) {
      const known = staying.has(name) ? this.#store.get('block', row.key) : undefined;
      const kept = row.value.ports.map((_, i) => (staying.get(name)?.[i] === true ? (known?.ports[i]?.sessions ?? 0) : 0));
      restoreNatRow(this.#store, row, offsetNs, kept);
      yield;
    }
    this.#sources.clear();
    this.#blocks.clear();
    this.#isSettled = true;
  }

  /** The snapshot is complete. Gives control back after each row that it looks at. @throws {Error} If it comes before `settle`. */
  *end(): Generator<void> {
    this.#demandSettled('end');
    for (const { key, value } of this.#store.rows('session')) {
      if (this.#networks.has(value.networkId) && !this.#named.session.has(NAT_KEY_TEXT.session(key)))
        removeSession(this.#store, key, value);
      yield;
    }
    for (const { key } of this.#store.rows('mapping')) {
      if (this.#networks.has(key.networkId) && !this.#named.mapping.has(NAT_KEY_TEXT.mapping(key))) this.#store.delete('mapping', key);
      yield;
    }
  }

  /** A block that is gone, or is another holder's. */
  #clear(key: NatKey<'block'>, known: NatBlock, nowBootNs: bigint): void {
    const told = this.#blocks.get(NAT_KEY_TEXT.block(key))?.value;
    if (told !== undefined && isSameGrant(known, told)) return;
    this.#store.delete('block', key);
    addUsage(this.#store, known.networkId, 'blocks', -1);
    if (told === undefined) giveBlockBack(this.#store, key, secondsUp(nowBootNs + HOLD_NS));
  }

  // Two members may have gone on from one state for a while: then tickets, revisions and versions here say nothing against the owner's. What it names for the first time
  // is as it says.

  #nameMapping(key: NatKey<'mapping'>, told: Pick<NatMapping, 'ticket'>): void {
    if (!isNew(this.#named.mapping, NAT_KEY_TEXT.mapping(key))) return;
    const known = this.#store.get('mapping', key);
    if (known !== undefined && known.ticket >= told.ticket) this.#store.delete('mapping', key);
  }

  #nameSession(key: NatKey<'session'>, told: NatSession, offsetNs: bigint): void {
    if (!isNew(this.#named.session, NAT_KEY_TEXT.session(key))) return;
    const known = this.#store.get('session', key);
    if (known !== undefined && known.ticket >= told.ticket && !isSameSession(known, told, offsetNs)) removeSession(this.#store, key, known);
  }

  #demandSettled(what: string): void {
    if (!this.#isSettled) throw new Error(`a ${what} before the holders and blocks of its snapshot were settled`);
  }
}

/** Which ports of a known block are still used by whoever uses them here. */
function portsThatStay(known: NatBlock, told: NatBlock | undefined): readonly boolean[] {
  if (told === undefined || !isSameGrant(known, told)) return [];
  return known.ports.map((port, i) => isSameUse(port, told.ports[i]));
}

function isSameGrant(a: NatBlock, b: NatBlock): boolean {
  return a.networkId === b.networkId && a.pool === b.pool && a.version === b.version && Buffer.compare(a.ca, b.ca) === 0;
}

/** Not by the version: it counts the holder's changes, of which two members may each have made one. */
function isSameUse(a: NatPort, b: NatPort | undefined): boolean {
  return a.state === PortState.USED && b?.state === PortState.USED && a.insidePort === b.insidePort && a.protocol === b.protocol;
}

/** Times are shifted by an estimate of how far two clocks are apart, which gets better. */
const CLOCK_SLACK_NS = 1_000_000_000n;

function isSameSession(known: NatSession, told: NatSession, offsetNs: bigint): boolean {
  const apartNs = known.toldBootNs - (told.toldBootNs + offsetNs);
  return (
    known.ticket === told.ticket &&
    known.revision === told.revision &&
    known.flags === told.flags &&
    apartNs < CLOCK_SLACK_NS &&
    apartNs > -CLOCK_SLACK_NS
  );
}

function isNew(names: Set<string>, name: string): boolean {
  if (names.has(name)) return false;
  names.add(name);
  return true;
}

function blockOf({ segment, address }: { readonly segment: number; readonly address: Uint8Array }, externalPort: number): NatKey<'block'> {
  return { segment, address, block: Math.floor(externalPort / BLOCK_PORTS) };
}

/**
 * Puts a snapshot in the place of what is known of these networks: what the snapshot does not have goes.
 * @param networks Those that the snapshot is about: of the shards that its teller owns.
 */
export function restoreNat(
  store: NatStore,
  snapshot: Iterable<NatSnapshotRow>,
  networks: NatNetworks,
  { nowBootNs, clockOffsetNs }: { readonly nowBootNs: bigint; readonly clockOffsetNs: bigint },
): void {
  const intake = new NatSnapshotIntake(store, networks);
  const settle = (): void => {
    for (const _ of intake.settle(clockOffsetNs, nowBootNs));
  };
  for (const row of snapshot) {
    if (row.table === 'mapping' || row.table === 'session') settle();
    intake.row(row, clockOffsetNs);
  }
  settle();
  for (const _ of intake.end());
}
