import { parseIp } from '@weft/packet';
import { weft } from '@weft/proto';
import {
  bool,
  bytes,
  checked,
  enumeration,
  type Field,
  list,
  type Message,
  message,
  optional,
  requiredOneof,
  text,
  u32,
  u64,
  u64big,
} from './codec.ts';
import { isHostId } from './keys.ts';
import type * as O from './ownership.ts';
import { OWNERSHIP_LIMITS as LIMITS, REFUSAL_REASONS } from './ownership.ts';

// One line a message of proto/weft/v1/ownership.proto. The bounds here are what keeps a message in one datagram.

const pb = weft.v1;

const hostId = checked(text, (id) => (isHostId(id) ? undefined : `is ${JSON.stringify(id.slice(0, 64))}, must be a host id`));
const hostIdIfAny = checked(text, (id) =>
  id === '' || isHostId(id) ? undefined : `is ${JSON.stringify(id.slice(0, 64))}, must be a host id or empty`,
);
function isIp(value: string): boolean {
  try {
    parseIp(value);
    return true;
  } catch {
    return false;
  }
}
const address = checked(text, (value) => (isIp(value) ? undefined : `is ${JSON.stringify(value.slice(0, 64))}, must be an IP address`));
const groupId = checked(text, (id) => (id.length >= 1 && id.length <= 64 ? undefined : 'must have 1 to 64 letters'));
const publicKey = checked(text, (key) => (key.length >= 1 && key.length <= 64 ? undefined : 'must have 1 to 64 letters'));
const signature = checked(bytes, (value) => (value.length <= 64 ? undefined : `has ${value.length} bytes, must have at most 64`));
const epoch = checked(u64big, (value) =>
  value >> 32n > 0n && (value & 0xffff_ffffn) > 0n ? undefined : `is ${value}, must have an incarnation and a ballot above 0`,
);
const leaseMs = checked(u32, (value) => (value >= 1 && value <= 3_600_000 ? undefined : `is ${value}, must be 1 to 3,600,000 ms`));
const grantKind = enumeration<O.GrantKind>({ takeover: 1, handover: 2, renewal: 3 });
const refusalNumbers = Object.fromEntries(REFUSAL_REASONS.map((name, i) => [name, i + 1])) as Record<O.RefusalReason, number>;
const refusalReason = enumeration<O.RefusalReason>(refusalNumbers);
const refusalIfAny: Field<O.RefusalReason | undefined> = {
  toWire: (value) => (value === undefined ? 0 : refusalReason.toWire(value)),
  fromWire: (raw) => (raw === 0 || raw === undefined ? undefined : refusalReason.fromWire(raw)),
};

function atMost<T>(field: Field<T>, max: number): Field<readonly T[]> {
  return checked(list(field), (items) => (items.length <= max ? undefined : `has ${items.length} entries, must have at most ${max}`));
}
const shardId = checked(u32, (value) => (value <= LIMITS.shardId ? undefined : `is ${value}, must be at most ${LIMITS.shardId}`));
const shards: Field<readonly number[]> = checked(atMost(shardId, LIMITS.shards), (items) =>
  items.length >= 1 && items.every((shard, i) => i === 0 || shard > items[i - 1]!)
    ? undefined
    : 'must be one or more shards, ascending, each once',
);

export const ownershipConsentCodec: Message<O.OwnershipConsent> = message('OwnershipConsent', pb.OwnershipConsent, {
  epoch,
  shards,
  from: hostId,
  to: hostId,
  signature,
});
const consent = optional(ownershipConsentCodec);

