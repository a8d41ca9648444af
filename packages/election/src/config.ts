import { OWNERSHIP_LIMITS, type OwnershipConfig, type OwnershipVoter } from '@weft/model';

/*
 * Voter lists and how one follows another.
 *
 * A vote names the configuration it was given in, and a voter that has voted in one refuses lower ones for ever. A record with a new list also names the last
 * list that took effect (`previous`): as long as it does, a ballot in the new list needs a majority of the old list AND of the new one (`hasQuorum`). Such a
 * certificate is what the controller waits for before it commits the record without `previous`; from there on the new list alone counts.
 *
 * Why that is safe: a ballot in the old list needs a majority of it; so does each ballot in the new one while the old is named; the voter in both gave its old
 * vote first, since afterwards it would have refused. So what the old list granted is known to somebody whose vote the new list needs. A third list that comes
 * before the second took effect names the first again: all three then need the first one's majority.
 *
 * A voter is (id, instance): the instance is a number made together with its file. A voter that has lost its file has another one, so it is none of the
 * list's any more, until a new configuration names its new instance. So forgetting a promise is the same as leaving.
 */

/** A vote, as far as counting goes. */
export interface CountedVote {
  readonly voter: string;
  readonly instance: number;
}

function hasMajority(voters: readonly OwnershipVoter[], votes: readonly CountedVote[]): boolean {
  let count = 0;
  for (const { id, instance } of voters) if (votes.some((vote) => vote.voter === id && vote.instance === instance)) count++;
  return count * 2 > voters.length;
}

/** Whether votes given in this configuration are a majority as it asks for: of its list and, until that took effect, of the one before. */
export function hasQuorum(config: OwnershipConfig, votes: readonly CountedVote[]): boolean {
  return hasMajority(config.voters, votes) && (config.previous === undefined || hasMajority(config.previous.voters, votes));
}

/** Whether a ballot of configuration `offered` may be looked at by who has accepted `accepted`. */
export function acceptsConfig(accepted: number, offered: number): boolean {
  return offered >= accepted;
}

/** The distinct voters of a configuration, then of the list before it: what the index in a certificate counts. */
export function rosterOf(config: OwnershipConfig): readonly OwnershipVoter[] {
  let roster = rosters.get(config);
  if (roster === undefined) {
    const made: OwnershipVoter[] = [];
    for (const voter of [...config.voters, ...(config.previous?.voters ?? [])]) {
      if (!made.some(({ id, instance, key }) => id === voter.id && instance === voter.instance && key === voter.key)) made.push(voter);
    }
    roster = made;
    rosters.set(config, roster);
  }
  return roster;
}
const rosters = new WeakMap<OwnershipConfig, readonly OwnershipVoter[]>();

/** What is wrong with a configuration, in words; empty: nothing. A controller refuses what this finds. */
export function configFaults(config: OwnershipConfig): readonly string[] {
  const faults: string[] = [];
  const { voters, members, shards, previous } = config;
  if (voters.length === 2)
    faults.push(
      'Two voters stop as soon as either stops: name a witness host on a third machine, or one voter (then nothing fails over by itself)',
    );
  if (voters.length > OWNERSHIP_LIMITS.voters)
    faults.push(`${voters.length} voters: must be at most ${OWNERSHIP_LIMITS.voters}, else a certificate fits no datagram`);
  if (new Set(members.map(({ id }) => id)).size !== members.length) faults.push('A member is named twice');
  for (const { shard, order } of shards) {
    for (const id of order) {
      if (!members.some((member) => member.id === id)) faults.push(`Shard ${shard} is ordered to ${id}, which is no member`);
    }
  }
  if (previous !== undefined && previous.config >= config.config) faults.push('The list before this one has a higher configuration id');
  return faults;
}

/** Everybody who takes part: members, voters, and those of the list before, whose majority is needed until the new one has taken effect. */
export function nodesOf(config: OwnershipConfig): ReadonlySet<string> {
  return new Set([...config.members, ...rosterOf(config)].map(({ id }) => id));
}

/** Whether a shard is the group's. Numbers of shards are given once in an installation, so another's are known as such. */
export function hasShard({ shards }: Pick<OwnershipConfig, 'shards'>, shard: number): boolean {
  return shards.some((known) => known.shard === shard);
}

/** Members whose shards are to go elsewhere. None if that would be all: then somebody has to serve. */
export function drainedMembers({ members }: Pick<OwnershipConfig, 'members'>): ReadonlySet<string> {
  const drained = members.filter(({ drain }) => drain);
  return new Set(drained.length === members.length ? [] : drained.map(({ id }) => id));
}

/** True if no failure is survived by itself: fewer than three voters, or one member. */
export function lacksFailover(config: OwnershipConfig): boolean {
  return config.voters.length < 3 || config.members.length < 2;
}

/**
 * Voters for a group: all members if three or more; a pair and its witness; else the first member alone, with the alarm "no automatic failover": a lone
 * member never takes over from a silent one, and doesn't stop when its standby does.
 */
export function planVoters(members: readonly string[], witness: string | undefined): readonly string[] {
  if (members.length >= 3) return members.slice(0, OWNERSHIP_LIMITS.voters);
  if (members.length === 2 && witness !== undefined) return [...members, witness];
  return members.slice(0, 1);
}
