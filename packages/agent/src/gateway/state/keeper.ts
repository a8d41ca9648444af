import { connect, createServer, type Server } from 'node:net';
import type { Identity } from '@weft/bus';
import type { NatChange, NatStateScope, NatStore } from '@weft/forwarding';
import type { AgentClock, AgentLogger } from '../../components.ts';
import type { Conditions } from '../../conditions.ts';
import { messageOf } from '../../errors.ts';
import { CONTROL_PORT } from '../control-port.ts';
import type { ShardLag } from '../gateway-status.ts';
import type { NatFeed } from '../nat-feed.ts';
import { type StateSocket, type StateSocketEvents, stateSocket } from './frames.ts';
import { StateReceiver } from './receiver.ts';
import { StateStream, type StateStreamInit } from './stream.ts';

/** Who is told what is looked at this often. */
const REVIEW_MS = 100;
/** While a planned move waits for what is brought. Changes themselves leave as the ring is read. */
const MOVE_MS = 10;
/** Another standby that answers is preferred only after this: a change of standbys leaves flows unprotected for a snapshot. */
const SETTLE_MS = 3_000;
/** After a stream has ended, another is begun. */
const RETRY_MS = 500;

/** A shard that this member owns now, and who would own it next. */
export interface Succession {
  readonly shard: number;
  readonly epoch: bigint;
  /** Undefined: no other member answers. */
  readonly to: string | undefined;
}

/** A shard that somebody is told of. */
interface Telling {
  readonly shard: number;
  readonly epoch: bigint;
  readonly target: string;
  readonly networks: readonly number[];
}

function isSame(a: readonly Telling[], b: readonly Telling[]): boolean {
  const same = (one: Telling, other: Telling | undefined): boolean =>
    one.shard === other?.shard && one.epoch === other.epoch && one.target === other.target && one.networks === other.networks;
  return a.length === b.length && a.every((one, i) => same(one, b[i]));
}

/** What is kept of a stream to a standby. */
export type Standby = Pick<
  StateStream,
  'setNetworks' | 'tellsOf' | 'offer' | 'restart' | 'isProtected' | 'brought' | 'lag' | 'tick' | 'close'
>;

/** A planned move: who is to have the state of some shards, until when that is the standby whatever else is found, and who has been asked to tell when it is there. */
interface Bringing {
  readonly shards: readonly number[];
  readonly to: string;
  readonly untilMs: number;
  readonly resolve: () => void;
  asked: Standby | undefined;
}

export interface StateKeeperInit {
  readonly self: string;
  readonly providerAddress: string;
  readonly clock: AgentClock;
  readonly logger: AgentLogger;
  readonly conditions: Conditions;
  readonly identity: Identity;
  readonly store: NatStore;
  readonly feed: Pick<NatFeed, 'listen'>;
  /** Shards owned here now. */
  readonly successions: () => readonly Succession[];
  readonly own: () => ReadonlySet<number>;
  /** Whom this machine obeys in a shard. */
  readonly ownerOf: (shard: number) => { readonly owner: string; readonly epoch: bigint } | undefined;
  /** The shard that a network is on. Undefined: not known yet. */
  readonly shardOf: (networkId: number) => number | undefined;
  /** Whether a segment is another group's than the shard's. */
  readonly isForeign: (shard: number, segment: number) => boolean;
  /** Networks that a shard serves, by network id. The same array as long as they are the same. */
  readonly networksOf: (shard: number) => readonly number[];
  /** A member of one of this machine's groups. */
  readonly member: (hostId: string) => { readonly key: string; readonly providerAddress: string } | undefined;
  readonly isMemberAddress: (providerAddress: string) => boolean;
  /** For tests: makes the streams, and nothing is listened for. */
  readonly makeStream?: (init: Pick<StateStreamInit, 'peer' | 'onClosed'>) => Standby;
}

