import type { TableChange, TableEntry } from '@weft/forwarding';
import type { Assignment, BucketName, Port, PortBinding, VirtualNetwork } from '@weft/model';
import type { CompileInputs } from './compile.ts';
import { RecordSetHash, type Sha256 } from './digest.ts';
import { movedBy, nextExpiryMs } from './move.ts';
import type { ApplyStatus, NetworkRecord, NetworkSnapshot, RecordPosition } from './record.ts';
import { RowStore } from './row-store.ts';
import {
  gatewaySpeakers,
  type HostContext,
  type LocalDevice,
  type MoveWindow,
  memberRows,
  NO_MOVE,
  networkRows,
  type PortFacts,
  portRows,
  portSpeakers,
  speakerRow,
  usableSubnets,
} from './rows.ts';

// One network as one host sees it: a fold over its committed records.
//
//   events, snapshots ──► slots (what stands in the store, by key) ──► facts (document, ports, bindings, moves) ──► rows
//
// Properties that hold:
//   - A record is applied once, and never over a higher revision of its key; so events may be lost, doubled and out of order.
//   - After a snapshot at S nothing with a revision <= S is believed that the snapshot lacks.
//   - A store created at another time than the one known is not believed at all.
//   - Rows depend on the facts and the time only, not on the order in which records came: `compile` from zero gives the same.

const DOCUMENT = '';

export interface NetworkViewInit extends HostContext {
  readonly routingDomainId: string;
  readonly sha256: Sha256;
  /** How long a moved port's former host stays its second home, in ms from when this host learned of the move. Default 60,000. */
  readonly moveWindowMs?: number;
}

export interface ApplyResult {
  readonly status: ApplyStatus;
  readonly changes: readonly TableChange[];
}

export type SnapshotStatus =
  | 'applied'
  | 'store-changed'
  | /** It lacks a revision that is known: the store lost its newest records. */ 'store-behind';

export interface SnapshotResult {
  readonly status: SnapshotStatus;
  readonly changes: readonly TableChange[];
  /** Records that were new, or newer. */
  readonly applied: number;
  /** Records that the snapshot lacked. */
  readonly swept: number;
  /** Bindings refused for their generation. */
  readonly generationRefused: number;
  /** Keys of records that were only heard of, and that the store never had as they were announced. Forgotten. */
  readonly disproved: readonly string[];
}

/** The digest of a view: what `NetworkDigest` carries. */
export interface ViewDigest {
  readonly hash: Uint8Array;
  readonly recordCount: number;
  readonly configRevision: number;
  readonly mappingRevision: number;
  readonly bucketCreatedUnixMs: number;
}

interface Slot extends RecordPosition {
  /** False for a tombstone. */
  readonly live: boolean;
  /** Not in force: its verification, or its generation. The same revision may be tried again. */
  readonly refused: boolean;
  /** What it feeds; undefined while only a refused record is known. */
  readonly feeds: { readonly kind: 'network' | 'port' | 'binding'; readonly portId: string } | undefined;
  /** The how manyth hint it came by, while the store has not confirmed it; 0: read from the store, or written by this host. */
  readonly heardAs: number;
}

interface PortState {
  port: Port | undefined;
  rank: number;
  binding: PortBinding | undefined;
  device: LocalDevice | undefined;
  move: MoveWindow;
  speakers: readonly string[];
}

interface BucketState {
  createdUnixMs: number;
  maxRevision: number;
  /** As `maxRevision`, of records that were read or written, not only heard of. */
  seenRevision: number;
  /** Sequence of the last snapshots, by what they covered: keys not known then are gone. */
  floor: number;
}

export class NetworkView {
  readonly routingDomainId: string;
  readonly #host: HostContext;
  readonly #moveWindowMs: number;
  readonly #hash: RecordSetHash;
  readonly #slots = new Map<string, Slot>();
  readonly #buckets = new Map<BucketName, BucketState>();
  readonly #ports = new Map<string, PortState>();
  readonly #speakerUsers = new Map<string, Set<string>>();
  #assignment: Assignment | undefined;
  #members: ReadonlySet<string> = new Set();
  readonly #deadlines = new Map<string, number>();
  readonly #rows = new RowStore();
  /** Ports whose generation starts anew, since the store was replaced. */
  readonly #anyGeneration = new Set<string>();
  #hintCount = 0;
  #network: VirtualNetwork | undefined;
  #networkIdInRows = 0;
  #vsids: ReadonlySet<number> = new Set();
  #claimed: ReadonlySet<number> = new Set();

