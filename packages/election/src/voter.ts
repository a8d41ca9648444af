import type { OwnershipAnswer, OwnershipAsk, OwnershipBallot, OwnershipCertificate, OwnershipRelease } from '@weft/model';
import { consentHolds } from './certificate.ts';
import type { Context } from './context.ts';
import { NO_EPOCH } from './epoch.ts';
import { type Lease, leaseRefusal, type Promised, remaining, type VoterView } from './rules.ts';
import { voteStatement } from './statement.ts';

/*
 * The voter (PaxosLease: acceptor). Per shard:
 *
 *     nothing ──ballot above all promised──► promised (on disk) ──vote sent──► lease stands ──T without renewal──► lease run out
 *                                              ▲                                  │  ▲  │
 *                                              │                                  │  └──┘ renewal: same epoch, same candidate
 *                                              └── higher ballot, and: lease run out, holder silent to me, consent, released, or the holder itself
 *
 * Promises (epoch, candidate) are in the file; leases in memory. It remembers the highest certificate per shard for hosts and members that ask.
 */
export class Voter implements VoterView {
  readonly #context: Context;
  readonly #promises = new Map<number, Promised & { readonly version: number }>();
  readonly #leases = new Map<number, Lease>();
  readonly #certificates = new Map<number, OwnershipCertificate>();
  /** Times at which a shard's owner changed. */
  readonly #moves = new Map<number, number[]>();
  /** Ballots that are voted for once the promise is on disk. */
  readonly #awaitingDisk = new Map<string, OwnershipBallot>();
  readonly #abstainUntil: number;
  readonly #bootId: string;
  #acceptedVersion = 0;

