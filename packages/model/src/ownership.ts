/*
 * Values of gateway ownership (docs/ownership.md; proto/weft/v1/ownership.proto says what each field means). Epochs are u64 as bigint: incarnation in
 * the upper 32 bits, ballot in the lower. Instances and rounds are 53 random bits as numbers.
 */

/**
 * The bounds that keep a message, in its envelope, within 1,400 bytes: what one UDP datagram carries over any underlay. `shards` in one ballot (a member with
 * more holds several), `votes` in a certificate: majorities of two lists of seven that have nobody in common, and one to spare.
 */
export const OWNERSHIP_LIMITS = { shards: 16, votes: 9, voters: 7, members: 16, shardId: 0xffff } as const;

export type GrantKind = 'takeover' | 'handover' | 'renewal';

export const REFUSAL_REASONS = [
  'unknown-config',
  'stale-config',
  'not-a-voter',
  'abstaining',
  'not-a-member',
  'wrong-incarnation',
  'promised-higher',
  'lease-standing',
  'candidate-silent',
  'damped',
  'consent',
] as const;
export type RefusalReason = (typeof REFUSAL_REASONS)[number];

export interface OwnershipVoter {
  readonly id: string;
  readonly key: string;
  readonly instance: number;
}

export interface OwnershipVoterList {
  readonly config: number;
  readonly voters: readonly OwnershipVoter[];
}

export interface OwnershipMember {
  readonly id: string;
  readonly key: string;
  readonly providerAddress: string;
  /** It hands over what it owns, and takes only what nobody else can. */
  readonly drain: boolean;
}

export interface OwnershipShard {
  readonly shard: number;
  /** Members, the preferred one first. */
  readonly order: readonly string[];
  /** Counts decisions who is first; only rises. */
  readonly placement: number;
}

export interface OwnershipConfig {
  readonly group: string;
  readonly config: number;
  readonly incarnation: number;
  readonly voters: readonly OwnershipVoter[];
  /** The last list that took effect, until the record says that this one has. Undefined: it has. */
  readonly previous: OwnershipVoterList | undefined;
  readonly members: readonly OwnershipMember[];
  readonly shards: readonly OwnershipShard[];
}

export interface OwnershipConsent {
  readonly epoch: bigint;
  readonly shards: readonly number[];
  readonly from: string;
  readonly to: string;
  readonly signature: Uint8Array;
}

export interface OwnershipAsk {
  readonly nonce: number;
  readonly shards: readonly number[];
  readonly candidacy: boolean;
  readonly kind: GrantKind;
  readonly consent: OwnershipConsent | undefined;
}

export interface OwnershipShardAnswer {
  readonly shard: number;
  readonly promised: bigint;
  readonly holder: string;
  readonly remainingMs: number;
  readonly certified: bigint;
  /** Undefined: would vote. */
  readonly refusal: RefusalReason | undefined;
}

export interface OwnershipAnswer {
  readonly nonce: number;
  readonly knownConfig: number;
  readonly acceptedConfig: number;
  readonly instance: number;
  readonly abstaining: boolean;
  readonly shards: readonly OwnershipShardAnswer[];
}

export interface OwnershipBallot {
  readonly config: number;
  readonly epoch: bigint;
  readonly shards: readonly number[];
  readonly candidate: string;
  readonly providerAddress: string;
  readonly kind: GrantKind;
  readonly leaseMs: number;
  readonly round: number;
  readonly consent: OwnershipConsent | undefined;
}

export interface OwnershipVote {
  readonly config: number;
  readonly epoch: bigint;
  readonly round: number;
  readonly instance: number;
  readonly signature: Uint8Array;
  readonly certified: bigint;
}

export interface OwnershipRefusal {
  readonly config: number;
  readonly epoch: bigint;
  readonly round: number;
  readonly reason: RefusalReason;
  readonly shard: number;
  readonly promised: bigint;
  readonly remainingMs: number;
  readonly acceptedConfig: number;
}

export interface CertifiedVote {
  readonly voter: number;
  readonly instance: number;
  readonly signature: Uint8Array;
}

export interface OwnershipCertificate {
  readonly ballot: OwnershipBallot;
  readonly votes: readonly CertifiedVote[];
}

/** gateways `grant.<gateway id>.<shard>`: the newest grant of a shard, as its owner wrote it down. Believed by its certificate only. */
export interface OwnershipGrant {
  readonly gatewayId: string;
  readonly shard: number;
  readonly certificate: OwnershipCertificate;
}

export interface OwnershipAcknowledgement {
  readonly epoch: bigint;
  readonly config: number;
  readonly round: number;
  readonly accepted: boolean;
  readonly highest: bigint;
}

export interface OwnershipRelease {
  readonly epoch: bigint;
  readonly shards: readonly number[];
}

export interface OwnershipOffer {
  readonly consent: OwnershipConsent;
}

/** What a node keeps in its file, fsynced. Small: one entry a shard. */
export interface OwnershipFile {
  /** Made with the file: a node without its file is another voter. */
  readonly instance: number;
  /** The boot in which it last took part in full: it abstains for a lease after another one. */
  readonly bootId: string;
  /** Highest configuration voted in; lower ones are refused. */
  readonly accepted: number;
  /** Highest epoch this node ever asked votes for. */
  readonly proposed: bigint;
  readonly promises: readonly OwnershipPromise[];
  /** The highest certificate of each shard: for hosts that have booted, and for members that start. Nothing waits for these. */
  readonly certificates: readonly OwnershipCertificate[];
  readonly placements: readonly OwnershipPlacementNote[];
}

export interface OwnershipPromise {
  readonly shard: number;
  readonly epoch: bigint;
  readonly candidate: string;
}

/** With which placement of the record this member owns a shard, or did. 0: the shard had no owner before. */
export interface OwnershipPlacementNote {
  readonly shard: number;
  readonly placement: number;
}

export type OwnershipBody =
  | { readonly kind: 'ask'; readonly value: OwnershipAsk }
  | { readonly kind: 'answer'; readonly value: OwnershipAnswer }
  | { readonly kind: 'ballot'; readonly value: OwnershipBallot }
  | { readonly kind: 'vote'; readonly value: OwnershipVote }
  | { readonly kind: 'refusal'; readonly value: OwnershipRefusal }
  | { readonly kind: 'certificate'; readonly value: OwnershipCertificate }
  | { readonly kind: 'acknowledgement'; readonly value: OwnershipAcknowledgement }
  | { readonly kind: 'release'; readonly value: OwnershipRelease }
  | { readonly kind: 'offer'; readonly value: OwnershipOffer };

export interface OwnershipMessage {
  readonly group: string;
  readonly from: string;
  /** Empty: whoever hears it. */
  readonly to: string;
  readonly body: OwnershipBody;
}