  constructor(init: NetworkViewInit) {
    this.routingDomainId = init.routingDomainId;
    this.#host = { hostId: init.hostId, pa: init.pa, mtuBytes: init.mtuBytes };
    this.#moveWindowMs = init.moveWindowMs ?? 60_000;
    this.#hash = new RecordSetHash(init.sha256);
  }

  get network(): VirtualNetwork | undefined {
    return this.#network;
  }

  port(portId: string): Port | undefined {
    return this.#ports.get(portId)?.port;
  }

  binding(portId: string): PortBinding | undefined {
    return this.#ports.get(portId)?.binding;
  }

  /** Bindings in force, released ones included. */
  *bindings(): IterableIterator<PortBinding> {
    for (const { binding } of this.#ports.values()) if (binding !== undefined) yield binding;
  }

  move(portId: string): MoveWindow {
    return this.#ports.get(portId)?.move ?? NO_MOVE;
  }

  /** Move windows that are not over, by port id. O(their number). */
  openMoves(nowMs: number): Record<string, MoveWindow> {
    const open: Record<string, MoveWindow> = {};
    for (const [portId, deadlineMs] of this.#deadlines) if (deadlineMs > nowMs) open[portId] = this.move(portId);
    return open;
  }

  /** Position of what stands under a key, tombstones included. */
  position(bucket: BucketName, key: string): RecordPosition | undefined {
    return this.#slots.get(slotKey(bucket, key));
  }

  /** Highest revision seen in a bucket, and when the bucket was made. */
  bucketPosition(bucket: BucketName): { readonly createdUnixMs: number; readonly maxRevision: number } | undefined {
    return this.#buckets.get(bucket);
  }

  /** To be called before a snapshot is read: what it will be judged by. */
  askSnapshot(bucket: BucketName): Pick<NetworkSnapshot, 'askedAtRevision' | 'askedAtHint'> {
    return { askedAtRevision: this.#buckets.get(bucket)?.seenRevision ?? 0, askedAtHint: this.#hintCount };
  }

  /**
   * Applies one record. `nowMs`: boot clock. Idempotent.
   * @param heard It came by an event: its revision is signed by nobody, and no proof that the store ever had it.
   */
  apply(record: NetworkRecord, nowMs: number, heard = false): ApplyResult {
    const status = this.#fold(record, nowMs, false, heard ? ++this.#hintCount : 0);
    return { status, changes: status === 'applied' ? this.#rows.take() : [] };
  }

  /** Whether a snapshot would be believed; undefined: yes. So that a large one can be applied in pieces, record by record, before it is swept by. */
  refusesSnapshot(snapshot: NetworkSnapshot): Exclude<SnapshotStatus, 'applied'> | undefined {
    return this.#judgeStore(snapshot);
  }

  /** Applies a snapshot and sweeps: what it covers, lacks and should have is removed. */
  applySnapshot(snapshot: NetworkSnapshot, nowMs: number): SnapshotResult {
    const { bucket, atSequence } = snapshot;
    const refusal = this.#judgeStore(snapshot);
    if (refusal !== undefined) return { status: refusal, changes: [], applied: 0, swept: 0, generationRefused: 0, disproved: [] };
    const disproved = this.#disprove(snapshot, nowMs);
    const present = new Set<string>();
    let applied = 0;
    let generationRefused = 0;
    for (const record of snapshot.records) {
      present.add(record.key);
      const status = this.#fold(record, nowMs, true, 0);
      if (status === 'applied') applied++;
      if (status === 'generation-refused') generationRefused++;
    }
    let swept = 0;
    for (const slot of [...this.#slots.values()]) {
      if (slot.bucket !== bucket || present.has(slot.key) || slot.revision > atSequence) continue;
      this.#forget(slot, nowMs);
      if (slot.live) swept++;
    }
    const state = this.#buckets.get(bucket)!;
    state.floor = Math.max(state.floor, atSequence);
    return { status: 'applied', changes: this.#rows.take(), applied, swept, generationRefused, disproved };
  }

  /**
   * Forgets which store the bucket's records came from, so that the next snapshot decides alone. For a person's decision after
   * `store-changed` or `store-behind`; until that snapshot everything stays as it is.
   */
  acceptStore(bucket: BucketName): void {
    this.#buckets.delete(bucket);
    for (const [key, slot] of this.#slots) {
      if (slot.bucket !== bucket) continue;
      if (slot.live) this.#hash.remove(bucket, slot.key, slot.revision);
      this.#slots.set(key, { ...slot, revision: 0, live: false });
      if (slot.feeds?.kind === 'binding') this.#anyGeneration.add(slot.feeds.portId);
    }
  }

  /** Names the VSIDs whose claims name this network. All others are denied; at first none is allowed. */
  setClaimedVsids(vsids: ReadonlySet<number>, nowMs: number): TableChange[] {
    this.#claimed = vsids;
    this.#networkChanged(nowMs);
    return this.#rows.take();
  }

  /**
   * Tells how the work of the network's gateway is divided: who its members are. One of another gateway is passed over, so the caller may give
   * it before the network says which it uses.
   */
  setAssignment(assignment: Assignment | undefined, nowMs: number): TableChange[] {
    this.#assignment = assignment;
    this.#networkChanged(nowMs);
    return this.#rows.take();
  }

  /** Tells which device a port has on this host, or that it has none. */
  setDevice(portId: string, device: LocalDevice | undefined, nowMs: number): TableChange[] {
    if (device === undefined && !this.#ports.has(portId)) return [];
    this.#state(portId).device = device;
    this.#portChanged(portId, nowMs);
    return this.#rows.take();
  }

  /** Restores a port's move window after a restart of the agent on the same boot. */
  restoreMove(portId: string, move: MoveWindow, nowMs: number): TableChange[] {
    this.#state(portId).move = move;
    this.#portChanged(portId, nowMs);
    return this.#rows.take();
  }

  /** Ends the move windows that are over. */
  tick(nowMs: number): TableChange[] {
    for (const [portId, deadline] of [...this.#deadlines]) if (deadline <= nowMs) this.#portChanged(portId, nowMs);
    return this.#rows.take();
  }

  /** When `tick` has something to do next, in ms of the boot clock. */
  get nextDeadlineMs(): number | undefined {
    let next: number | undefined;
    for (const deadline of this.#deadlines.values()) if (next === undefined || deadline < next) next = deadline;
    return next;
  }

  /** The incremental rows. */
  entries(): IterableIterator<TableEntry> {
    return this.#rows.entries();
  }

  get rowCount(): number {
    return this.#rows.size;
  }

  /** What `compile` needs. A view, not a copy. */
  inputs(): CompileInputs {
    const { host, network, assignment, ports } = {
      host: this.#host,
      network: this.#network,
      assignment: this.#assignment,
      ports: this.#ports,
    };
    return { host, network, assignment, vsidAllowed: (vsid) => this.#claimed.has(vsid), ports };
  }

  digest(): ViewDigest {
    return {
      hash: this.#hash.bytes(),
      recordCount: this.#hash.count,
      configRevision: this.#buckets.get('config')?.maxRevision ?? 0,
      mappingRevision: this.#buckets.get('mapping')?.maxRevision ?? 0,
      bucketCreatedUnixMs: this.#buckets.get('config')?.createdUnixMs ?? 0,
    };
  }

  #judgeStore(snapshot: NetworkSnapshot): 'store-changed' | 'store-behind' | undefined {
    const { bucket, atSequence, bucketCreatedUnixMs: createdUnixMs } = snapshot;
    const known = this.#buckets.get(bucket);
    if (known === undefined) {
      this.#buckets.set(bucket, { createdUnixMs, maxRevision: 0, seenRevision: 0, floor: 0 });
      return undefined;
    }
    if (known.createdUnixMs !== createdUnixMs) return 'store-changed';
    const lost = snapshot.records.some(({ key, revision }) => {
      const held = this.#slots.get(slotKey(bucket, key));
      return held !== undefined && held.heardAs === 0 && held.revision > revision && held.revision <= atSequence;
    });
    return lost || atSequence < snapshot.askedAtRevision ? 'store-behind' : undefined;
  }

  /** Forgets what was heard of before the snapshot was asked for, if it should be in there and is not. The truth is folded next. */
  #disprove({ bucket, records, askedAtHint = 0 }: NetworkSnapshot, nowMs: number): string[] {
    const heard = [...this.#slots.values()].filter((slot) => slot.bucket === bucket && slot.heardAs > 0 && slot.heardAs <= askedAtHint);
    if (heard.length === 0) return [];
    const standing = new Map(records.map(({ key, revision }) => [key, revision]));
    const disproved = heard.filter(({ key, revision }) => (standing.get(key) ?? 0) < revision);
    for (const slot of disproved) this.#forget(slot, nowMs);
    if (disproved.length > 0) {
      const known = [...this.#slots.values()].filter((slot) => slot.bucket === bucket);
      this.#buckets.get(bucket)!.maxRevision = known.reduce((max, { revision }) => Math.max(max, revision), 0);
    }
    return disproved.map(({ key }) => key);
  }

  #fold(record: NetworkRecord, nowMs: number, stands: boolean, heardAs: number): ApplyStatus {
    const { bucket, key, revision, bucketCreatedUnixMs } = record;
    let store = this.#buckets.get(bucket);
    if (store === undefined) {
      store = { createdUnixMs: bucketCreatedUnixMs, maxRevision: 0, seenRevision: 0, floor: 0 };
      this.#buckets.set(bucket, store);
    }
    if (store.createdUnixMs !== bucketCreatedUnixMs) return 'store-changed';
    const slot = this.#slots.get(slotKey(bucket, key));
    if (slot === undefined ? revision <= store.floor && !stands : revision < slot.revision) return 'stale';
    if (slot?.revision === revision && !(slot.refused && record.kind !== 'refused')) {
      if (slot.heardAs > 0 && heardAs === 0) this.#settle(slot, { ...slot, heardAs }, store);
      return 'duplicate';
    }
    if (record.kind === 'refused') {
      if (!stands) return 'stale';
      this.#settle(slot, { bucket, key, revision, bucketCreatedUnixMs, live: true, refused: true, feeds: slot?.feeds, heardAs }, store);
      return 'applied';
    }
    const portId = record.kind === 'network' ? DOCUMENT : record.portId;
    let status: ApplyStatus = 'applied';
    if (record.kind === 'binding' && record.value !== undefined && !this.#generationRises(record.value)) {
      status = 'generation-refused';
      if (!stands) return status;
    }
    const live = record.value !== undefined;
    const feeds = { kind: record.kind, portId };
    this.#settle(slot, { bucket, key, revision, bucketCreatedUnixMs, live, refused: status !== 'applied', feeds, heardAs }, store);
    if (status === 'applied') this.#take(record, nowMs);
    return status;
  }

  #take(record: Exclude<NetworkRecord, { kind: 'refused' }>, nowMs: number): void {
    if (record.kind === 'network') {
      this.#network = record.value?.id === this.routingDomainId ? record.value : undefined;
      this.#networkChanged(nowMs);
      return;
    }
    const state = this.#state(record.portId);
    if (record.kind === 'port') {
      state.port = record.value;
      state.rank = record.revision;
    } else {
      state.move = record.value === undefined ? NO_MOVE : movedBy(state, record.value, this.#host.hostId, nowMs + this.#moveWindowMs);
      state.binding = record.value;
      this.#anyGeneration.delete(record.portId);
    }
    this.#portChanged(record.portId, nowMs);
  }

  #settle(before: Slot | undefined, next: Slot, store: BucketState): void {
    if (before?.live) this.#hash.remove(before.bucket, before.key, before.revision);
    if (next.live) this.#hash.add(next.bucket, next.key, next.revision);
    this.#slots.set(slotKey(next.bucket, next.key), next);
    store.maxRevision = Math.max(store.maxRevision, next.revision);
    if (next.heardAs === 0) store.seenRevision = Math.max(store.seenRevision, next.revision);
  }

  #forget(slot: Slot, nowMs: number): void {
    this.#slots.delete(slotKey(slot.bucket, slot.key));
    if (slot.live) this.#hash.remove(slot.bucket, slot.key, slot.revision);
    if (slot.feeds === undefined) return;
    const { kind, portId } = slot.feeds;
    if (kind === 'network') {
      this.#network = undefined;
      this.#networkChanged(nowMs);
      return;
    }
    const state = this.#state(portId);
    if (kind === 'port') state.port = undefined;
    else {
      state.binding = undefined;
      state.move = NO_MOVE;
    }
    this.#portChanged(portId, nowMs);
  }

  #generationRises(next: PortBinding): boolean {
    const known = this.#ports.get(next.portId)?.binding;
    if (known === undefined || next.generation > known.generation || this.#anyGeneration.has(next.portId)) return true;
    return next.generation === known.generation && next.hostId === known.hostId;
  }

  #state(portId: string): PortState {
    let state = this.#ports.get(portId);
    if (state === undefined) {
      state = { port: undefined, rank: 0, binding: undefined, device: undefined, move: NO_MOVE, speakers: [] };
      this.#ports.set(portId, state);
    }
    return state;
  }

  #networkChanged(nowMs: number): void {
    const before = { id: this.#networkIdInRows, vsids: this.#vsids };
    const network = this.#network;
    const subnets = network === undefined ? [] : usableSubnets(network, (vsid) => this.#claimed.has(vsid));
    this.#vsids = new Set(subnets.map((subnet) => subnet.vsid));
    this.#networkIdInRows = network?.networkId ?? 0;
    const rows =
      network === undefined ? [] : [...networkRows(network, subnets), ...memberRows(network, subnets, this.#assignment, this.#host)];
    this.#rows.set(DOCUMENT, 0, rows);
    if (before.id !== this.#networkIdInRows) this.#dropSpeakers();
    this.#setMembers(new Set(gatewaySpeakers(network, this.#assignment, this.#host)));
    const same =
      before.id === this.#networkIdInRows &&
      before.vsids.size === this.#vsids.size &&
      [...before.vsids].every((vsid) => this.#vsids.has(vsid));
    if (same) return;
    for (const portId of this.#ports.keys()) this.#portChanged(portId, nowMs);
  }

  #dropSpeakers(): void {
    for (const pa of [...this.#speakerUsers.keys(), ...this.#members]) this.#rows.set(speakerOwner(pa), 0, []);
    this.#speakerUsers.clear();
    this.#members = new Set();
    for (const state of this.#ports.values()) state.speakers = [];
  }

  #setMembers(next: ReadonlySet<string>): void {
    const changed = [...this.#members, ...next].filter((pa) => this.#members.has(pa) !== next.has(pa));
    this.#members = next;
    for (const pa of changed) this.#speakerChanged(pa);
  }

  /** Hosts with ports of the network and members of its gateway may be the same. */
  #speakerChanged(pa: string): void {
    const isHost = this.#speakerUsers.has(pa);
    const isGateway = this.#members.has(pa);
    this.#rows.set(speakerOwner(pa), 0, isHost || isGateway ? [speakerRow(this.#networkIdInRows, pa, isHost, isGateway)] : []);
  }

  #portChanged(portId: string, nowMs: number): void {
    const state = this.#ports.get(portId);
    if (state === undefined) return;
    this.#rows.set(portId, state.rank, portRows(this.#network, this.#vsids, state, this.#host, nowMs));
    this.#setSpeakers(portId, state, portSpeakers(this.#network, this.#vsids, state, this.#host, nowMs));
    const deadline = nextExpiryMs(state.move, nowMs);
    if (deadline === undefined) this.#deadlines.delete(portId);
    else this.#deadlines.set(portId, deadline);
    if (isEmpty(state)) this.#ports.delete(portId);
  }

  #setSpeakers(portId: string, state: PortState, next: readonly string[]): void {
    for (const pa of state.speakers) {
      if (next.includes(pa)) continue;
      const users = this.#speakerUsers.get(pa);
      users?.delete(portId);
      if (users?.size !== 0) continue;
      this.#speakerUsers.delete(pa);
      this.#speakerChanged(pa);
    }
    for (const pa of next) {
      if (state.speakers.includes(pa)) continue;
      const users = this.#speakerUsers.get(pa);
      if (users !== undefined) users.add(portId);
      else {
        this.#speakerUsers.set(pa, new Set([portId]));
        this.#speakerChanged(pa);
      }
    }
    state.speakers = next;
  }
}

function isEmpty(state: PortFacts): boolean {
  return state.port === undefined && state.binding === undefined && state.device === undefined;
}

function slotKey(bucket: BucketName, key: string): string {
  return `${bucket}/${key}`;
}

function speakerOwner(pa: string): string {
  return `speaker ${pa}`;
}
