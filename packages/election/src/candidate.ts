import {
  OWNERSHIP_LIMITS,
  type OwnershipAnswer,
  type OwnershipBallot,
  type OwnershipCertificate,
  type OwnershipConfig,
  type OwnershipConsent,
  type OwnershipRefusal,
  type OwnershipVote,
} from '@weft/model';
import { drainedMembers } from './config.ts';
import type { Context } from './context.ts';
import { NO_EPOCH } from './epoch.ts';
import { EpochReserve } from './epoch-reserve.ts';
import type { HeardEpochs } from './heard-epochs.ts';
import type { Owner } from './owner.ts';
import type { Placements } from './placement.ts';
import { Round, voterIds } from './round.ts';
import type { ShardView, ShardViews } from './shard-views.ts';
import { Survey } from './survey.ts';
import { forwardMs } from './timing.ts';

/*
 * The candidate (PaxosLease: proposer). One attempt at a time, for one shard or several that are free together:
 *
 *   standby ──owner silent to me, or unheard for T, or none; then my place in the order──► asking
 *   asking  ──enough would vote──► own epoch on disk, mostly since long ago (epoch-reserve.ts) ──► voting ──majority──► owner (owner.ts)
 *      │ not within `attemptMs`          voting ──refused by too many, or not within its time──► release, standby
 *      └──► standby                         └─┘ each `attemptMs`: the same ballot in a new round, so that votes count from now
 *
 * How long it waits for votes goes by its own disk, and doubles when nobody has refused and too few have voted: then the others' are slower than that. A promise that has
 * got onto a disk at last is one for this epoch; a new attempt asks for another, and so for another write.
 */
interface Attempt {
  readonly kind: 'takeover' | 'handover';
  readonly shards: readonly number[];
  readonly consent: OwnershipConsent | undefined;
  readonly survey: Survey;
  readonly startedAt: number;
  nextSendAt: number;
  phase: 'asking' | 'writing' | 'voting';
  /** Nobody who was asked has heard of an owner. */
  isFirst: boolean;
  /** The ballot as it was sent, newest last; one that is older than it could open the fence for is forgotten. Empty: not yet. */
  rounds: Round[];
  votingSince: number;
}

export interface CandidateInit {
  readonly context: Context;
  readonly views: ShardViews;
  readonly heard: HeardEpochs;
  readonly owner: Owner;
  readonly placements: Placements;
  readonly isMember: () => boolean;
}

export class Candidate {
  readonly #context: Context;
  readonly #views: ShardViews;
  readonly #heard: HeardEpochs;
  readonly #owner: Owner;
  readonly #placements: Placements;
  readonly #isMember: () => boolean;
  readonly #reserve: EpochReserve;
  readonly #startedAt: number;
  #attempt: Attempt | undefined;
  /** How long the next attempt waits for votes. */
  #patienceMs: number;

  constructor({ context, views, heard, owner, placements, isMember }: CandidateInit) {
    this.#context = context;
    this.#views = views;
    this.#heard = heard;
    this.#owner = owner;
    this.#placements = placements;
    this.#isMember = isMember;
    this.#reserve = new EpochReserve(context, heard);
    this.#startedAt = context.now;
    this.#patienceMs = context.timing.attemptMs;
  }

