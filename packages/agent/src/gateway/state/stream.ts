import { type Identity, openEnvelope, signEnvelope } from '@weft/bus';
import {
  type ChangesEnvelope,
  type NatChange,
  type NatSnapshotRow,
  type NatStateBody,
  type NatStateScope,
  type NatStore,
  natStateCodec,
  networkOfRow,
  snapshotNat,
  writeChanges,
} from '@weft/forwarding';
import type { AgentClock } from '../../components.ts';
import { messageOf } from '../../errors.ts';
import type { StateSocket, StateSocketEvents } from './frames.ts';
import { Lags } from './lag.ts';

export const STATE_VERSION = 1;
/** Changes of one message: some 5 ms of work on either side, during which the agent does nothing else. */
const CHANGES_MAX = 500;
/** Rows of one message, and rows that are looked at for it. */
const ROWS_MAX = 200;
const ROWS_LOOKED_AT = 1_000;
/** What may be on its way: messages that the standby has not said it has applied. */
const WINDOW_MESSAGES = 32;
const UNSENT_MAX_BYTES = 1 << 20;
/** Changes that wait. When there are more, the standby is too slow: they are dropped, and a snapshot is sent once it is heard again. */
const PENDING_MAX = 65_536;
/** Something is said this often, so that silence means something. */
const HEARTBEAT_MS = 500;
const SILENT_MS = 3_000;
/** A network that the standby refused is offered again after this: mostly it owned the shard just before, and its deadline has not passed yet. */
const REFUSED_MS = 500;
/** What the packet path told by now has been read by then: its ring is read 12 ms after it was at the latest. */
const READ_MS = 20;

export interface StateStreamInit {
  readonly self: string;
  readonly peer: string;
  readonly clock: AgentClock;
  readonly identity: Identity;
  readonly store: NatStore;
  /** The peer's public key, as the group knows it. */
  readonly keyOf: (hostId: string) => string | undefined;
  readonly connect: (on: StateSocketEvents) => StateSocket;
  /** Lets the process do other things first. */
  readonly defer: (then: () => void) => void;
  /** The stream is over; make another. */
  readonly onClosed: (reason: string) => void;
}

interface Sent {
  readonly sequence: number;
  /** When the oldest of its changes happened, ms; undefined: no change in it. */
  readonly oldestMs: number | undefined;
  readonly changes: number;
  readonly sentMs: number;
}

interface Snapshot {
  readonly networks: ReadonlySet<number>;
  readonly rows: Iterator<NatSnapshotRow>;
  /** Changes count ports in blocks of holders, so they wait until these are there. */
  holdsChanges: boolean;
}

interface Waiter {
  readonly shards: readonly number[];
  readonly armAtMs: number;
  sequence: number | undefined;
  readonly resolve: () => void;
}

/**
 * State of some networks on its way to one standby: a snapshot, then changes as they happen, each message acknowledged once it is in the standby's kernel.
 *
 *   connecting ─► hello ─► welcome ─► begin ─► holders, blocks ─► (changes and) mappings, sessions ─► end ─► changes …
 *                                      ▲                                                                        │
 *                                      └─────────── a network more · changes were lost · too slow ◄───────────────┘
 */
export class StateStream {
  readonly #init: StateStreamInit;
  readonly #socket: StateSocket;
  readonly #lags = new Lags();
  #stream = 0;
  #sequence = 0;
  #wanted: ReadonlyMap<number, NatStateScope> = new Map();
  /** Networks of which changes are told: a snapshot of them has begun. */
  readonly #flowing = new Set<number>();
  /** Networks that are wanted and do not flow. */
  readonly #missing = new Set<number>();
  /** Networks whose snapshot ended with the message of this sequence. */
  readonly #ended = new Map<number, number>();
  /** Networks that the standby refused, and until when they are not offered. */
  readonly #refused = new Map<number, number>();
  #pending: NatChange[] = [];
  /** Where in `#pending` the change of a session is, by its ticket. */
  readonly #sessions = new Map<number, number>();
  #sent: Sent[] = [];
  #acknowledged = 0;
  #snapshot: Snapshot | undefined;
  #waiters: Waiter[] = [];
  #isPumping = false;
  #isClosed = false;
  readonly #startedMs: number;
  #saidMs: number;

