import type { Timing } from './timing.ts';

/** What a peer's packet path said of one shard when it answered a probe. */
export interface ProbeShard {
  readonly shard: number;
  readonly epoch: bigint;
  /** Its forwarding deadline held when it answered. */
  readonly valid: boolean;
}

interface Peer {
  /** Nonce to time of sending, of probes still awaited. */
  readonly awaited: Map<number, number>;
  /** Times of sending of the last few probes, ascending. */
  sent: number[];
  /** Latest time of sending among the probes that were answered; -Infinity: never since my start. */
  answered: number;
  /** For each shard that it was heard as valid owner of: highest epoch, and the latest sending that was answered so. */
  readonly valid: Map<number, { readonly epoch: bigint; readonly sentAt: number }>;
}

const KEPT = 16;

/**
 * Liveness as one node sees it. "Silent to me" means exactly this: the peer's packet path once answered me, since my own start, that it owned the shard
 * with that epoch or a later one; after the last probe it answered so, at least `silentProbes` were really sent; and each of those is unanswered (or
 * answered without a valid deadline) for `unansweredMs`. Whoever was never heard is not silent: then the lease decides.
 *
 * Times of sending are the kernel's, given with `sent`. The process that counts may have stood still: what was sent before a gap counts for nothing, since
 * its answers may lie unread (`paused`). Adapters read their sockets before they give a tick, all the same.
 */
export class Observer {
  readonly #timing: Timing;
  readonly #peers = new Map<string, Peer>();
  #pausedAt = -Infinity;

  constructor(timing: Timing) {
    this.#timing = timing;
  }

  sent(peer: string, nonce: number, at: number): void {
    const known = this.#peer(peer);
    known.awaited.set(nonce, at);
    known.sent.push(at);
    if (known.sent.length > KEPT) known.sent.shift();
    if (known.awaited.size > KEPT) {
      for (const oldest of known.awaited.keys()) {
        known.awaited.delete(oldest);
        break;
      }
    }
  }

  /** An answer to a nonce that isn't awaited (another's, a copy, forged) counts for nothing. */
  answered(peer: string, nonce: number, shards: readonly ProbeShard[]): void {
    const known = this.#peers.get(peer);
    const sentAt = known?.awaited.get(nonce);
    if (known === undefined || sentAt === undefined) return;
    known.awaited.delete(nonce);
    known.answered = Math.max(known.answered, sentAt);
    for (const { shard, epoch, valid } of shards) {
      if (!valid) continue;
      const before = known.valid.get(shard);
      if (before === undefined || epoch > before.epoch || (epoch === before.epoch && sentAt > before.sentAt)) {
        known.valid.set(shard, { epoch, sentAt: Math.max(sentAt, before?.sentAt ?? sentAt) });
      }
    }
  }

  /** This process stood still until now: probes of before it did say nothing about their peers. */
  paused(now: number): void {
    this.#pausedAt = now;
    for (const peer of this.#peers.values()) peer.sent = [];
  }

  /** True: the owner of that epoch is silent to me. */
  silent(peer: string, shard: number, epoch: bigint, now: number): boolean {
    const known = this.#peers.get(peer);
    const valid = known?.valid.get(shard);
    if (known === undefined || valid === undefined || valid.epoch < epoch) return false;
    let unanswered = 0;
    for (const at of known.sent) if (at > valid.sentAt && now - at >= this.#timing.unansweredMs) unanswered++;
    return unanswered >= this.#timing.silentProbes;
  }

  /** False: this process stood still a moment ago. Whom it does not find answering may have answered all the time. */
  hasWatched(now: number): boolean {
    return now - this.#pausedAt >= this.#timing.answeringMs;
  }

  /** True: the peer's packet path answers me. */
  answering(peer: string, now: number): boolean {
    return (this.#peers.get(peer)?.answered ?? -Infinity) >= now - this.#timing.answeringMs;
  }

  /** When a probe was sent that the peer answered as valid owner of the shard with that epoch or a later one; -Infinity: never. */
  validAt(peer: string, shard: number, epoch: bigint): number {
    const valid = this.#peers.get(peer)?.valid.get(shard);
    return valid !== undefined && valid.epoch >= epoch ? valid.sentAt : -Infinity;
  }

  #peer(id: string): Peer {
    let peer = this.#peers.get(id);
    if (peer === undefined) {
      peer = { awaited: new Map(), sent: [], answered: -Infinity, valid: new Map() };
      this.#peers.set(id, peer);
    }
    return peer;
  }
}
