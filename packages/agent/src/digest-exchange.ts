import type { NetworkDigest, TrustStore } from '@weft/model';
import {
  DEFAULT_TRICKLE,
  hearDifferent,
  hearEqual,
  type NetworkView,
  startTrickle,
  type TrickleState,
  tickTrickle,
  trickleDeadlineMs,
} from '@weft/tables';
import type { AgentClock } from './components.ts';
import { backoffMs } from './limiter.ts';

/** How long the difference a digest told of may heal by events under way. */
const SETTLE_MS = 150;

export interface DigestExchangeComponents {
  readonly rdid: string;
  readonly hostId: string;
  readonly view: NetworkView;
  readonly trust: TrustStore;
  readonly clock: AgentClock;
  readonly random: () => number;
  readonly counters: { digestsSent: number; digestsHeard: number; digestsDifferent: number };
  readonly publish: (digest: NetworkDigest) => void;
  readonly onRefused: (code: string, reason: string) => void;
  readonly onResync: () => void;
  /** Call `resync` at that time (boot clock). */
  readonly onResyncAt: (atMs: number) => void;
  /** Networks that this host follows. */
  readonly followed: () => number;
  /** `deadlineMs` has changed. */
  readonly onRearm: () => void;
}

/** Digests of all its networks that a host sends in a second, at most: each is signed here and verified by all that hear it. */
const DIGESTS_A_SECOND = 50;

/** With many networks a settled one is told of more rarely. News makes the interval short again, however many there are. */
function trickleOf(followed: number): typeof DEFAULT_TRICKLE {
  return { ...DEFAULT_TRICKLE, maxIntervalMs: Math.max(DEFAULT_TRICKLE.maxIntervalMs, (followed / DIGESTS_A_SECOND) * 1_000) };
}

/** One network's digests, out and in: equal ► quiet, different ► look at the store, ever more rarely if that mends nothing. */
export class DigestExchange {
  readonly #on: DigestExchangeComponents;
  #trickle: TrickleState;
  #lastResyncMs = Number.NEGATIVE_INFINITY;
  #attempt = 0;
  #waits = false;
  #stopped = false;

  constructor(components: DigestExchangeComponents) {
    this.#on = components;
    this.#trickle = startTrickle(trickleOf(components.followed()), components.clock.now(), components.random);
  }

  /** When `tick` has something to do next. */
  get deadlineMs(): number {
    return trickleDeadlineMs(this.#trickle);
  }

  /** A resync is owed to a digest, and waits for its back-off. */
  get waits(): boolean {
    return this.#waits;
  }

  /** @returns Whether a digest is to be sent now. */
  tick(nowMs: number): boolean {
    const { state, send } = tickTrickle(trickleOf(this.#on.followed()), this.#trickle, nowMs, this.#on.random);
    this.#trickle = state;
    return send;
  }

  /** @param zero No port of this host is in the network. */
  send(zero: boolean): void {
    const { rdid: routingDomainId, hostId, view, counters } = this.#on;
    counters.digestsSent++;
    this.#on.publish({ ...view.digest(), routingDomainId, hostId, zero });
  }

  hear(digest: NetworkDigest, signer: string): void {
    const { rdid, hostId, trust, clock, random, counters } = this.#on;
    if (digest.hostId === hostId) return;
    if (digest.routingDomainId !== rdid || trust.host(digest.hostId)?.publicKey !== signer) {
      this.#on.onRefused('WEFT_ERR_TRUST_HOST', `Cannot accept the digest of host ${digest.hostId}: ${signer} is not its key`);
      return;
    }
    counters.digestsHeard++;
    if (this.#agrees(digest)) {
      this.#trickle = hearEqual(this.#trickle);
      return;
    }
    counters.digestsDifferent++;
    this.#trickle = hearDifferent(DEFAULT_TRICKLE, this.#trickle, clock.now(), random);
    this.#on.onRearm();
    // An event may be under way; and who is only ahead of the sender needs nothing: the sender hears our digest.
    clock.setTimeout(
      () => {
        if (!this.#stopped && !this.#agrees(digest) && !this.#isAheadOf(digest)) this.resync();
      },
      SETTLE_MS * (0.5 + random()),
    );
  }

  /** Looks at the store now, or when the back-off is over. */
  resync(): void {
    const { clock, random } = this.#on;
    const now = clock.now();
    const waitMs = this.#lastResyncMs + backoffMs(this.#attempt, 250, 30_000, random) - now;
    this.#waits = waitMs > 0;
    if (waitMs > 0) {
      this.#on.onResyncAt(now + waitMs);
      return;
    }
    this.#lastResyncMs = now;
    this.#attempt++;
    this.#on.onResync();
  }

  /** The store had something new. Only digests that were right keep their promptness: a host that errs, or lies, costs ever fewer looks. */
  wereRight(): void {
    this.#attempt = 0;
  }

  stop(): void {
    this.#stopped = true;
  }

  #agrees(digest: NetworkDigest): boolean {
    const own = this.#on.view.digest();
    return own.recordCount === digest.recordCount && own.hash.every((byte, i) => byte === digest.hash[i]);
  }

  #isAheadOf(digest: NetworkDigest): boolean {
    const own = this.#on.view.digest();
    if (own.configRevision === digest.configRevision && own.mappingRevision === digest.mappingRevision) return false;
    return (
      own.bucketCreatedUnixMs === digest.bucketCreatedUnixMs &&
      own.configRevision >= digest.configRevision &&
      own.mappingRevision >= digest.mappingRevision
    );
  }
}
