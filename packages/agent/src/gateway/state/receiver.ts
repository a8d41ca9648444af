import { randomBytes } from 'node:crypto';
import { type Identity, openEnvelope, signEnvelope } from '@weft/bus';
import {
  applyNatEvent,
  BufferedNatStore,
  type NatEvent,
  NatSnapshotIntake,
  type NatSnapshotRow,
  type NatStateBody,
  type NatStateMessage,
  type NatStateScope,
  type NatStore,
  natStateCodec,
  networkOfEvent,
  networkOfRow,
} from '@weft/forwarding';
import type { AgentClock, AgentLogger } from '../../components.ts';
import { messageOf } from '../../errors.ts';
import type { StateSocket, StateSocketEvents } from './frames.ts';
import { STATE_VERSION, toNs } from './stream.ts';

/** Rows that are looked at in one go when a snapshot takes the place of what was known. */
const LOOKED_AT_ROWS = 2_000;
/** The same of networks that a snapshot names: each is asked about. */
const LOOKED_AT_NETWORKS = 256;
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
  /** Whom this machine obeys in a shard, by a certificate that it has verified. Undefined: it has not heard of an owner yet, and hears nobody. */
  readonly ownerOf: (shard: number) => { readonly owner: string; readonly epoch: bigint } | undefined;
  /** The shard that a network is on, as records here have it. Undefined: they do not know it yet. */
  readonly shardOf: (networkId: number) => number | undefined;
  /** Whether a segment is known here as another group's than the shard's. */
  readonly isForeign: (shard: number, segment: number) => boolean;
  readonly defer: (then: () => void) => void;
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
  /** The snapshot under way, and those of its networks that it may tell of. */
  snapshot: { readonly intake: NatSnapshotIntake; readonly networks: ReadonlySet<number> } | undefined;
}

/** What is to be known of a row or a change before it is taken. */
interface Kind<T> {
  readonly networkOf: (item: T) => number;
  readonly segmentsOf: (item: T) => readonly number[];
}

const ROWS: Kind<NatSnapshotRow> = {
  networkOf: networkOfRow,
  segmentsOf: (row) => {
    if (row.table === 'source') return row.value.addresses.map(({ segment }) => segment);
    return [row.table === 'mapping' ? row.value.segment : row.key.segment];
  },
};
const EVENTS: Kind<NatEvent> = {
  networkOf: networkOfEvent,
  segmentsOf: (event) => ['mapping' in event ? event.mapping.segment : event.key.segment],
};

/**
 * The standby's side: puts what owners tell into this member's own tables, so that a takeover has nothing to do for each flow. Who owns a shard is no word of
 * the teller's: it is whom this machine obeys. So a member of one group has no say in another's on a machine that is in both, nor in shards that it does not own.
 */