  constructor(context: Context, bootId: string, hadFile: boolean) {
    this.#context = context;
    this.#bootId = bootId;
    const { rules, timing, durable, now } = context;
    const recalled = hadFile ? rules.recall(durable.state, bootId, now, timing.leaseMs) : { promises: [], abstainUntil: now };
    this.#abstainUntil = recalled.abstainUntil;
    for (const { shard, epoch, candidate } of recalled.promises) {
      this.#promises.set(shard, { epoch, candidate, version: 0 });
      // It may have been renewed in the last moment before the file's process ended.
      this.#leases.set(shard, { epoch, candidate, until: now + timing.leaseMs });
    }
    for (const certificate of hadFile ? durable.state.certificates : []) {
      for (const shard of certificate.ballot.shards) {
        if (certificate.ballot.epoch > (this.#certificates.get(shard)?.ballot.epoch ?? NO_EPOCH))
          this.#certificates.set(shard, certificate);
      }
    }
  }

  // What `judge` looks at.
  get now(): number {
    return this.#context.now;
  }
  get self(): string {
    return this.#context.self;
  }
  get instance(): number {
    return this.#context.durable.state.instance;
  }
  get abstaining(): boolean {
    return this.now < this.#abstainUntil;
  }
  get accepted(): number {
    return this.#context.durable.state.accepted;
  }
  config(id: number): ReturnType<Context['configs']['get']> {
    return this.#context.configs.get(id);
  }
  promised(shard: number): Promised | undefined {
    return this.#promises.get(shard);
  }
  lease(shard: number): Lease | undefined {
    return this.#leases.get(shard);
  }
  silent(peer: string, shard: number, epoch: bigint): boolean {
    return peer !== this.self && this.#context.observer.silent(peer, shard, epoch, this.now);
  }
  answering(peer: string): boolean {
    return this.#context.observer.answering(peer, this.now);
  }
  damped(shard: number): boolean {
    const { movesMax, movesWindowMs } = this.#context.timing;
    return (this.#moves.get(shard) ?? []).filter((at) => this.now - at < movesWindowMs).length >= movesMax;
  }
  consentHolds(consent: Parameters<VoterView['consentHolds']>[0]): boolean {
    const { newest } = this.#context.configs;
    return newest !== undefined && consentHolds(newest, consent, this.#context.verify);
  }

  certificate(shard: number): OwnershipCertificate | undefined {
    return this.#certificates.get(shard);
  }

  tick(): void {
    const { durable } = this.#context;
    // Only now: a process that ends within its abstention abstains in full again.
    if (!this.abstaining && durable.state.bootId !== this.#bootId) durable.change({ bootId: this.#bootId });
  }

  ballot(from: string, ballot: OwnershipBallot): void {
    const context = this.#context;
    if (ballot.candidate !== from || ballot.leaseMs !== context.timing.leaseMs) return;
    const verdict = context.rules.judge(this, ballot, context.rules);
    if (verdict.vote === 'refuse') {
      if (verdict.reason === 'unknown-config') context.put({ kind: 'need-config', config: ballot.config, from });
      context.send(from, {
        kind: 'refusal',
        value: {
          config: ballot.config,
          epoch: ballot.epoch,
          round: ballot.round,
          reason: verdict.reason,
          shard: verdict.shard,
          promised: ballot.shards.reduce((high, shard) => max(high, this.promised(shard)?.epoch ?? NO_EPOCH), NO_EPOCH),
          remainingMs: verdict.remainingMs,
          acceptedConfig: this.accepted,
        },
      });
      return;
    }
    if (ballot.config > this.accepted) this.#acceptedVersion = context.durable.change({ accepted: ballot.config });
    if (verdict.vote === 'grant') this.#promise(ballot.shards, ballot.epoch, ballot.candidate);
    for (const shard of ballot.shards) {
      this.#leases.set(shard, { epoch: ballot.epoch, candidate: ballot.candidate, until: this.now + context.timing.leaseMs });
    }
    const version = Math.max(this.#acceptedVersion, ...ballot.shards.map((shard) => this.#promises.get(shard)!.version));
    // Ballots are repeated while the disk is slow: one vote, for the newest round, is enough. What waits for another version is another one.
    const key = `${version} ${ballot.config} ${ballot.epoch} ${ballot.candidate}`;
    const isWaiting = this.#awaitingDisk.has(key);
    this.#awaitingDisk.set(key, ballot);
    if (isWaiting) return;
    context.durable.when(version, () => {
      const newest = this.#awaitingDisk.get(key)!;
      this.#awaitingDisk.delete(key);
      this.#vote(newest);
    });
  }

  #vote(ballot: OwnershipBallot): void {
    const context = this.#context;
    // The disk may have taken long: another epoch may have been promised since, and a lower vote must not follow a higher one.
    if (
      ballot.shards.some((shard) => this.promised(shard)?.epoch !== ballot.epoch) ||
      !context.rules.acceptsConfig(this.accepted, ballot.config)
    )
      return;
    const config = this.config(ballot.config);
    if (config === undefined) return;
    const standing = { id: this.self, instance: this.instance };
    context.send(ballot.candidate, {
      kind: 'vote',
      value: {
        config: ballot.config,
        epoch: ballot.epoch,
        round: ballot.round,
        instance: standing.instance,
        signature: context.signer.sign(voteStatement(config.group, ballot, standing)),
        certified: ballot.shards.reduce((low, shard) => min(low, this.#certificates.get(shard)?.ballot.epoch ?? NO_EPOCH), ballot.epoch),
      },
    });
  }

  #promise(shards: readonly number[], epoch: bigint, candidate: string): void {
    const { durable } = this.#context;
    const kept = durable.state.promises.filter(({ shard }) => !shards.includes(shard));
    const version = durable.change({ promises: [...kept, ...shards.map((shard) => ({ shard, epoch, candidate }))] });
    for (const shard of shards) this.#promises.set(shard, { epoch, candidate, version });
  }

  ask(from: string, ask: OwnershipAsk): void {
    const context = this.#context;
    const value = this.answerTo(from, ask);
    if (value === undefined) return;
    context.send(from, { kind: 'answer', value });
    if (from === this.self) return;
    for (const certificate of new Set(ask.shards.flatMap((shard) => this.#certificates.get(shard) ?? []))) {
      if (certificate.ballot.candidate !== from) context.send(from, { kind: 'certificate', value: certificate });
    }
  }

  /** What this voter would answer now; undefined without a configuration. */
  answerTo(from: string, ask: OwnershipAsk): OwnershipAnswer | undefined {
    const config = this.#context.configs.newest;
    if (config === undefined) return undefined;
    return {
      nonce: ask.nonce,
      knownConfig: config.config,
      acceptedConfig: this.accepted,
      instance: this.instance,
      abstaining: this.abstaining,
      shards: ask.shards.map((shard) => ({
        shard,
        promised: this.promised(shard)?.epoch ?? NO_EPOCH,
        holder: this.lease(shard)?.candidate ?? '',
        remainingMs: remaining(this, shard),
        certified: this.#certificates.get(shard)?.ballot.epoch ?? NO_EPOCH,
        refusal: ask.candidacy ? leaseRefusal(this, shard, { candidate: from, kind: ask.kind, consent: ask.consent }) : undefined,
      })),
    };
  }

  release(from: string, release: OwnershipRelease): void {
    for (const shard of release.shards) {
      const lease = this.#leases.get(shard);
      if (lease !== undefined && lease.candidate === from && lease.epoch === release.epoch) this.#leases.delete(shard);
    }
  }

  /** A verified certificate: what a majority has granted binds this voter too, though it was not asked. */
  certified(certificate: OwnershipCertificate, shards: readonly number[]): void {
    const { ballot } = certificate;
    const { durable, timing } = this.#context;
    // A majority of the list before has voted in this configuration, so nothing of a lower one can be granted any more.
    if (ballot.config > this.accepted) this.#acceptedVersion = durable.change({ accepted: ballot.config });
    const above: number[] = [];
    let kept = false;
    for (const shard of shards) {
      const known = this.#certificates.get(shard)?.ballot;
      if (known !== undefined && ballot.epoch > known.epoch && ballot.candidate !== known.candidate) this.#moved(shard);
      if (known === undefined || ballot.epoch > known.epoch || (ballot.epoch === known.epoch && ballot.config > known.config)) {
        this.#certificates.set(shard, certificate);
        kept = true;
      }
      if (ballot.epoch <= (this.promised(shard)?.epoch ?? NO_EPOCH)) continue;
      above.push(shard);
      this.#leases.set(shard, { epoch: ballot.epoch, candidate: ballot.candidate, until: this.now + timing.leaseMs });
    }
    if (above.length > 0) this.#promise(above, ballot.epoch, ballot.candidate);
    if (kept) durable.change({ certificates: [...new Set(this.#certificates.values())] });
  }

  #moved(shard: number): void {
    const { movesMax, movesWindowMs } = this.#context.timing;
    const recent = (this.#moves.get(shard) ?? []).filter((at) => this.now - at < movesWindowMs);
    recent.push(this.now);
    this.#moves.set(shard, recent.slice(-movesMax));
  }
}

function max(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}
function min(a: bigint, b: bigint): bigint {
  return a < b ? a : b;
}
