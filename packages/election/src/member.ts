import {
  OWNERSHIP_LIMITS,
  type OwnershipAcknowledgement,
  type OwnershipAnswer,
  type OwnershipCertificate,
  type OwnershipConsent,
  type OwnershipRefusal,
  type OwnershipVote,
} from '@weft/model';
import { ALL_PATHS, type Context } from './context.ts';
import { Delivery } from './delivery.ts';
import { incarnationOf, NO_EPOCH } from './epoch.ts';
import { Fence, type FenceRow } from './fence.ts';
import { Handover } from './handover.ts';
import type { ShardState } from './io.ts';
import { Round, voterIds } from './round.ts';
import { Survey } from './survey.ts';
import { forwardMs } from './timing.ts';

/*
 * Candidate and owner (PaxosLease: proposer). Per shard:
 *
 *   standby ──owner silent to me, or unheard for T, or none; then my place in the order──► asking
 *   asking  ──a majority would vote──► own epoch on disk ──► voting ──majority──► owner ──renewal each R──► owner
 *      │ not within `attemptMs`           voting ──not within it, or refused by too many──► release, standby
 *      └──► standby                       owner ──higher epoch certified──► standby (closed at once)
 *                                         owner ──drain, carrier lost──► handing over (handover.ts) ──► standby
 *
 * An owner whose voters have promised a higher epoch that came to nothing takes a new epoch itself (`raise`), so that those voters renew again.
 */

interface Attempt {
  readonly kind: 'takeover' | 'handover';
  readonly shards: readonly number[];
  readonly consent: OwnershipConsent | undefined;
  readonly survey: Survey;
  readonly startedAt: number;
  nextSendAt: number;
  phase: 'asking' | 'writing' | 'voting';
  round: Round | undefined;
}

/** One grant that this member holds: an epoch, the shards it still covers, and how long. */
export interface Term {
  readonly epoch: bigint;
  shards: readonly number[];
  config: number;
  deadline: number;
  /** Renewals under way. An answer that is late for one counts from that one's own sending. */
  rounds: Round[];
  nextRenewAt: number;
  delivery: Delivery | undefined;
  raiseAt: number | undefined;
}

interface ShardView {
  certificate: OwnershipCertificate | undefined;
  certifiedAt: number;
  /** Since when this member has reason to stand for the shard. */
  wantedSince: number | undefined;
  notBefore: number;
  state: ShardState;
}

/** An epoch that far above what is certified is no accident: whoever names it lies, and would use the ballots up. */
const PLAUSIBLE_LEAP = 1n << 24n;
const ROUNDS_KEPT = 6;

export class Member {
  readonly #context: Context;
  readonly fence: Fence;
  readonly handover: Handover;
  readonly #startedAt: number;
  readonly #shards = new Map<number, ShardView>();
  #terms: Term[] = [];
  #attempt: Attempt | undefined;
  /** A question about a newer configuration, before renewals move to it. */
  #switch: { readonly config: number; readonly survey: Survey; readonly at: number } | undefined;
  #heard: bigint = NO_EPOCH;
  #carrier = true;
  #hosts: readonly string[] = [];
  #unsettledSince: number | undefined;

  /** @param rows What stands in the packet path's map: of an earlier process in this boot. */
  constructor(context: Context, rows: readonly FenceRow[]) {
    this.#context = context;
    this.#startedAt = context.now;
    this.fence = new Fence(rows);
    this.handover = new Handover(context, this);
    for (const { epoch, deadlineMs, shard } of rows) {
      if (deadlineMs === 0) continue;
      const term = this.#terms.find((known) => known.epoch === epoch);
      if (term !== undefined) term.shards = [...term.shards, shard].sort((a, b) => a - b);
      else this.#terms.push(newTerm(epoch, [shard], 0, deadlineMs, context.now));
      this.hear(epoch);
    }
  }

