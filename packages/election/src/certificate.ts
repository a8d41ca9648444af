import type { CertifiedVote, OwnershipCertificate, OwnershipConfig, OwnershipConsent } from '@weft/model';
import { type CountedVote, rosterOf } from './config.ts';
import { incarnationOf } from './epoch.ts';
import type { Rules } from './rules.ts';
import { consentStatement, type Verify, voteStatement } from './statement.ts';

/** Why a certificate is refused. */
export type CertificateFault = 'not-a-member' | 'incarnation' | 'vote-signature' | 'no-majority' | 'consent';

/**
 * Verifies a grant certificate against its configuration: each vote is of a listed voter and its signature holds, they are the majority the configuration
 * asks for, candidate and address are a member's, and a hand-over has the old owner's consent. One forged epoch would lock a shard for ever, so nobody
 * writes an owner down before this.
 */
export function certificateFault(
  config: OwnershipConfig,
  certificate: OwnershipCertificate,
  verify: Verify,
  rules: Pick<Rules, 'hasQuorum'>,
): CertificateFault | undefined {
  const { ballot } = certificate;
  const member = config.members.find(({ id }) => id === ballot.candidate);
  if (member === undefined || member.providerAddress !== ballot.providerAddress) return 'not-a-member';
  if (incarnationOf(ballot.epoch) !== config.incarnation) return 'incarnation';
  const counted = countVotes(config, certificate, verify);
  if (counted === undefined) return 'vote-signature';
  if (!rules.hasQuorum(config, counted)) return 'no-majority';
  if (ballot.kind === 'handover' && !(ballot.consent !== undefined && consentHolds(config, ballot.consent, verify))) return 'consent';
  return undefined;
}

function countVotes(config: OwnershipConfig, { ballot, votes }: OwnershipCertificate, verify: Verify): CountedVote[] | undefined {
  const roster = rosterOf(config);
  const counted: CountedVote[] = [];
  for (const { voter: index, instance, signature } of votes) {
    const voter = roster[index];
    // Of the list before, which the reader's newer record doesn't name any more: it counts for nothing.
    if (voter === undefined) continue;
    if (voter.instance !== instance) return undefined;
    if (!verify(voter.key, voteStatement(config.group, ballot, { id: voter.id, instance }), signature)) return undefined;
    counted.push({ voter: voter.id, instance });
  }
  return counted;
}

/** Whether the old owner really consents. */
export function consentHolds(config: OwnershipConfig, consent: OwnershipConsent, verify: Verify): boolean {
  const owner = config.members.find(({ id }) => id === consent.from);
  return owner !== undefined && verify(owner.key, consentStatement(config.group, consent), consent.signature);
}

/** A vote as collected, with what it was signed with. */
export interface CollectedVote extends CountedVote {
  readonly signature: Uint8Array;
}

/** The fewest votes that are still a majority, as a certificate carries them. */
export function certifiedVotes(
  config: OwnershipConfig,
  votes: readonly CollectedVote[],
  rules: Pick<Rules, 'hasQuorum'>,
): readonly CertifiedVote[] {
  const roster = rosterOf(config);
  let kept = votes;
  for (let i = votes.length - 1; i >= 0; i--) {
    const fewer = kept.filter((vote) => vote !== votes[i]);
    if (rules.hasQuorum(config, fewer)) kept = fewer;
  }
  return kept.map(({ voter, instance, signature }) => ({
    voter: roster.findIndex((known) => known.id === voter && known.instance === instance),
    instance,
    signature,
  }));
}