/** Keeps the standbys of the shards owned here, and what is here of the shards of others. */
export class StateKeeper {
  readonly #init: StateKeeperInit;
  readonly #receiver: StateReceiver;
  readonly #streams = new Map<string, Standby>();
  readonly #retryAtMs = new Map<string, number>();
  #networks: ReadonlyMap<number, string> = new Map();
  #telling: readonly Telling[] = [];
  /** What `#telling` comes to, by standby: the same map as long as it says the same. */
  #wanted: ReadonlyMap<string, ReadonlyMap<number, NatStateScope>> = new Map();
  #successions: readonly Succession[] = [];
  readonly #otherSinceMs = new Map<number, number>();
  #moves: readonly Bringing[] = [];
  #server: Server | undefined;
  #stopListening: (() => void) | undefined;
  #timer: unknown;
  #reviewedMs = Number.NEGATIVE_INFINITY;
  #stopped = false;

  constructor(init: StateKeeperInit) {
    this.#init = init;
    this.#receiver = new StateReceiver({ ...init, keyOf: (hostId) => init.member(hostId)?.key, defer });
  }

  start(): void {
    this.#listen();
    this.#stopListening = this.#init.feed.listen({
      onEvents: (batch) => batch.forEachChange(this.#isTold, (change) => this.#onChange(change)),
      onLost: () => {
        for (const stream of this.#streams.values()) stream.restart();
      },
    });
    this.#tick();
  }

  stop(): void {
    this.#stopped = true;
    this.#init.clock.clearTimeout(this.#timer);
    this.#stopListening?.();
    this.#server?.close();
    this.#receiver.close();
    for (const stream of [...this.#streams.values()]) stream.close();
  }

  /** Of each shard owned here that has a standby. */
  lags(): readonly ShardLag[] {
    return this.#successions.flatMap(({ shard, to }) => {
      const stream = to === undefined ? undefined : this.#streams.get(to);
      if (to === undefined || stream === undefined) return [];
      const { p99Ms = 0, lastMs = 0, backlog } = stream.lag;
      return [{ shard, standby: to, lagMsP99: p99Ms, lagMsLast: lastMs, backlog, isProtected: stream.isProtected(shard) }];
    });
  }

  /**
   * Resolves when `to` has the state of these shards as it was at the call: for a planned move.
   * @param limitMs After that nobody waits any more: it never resolves.
   */
  bring(shards: readonly number[], to: string, limitMs: number): Promise<void> {
    return new Promise((resolve) => {
      this.#moves = [...this.#moves, { shards, to, resolve, untilMs: this.#init.clock.now() + limitMs, asked: undefined }];
      this.#review();
      this.#init.clock.clearTimeout(this.#timer);
      this.#tick();
    });
  }

