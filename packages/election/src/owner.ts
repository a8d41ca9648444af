import type { OwnershipAcknowledgement, OwnershipAnswer, OwnershipConfig, OwnershipRefusal, OwnershipVote } from '@weft/model';
import { hasShard } from './config.ts';
import { ALL_PATHS, type Context } from './context.ts';
import { Delivery } from './delivery.ts';
import { incarnationOf } from './epoch.ts';
import { Fence, type FenceRow } from './fence.ts';
import { Round, voterIds } from './round.ts';
import type { ShardViews } from './shard-views.ts';
import { Survey } from './survey.ts';
import { forwardMs } from './timing.ts';

/** One grant that this member holds: an epoch, the shards it still covers, and how long. */
export interface Term {
  readonly epoch: bigint;
  /** When it was granted, or taken up again after a start. */
  readonly since: number;
  /** Granted or renewed by a majority since this process began: not only what a former one has left. */
  isConfirmed: boolean;
  shards: readonly number[];
  config: number;
  deadline: number;
  /** Renewals under way. An answer that is late for one counts from that one's own sending. */
  rounds: Round[];
  nextRenewAt: number;
  delivery: Delivery | undefined;
  /** When to take a higher epoch for the same shards. */
  raiseAt: number | undefined;
  /** A question about a newer configuration, before renewals move to it. */
  following: { readonly config: number; readonly survey: Survey; readonly at: number } | undefined;
}

const ROUNDS_KEPT = 6;

/*
 * The owner: renews its terms, keeps the fence, delivers certificates.
 *
 *   granted ──renewal each R: a majority──► deadline = sent + T(1 - rho) ──higher epoch certified──► closed at once
 *                                           └──deadline passed──► lapsed: lease released, stands anew
 *
 * An owner whose voters have promised a higher epoch that came to nothing takes a new epoch itself (`raise`), so that those voters renew again.
 */
export class Owner {
  readonly #context: Context;
  readonly #views: ShardViews;
  readonly fence: Fence;
  /** The external interface has one. Without, nothing is renewed. */
  carrier = true;
  #terms: Term[] = [];
  /** When an owner gave this member a shard by consent, last. */
  readonly #givenAt = new Map<number, number>();
  #hosts: readonly string[] = [];
  #targets: readonly string[] = [];
  #targetsOf: OwnershipConfig | undefined;
  #tellAt = -Infinity;

  /** @param rows What stands in the packet path's map: of an earlier process in this boot. */
  constructor(context: Context, views: ShardViews, rows: readonly FenceRow[]) {
    this.#context = context;
    this.#views = views;
    this.fence = new Fence(rows);
    for (const { epoch, deadlineMs, shard } of rows) {
      if (deadlineMs === 0) continue;
      const term = this.#terms.find((known) => known.epoch === epoch);
      if (term !== undefined) term.shards = [...term.shards, shard].sort((a, b) => a - b);
      else this.#terms.push(newTerm(epoch, context.now, [shard], 0, deadlineMs, context.now));
    }
  }

  get terms(): readonly Term[] {
    return this.#terms;
  }
  termOf(shard: number): Term | undefined {
    return this.#terms.find(({ shards }) => shards.includes(shard));
  }
  /** When the shard was last given to this member by its owner's consent. Undefined: never in this process. */
  givenAt(shard: number): number | undefined {
    return this.#givenAt.get(shard);
  }
  /** True while this member may grant NAT blocks for the shard, and forward. */
  live(shard: number): boolean {
    return this.termOf(shard) !== undefined && this.#context.rules.isOpen(this.fence.row(shard), this.#context.now);
  }

