import type { Assignment } from './gateway-records.ts';
import type { OwnershipConfig } from './ownership.ts';

/**
 * The part of an assignment that ownership rests on, in the form that `election` takes.
 *
 * @param keyOf Public key of a host, for members that are no voters. Members without a known key are left out: nothing they say could be verified.
 */
export function ownershipConfig(assignment: Assignment, keyOf: (hostId: string) => string | undefined): OwnershipConfig {
  const voters = assignment.voters.voters.map(({ hostId, publicKey, instance }) => ({ id: hostId, key: publicKey, instance }));
  const hostOf = new Map(assignment.members.map(({ member, hostId }) => [member, hostId]));
  const members = assignment.members.flatMap(({ hostId, providerAddress, drain }) => {
    const key = voters.find(({ id }) => id === hostId)?.key ?? keyOf(hostId);
    return key === undefined ? [] : [{ id: hostId, key, providerAddress, drain }];
  });
  const known = new Set(members.map(({ id }) => id));
  return {
    group: assignment.gatewayId,
    config: assignment.voters.configId,
    incarnation: assignment.incarnation,
    voters,
    previous:
      assignment.previousVoters === undefined
        ? undefined
        : {
            config: assignment.previousVoters.configId,
            voters: assignment.previousVoters.voters.map(({ hostId, publicKey, instance }) => ({ id: hostId, key: publicKey, instance })),
          },
    members,
    shards: assignment.shards.map(({ id, order, placement }) => ({
      shard: id,
      placement,
      order: order.flatMap((member) => hostOf.get(member) ?? []).filter((host) => known.has(host)),
    })),
  };
}