const askCodec: Message<O.OwnershipAsk> = message('OwnershipAsk', pb.OwnershipAsk, {
  nonce: u64,
  shards,
  candidacy: bool,
  kind: grantKind,
  consent,
});
const shardAnswerCodec: Message<O.OwnershipShardAnswer> = message('OwnershipShardAnswer', pb.OwnershipShardAnswer, {
  shard: shardId,
  promised: u64big,
  holder: hostIdIfAny,
  remainingMs: u32,
  certified: u64big,
  refusal: refusalIfAny,
});
const answerCodec: Message<O.OwnershipAnswer> = message('OwnershipAnswer', pb.OwnershipAnswer, {
  nonce: u64,
  knownConfig: u32,
  acceptedConfig: u32,
  instance: u64,
  abstaining: bool,
  shards: atMost(shardAnswerCodec, LIMITS.shards),
});
const ballotCodec: Message<O.OwnershipBallot> = message('OwnershipBallot', pb.OwnershipBallot, {
  config: u32,
  epoch,
  shards,
  candidate: hostId,
  providerAddress: address,
  kind: grantKind,
  leaseMs,
  round: u64,
  consent,
});
const voteCodec: Message<O.OwnershipVote> = message('OwnershipVote', pb.OwnershipVote, {
  config: u32,
  epoch,
  round: u64,
  instance: u64,
  signature,
  certified: u64big,
});
const refusalCodec: Message<O.OwnershipRefusal> = message('OwnershipRefusal', pb.OwnershipRefusal, {
  config: u32,
  epoch,
  round: u64,
  reason: refusalReason,
  shard: shardId,
  promised: u64big,
  remainingMs: u32,
  acceptedConfig: u32,
});
const certifiedVoteCodec: Message<O.CertifiedVote> = message('CertifiedVote', pb.CertifiedVote, {
  voter: u32,
  instance: u64,
  signature,
});
export const ownershipCertificateCodec: Message<O.OwnershipCertificate> = message('OwnershipCertificate', pb.OwnershipCertificate, {
  ballot: ballotCodec,
  votes: atMost(certifiedVoteCodec, LIMITS.votes),
});
export const ownershipGrantCodec: Message<O.OwnershipGrant> = message('OwnershipGrant', pb.OwnershipGrant, {
  gatewayId: text,
  shard: shardId,
  certificate: ownershipCertificateCodec,
});
const acknowledgementCodec: Message<O.OwnershipAcknowledgement> = message('OwnershipAcknowledgement', pb.OwnershipAcknowledgement, {
  epoch,
  config: u32,
  round: u64,
  accepted: bool,
  highest: u64big,
});
const releaseCodec: Message<O.OwnershipRelease> = message('OwnershipRelease', pb.OwnershipRelease, { epoch, shards });
const offerCodec: Message<O.OwnershipOffer> = message('OwnershipOffer', pb.OwnershipOffer, { consent: ownershipConsentCodec });

/** What travels between members, voters and hosts, inside a SignedEnvelope of kind `ownership`. */
export const ownershipMessageCodec: Message<O.OwnershipMessage> = message('OwnershipMessage', pb.OwnershipMessage, {
  group: groupId,
  from: hostId,
  to: hostIdIfAny,
  body: requiredOneof<O.OwnershipBody>({
    ask: askCodec,
    answer: answerCodec,
    ballot: ballotCodec,
    vote: voteCodec,
    refusal: refusalCodec,
    certificate: ownershipCertificateCodec,
    acknowledgement: acknowledgementCodec,
    release: releaseCodec,
    offer: offerCodec,
  }),
});

const voterCodec: Message<O.OwnershipVoter> = message('OwnershipVoter', pb.OwnershipVoter, { id: hostId, key: publicKey, instance: u64 });
const voters = checked(
  checked(atMost(voterCodec, LIMITS.voters), (items) => (items.length >= 1 ? undefined : 'must name one voter or more')),
  (items) => (new Set(items.map(({ id }) => id)).size === items.length ? undefined : 'must name each voter once'),
);
const voterListCodec: Message<O.OwnershipVoterList> = message('OwnershipVoterList', pb.OwnershipVoterList, { config: u32, voters });
const memberCodec: Message<O.OwnershipMember> = message('OwnershipMember', pb.OwnershipMember, {
  id: hostId,
  key: publicKey,
  providerAddress: address,
  drain: bool,
});
const shardCodec: Message<O.OwnershipShard> = message('OwnershipShard', pb.OwnershipShard, {
  shard: shardId,
  order: list(hostId),
  placement: u32,
});

/** The part of a gateway group's record that ownership rests on. */
export const ownershipConfigCodec: Message<O.OwnershipConfig> = message('OwnershipConfig', pb.OwnershipConfig, {
  group: groupId,
  config: checked(u32, (value) => (value >= 1 ? undefined : 'must be 1 or more')),
  incarnation: checked(u32, (value) => (value >= 1 ? undefined : 'must be 1 or more')),
  voters,
  previous: optional(voterListCodec),
  members: atMost(memberCodec, LIMITS.members),
  shards: list(shardCodec),
});

const promiseCodec: Message<O.OwnershipPromise> = message('OwnershipPromise', pb.OwnershipPromise, {
  shard: shardId,
  epoch,
  candidate: hostId,
});
const placementNoteCodec: Message<O.OwnershipPlacementNote> = message('OwnershipPlacementNote', pb.OwnershipPlacementNote, {
  shard: shardId,
  placement: u32,
});

/** A node's own file. A file that can't be read is a lost one: say so, and start without. */
export const ownershipFileCodec: Message<O.OwnershipFile> = message('OwnershipFile', pb.OwnershipFile, {
  instance: checked(u64, (value) => (value >= 1 ? undefined : 'must be 1 or more')),
  bootId: checked(text, (value) => (value.length >= 1 && value.length <= 64 ? undefined : 'must have 1 to 64 letters')),
  accepted: u32,
  proposed: u64big,
  promises: list(promiseCodec),
  certificates: list(ownershipCertificateCodec),
  placements: list(placementNoteCodec),
});