  /** A round that was won: a new term. */
  granted(round: Round): void {
    const { ballot, sentAt, config } = round;
    this.drop(ballot.shards);
    if (ballot.kind === 'handover') for (const shard of ballot.shards) this.#givenAt.set(shard, this.#context.now);
    const { timing } = this.#context;
    const term = newTerm(
      ballot.epoch,
      this.#context.now,
      ballot.shards,
      config.config,
      sentAt + forwardMs(timing),
      sentAt + timing.renewMs,
    );
    term.isConfirmed = true;
    this.#terms.push(term);
    this.#open(term);
    this.#certify(term, round);
    for (const shard of ballot.shards) this.#views.state(shard, 'owner', ballot.epoch);
    this.#context.put({ kind: 'announce', shards: ballot.shards, epoch: ballot.epoch });
  }

  /** Shards that are another's now. */
  drop(shards: readonly number[]): void {
    for (const term of this.#terms) term.shards = term.shards.filter((shard) => !shards.includes(shard));
    this.#terms = this.#terms.filter((term) => term.shards.length > 0);
  }

  /**
   * Renews no shard that the record does not name any more: with one of those a whole ballot is refused, and its other shards would run out, too. What the certificate
   * says of a term has to be told anew then.
   */
  configured(newest: OwnershipConfig): void {
    const isGone = (shard: number): boolean => !hasShard(newest, shard);
    for (const term of this.#terms) if (term.delivery?.certificate.ballot.shards.some(isGone)) term.delivery = undefined;
    const gone = this.#terms.flatMap(({ shards }) => shards.filter(isGone));
    this.drop(gone);
    for (const shard of gone) this.#views.state(shard, 'none');
  }

  /** @returns Shards for which a higher epoch is due. */
  raiseDue(now: number): readonly number[] | undefined {
    const incarnation = this.#context.configs.newest?.incarnation ?? 0;
    // After a recovery the old epochs are worth nothing, though the packet path may go on until their deadline.
    for (const term of this.#terms) if (incarnationOf(term.epoch) < incarnation) term.raiseAt ??= now;
    const term = this.#terms.find(({ raiseAt }) => raiseAt !== undefined && now >= raiseAt);
    if (term === undefined) return undefined;
    term.raiseAt = undefined;
    return term.shards;
  }

  /** Takes a higher epoch for what it owns, soon: a consent that is out, or a promise for nothing, then counts no more. */
  raiseSoon(shards: readonly number[], at: number): void {
    for (const term of this.#terms) if (term.shards.some((shard) => shards.includes(shard))) term.raiseAt ??= at;
  }

  renew(now: number): void {
    const { timing } = this.#context;
    this.#lapse(now);
    for (const term of this.#terms) {
      if (now < term.nextRenewAt || !this.carrier) continue;
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
      for (const shard of shards) this.#views.state(shard, 'standby');
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
    const { following } = term;
    if (following?.config === newest.config && following.survey.winnable(this.#context, term.shards)?.config === newest.config) {
      term.config = newest.config;
      return newest;
    }
    if (following?.config !== newest.config || now - following.at >= this.#context.timing.renewMs) {
      const survey = new Survey(this.#context.nonce());
      term.following = { config: newest.config, survey, at: now };
      const value = { nonce: survey.nonce, shards: term.shards, candidacy: true, kind: 'renewal' as const, consent: undefined };
      for (const id of voterIds(newest)) this.#context.send(id, { kind: 'ask', value });
    }
    return configs.get(term.config);
  }

  #renewed(term: Term, round: Round): void {
    const { timing } = this.#context;
    term.isConfirmed = true;
    term.nextRenewAt = Math.max(term.nextRenewAt, round.sentAt + timing.renewMs);
    const deadline = round.sentAt + forwardMs(timing);
    if (this.carrier && deadline > term.deadline) {
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
    // Hosts first: until they obey, frames of the whole shard go nowhere. Everything else, this machine's own host side too, takes less time than that is worth.
    this.deliver(this.#context.now);
    this.#context.put({ kind: 'record', certificate });
    this.#context.loop.push({ kind: 'certificate', value: certificate });
  }

  deliver(now: number): void {
    const { configs, timing } = this.#context;
    const { newest } = configs;
    if (newest === undefined) return;
    for (const { delivery } of this.#terms) {
      for (const id of delivery?.due(this.audience(newest), now, timing) ?? []) {
        const paths = newest.members.some((member) => member.id === id) ? ALL_PATHS : undefined;
        this.#context.send(id, { kind: 'certificate', value: delivery!.certificate }, paths);
      }
    }
  }

  /** Whom a grant concerns: hosts, members and voters, but for this machine. The same array until somebody joins. */
  audience(newest: OwnershipConfig): readonly string[] {
    if (this.#targetsOf !== newest) {
      this.#targets = [...new Set([...this.#hosts, ...newest.members.map(({ id }) => id), ...voterIds(newest)])].filter(
        (id) => id !== this.#context.self,
      );
      this.#targetsOf = newest;
    }
    return this.#targets;
  }

  /** Tells, until it is heard, that a new list of voters has taken effect. */
  tellSettled(now: number): void {
    const { newest } = this.#context.configs;
    if (newest?.previous === undefined || now < this.#tellAt) return;
    const certificate = this.#terms.find(({ delivery }) => delivery?.certificate.ballot.config === newest.config)?.delivery?.certificate;
    if (certificate === undefined) return;
    this.#tellAt = now + 2 * this.#context.timing.renewMs;
    this.#context.put({ kind: 'settled', config: newest.config, certificate });
  }

  acknowledged(from: string, { epoch, config, round }: OwnershipAcknowledgement): void {
    for (const { delivery } of this.#terms) {
      const ballot = delivery?.certificate.ballot;
      if (ballot !== undefined && ballot.epoch === epoch && ballot.config === config && ballot.round === round)
        delivery!.acknowledged(from);
    }
  }

  answer(from: string, answer: OwnershipAnswer): void {
    for (const { following } of this.#terms) if (following?.survey.nonce === answer.nonce) following.survey.answers.set(from, answer);
  }

  vote(from: string, vote: OwnershipVote): void {
    for (const term of this.#terms) {
      const round = term.rounds.find((known) => known.matches(vote));
      if (round === undefined) continue;
      round.vote(this.#context, from, vote);
      if (vote.certified < term.epoch && from !== this.#context.self) term.delivery?.again(from);
      if (round.won(this.#context)) this.#renewed(term, round);
    }
  }

  refusal(from: string, refusal: OwnershipRefusal): void {
    const { configs, now, timing } = this.#context;
    const term = this.#terms.find(({ rounds }) => rounds.some((round) => round.matches(refusal)));
    if (term === undefined) return;
    if (refusal.reason === 'stale-config') {
      if (configs.get(refusal.acceptedConfig) === undefined)
        this.#context.put({ kind: 'need-config', config: refusal.acceptedConfig, from });
      // Somebody has voted in the newer one already, so there is nothing to be careful about any more.
      else if (refusal.acceptedConfig > term.config) {
        term.config = refusal.acceptedConfig;
        term.nextRenewAt = now;
      }
    }
    // A higher promise, or the same epoch promised to a rival that lost: if it was granted, its certificate is on its way; if it came to nothing, that voter is
    // won back by a higher epoch.
    if (refusal.reason === 'promised-higher' && refusal.promised >= term.epoch) {
      term.raiseAt ??= now + timing.renewMs / 2 + this.#context.spread(timing.renewMs);
    }
  }

  carrierChanged(up: boolean): void {
    this.carrier = up;
    if (up) for (const term of this.#terms) term.nextRenewAt = this.#context.now;
  }

  hostsChanged(hosts: readonly string[]): void {
    this.#hosts = hosts;
    this.#targetsOf = undefined;
  }
}

function newTerm(epoch: bigint, since: number, shards: readonly number[], config: number, deadline: number, nextRenewAt: number): Term {
  return {
    epoch,
    since,
    isConfirmed: false,
    shards,
    config,
    deadline,
    rounds: [],
    nextRenewAt,
    delivery: undefined,
    raiseAt: undefined,
    following: undefined,
  };
}
