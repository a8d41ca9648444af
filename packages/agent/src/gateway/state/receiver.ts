import { randomBytes } from 'node:crypto';
import { type Identity, openEnvelope, signEnvelope } from '@weft/bus';
import {
  applyNatEvent,
  BufferedNatStore,
  forgetNat,
  type NatStateBody,
  type NatStateMessage,
  type NatStateScope,
  type NatStore,
  natStateCodec,
  networkOfEvent,
  networkOfRow,
  restoreNatRow,
} from '@weft/forwarding';
import type { AgentClock, AgentLogger } from '../../components.ts';
import { messageOf } from '../../errors.ts';
import type { StateSocket, StateSocketEvents } from './frames.ts';
import { STATE_VERSION, toNs } from './stream.ts';

/** Rows that are looked at in one go when a snapshot takes the place of what was known. */
const FORGET_ROWS = 2_000;
const HELLO_MS = 3_000;
/** More than an owner sends without an answer. */
const QUEUE_MAX = 64;

export interface StateReceiverInit {
  readonly self: string;
  readonly clock: AgentClock;
  readonly logger: AgentLogger;
  readonly identity: Identity;
  readonly store: NatStore;
  /** A member's public key; undefined: it is no member of a group of ours. */
  readonly keyOf: (hostId: string) => string | undefined;
  /** Shards that this member owns now: its packet path writes their rows. */
  readonly own: () => ReadonlySet<number>;
  readonly defer: (then: () => void) => void;
}

/** Who tells of a shard. A later grant's owner takes the place of an earlier one's. */
interface Teller {
  readonly epoch: bigint;
  readonly connection: Connection;
}

interface Connection {
  socket: StateSocket;
  from: string;
  key: string;
  /** 0: no hello yet. */
  stream: number;
  sequence: number;
  /** The least difference seen of clocks, own minus theirs: the one of the quickest message. */
  offsetNs: bigint | undefined;
  readonly queue: Uint8Array[];
  isWorking: boolean;
  isClosed: boolean;
  /** Networks of the snapshots begun on this connection, and their shards. */
  readonly networks: Map<number, number>;
}

/** The standby's side: puts what owners tell into this member's own tables, so that a takeover has nothing to do for each flow. */
export class StateReceiver {
  readonly #init: StateReceiverInit;
  readonly #store: BufferedNatStore;
  readonly #tellers = new Map<number, Teller>();
  readonly #connections = new Set<Connection>();
  readonly counters = { applied: 0, passedOver: 0, refused: 0 };

  constructor(init: StateReceiverInit) {
    this.#init = init;
    this.#store = new BufferedNatStore(init.store);
  }