  get isMember(): boolean {
    return this.#context.configs.newest?.members.some(({ id }) => id === this.#context.self) ?? false;
  }
  get carrier(): boolean {
    return this.#carrier;
  }
  get terms(): readonly Term[] {
    return this.#terms;
  }
  termOf(shard: number): Term | undefined {
    return this.#terms.find(({ shards }) => shards.includes(shard));
  }
  /** True while this member may grant NAT blocks for the shard, and forward. */
  live(shard: number): boolean {
    return this.termOf(shard) !== undefined && this.#context.rules.isOpen(this.fence.row(shard), this.#context.now);
  }

  tick(): void {
    const { now } = this.#context;
    this.#renewAll(now);
    this.handover.tick(now);
    this.#attemptTick(now);
    this.#stand(now);
    this.#deliver(now);
    this.#watch(now);
  }

  // Standing for a shard.

  #stand(now: number): void {
    const { newest } = this.#context.configs;
    if (newest === undefined || !this.isMember) return;
    const idle = this.#attempt === undefined && this.#carrier && !this.handover.drained;
    const ready: number[] = [];
    for (const { shard, order } of newest.shards) {
      const view = this.#view(shard);
      if (this.termOf(shard) !== undefined) continue;
      if (!this.#wanted(shard, view, now)) {
        view.wantedSince = undefined;
        continue;
      }
      view.wantedSince ??= now;
      if (idle && now >= view.notBefore && now >= view.wantedSince + this.#rank(order, view, now) * this.#context.timing.staggerMs)
        ready.push(shard);
    }
    if (ready.length > 0) this.#start('takeover', this.#together(ready), undefined);
    else if (idle) this.#raise(now);
  }

  /** Those that have the same owner as the first: they are free together or not at all. */
  #together(shards: readonly number[]): readonly number[] {
    const owner = (shard: number): string | undefined => this.#view(shard).certificate?.ballot.candidate;
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

  #raise(now: number): void {
    const incarnation = this.#context.configs.newest?.incarnation ?? 0;
    // After a recovery the old epochs are worth nothing, though the packet path may go on until their deadline.
    for (const term of this.#terms) if (incarnationOf(term.epoch) < incarnation) term.raiseAt ??= now;
    const term = this.#terms.find(({ raiseAt }) => raiseAt !== undefined && now >= raiseAt);
    if (term === undefined) return;
    term.raiseAt = undefined;
    this.#start('takeover', term.shards, undefined);
  }