  readonly #isTold = (networkId: number): boolean => {
    const to = this.#networks.get(networkId);
    return to !== undefined && this.#streams.get(to)?.tellsOf(networkId) === true;
  };

  #onChange(change: NatChange): void {
    const to = this.#networks.get(change.networkId);
    if (to === undefined) return;
    this.#streams.get(to)?.offer(change);
  }

  #tick(): void {
    if (this.#stopped) return;
    this.#timer = this.#init.clock.setTimeout(() => this.#tick(), this.#moves.length > 0 ? MOVE_MS : REVIEW_MS);
    if (this.#init.clock.now() - this.#reviewedMs >= REVIEW_MS) this.#review();
    for (const stream of [...this.#streams.values()]) stream.tick();
  }

  #review(): void {
    const { successions, networksOf, clock } = this.#init;
    const now = clock.now();
    this.#reviewedMs = now;
    this.#moves = this.#moves.filter(({ untilMs }) => now < untilMs);
    this.#successions = this.#settle(successions(), now);
    const telling = this.#successions.flatMap(({ shard, epoch, to }): Telling[] => {
      // A planned move names its own: whom the shards go to, until they are there.
      const target = this.#moves.findLast((one) => one.shards.includes(shard))?.to ?? to;
      return target === undefined ? [] : [{ shard, epoch, target, networks: networksOf(shard) }];
    });
    if (!isSame(telling, this.#telling)) this.#tell(telling);
    for (const [peer, stream] of [...this.#streams]) if (!this.#wanted.has(peer)) this.#end(peer, stream);
    for (const [peer, scopes] of this.#wanted) this.#stream(peer, now)?.setNetworks(scopes);
    this.#attendMoves();
  }

  /** Goes through all networks: not at each look. */
  #tell(telling: readonly Telling[]): void {
    const wanted = new Map<string, Map<number, NatStateScope>>();
    const networks = new Map<number, string>();
    for (const { shard, epoch, target, networks: ofShard } of telling) {
      const ofTarget = wanted.get(target) ?? new Map<number, NatStateScope>();
      wanted.set(target, ofTarget);
      for (const networkId of ofShard) {
        ofTarget.set(networkId, { networkId, shard, epoch });
        networks.set(networkId, target);
      }
    }
    this.#telling = telling;
    this.#wanted = wanted;
    this.#networks = networks;
  }

  /** The standby of each shard stays who it is while it can. */
  #settle(successions: readonly Succession[], now: number): readonly Succession[] {
    const before = new Map(this.#successions.map((one) => [one.shard, one.to]));
    return successions.map((one) => {
      const known = before.get(one.shard);
      if (known === undefined || known === one.to) this.#otherSinceMs.delete(one.shard);
      if (known === undefined || known === one.to || this.#init.member(known) === undefined) return one;
      const sinceMs = this.#otherSinceMs.get(one.shard) ?? now;
      this.#otherSinceMs.set(one.shard, sinceMs);
      const mayStay = one.to === undefined || now - sinceMs < SETTLE_MS;
      return mayStay && this.#streams.has(known) ? { ...one, to: known } : one;
    });
  }

  /** A stream may end before all is there: then the next one is asked. */
  #attendMoves(): void {
    for (const move of this.#moves) {
      const stream = this.#streams.get(move.to);
      if (stream === undefined || stream === move.asked || !move.shards.every((shard) => stream.isProtected(shard))) continue;
      move.asked = stream;
      void stream.brought(move.shards).then(move.resolve);
    }
  }

  #end(peer: string, stream: Standby): void {
    this.#streams.delete(peer);
    stream.close();
  }

  #stream(peer: string, now: number): Standby | undefined {
    const known = this.#streams.get(peer);
    const member = this.#init.member(peer);
    if (known !== undefined || member === undefined || now < (this.#retryAtMs.get(peer) ?? 0)) return known;
    const onClosed = (reason: string): void => {
      if (this.#streams.get(peer) !== stream) return;
      this.#streams.delete(peer);
      this.#retryAtMs.set(peer, this.#init.clock.now() + RETRY_MS);
      this.#init.logger.info({ peer, reason }, 'the state stream to a standby has ended; another is begun');
    };
    const stream: Standby = this.#init.makeStream?.({ peer, onClosed }) ?? this.#open(peer, member.providerAddress, onClosed);
    this.#streams.set(peer, stream);
    return stream;
  }

  #open(peer: string, address: string, onClosed: (reason: string) => void): StateStream {
    return new StateStream({
      ...this.#init,
      ...{ peer, defer, onClosed },
      keyOf: (hostId) => this.#init.member(hostId)?.key,
      connect: (on) => this.#connect(address, on),
    });
  }

  #connect(host: string, on: StateSocketEvents): StateSocket {
    return stateSocket(connect({ host, port: CONTROL_PORT, localAddress: this.#init.providerAddress }), on);
  }

  #listen(): void {
    if (this.#stopped || this.#init.makeStream !== undefined) return;
    const { providerAddress, conditions, clock } = this.#init;
    const server = createServer((socket) => {
      if (!this.#init.isMemberAddress(socket.remoteAddress ?? '')) socket.destroy();
      else this.#receiver.accept((on) => stateSocket(socket, on));
    });
    server.on('error', (error) => {
      conditions.raise(
        'STATE_PORT',
        `Cannot listen on TCP ${providerAddress}:${CONTROL_PORT} for the state of port mapping: ${messageOf(error)}; connections of other members' shards would not survive a takeover by this one. Free the port ("ss -tlpn" names who has it); tried again`,
      );
      this.#server = undefined;
      clock.setTimeout(() => this.#listen(), 5_000);
    });
    server.listen(CONTROL_PORT, providerAddress, () => conditions.clear('STATE_PORT'));
    this.#server = server;
  }
}

/** Sockets and timers first. */
function defer(then: () => void): void {
  setImmediate(then);
}