  stand(now: number): void {
    const { newest } = this.#context.configs;
    if (newest === undefined || !this.#isMember()) return;
    const idle = this.#attempt === undefined && this.#owner.carrier;
    const stands = idle && !this.#stepsBack(newest, now);
    const ready: number[] = [];
    for (const { shard, order } of newest.shards) {
      const view = this.#views.of(shard);
      if (this.#owner.termOf(shard) !== undefined) continue;
      if (!this.#wanted(shard, view, now)) {
        view.wantedSince = undefined;
        continue;
      }
      view.wantedSince ??= now;
      if (stands && now >= view.notBefore && now >= view.wantedSince + this.#rank(order, view, now) * this.#context.timing.staggerMs)
        ready.push(shard);
    }
    if (ready.length > 0) this.#start('takeover', this.#together(ready), undefined);
    else if (idle) {
      const raise = this.#owner.raiseDue(now);
      if (raise !== undefined) this.#start('takeover', raise, undefined);
      else this.#reserve.refill(newest.incarnation);
    }
  }

  /** A drained member takes what nobody else can, and nothing more. */
  #stepsBack(config: OwnershipConfig, now: number): boolean {
    const drained = drainedMembers(config);
    return (
      drained.has(this.#context.self) && config.members.some(({ id }) => !drained.has(id) && this.#context.observer.answering(id, now))
    );
  }

  /** Those that have the same owner as the first: they are free together or not at all. */
  #together(shards: readonly number[]): readonly number[] {
    const owner = (shard: number): string | undefined => this.#views.of(shard).certificate?.ballot.candidate;
    return shards
      .filter((shard) => owner(shard) === owner(shards[0]!))
      .sort((a, b) => a - b)
      .slice(0, OWNERSHIP_LIMITS.shards);
  }

  #wanted(shard: number, { certificate, certifiedAt }: ShardView, now: number): boolean {
    if (certificate === undefined || certificate.ballot.candidate === this.#context.self) return true;
    const { candidate, epoch } = certificate.ballot;
    const { observer, timing } = this.#context;
    if (observer.silent(candidate, shard, epoch, now)) return true;
    // Whoever never answered me is not silent, but when nobody has heard of it for a lease, the voters may know more.
    return now - Math.max(observer.validAt(candidate, shard, epoch), certifiedAt, this.#startedAt) >= timing.leaseMs;
  }

  /** How many members that answer me stand before me in the shard's order. */
  #rank(order: readonly string[], { certificate }: ShardView, now: number): number {
    const { self, observer } = this.#context;
    const holder = certificate?.ballot.candidate;
    const before = order.includes(self) ? order.slice(0, order.indexOf(self)) : order;
    return before.filter((id) => !(id === holder && id !== self) && observer.answering(id, now)).length;
  }

  /** Another owner offers its shards. */
  offered(consent: OwnershipConsent): void {
    if (this.#attempt === undefined && this.#owner.carrier && this.#isMember()) this.#start('handover', consent.shards, consent);
  }

  #start(kind: Attempt['kind'], shards: readonly number[], consent: OwnershipConsent | undefined): void {
    const { now } = this.#context;
    const survey = new Survey(this.#context.nonce());
    const attempt = {
      kind,
      shards,
      consent,
      survey,
      startedAt: now,
      nextSendAt: now,
      isFirst: false,
      rounds: [],
      votingSince: now,
    };
    this.#attempt = { ...attempt, phase: 'asking' };
    for (const shard of shards) if (this.#owner.termOf(shard) === undefined) this.#views.state(shard, 'asking');
    this.tick(now);
  }

  tick(now: number): void {
    const attempt = this.#attempt;
    if (attempt === undefined || attempt.phase === 'writing') return;
    const { timing } = this.#context;
    const last = attempt.rounds.at(-1);
    if (now - (last === undefined ? attempt.startedAt : attempt.votingSince) >= this.#limitMs(attempt)) {
      if (last !== undefined && !isRefused(attempt)) this.#patienceMs = Math.min(2 * this.#patienceMs, timing.attemptMaxMs);
      this.#end(attempt);
      return;
    }
    if (now < attempt.nextSendAt) return;
    attempt.nextSendAt = now + timing.resendMs;
    if (last === undefined) this.#askVoters(attempt);
    else if (now - last.sentAt < timing.attemptMs) last.send(this.#context);
    else this.#sendBallot(attempt, last.config, { ...last.ballot, round: this.#context.nonce() });
  }

  /** An answer needs no disk. A planned move is called off by the old owner soon, and whom a voter has refused needs a higher epoch. */
  #limitMs(attempt: Attempt): number {
    const { attemptMs, attemptMaxMs } = this.#context.timing;
    if (attempt.rounds.length === 0 || attempt.kind === 'handover' || isRefused(attempt)) return attemptMs;
    // The others' disks may be as slow as the own one, and have a write under way.
    return Math.min(Math.max(this.#patienceMs, attemptMs + 2 * this.#context.durable.tookMs), attemptMaxMs);
  }

  #sendBallot(attempt: Attempt, config: OwnershipConfig, ballot: OwnershipBallot): void {
    const { now, timing } = this.#context;
    const round = new Round(config, ballot, now);
    attempt.rounds = [...attempt.rounds.filter(({ sentAt }) => now < sentAt + forwardMs(timing)), round];
    attempt.nextSendAt = now + timing.resendMs;
    round.send(this.#context);
  }

  #askVoters({ kind, shards, consent, survey }: Attempt): void {
    const { newest } = this.#context.configs;
    if (newest === undefined) return;
    for (const id of voterIds(newest)) {
      this.#context.send(id, { kind: 'ask', value: { nonce: survey.nonce, shards, candidacy: true, kind, consent } });
    }
  }

  answer(from: string, answer: OwnershipAnswer): void {
    const attempt = this.#attempt;
    const { configs } = this.#context;
    if (answer.knownConfig > (configs.newest?.config ?? 0)) this.#context.put({ kind: 'need-config', config: answer.knownConfig, from });
    if (attempt === undefined || attempt.phase !== 'asking' || answer.nonce !== attempt.survey.nonce) return;
    // Who names what can't be is not counted, so it can't stop the others either.
    if (!answer.shards.every(({ promised, certified }) => this.#heard.believes(promised, from) && this.#heard.believes(certified, from)))
      return;
    attempt.survey.answers.set(from, answer);
    const config = attempt.survey.winnable(this.#context, attempt.shards);
    if (config === undefined) return;
    this.#heard.add(attempt.survey.heard);
    const epoch = this.#reserve.next(config.incarnation);
    if (epoch === undefined) {
      this.#context.alarm('epochs-exhausted', '', true, () => 'No epoch is left above those heard of: run `weft gateway recover`');
      this.#end(attempt);
      return;
    }
    attempt.phase = 'writing';
    attempt.isFirst = attempt.kind === 'takeover' && attempt.survey.unowned;
    for (const shard of attempt.shards) if (this.#owner.termOf(shard) === undefined) this.#views.state(shard, 'voting');
    // In its own file first: after a restart it must not ask votes for this epoch as if it were a new one.
    this.#reserve.use(epoch, () => {
      if (this.#attempt !== attempt) return;
      const { now, timing, self } = this.#context;
      const { kind, shards, consent } = attempt;
      const providerAddress = config.members.find(({ id }) => id === self)!.providerAddress;
      const ballot = {
        config: config.config,
        epoch,
        shards,
        candidate: self,
        providerAddress,
        kind,
        leaseMs: timing.leaseMs,
        round: this.#context.nonce(),
        consent,
      };
      attempt.phase = 'voting';
      attempt.votingSince = now;
      this.#sendBallot(attempt, config, ballot);
    });
  }

  /** Ends an attempt that did not win: gives the epoch up, if votes were asked for, and waits a little. */
  #end(attempt: Attempt): void {
    this.#attempt = undefined;
    const { timing, now } = this.#context;
    const last = attempt.rounds.at(-1);
    if (last !== undefined) {
      const release = { epoch: last.ballot.epoch, shards: attempt.shards };
      for (const id of voterIds(last.config)) this.#context.send(id, { kind: 'release', value: release });
    }
    const standing = last === undefined && attempt.survey.waitMs < timing.leaseMs ? Math.min(attempt.survey.waitMs, timing.renewMs / 2) : 0;
    for (const shard of attempt.shards) {
      const view = this.#views.of(shard);
      view.notBefore = now + standing + this.#context.spread(timing.staggerMs * 2);
      if (this.#owner.termOf(shard) === undefined) this.#views.state(shard, attempt.survey.has('damped') ? 'held' : 'standby');
      this.#context.alarm(
        'flapping',
        String(shard),
        attempt.survey.has('damped'),
        () =>
          `Shard ${shard} has moved ${timing.movesMax} times in ${timing.movesWindowMs / 1000} s: it stays until its owner's lease runs out. See why the members lose each other`,
      );
    }
    const own = attempt.shards.filter((shard) => this.#owner.termOf(shard) !== undefined);
    if (own.length > 0 && last !== undefined) this.#owner.raiseSoon(own, now + timing.renewMs);
  }

  /** @returns False if the vote is for another round than the attempt's. */
  vote(from: string, vote: OwnershipVote): boolean {
    const attempt = this.#attempt;
    const round = attempt?.rounds.find((one) => one.matches(vote));
    if (attempt === undefined || round === undefined) return false;
    round.vote(this.#context, from, vote);
    if (!round.won(this.#context)) return true;
    if (this.#context.now >= round.sentAt + forwardMs(this.#context.timing) || !this.#owner.carrier) this.#end(attempt);
    else {
      this.#attempt = undefined;
      this.#patienceMs = this.#context.timing.attemptMs;
      this.#arrive(attempt);
      this.#owner.granted(round);
    }
    return true;
  }

  /** What it owned before, or would have gone on owning, keeps its note: a placement that is not reached yet still counts. */
  #arrive({ shards, isFirst }: Attempt): void {
    const { self } = this.#context;
    const before = (shard: number): string | undefined => this.#views.of(shard).certificate?.ballot.candidate;
    const news = shards.filter((shard) => this.#owner.termOf(shard) === undefined && before(shard) !== self);
    const first = isFirst ? news.filter((shard) => before(shard) === undefined) : [];
    if (first.length > 0) this.#placements.arrived(first, 'first');
    const taken = news.filter((shard) => !first.includes(shard));
    if (taken.length > 0) this.#placements.arrived(taken, 'from-another');
  }

  /** @returns False if it is about another round. */
  refusal(from: string, refusal: OwnershipRefusal): boolean {
    const attempt = this.#attempt;
    const round = attempt?.rounds.find((one) => one.matches(refusal));
    if (attempt === undefined || round === undefined) return false;
    if (this.#context.configs.get(refusal.acceptedConfig) === undefined && refusal.acceptedConfig > round.ballot.config) {
      this.#context.put({ kind: 'need-config', config: refusal.acceptedConfig, from });
    }
    round.refused.add(from);
    if (round.lost(this.#context)) this.#end(attempt);
    return true;
  }

  /** Somebody else was granted shards, and that is news: it overtakes the attempt, unless that has a higher epoch. */
  overtaken({ ballot }: OwnershipCertificate): void {
    const attempt = this.#attempt;
    this.#patienceMs = this.#context.timing.attemptMs;
    if (attempt === undefined || attempt.phase === 'writing' || !attempt.shards.some((shard) => ballot.shards.includes(shard))) return;
    if (ballot.epoch > (attempt.rounds.at(-1)?.ballot.epoch ?? NO_EPOCH)) this.#end(attempt);
  }

  /** It can't own anything just now. */
  giveUp(): void {
    if (this.#attempt !== undefined && this.#attempt.phase !== 'writing') this.#end(this.#attempt);
  }
}

function isRefused({ rounds }: Attempt): boolean {
  return rounds.some(({ refused }) => refused.size > 0);
}
