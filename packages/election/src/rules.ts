import type { GrantKind, OwnershipConfig, OwnershipConsent, RefusalReason } from '@weft/model';
import { acceptsConfig, type CountedVote, hasQuorum, hasShard, rosterOf } from './config.ts';
import { chooseEpoch, incarnationOf } from './epoch.ts';
import { isOpen } from './fence.ts';

/*
 * The decisions that safety rests on, each a pure function, in one object: the machines call them through it. So a test can put a broken one in the place of
 * any and see that the simulator finds it (packages/election/test/planted.ts); nothing else ever replaces them.
 */
export interface Rules {
  readonly acceptsConfig: typeof acceptsConfig;
  readonly hasQuorum: (config: OwnershipConfig, votes: readonly CountedVote[]) => boolean;
  readonly judge: typeof judge;
  readonly chooseEpoch: typeof chooseEpoch;
  readonly recall: typeof recall;
  readonly acceptsEpoch: typeof acceptsEpoch;
  readonly isOpen: typeof isOpen;
  readonly mayGrantBy: typeof mayGrantBy;
}

/** A voter's standing promise for a shard: the highest epoch it has voted for, and for whom. */
export interface Promised {
  readonly epoch: bigint;
  readonly candidate: string;
}
/** A lease as a voter holds it. */
export interface Lease extends Promised {
  readonly until: number;
}

/** What a voter looks at when it judges a ballot. */
export interface VoterView {
  readonly now: number;
  readonly self: string;
  readonly instance: number;
  readonly abstaining: boolean;
  readonly accepted: number;
  config(id: number): OwnershipConfig | undefined;
  promised(shard: number): Promised | undefined;
  lease(shard: number): Lease | undefined;
  silent(peer: string, shard: number, epoch: bigint): boolean;
  answering(peer: string): boolean;
  damped(shard: number): boolean;
  consentHolds(consent: OwnershipConsent): boolean;
}

/** What is asked for. `epoch` undefined: only a question, nothing is promised. */
export interface BallotRequest {
  readonly config: number;
  readonly epoch: bigint;
  readonly shards: readonly number[];
  readonly candidate: string;
  readonly providerAddress: string;
  readonly kind: GrantKind;
  readonly consent: OwnershipConsent | undefined;
}

/**
 * `grant`: a new promise, to be on disk before the vote leaves. `repeat`: promised before, the vote may be sent again once it is on disk. `renew`: the lease
 * it holds already is extended; needs no disk.
 */
export type Verdict =
  | { readonly vote: 'grant' | 'repeat' | 'renew' }
  | { readonly vote: 'refuse'; readonly reason: RefusalReason; readonly shard: number; readonly remainingMs: number };

/**
 * Judges a ballot as a voter does. A voter promises each epoch to one candidate, and higher epochs only; it breaks a standing lease only when the holder is
 * silent to it or consents. So two majorities can't hold one epoch, whatever the clocks and the network do; and two leases overlap only where one owner is
 * silent to a majority, and then it closes within D.
 *
 * @see Trencseni, Gazso, Reinhardt: PaxosLease, section 3: this is an acceptor's answer to a proposal. The paper's first round (prepare) is a question here
 *   that promises nothing, as the promise is made, durably, with the vote.
 */
export function judge(view: VoterView, ballot: BallotRequest, rules: Pick<Rules, 'acceptsConfig'>): Verdict {
  if (!rules.acceptsConfig(view.accepted, ballot.config)) return refuse('stale-config');
  const config = view.config(ballot.config);
  if (config === undefined) return refuse('unknown-config');
  if (!isVoter(config, view.self, view.instance)) return refuse('not-a-voter');
  if (view.abstaining) return refuse('abstaining');
  const member = config.members.find(({ id }) => id === ballot.candidate);
  if (member === undefined || member.providerAddress !== ballot.providerAddress) return refuse('not-a-member');
  if (incarnationOf(ballot.epoch) !== config.incarnation) return refuse('wrong-incarnation');
  let vote: 'grant' | 'repeat' | 'renew' = ballot.kind === 'renewal' ? 'renew' : 'repeat';
  for (const shard of ballot.shards) {
    if (!hasShard(config, shard)) return refuse('not-a-member', shard);
    const promised = view.promised(shard);
    if (promised !== undefined && promised.epoch === ballot.epoch && promised.candidate === ballot.candidate) continue;
    if (promised !== undefined && ballot.epoch <= promised.epoch) return refuse('promised-higher', shard);
    const refusal = leaseRefusal(view, shard, ballot);
    if (refusal !== undefined) return refuse(refusal, shard, remaining(view, shard));
    vote = 'grant';
  }
  return { vote };
}

/** What stands in the way of a vote for this candidate on one shard, whatever its epoch. Undefined: nothing. */
export function leaseRefusal(
  view: VoterView,
  shard: number,
  ballot: Pick<BallotRequest, 'candidate' | 'kind' | 'consent'>,
): RefusalReason | undefined {
  const { candidate, kind, consent } = ballot;
  if (candidate !== view.self && !view.answering(candidate)) return 'candidate-silent';
  const lease = view.lease(shard);
  const standing = lease !== undefined && view.now < lease.until && lease.candidate !== candidate;
  if (kind === 'handover') {
    // Good for the epoch it names only: if anything newer was promised, the owner that consented is no longer the one.
    const good = consent !== undefined && consent.to === candidate && consent.shards.includes(shard) && view.consentHolds(consent);
    if (!good || consent.epoch < (view.promised(shard)?.epoch ?? 0n)) return 'consent';
    return view.damped(shard) ? 'damped' : undefined;
  }
  if (!standing) return undefined;
  if (!view.silent(lease.candidate, shard, lease.epoch)) return 'lease-standing';
  return view.damped(shard) ? 'damped' : undefined;
}

export function remaining(view: Pick<VoterView, 'now' | 'lease'>, shard: number): number {
  return Math.max(0, Math.ceil((view.lease(shard)?.until ?? 0) - view.now));
}

/** A voter is known by its id and its memory. Voters of the list before still count until the new one has taken effect. */
export function isVoter(config: OwnershipConfig, id: string, instance: number): boolean {
  return rosterOf(config).some((voter) => voter.id === id && voter.instance === instance);
}

function refuse(reason: RefusalReason, shard = 0, remainingMs = 0): Verdict {
  return { vote: 'refuse', reason, shard, remainingMs };
}

/**
 * What a voter still knows of its promises after a start, and until when it must not vote. With the same boot id only the process is new: the promises are in
 * the file, and of each lease it assumes that it was renewed in the last moment. With a new boot id it abstains for one full lease.
 */
export function recall(
  file: { readonly bootId: string; readonly promises: readonly (Promised & { readonly shard: number })[] },
  bootId: string,
  now: number,
  leaseMs: number,
): { readonly promises: readonly (Promised & { readonly shard: number })[]; readonly abstainUntil: number } {
  return { promises: file.promises, abstainUntil: file.bootId === bootId ? now : now + leaseMs };
}

/** Whether a host that has accepted `known` for a shard may accept `offered`: epochs only rise. The same epoch again is the same owner. */
export function acceptsEpoch(known: bigint, offered: bigint): boolean {
  return offered >= known;
}

/** Whether a record says what a member may grant of NAT blocks: it is not older than the one that its last consent to give some away rests on. */
export function mayGrantBy(noted: number, revision: number): boolean {
  return revision >= noted;
}

export const RULES: Rules = { acceptsConfig, hasQuorum, judge, chooseEpoch, recall, acceptsEpoch, isOpen, mayGrantBy };