export class StateReceiver {
  readonly #init: StateReceiverInit;
  readonly #store: BufferedNatStore;
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
      ...{ queue: [], isWorking: false, isClosed: false, networks: new Map(), snapshot: undefined },
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
    const { self, keyOf } = this.#init;
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
    const refused = new Set<number>();
    await this.#carryOut(connection, message.body, this.#offset(connection, message), refused);
    if (connection.isClosed) return;
    this.#answer(connection, { kind: 'applied', value: { refusedNetworks: [...refused] } });
  }

  #welcome(connection: Connection, message: NatStateMessage, signer: string): void {
    if (message.body.kind !== 'hello') throw new Error(`a ${message.body.kind} before hello`);
    const { version } = message.body.value;
    if (version !== STATE_VERSION)
      throw new Error(`version ${version} of the state stream, ${STATE_VERSION} is known here: upgrade one of the two`);
    for (const other of this.#connections) if (other !== connection && other.from === message.from) other.socket.close();
    Object.assign(connection, { from: message.from, key: signer, stream: Number(randomBytes(8).readBigUInt64BE() >> 11n) || 1 });
    this.#offset(connection, message);
    this.#answer(connection, { kind: 'welcome', value: {} });
  }

  /** How far the own clock is ahead of theirs, ns, as the quickest of their messages tells: hello may be the only one that did not wait. */
  #offset(connection: Connection, { sentBootNs }: NatStateMessage): bigint {
    const offsetNs = toNs(this.#init.clock.now()) - sentBootNs;
    if (connection.offsetNs === undefined || offsetNs < connection.offsetNs) connection.offsetNs = offsetNs;
    return connection.offsetNs;
  }

  /** @param refused Takes the networks that something was passed over of: their owner must not believe them protected. */
  async #carryOut(connection: Connection, body: NatStateBody, offsetNs: bigint, refused: Set<number>): Promise<void> {
    switch (body.kind) {
      case 'begin':
        await this.#begin(connection, body.value.networks, refused);
        return;
      case 'rows':
        await this.#takeRows(connection, body.value, offsetNs, refused);
        return;
      case 'changes':
        await this.#takeChanges(connection, body.value, offsetNs, refused);
        return;
      case 'end':
        await this.#end(connection, offsetNs, refused);
        return;
      default:
        throw new Error(`a ${body.kind} from an owner`);
    }
  }

  #each<T>(
    connection: Connection,
    items: readonly T[],
    { networkOf, segmentsOf, refused }: Kind<T> & { readonly refused: Set<number> },
    apply: (item: T) => void,
  ): void {
    const own = this.#init.own();
    for (const item of items) {
      const shard = this.#mayTell(connection, networkOf(item), own);
      if (shard !== undefined) {
        const foreign = segmentsOf(item).find((segment) => this.#init.isForeign(shard, segment));
        if (foreign !== undefined) throw new Error(`ports on segment ${foreign}, which is another group's than shard ${shard}`);
        apply(item);
        this.counters.applied++;
      } else {
        this.counters.passedOver++;
        refused.add(networkOf(item));
      }
    }
    this.#store.flush();
  }

  /** What is known of the networks stays until the snapshot says better: its teller may be gone before its end. */
  async #begin(connection: Connection, networks: readonly NatStateScope[], refused: Set<number>): Promise<void> {
    const theirs = new Set<number>();
    let own = this.#init.own();
    let looked = 0;
    for (const { networkId, shard, epoch } of networks) {
      if (++looked % LOOKED_AT_NETWORKS === 0) {
        await this.#pause();
        own = this.#init.own();
      }
      connection.networks.set(networkId, shard);
      if (this.#mayTell(connection, networkId, own) !== undefined && epoch >= this.#init.ownerOf(shard)!.epoch) theirs.add(networkId);
      else {
        connection.networks.delete(networkId);
        refused.add(networkId);
      }
    }
    connection.snapshot = { intake: new NatSnapshotIntake(this.#store, theirs), networks: theirs };
  }

  async #takeRows(connection: Connection, rows: readonly NatSnapshotRow[], offsetNs: bigint, refused: Set<number>): Promise<void> {
    const isFirst = ({ table }: NatSnapshotRow): boolean => table === 'source' || table === 'block';
    const take = (some: readonly NatSnapshotRow[]): void =>
      this.#each(connection, some, { ...ROWS, refused }, (row) => connection.snapshot?.intake.row(row, offsetNs));
    take(rows.filter(isFirst));
    if (rows.every(isFirst)) return;
    await this.#settle(connection, offsetNs, refused);
    take(rows.filter((row) => !isFirst(row)));
  }

  async #takeChanges(connection: Connection, changes: readonly NatEvent[], offsetNs: bigint, refused: Set<number>): Promise<void> {
    if (changes.some((event) => connection.snapshot?.networks.has(networkOfEvent(event))))
      await this.#settle(connection, offsetNs, refused);
    this.#each(connection, changes, { ...EVENTS, refused }, (event) => {
      const { snapshot } = connection;
      if (snapshot?.networks.has(networkOfEvent(event)) === true) snapshot.intake.change(event, offsetNs);
      else applyNatEvent(this.#store, event, offsetNs);
    });
  }

  async #end(connection: Connection, offsetNs: bigint, refused: Set<number>): Promise<void> {
    await this.#settle(connection, offsetNs, refused);
    if (connection.snapshot !== undefined) await this.#inSlices(connection, connection.snapshot.intake.end(), refused);
    connection.snapshot = undefined;
  }

  async #settle(connection: Connection, offsetNs: bigint, refused: Set<number>): Promise<void> {
    const { snapshot } = connection;
    if (snapshot === undefined || snapshot.intake.isSettled) return;
    await this.#inSlices(connection, snapshot.intake.settle(offsetNs, toNs(this.#init.clock.now())), refused);
  }

  /** Goes through a step of the snapshot, as long as its networks are its teller's to tell of; else it is given up, and they are refused. */
  async #inSlices(connection: Connection, work: Generator<void>, refused: Set<number>): Promise<void> {
    if (this.#isGivenUp(connection, refused)) return;
    let looked = 0;
    for (const _ of work) {
      if (++looked % LOOKED_AT_ROWS !== 0) continue;
      this.#store.flush();
      await this.#pause();
      // The shard may have become ours meanwhile.
      if (this.#isGivenUp(connection, refused)) return;
    }
    this.#store.flush();
  }

  #isGivenUp(connection: Connection, refused: Set<number>): boolean {
    const own = this.#init.own();
    const networks = [...(connection.snapshot?.networks ?? [])];
    if (!connection.isClosed && networks.every((network) => this.#mayTell(connection, network, own) !== undefined)) return false;
    connection.snapshot = undefined;
    for (const network of networks) {
      connection.networks.delete(network);
      refused.add(network);
    }
    return true;
  }

  /**
   * Nobody writes rows of a shard that this member owns but its packet path, and of others only whoever owns it. The owner may have raised its own epoch meanwhile.
   * @returns The shard that the network is on; undefined: its rows are passed over.
   */
  #mayTell({ from, networks }: Connection, networkId: number, own: ReadonlySet<number>): number | undefined {
    const { ownerOf, shardOf } = this.#init;
    const shard = networks.get(networkId);
    if (shard === undefined || own.has(shard) || ownerOf(shard)?.owner !== from) return undefined;
    return (shardOf(networkId) ?? shard) === shard ? shard : undefined;
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
