import type { OwnershipAnswer, OwnershipCertificate, OwnershipConfig, OwnershipRefusal, OwnershipVote } from '@weft/model';
import { Candidate } from './candidate.ts';
import { hasShard } from './config.ts';
import type { Context } from './context.ts';
import { NO_EPOCH } from './epoch.ts';
import type { FenceRow } from './fence.ts';
import { Handover } from './handover.ts';
import { HeardEpochs } from './heard-epochs.ts';
import type { ShardState } from './io.ts';
import { Owner } from './owner.ts';
import { Placements } from './placement.ts';
import { ShardViews } from './shard-views.ts';
import { forwardMs } from './timing.ts';

/** A member: candidate, owner and hand-over, what others were granted, and what an operator should know. */
export class Member {
  readonly owner: Owner;
  readonly handover: Handover;
  readonly placements: Placements;
  readonly #context: Context;
  readonly #views: ShardViews;
  readonly #heard: HeardEpochs;
  readonly #candidate: Candidate;
  readonly #startedAt: number;
  #unsettledSince: number | undefined;

  /**
   * @param rows What stands in the packet path's map: of an earlier process in this boot.
   * @param damped Whether a shard has moved so often that this node's voter refuses another move.
   */
  constructor(context: Context, rows: readonly FenceRow[], damped: (shard: number) => boolean) {
    this.#context = context;
    this.#startedAt = context.now;
    this.#views = new ShardViews(context);
    this.#heard = new HeardEpochs(context);
    for (const { epoch } of rows) this.#heard.certified(epoch);
    this.owner = new Owner(context, this.#views, rows);
    this.placements = new Placements(context);
    this.handover = new Handover(context, this, damped);
    this.#candidate = new Candidate({
      context,
      views: this.#views,
      heard: this.#heard,
      owner: this.owner,
      placements: this.placements,
      isMember: () => this.isMember,
    });
  }

  get isMember(): boolean {
    return this.#context.configs.newest?.members.some(({ id }) => id === this.#context.self) ?? false;
  }

  tick(): void {
    const { now } = this.#context;
    this.owner.renew(now);
    this.handover.tick(now);
    this.#candidate.tick(now);
    this.#candidate.stand(now);
    this.owner.deliver(now);
    this.owner.tellSettled(now);
    this.#watch(now);
  }

  /** @param before The record until now. */
  configured(newest: OwnershipConfig, before: OwnershipConfig | undefined): void {
    this.owner.configured(newest);
    for (const { shard } of before?.shards ?? []) {
      if (hasShard(newest, shard)) continue;
      for (const code of ['lease-not-renewed', 'no-owner'] as const) this.#context.alarm(code, String(shard), false, () => '');
    }
  }

  /** Another owner offers its shards. */
  offered(consent: Parameters<Candidate['offered']>[0]): void {
    this.#candidate.offered(consent);
  }

  answer(from: string, answer: OwnershipAnswer): void {
    this.owner.answer(from, answer);
    this.#candidate.answer(from, answer);
  }

  vote(from: string, vote: OwnershipVote): void {
    if (!this.#candidate.vote(from, vote)) this.owner.vote(from, vote);
  }

  refusal(from: string, refusal: OwnershipRefusal): void {
    if (!this.#heard.believes(refusal.promised, from)) return;
    this.#heard.add(refusal.promised);
    if (!this.#candidate.refusal(from, refusal)) this.owner.refusal(from, refusal);
  }

  /** A verified certificate, from whomever. @param shards Those of it that are the group's. */
  certified(certificate: OwnershipCertificate, shards: readonly number[]): void {
    const { ballot } = certificate;
    const { self, now } = this.#context;
    this.#heard.certified(ballot.epoch);
    let news = false;
    for (const shard of shards) {
      const view = this.#views.of(shard);
      const known = view.certificate?.ballot.epoch ?? NO_EPOCH;
      if (ballot.epoch < known) continue;
      view.certificate = certificate;
      if (ballot.epoch > known) view.certifiedAt = now;
      if (ballot.candidate === self) continue;
      this.#replacedBy(certificate, shard);
      if (ballot.epoch === known) continue;
      news = true;
      this.#views.state(shard, 'standby');
    }
    if (news) this.#candidate.overtaken(certificate);
  }

  #replacedBy({ ballot }: OwnershipCertificate, shard: number): void {
    const { self, now, timing } = this.#context;
    const term = this.owner.termOf(shard);
    if (term !== undefined && term.epoch < ballot.epoch) this.owner.drop([shard]);
    const consented = ballot.kind === 'handover' && ballot.consent?.from === self;
    const row = this.owner.fence.replaced(
      shard,
      ballot.epoch,
      consented ? { to: ballot.providerAddress, untilMs: now + timing.handoverMs } : undefined,
    );
    if (row !== undefined) this.#context.put({ kind: 'fence', row });
    this.handover.replaced(shard, ballot);
  }

  carrierChanged(up: boolean): void {
    this.owner.carrierChanged(up);
    if (!up) this.#candidate.giveUp();
    this.#context.alarm(
      'external-carrier-lost',
      '',
      !up,
      () => 'The external interface has no carrier: nothing is owned until it is back; what was, is handed over',
    );
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
      const term = this.owner.termOf(shard);
      const late = term !== undefined && now - (term.deadline - forwardMs(timing)) > 2.5 * timing.renewMs;
      this.#context.alarm('lease-not-renewed', about, late, () => `Shard ${about}: the lease is not renewed, too few voters answer`);
      const unserved = now - this.#servedAt(shard, now) > timing.leaseMs + timing.attemptMs;
      this.#context.alarm('no-owner', about, unserved, () => `Nobody is known to serve shard ${about}`);
    }
  }

  /** When this member last knew that somebody served the shard. */
  #servedAt(shard: number, now: number): number {
    if (this.owner.live(shard)) return now;
    const { certifiedAt } = this.#views.of(shard);
    const heardAt = this.ownerHeardAt(shard) ?? -Infinity;
    return Math.max(this.#startedAt, certifiedAt, heardAt, this.owner.fence.row(shard)?.deadlineMs ?? 0);
  }

  /** When the shard's owner was last heard as such; undefined: never. */
  ownerHeardAt(shard: number): number | undefined {
    const ballot = this.#views.of(shard).certificate?.ballot;
    const at = ballot === undefined ? -Infinity : this.#context.observer.validAt(ballot.candidate, shard, ballot.epoch);
    return at === -Infinity ? undefined : at;
  }

  /** Shards are on their way to another member, or stay after all. */
  moving(shards: readonly number[], away: boolean): void {
    for (const shard of shards) {
      const term = this.owner.termOf(shard);
      if (term !== undefined) this.#views.state(shard, away ? 'handing-over' : 'owner', term.epoch);
    }
  }

  stateOf(shard: number): ShardState {
    return this.#views.of(shard).state;
  }
}