  /** A connection that somebody opened. */
  accept(makeSocket: (on: StateSocketEvents) => StateSocket): void {
    const connection: Connection = {
      socket: undefined as unknown as StateSocket,
      ...{ from: '', key: '', stream: 0, sequence: 0, offsetNs: undefined },
      ...{ queue: [], isWorking: false, isClosed: false, networks: new Map() },
    };
    const { clock } = this.#init;
    const patience = clock.setTimeout(() => {
      if (connection.stream === 0) connection.socket.close();
    }, HELLO_MS);
    this.#connections.add(connection);
    connection.socket = makeSocket({
      message: (bytes) => {
        connection.queue.push(bytes);
        if (connection.queue.length > QUEUE_MAX) connection.socket.close();
        this.#work(connection);
      },
      drained: () => {},
      closed: () => {
        clock.clearTimeout(patience);
        connection.isClosed = true;
        this.#connections.delete(connection);
        for (const [shard, teller] of this.#tellers) if (teller.connection === connection) this.#tellers.delete(shard);
      },
    });
  }

  close(): void {
    for (const { socket } of this.#connections) socket.close();
  }

  #work(connection: Connection): void {
    if (connection.isWorking) return;
    connection.isWorking = true;
    void this.#workOff(connection).finally(() => {
      connection.isWorking = false;
    });
  }

  async #workOff(connection: Connection): Promise<void> {
    for (let bytes = connection.queue.shift(); bytes !== undefined && !connection.isClosed; bytes = connection.queue.shift()) {
      try {
        await this.#take(connection, bytes);
      } catch (error) {
        const { logger } = this.#init;
        logger.warn({ peer: connection.from, reason: messageOf(error) }, 'state of port mapping refused; the connection is closed');
        this.counters.refused++;
        connection.socket.close();
        return;
      }
      await this.#pause();
    }
  }

  async #take(connection: Connection, bytes: Uint8Array): Promise<void> {
    const { self, keyOf, clock } = this.#init;
    const { payload, signer } = openEnvelope(bytes, 'state');
    const message = natStateCodec.decode(payload);
    if (message.to !== self || keyOf(message.from) !== signer) throw new Error(`a message of ${signer}, which is no member's key`);
    if (connection.stream === 0) {
      this.#welcome(connection, message, signer);
      return;
    }
    if (message.from !== connection.from || signer !== connection.key || message.stream !== connection.stream)
      throw new Error('a message of another connection');
    if (message.sequence !== connection.sequence + 1) throw new Error(`message ${message.sequence} after ${connection.sequence}`);
    connection.sequence = message.sequence;
    const offsetNs = toNs(clock.now()) - message.sentBootNs;
    if (connection.offsetNs === undefined || offsetNs < connection.offsetNs) connection.offsetNs = offsetNs;
    await this.#carryOut(connection, message.body, connection.offsetNs);
    if (connection.isClosed) return;
    this.#answer(connection, { kind: 'applied', value: {} });
  }

  #welcome(connection: Connection, message: NatStateMessage, signer: string): void {
    if (message.body.kind !== 'hello') throw new Error(`a ${message.body.kind} before hello`);
    const { version } = message.body.value;
    if (version !== STATE_VERSION)
      throw new Error(`version ${version} of the state stream, ${STATE_VERSION} is known here: upgrade one of the two`);
    for (const other of this.#connections) if (other !== connection && other.from === message.from) other.socket.close();
    Object.assign(connection, { from: message.from, key: signer, stream: Number(randomBytes(8).readBigUInt64BE() >> 11n) || 1 });
    this.#answer(connection, { kind: 'welcome', value: {} });
  }

  async #carryOut(connection: Connection, body: NatStateBody, offsetNs: bigint): Promise<void> {
    switch (body.kind) {
      case 'begin':
        await this.#begin(connection, body.value.networks);
        return;
      case 'rows':
        this.#each(connection, body.value, networkOfRow, (row) => restoreNatRow(this.#store, row, offsetNs));
        return;
      case 'changes':
        this.#each(connection, body.value, networkOfEvent, (event) => applyNatEvent(this.#store, event, offsetNs));
        return;
      case 'end':
        return;
      default:
        throw new Error(`a ${body.kind} from an owner`);
    }
  }

  #each<T>(connection: Connection, items: readonly T[], networkOf: (item: T) => number, apply: (item: T) => void): void {
    const own = this.#init.own();
    for (const item of items) {
      if (this.#mayTell(connection, networkOf(item), own)) {
        apply(item);
        this.counters.applied++;
      } else this.counters.passedOver++;
    }
    this.#store.flush();
  }

  async #begin(connection: Connection, networks: readonly NatStateScope[]): Promise<void> {
    const own = this.#init.own();
    const taken = new Set<number>();
    for (const { networkId, shard, epoch } of networks) {
      const teller = this.#tellers.get(shard);
      if (own.has(shard) || (teller !== undefined && teller.epoch > epoch)) continue;
      this.#tellers.set(shard, { epoch, connection });
      connection.networks.set(networkId, shard);
      taken.add(shard);
    }
    const theirs = new Set(networks.map(({ networkId }) => networkId).filter((network) => this.#mayTell(connection, network, own)));
    let looked = 0;
    for (const _ of forgetNat(this.#store, theirs, toNs(this.#init.clock.now()))) {
      if (++looked % FORGET_ROWS !== 0) continue;
      this.#store.flush();
      await this.#pause();
      // It may have become ours meanwhile.
      const now = this.#init.own();
      if ([...taken].some((shard) => now.has(shard))) return;
    }
    this.#store.flush();
  }

  /** Nobody writes rows of a shard that this member owns but its packet path, and of others only whoever owned it last. */
  #mayTell(connection: Connection, networkId: number, own: ReadonlySet<number>): boolean {
    const shard = connection.networks.get(networkId);
    return shard !== undefined && this.#tellers.get(shard)?.connection === connection && !own.has(shard);
  }

  #answer(connection: Connection, body: NatStateBody): void {
    const { self, identity, clock } = this.#init;
    const { from: to, stream, sequence, socket } = connection;
    socket.send(
      signEnvelope(identity, 'state', natStateCodec.encode({ from: self, to, stream, sequence, sentBootNs: toNs(clock.now()), body })),
    );
  }

  #pause(): Promise<void> {
    return new Promise((resolve) => this.#init.defer(resolve));
  }
}