  constructor(init: StateStreamInit) {
    this.#init = init;
    this.#startedMs = init.clock.now();
    this.#saidMs = this.#startedMs;
    this.#socket = init.connect({
      message: (bytes) => this.#receive(bytes),
      drained: () => this.#pumpSoon(),
      closed: (reason) => this.#over(reason),
    });
    this.#send({ kind: 'hello', value: { version: STATE_VERSION } });
  }

  close(): void {
    this.#over('not needed any more');
    this.#socket.close();
  }

  /** Which networks are to be told of, by their ids. */
  setNetworks(wanted: ReadonlyMap<number, NatStateScope>): void {
    if (wanted === this.#wanted) return;
    this.#wanted = wanted;
    for (const network of this.#flowing) if (!wanted.has(network)) this.#forget(network);
    this.#missing.clear();
    for (const network of wanted.keys()) if (!this.#flowing.has(network)) this.#missing.add(network);
    this.#pumpSoon();
  }

  /** Whether changes of this network are told: else there is no need to offer them. */
  tellsOf(networkId: number): boolean {
    return this.#flowing.has(networkId);
  }

  /** A change, in the order in which they happen. It leaves with those that are offered in the same moment: they come in batches, as the ring is read. */
  offer(change: NatChange): void {
    if (!this.#flowing.has(change.networkId)) return;
    this.#pumpSoon();
    if (this.#isMerged(change)) return;
    this.#pending.push(change);
    if (this.#pending.length > PENDING_MAX) this.restart();
  }

  /** Of several changes of one session that wait, one says all: a short connection is told of once. */
  #isMerged(change: NatChange): boolean {
    const { ticket } = change;
    if (ticket === undefined) return false;
    const at = this.#sessions.get(ticket);
    // Sessions of two former owners may have the same ticket.
    const merged = at === undefined ? undefined : this.#pending[at]?.mergedWith(change);
    if (at === undefined || merged === undefined) {
      this.#sessions.set(ticket, this.#pending.length);
      return false;
    }
    this.#pending[at] = merged;
    return true;
  }

  #takePending(): readonly NatChange[] {
    const taken = this.#pending.splice(0, CHANGES_MAX);
    this.#sessions.clear();
    return taken;
  }

  /** Changes were lost, or the standby is too slow: what it has is to be replaced. */
  restart(): void {
    this.#pending = [];
    this.#sessions.clear();
    this.#snapshot = undefined;
    for (const network of [...this.#flowing]) this.#forget(network);
  }

  /** True: all that had happened to the shard some moments ago is in the standby's kernel. */
  isProtected(shard: number): boolean {
    if (this.#stream === 0) return false;
    for (const [network, scope] of this.#wanted) {
      if (scope.shard === shard && (this.#ended.get(network) ?? Number.POSITIVE_INFINITY) > this.#acknowledged) return false;
    }
    return true;
  }

  /** Resolves when the standby has everything of these shards that happened before the call. Never, if the stream ends before. */
  brought(shards: readonly number[]): Promise<void> {
    return new Promise((resolve) => {
      this.#waiters.push({ shards, armAtMs: this.#init.clock.now() + READ_MS, sequence: undefined, resolve });
    });
  }

  /** Delay from a change in the owner's kernel until it was in the standby's and that was heard, ms; undefined: none yet. */
  get lag(): { readonly p99Ms: number | undefined; readonly lastMs: number | undefined; readonly backlog: number } {
    const onWay = this.#sent.reduce((sum, { changes }) => sum + changes, 0);
    return { p99Ms: this.#lags.percentile(0.99), lastMs: this.#lags.last, backlog: this.#pending.length + onWay };
  }

  /** To be called every few ms while somebody waits for what is brought, and every 100 ms at least. */
  tick(): void {
    const now = this.#init.clock.now();
    const oldest = this.#sent[0];
    if (now - (oldest?.sentMs ?? now) > SILENT_MS || (this.#stream === 0 && now - this.#startedMs > SILENT_MS)) {
      this.#over('the standby does not answer');
      this.#socket.close();
      return;
    }
    const armed = this.#waiters.filter(({ sequence, armAtMs }) => sequence === undefined && now >= armAtMs);
    if (this.#stream !== 0 && this.#pending.length === 0 && (armed.length > 0 || now - this.#saidMs >= HEARTBEAT_MS)) {
      this.#tell([]);
      for (const waiter of armed) waiter.sequence = this.#sequence;
    }
    this.#pumpSoon();
  }

  #forget(network: number): void {
    this.#flowing.delete(network);
    if (this.#wanted.has(network)) this.#missing.add(network);
    this.#ended.delete(network);
  }

  #pumpSoon(): void {
    if (this.#isPumping) return;
    this.#isPumping = true;
    this.#init.defer(() => {
      this.#isPumping = false;
      if (!this.#isClosed && this.#pump()) this.#pumpSoon();
    });
  }

  /** Says one thing, if there is one and room for it. @returns Whether to go on. */
  #pump(): boolean {
    if (this.#stream === 0 || this.#sent.length >= WINDOW_MESSAGES || this.#socket.unsentBytes > UNSENT_MAX_BYTES) return false;
    if (this.#pending.length > 0 && this.#snapshot?.holdsChanges !== true) {
      this.#tell(this.#takePending());
    } else if (this.#snapshot !== undefined) this.#tellRows(this.#snapshot);
    else return this.#begin();
    return true;
  }

  #begin(): boolean {
    // After a restart for slowness not before the standby has caught up.
    if (this.#missing.size === 0 || this.#sent.length > 0) return false;
    const now = this.#init.clock.now();
    const missing = [...this.#missing].flatMap((network) =>
      now >= (this.#refused.get(network) ?? 0) ? (this.#wanted.get(network) ?? []) : [],
    );
    if (missing.length === 0) return false;
    const networks = new Set(missing.map(({ networkId }) => networkId));
    for (const network of networks) {
      this.#flowing.add(network);
      this.#missing.delete(network);
      this.#refused.delete(network);
    }
    this.#snapshot = { networks, rows: snapshotNat(this.#init.store), holdsChanges: true };
    this.#send({ kind: 'begin', value: { networks: missing } });
    return true;
  }

  #tellRows(snapshot: Snapshot): void {
    const rows: NatSnapshotRow[] = [];
    for (let looked = 0; looked < ROWS_LOOKED_AT && rows.length < ROWS_MAX; looked++) {
      const next = snapshot.rows.next();
      if (next.done === true) {
        if (rows.length > 0) this.#send({ kind: 'rows', value: rows });
        this.#send({ kind: 'end', value: {} });
        for (const network of snapshot.networks) if (this.#flowing.has(network)) this.#ended.set(network, this.#sequence);
        this.#snapshot = undefined;
        return;
      }
      if (next.value.table === 'mapping' || next.value.table === 'session') snapshot.holdsChanges = false;
      if (snapshot.networks.has(networkOfRow(next.value))) rows.push(next.value);
    }
    if (rows.length > 0) this.#send({ kind: 'rows', value: rows });
  }

  #tell(changes: readonly NatChange[]): void {
    this.#sendAs((head) => writeChanges(head, changes), changes);
  }

  #send(body: NatStateBody): void {
    this.#sendAs((head) => natStateCodec.encode({ ...head, body }), body.kind === 'hello' ? undefined : []);
  }

  /** @param changes What it tells of; undefined: it is not acknowledged. */
  #sendAs(write: (head: ChangesEnvelope) => Uint8Array, changes: readonly NatChange[] | undefined): void {
    const { self, peer, identity, clock } = this.#init;
    if (changes !== undefined) this.#sequence++;
    const now = clock.now();
    this.#saidMs = now;
    const head = { from: self, to: peer, stream: this.#stream, sequence: this.#sequence, sentBootNs: toNs(now) };
    if (changes !== undefined) {
      this.#sent.push({ sequence: this.#sequence, oldestMs: changes[0]?.timeMs, changes: changes.length, sentMs: now });
    }
    this.#socket.send(signEnvelope(identity, 'state', write(head)));
  }

  #receive(bytes: Uint8Array): void {
    const { self, peer, keyOf } = this.#init;
    try {
      const { payload, signer } = openEnvelope(bytes, 'state');
      const message = natStateCodec.decode(payload);
      if (signer !== keyOf(peer) || message.from !== peer || message.to !== self) throw new Error(`an answer by ${signer}, not by ${peer}`);
      if (message.body.kind === 'welcome' && this.#stream === 0) {
        this.#stream = message.stream;
        this.#pumpSoon();
      } else if (message.body.kind === 'applied' && message.stream === this.#stream) {
        this.#refuse(message.body.value.refusedNetworks);
        this.#applied(message.sequence);
      }
    } catch (error) {
      this.#over(messageOf(error));
      this.#socket.close();
    }
  }

  /** Before the same answer says that all was applied: nobody may take them for protected in between. */
  #refuse(networks: readonly number[]): void {
    for (const network of networks) {
      this.#forget(network);
      this.#refused.set(network, this.#init.clock.now() + REFUSED_MS);
    }
  }

  #applied(sequence: number): void {
    const now = this.#init.clock.now();
    this.#acknowledged = Math.max(this.#acknowledged, Math.min(sequence, this.#sequence));
    for (const { oldestMs, sequence: of } of this.#sent) {
      if (of <= this.#acknowledged && oldestMs !== undefined) this.#lags.add(Math.max(0, now - oldestMs));
    }
    this.#sent = this.#sent.filter((one) => one.sequence > this.#acknowledged);
    const done = this.#waiters.filter(
      (one) => one.sequence !== undefined && one.sequence <= this.#acknowledged && one.shards.every((shard) => this.isProtected(shard)),
    );
    this.#waiters = this.#waiters.filter((one) => !done.includes(one));
    for (const { resolve } of done) resolve();
    this.#pumpSoon();
  }

  #over(reason: string): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#init.onClosed(reason);
  }
}

export function toNs(ms: number): bigint {
  return BigInt(Math.round(ms * 1e6));
}
