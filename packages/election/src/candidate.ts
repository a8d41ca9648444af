import {
  OWNERSHIP_LIMITS,
  type OwnershipAnswer,
  type OwnershipCertificate,
  type OwnershipConfig,
  type OwnershipConsent,
  type OwnershipRefusal,
  type OwnershipVote,
} from '@weft/model';
import { drainedMembers } from './config.ts';
import type { Context } from './context.ts';
import { NO_EPOCH } from './epoch.ts';
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
 *   asking  ──enough would vote──► own epoch on disk ──► voting ──majority──► owner (owner.ts)
 *      │ not within `attemptMs`          voting ──not within it, or refused by too many──► release, standby
 *      └──► standby
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
  round: Round | undefined;
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
  readonly #startedAt: number;
  #attempt: Attempt | undefined;

  constructor({ context, views, heard, owner, placements, isMember }: CandidateInit) {
    this.#context = context;
    this.#views = views;
    this.#heard = heard;
    this.#owner = owner;
    this.#placements = placements;
    this.#isMember = isMember;
    this.#startedAt = context.now;
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
    this.#attempt = { kind, shards, consent, survey, startedAt: now, nextSendAt: now, phase: 'asking', isFirst: false, round: undefined };
    for (const shard of shards) if (this.#owner.termOf(shard) === undefined) this.#views.state(shard, 'asking');
    this.tick(now);
  }

  tick(now: number): void {
    const attempt = this.#attempt;
    if (attempt === undefined || attempt.phase === 'writing') return;
    const { timing } = this.#context;
    if (now - (attempt.round?.sentAt ?? attempt.startedAt) >= timing.attemptMs) {
      this.#end(attempt);
      return;
    }
    if (now < attempt.nextSendAt) return;
    attempt.nextSendAt = now + timing.resendMs;
    if (attempt.round !== undefined) attempt.round.send(this.#context);
    else this.#askVoters(attempt);
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
    const { configs, durable, rules } = this.#context;
    if (answer.knownConfig > (configs.newest?.config ?? 0)) this.#context.put({ kind: 'need-config', config: answer.knownConfig, from });
    if (attempt === undefined || attempt.phase !== 'asking' || answer.nonce !== attempt.survey.nonce) return;
    // Who names what can't be is not counted, so it can't stop the others either.
    if (!answer.shards.every(({ promised, certified }) => this.#heard.believes(promised, from) && this.#heard.believes(certified, from)))
      return;
    attempt.survey.answers.set(from, answer);
    const config = attempt.survey.winnable(this.#context, attempt.shards);
    if (config === undefined) return;
    this.#heard.add(attempt.survey.heard);
    this.#heard.add(durable.state.proposed);
    const epoch = rules.chooseEpoch(config.incarnation, this.#heard.highest);
    if (epoch === undefined) {
      this.#context.alarm('epochs-exhausted', '', true, () => 'No epoch is left above those heard of: run `weft gateway recover`');
      this.#end(attempt);
      return;
    }
    attempt.phase = 'writing';
    attempt.isFirst = attempt.kind === 'takeover' && attempt.survey.unowned;
    for (const shard of attempt.shards) if (this.#owner.termOf(shard) === undefined) this.#views.state(shard, 'voting');
    // Its own file first: after a restart it must not ask votes for this epoch as if it were a new one.
    const version = durable.change({ proposed: epoch });
    durable.when(version, () => {
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
      attempt.round = new Round(config, ballot, now);
      attempt.nextSendAt = now + timing.resendMs;
      attempt.round.send(this.#context);
    });
  }

  /** Ends an attempt that did not win: gives the epoch up, if votes were asked for, and waits a little. */
  #end(attempt: Attempt): void {
    this.#attempt = undefined;
    const { timing, now } = this.#context;
    if (attempt.round !== undefined) {
      const release = { epoch: attempt.round.ballot.epoch, shards: attempt.shards };
      for (const id of voterIds(attempt.round.config)) this.#context.send(id, { kind: 'release', value: release });
    }
    const standing =
      attempt.round === undefined && attempt.survey.waitMs < timing.leaseMs ? Math.min(attempt.survey.waitMs, timing.renewMs / 2) : 0;
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
    if (own.length > 0 && attempt.round !== undefined) this.#owner.raiseSoon(own, now + timing.renewMs);
  }

  /** @returns False if the vote is for another round than the attempt's. */
  vote(from: string, vote: OwnershipVote): boolean {
    const attempt = this.#attempt;
    if (attempt?.round?.matches(vote) !== true) return false;
    const { round } = attempt;
    round.vote(this.#context, from, vote);
    if (!round.won(this.#context)) return true;
    if (this.#context.now >= round.sentAt + forwardMs(this.#context.timing) || !this.#owner.carrier) this.#end(attempt);
    else {
      this.#attempt = undefined;
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
    if (attempt?.round?.matches(refusal) !== true) return false;
    if (this.#context.configs.get(refusal.acceptedConfig) === undefined && refusal.acceptedConfig > attempt.round.ballot.config) {
      this.#context.put({ kind: 'need-config', config: refusal.acceptedConfig, from });
    }
    attempt.round.refused.add(from);
    if (attempt.round.lost(this.#context)) this.#end(attempt);
    return true;
  }

  /** Somebody else was granted shards, and that is news: it overtakes the attempt, unless that has a higher epoch. */
  overtaken({ ballot }: OwnershipCertificate): void {
    const attempt = this.#attempt;
    if (attempt === undefined || attempt.phase === 'writing' || !attempt.shards.some((shard) => ballot.shards.includes(shard))) return;
    if (ballot.epoch > (attempt.round?.ballot.epoch ?? NO_EPOCH)) this.#end(attempt);
  }

  /** It can't own anything just now. */
  giveUp(): void {
    if (this.#attempt !== undefined && this.#attempt.phase !== 'writing') this.#end(this.#attempt);
  }
}