  /** Takes a higher epoch for what it owns, soon: a consent that is out, or a promise for nothing, then counts no more. */
  raiseSoon(shards: readonly number[], at: number): void {
    for (const term of this.#terms) if (term.shards.some((shard) => shards.includes(shard))) term.raiseAt ??= at;
  }

  /** Another owner offers its shards. */
  offered(consent: OwnershipConsent): void {
    if (this.#attempt === undefined && this.#carrier && this.isMember && !this.handover.drained)
      this.#start('handover', consent.shards, consent);
  }

  #start(kind: Attempt['kind'], shards: readonly number[], consent: OwnershipConsent | undefined): void {
    const { now } = this.#context;
    const survey = new Survey(this.#context.nonce());
    this.#attempt = { kind, shards, consent, survey, startedAt: now, nextSendAt: now, phase: 'asking', round: undefined };
    for (const shard of shards) if (this.termOf(shard) === undefined) this.#state(shard, 'asking');
    this.#attemptTick(now);
  }

  #attemptTick(now: number): void {
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
    if (this.#switch !== undefined && answer.nonce === this.#switch.survey.nonce) this.#switch.survey.answers.set(from, answer);
    if (answer.knownConfig > (this.#context.configs.newest?.config ?? 0)) {
      this.#context.put({ kind: 'need-config', config: answer.knownConfig, from });
    }
    if (attempt === undefined || attempt.phase !== 'asking' || answer.nonce !== attempt.survey.nonce) return;
    attempt.survey.answers.set(from, answer);
    const config = attempt.survey.winnable(this.#context, attempt.shards);
    if (config === undefined) return;
    const heard = attempt.survey.heard;
    if (!this.#plausible(heard, from)) return;
    this.hear(heard);
    const durable = this.#context.durable;
    this.hear(durable.state.proposed);
    const epoch = this.#context.rules.chooseEpoch(config.incarnation, this.#heard);
    if (epoch === undefined) {
      this.#context.alarm('epochs-exhausted', '', true, () => 'No epoch is left above those heard of: run `weft gateway recover`');
      this.#end(attempt);
      return;
    }
    attempt.phase = 'writing';
    for (const shard of attempt.shards) if (this.termOf(shard) === undefined) this.#state(shard, 'voting');
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
      const view = this.#view(shard);
      view.notBefore = now + standing + this.#context.spread(timing.staggerMs * 2);
      if (this.termOf(shard) === undefined) this.#state(shard, attempt.survey.has('damped') ? 'held' : 'standby');
      this.#context.alarm(
        'flapping',
        String(shard),
        attempt.survey.has('damped'),
        () =>
          `Shard ${shard} has moved ${timing.movesMax} times in ${timing.movesWindowMs / 1000} s: it stays until its owner's lease runs out. See why the members lose each other`,
      );
    }
    this.#raiseAgain(attempt);
  }

  #raiseAgain(attempt: Attempt): void {
    const own = attempt.shards.filter((shard) => this.termOf(shard) !== undefined);
    if (own.length > 0 && attempt.round !== undefined) this.raiseSoon(own, this.#context.now + this.#context.timing.renewMs);
  }

  // Votes.

  vote(from: string, vote: OwnershipVote): void {
    const attempt = this.#attempt;
    if (attempt?.round?.matches(vote) === true) {
      attempt.round.vote(this.#context, from, vote);
      if (attempt.round.won(this.#context)) this.#win(attempt, attempt.round);
      return;
    }
    for (const term of this.#terms) {
      const round = term.rounds.find((known) => known.matches(vote));
      if (round === undefined) continue;
      round.vote(this.#context, from, vote);
      if (vote.certified < term.epoch && from !== this.#context.self) term.delivery?.again(from);
      if (round.won(this.#context)) this.#renewed(term, round);
    }
  }

  refusal(from: string, refusal: OwnershipRefusal): void {
    if (!this.#plausible(refusal.promised, from)) return;
    const attempt = this.#attempt;
    if (attempt?.round?.matches(refusal) === true) {
      this.hear(refusal.promised);
      if (refusal.acceptedConfig > attempt.round.ballot.config) this.#need(refusal.acceptedConfig, from);
      attempt.round.refused.add(from);
      if (attempt.round.lost(this.#context)) this.#end(attempt);
      return;
    }
    const term = this.#terms.find(({ rounds }) => rounds.some((round) => round.matches(refusal)));
    if (term === undefined) return;
    this.hear(refusal.promised);
    if (refusal.reason === 'stale-config') {
      this.#need(refusal.acceptedConfig, from);
      // Somebody has voted in the newer one already, so there is nothing to be careful about any more.
      if (this.#context.configs.get(refusal.acceptedConfig) !== undefined && refusal.acceptedConfig > term.config) {
        term.config = refusal.acceptedConfig;
        term.nextRenewAt = this.#context.now;
      }
    }
    // A higher promise, or the same epoch promised to a rival that lost: if it was granted, its certificate is on its way; if it came to nothing, that voter is
    // won back by a higher epoch.
    if (refusal.reason === 'promised-higher' && refusal.promised >= term.epoch) {
      const { renewMs } = this.#context.timing;
      term.raiseAt ??= this.#context.now + renewMs / 2 + this.#context.spread(renewMs);
    }
  }

  #need(config: number, from: string): void {
    if (this.#context.configs.get(config) === undefined) this.#context.put({ kind: 'need-config', config, from });
  }

  #win(attempt: Attempt, round: Round): void {
    this.#attempt = undefined;
    const { ballot, sentAt, config } = round;
    const deadline = sentAt + forwardMs(this.#context.timing);
    if (this.#context.now >= deadline || !this.#carrier) {
      this.#end(attempt);
      return;
    }
    this.#dropFromTerms(ballot.shards);
    const term = newTerm(ballot.epoch, ballot.shards, config.config, deadline, sentAt + this.#context.timing.renewMs);
    this.#terms.push(term);
    this.#open(term);
    this.#certify(term, round);
    for (const shard of ballot.shards) this.#state(shard, 'owner');
    this.#context.put({ kind: 'announce', shards: ballot.shards, epoch: ballot.epoch });
  }

  // Owning.

  #renewAll(now: number): void {
    const { timing } = this.#context;
    this.#lapse(now);
    for (const term of this.#terms) {
      if (now < term.nextRenewAt || !this.#carrier) continue;
      const config = this.#configOf(term, now);
      const member = config?.members.find(({ id }) => id === this.#context.self);
      if (config === undefined || member === undefined) continue;
      const ballot = {
        config: config.config,
        epoch: term.epoch,
        shards: term.shards,
        candidate: this.#context.self,
        providerAddress: member.providerAddress,
        kind: 'renewal' as const,
        leaseMs: timing.leaseMs,
        round: this.#context.nonce(),
        consent: undefined,
      };
      const round = new Round(config, ballot, now);
      term.rounds = [...term.rounds.slice(1 - ROUNDS_KEPT), round];
      term.nextRenewAt = now + timing.renewMs / 4;
      round.send(this.#context);
    }
  }

  /**
   * A term whose deadline has passed is over. Were it renewed by a minority for ever, that minority's leases would stand in everybody's way, its own member's
   * next term included; so they are released.
   */
  #lapse(now: number): void {
    for (const { epoch, shards, config } of this.#terms.filter(({ deadline }) => now >= deadline)) {
      this.#terms = this.#terms.filter((term) => term.epoch !== epoch);
      const list = this.#context.configs.get(config) ?? this.#context.configs.newest;
      for (const id of list === undefined ? [] : voterIds(list)) this.#context.send(id, { kind: 'release', value: { epoch, shards } });
      for (const shard of shards) this.#state(shard, 'standby');
    }
  }

  /** The configuration to renew in: the newest, once enough voters would follow; until then the one of the term. */
  #configOf(term: Term, now: number): ReturnType<Context['configs']['get']> {
    const { configs } = this.#context;
    const newest = configs.newest;
    if (newest === undefined) return undefined;
    if (term.config === newest.config || configs.get(term.config) === undefined) {
      term.config = newest.config;
      return newest;
    }
    if (this.#switch?.config === newest.config && this.#switch.survey.winnable(this.#context, term.shards)?.config === newest.config) {
      term.config = newest.config;
      return newest;
    }
    if (this.#switch?.config !== newest.config || now - this.#switch.at >= this.#context.timing.renewMs) {
      this.#switch = { config: newest.config, survey: new Survey(this.#context.nonce()), at: now };
      const value = {
        nonce: this.#switch.survey.nonce,
        shards: this.#terms.flatMap(({ shards }) => shards).sort((a, b) => a - b),
        candidacy: true,
        kind: 'renewal' as const,
        consent: undefined,
      };
      for (const id of voterIds(newest)) this.#context.send(id, { kind: 'ask', value });
    }
    return configs.get(term.config);
  }

  #renewed(term: Term, round: Round): void {
    const { timing } = this.#context;
    term.nextRenewAt = Math.max(term.nextRenewAt, round.sentAt + timing.renewMs);
    const deadline = round.sentAt + forwardMs(timing);
    if (this.#carrier && deadline > term.deadline) {
      term.deadline = deadline;
      this.#open(term);
    }
    const known = term.delivery?.certificate.ballot;
    if (known === undefined || known.config < round.config.config) this.#certify(term, round);
  }

  #open(term: Term): void {
    for (const shard of term.shards) {
      const row = this.fence.extend(shard, term.epoch, term.deadline);
      if (row !== undefined) this.#context.put({ kind: 'fence', row });
    }
  }

  #certify(term: Term, round: Round): void {
    const certificate = round.certificate(this.#context);
    term.delivery = new Delivery(certificate);
    this.#context.put({ kind: 'record', certificate });
    this.#context.loop.push({ kind: 'certificate', value: certificate });
  }

  #deliver(now: number): void {
    const { configs, timing, self } = this.#context;
    const { newest } = configs;
    if (newest === undefined) return;
    const members = newest.members.map(({ id }) => id);
    for (const { delivery } of this.#terms) {
      if (delivery === undefined) continue;
      delivery.targets(new Set([...this.#hosts, ...members, ...voterIds(newest)]), now, timing);
      for (const id of delivery.due(now, timing)) {
        if (id === self) delivery.acknowledged(id);
        else if (members.includes(id)) this.#context.send(id, { kind: 'certificate', value: delivery.certificate }, ALL_PATHS);
        else this.#context.send(id, { kind: 'certificate', value: delivery.certificate });
      }
    }
  }

  acknowledged(from: string, { epoch, config, round }: OwnershipAcknowledgement): void {
    for (const { delivery } of this.#terms) {
      const ballot = delivery?.certificate.ballot;
      if (ballot !== undefined && ballot.epoch === epoch && ballot.config === config && ballot.round === round)
        delivery!.acknowledged(from);
    }
  }

  // What others were granted.

  /** A verified certificate, from whomever. */
  certified(certificate: OwnershipCertificate): void {
    const { ballot } = certificate;
    const { self, now } = this.#context;
    this.hear(ballot.epoch);
    let news = false;
    for (const shard of ballot.shards) {
      const view = this.#view(shard);
      const known = view.certificate?.ballot.epoch ?? NO_EPOCH;
      if (ballot.epoch < known) continue;
      view.certificate = certificate;
      if (ballot.epoch > known) view.certifiedAt = now;
      if (ballot.candidate === self) continue;
      this.#replacedBy(certificate, shard);
      if (ballot.epoch === known) continue;
      news = true;
      this.#state(shard, 'standby');
    }
    // What is news about a shard it stands for overtakes the attempt, unless that has a higher epoch.
    const attempt = this.#attempt;
    if (!news || attempt === undefined || attempt.phase === 'writing' || !attempt.shards.some((shard) => ballot.shards.includes(shard)))
      return;
    if (ballot.epoch > (attempt.round?.ballot.epoch ?? NO_EPOCH)) this.#end(attempt);
  }

  #replacedBy({ ballot }: OwnershipCertificate, shard: number): void {
    const { self, now, timing } = this.#context;
    const term = this.termOf(shard);
    if (term !== undefined && term.epoch < ballot.epoch) this.#dropFromTerms([shard]);
    const consented = ballot.kind === 'handover' && ballot.consent?.from === self;
    const row = this.fence.replaced(
      shard,
      ballot.epoch,
      consented ? { to: ballot.providerAddress, untilMs: now + timing.handoverMs } : undefined,
    );
    if (row !== undefined) this.#context.put({ kind: 'fence', row });
    this.handover.replaced(shard, ballot);
  }

  #dropFromTerms(shards: readonly number[]): void {
    for (const term of this.#terms) term.shards = term.shards.filter((shard) => !shards.includes(shard));
    this.#terms = this.#terms.filter((term) => term.shards.length > 0);
  }

  /** The highest epoch heard of, from whomever. */
  hear(epoch: bigint): void {
    if (epoch > this.#heard) this.#heard = epoch;
  }

  #plausible(epoch: bigint, from: string): boolean {
    const incarnation = this.#context.configs.newest?.incarnation ?? 0;
    const base = this.#heard > BigInt(incarnation) << 32n ? this.#heard : BigInt(incarnation) << 32n;
    const plausible = epoch <= base + PLAUSIBLE_LEAP || incarnationOf(epoch) < incarnation;
    if (!plausible)
      this.#context.alarm(
        'implausible-epoch',
        from,
        true,
        () => `${from} names epoch ${epoch}, far above any that was granted: it is not believed`,
      );
    return plausible;
  }

  // From outside.

  carrierChanged(up: boolean): void {
    this.#carrier = up;
    this.#context.alarm(
      'external-carrier-lost',
      '',
      !up,
      () => 'The external interface has no carrier: nothing is owned until it is back; what was, is handed over',
    );
    if (!up && this.#attempt !== undefined && this.#attempt.phase !== 'writing') this.#end(this.#attempt);
    if (up) for (const term of this.#terms) term.nextRenewAt = this.#context.now;
  }

  hostsChanged(hosts: readonly string[]): void {
    this.#hosts = hosts;
  }

  /** Conditions that an operator should know. */
  #watch(now: number): void {
    const { configs, timing } = this.#context;
    const { newest } = configs;
    if (newest === undefined) return;
    const settled = newest.previous === undefined;
    this.#unsettledSince = settled ? undefined : (this.#unsettledSince ?? now);
    this.#context.alarm(
      'configuration-unsettled',
      '',
      !settled && now - this.#unsettledSince! >= timing.unsettledAlarmMs,
      () =>
        `Configuration ${newest.config} has not taken effect: too few of its voters, or of those before, follow, or no controller has recorded that they do. Until then majorities of both are needed`,
    );
    for (const { shard } of newest.shards) {
      const about = String(shard);
      const term = this.termOf(shard);
      const late = term !== undefined && now - (term.deadline - forwardMs(timing)) > 2.5 * timing.renewMs;
      this.#context.alarm('lease-not-renewed', about, late, () => `Shard ${about}: the lease is not renewed, too few voters answer`);
      const unserved = now - this.#servedAt(shard, now) > timing.leaseMs + timing.attemptMs;
      this.#context.alarm('no-owner', about, unserved, () => `Nobody is known to serve shard ${about}`);
    }
  }

  /** When this member last knew that somebody served the shard. */
  #servedAt(shard: number, now: number): number {
    if (this.live(shard)) return now;
    const { certificate, certifiedAt } = this.#view(shard);
    const owner = certificate?.ballot;
    const valid = owner === undefined ? -Infinity : this.#context.observer.validAt(owner.candidate, shard, owner.epoch);
    return Math.max(this.#startedAt, certifiedAt, valid, this.fence.row(shard)?.deadlineMs ?? 0);
  }

  /** Shards are on their way to another member, or stay after all. */
  moving(shards: readonly number[], away: boolean): void {
    for (const shard of shards) if (this.termOf(shard) !== undefined) this.#state(shard, away ? 'handing-over' : 'owner');
  }

  stateOf(shard: number): ShardState {
    return this.#view(shard).state;
  }

  #state(shard: number, state: ShardState): void {
    const view = this.#view(shard);
    if (view.state === state && state !== 'owner') return;
    view.state = state;
    const term = this.termOf(shard);
    const ballot = view.certificate?.ballot;
    this.#context.put({
      kind: 'state',
      shard,
      state,
      epoch: term?.epoch ?? ballot?.epoch ?? NO_EPOCH,
      owner: term !== undefined ? this.#context.self : (ballot?.candidate ?? ''),
    });
  }

  #view(shard: number): ShardView {
    let view = this.#shards.get(shard);
    if (view === undefined) {
      view = { certificate: undefined, certifiedAt: -Infinity, wantedSince: undefined, notBefore: -Infinity, state: 'none' };
      this.#shards.set(shard, view);
    }
    return view;
  }
}

function newTerm(epoch: bigint, shards: readonly number[], config: number, deadline: number, nextRenewAt: number): Term {
  return { epoch, shards, config, deadline, rounds: [], nextRenewAt, delivery: undefined, raiseAt: undefined };
}
