import { epochText } from '../epoch.ts';
import type { World } from './world.ts';

// What has to come true once faults stop.

/** Undefined: every shard has an owner that forwards, and every host obeys it. */
export function unhealthy(world: World): string | undefined {
  for (const shard of world.init.shards) {
    const grant = world.checker.newest.get(shard);
    const owner = world.owner(shard);
    if (grant === undefined || owner === undefined) return `shard ${shard} was never granted`;
    const row = owner.fence.get(shard);
    if (row === undefined || row.epoch !== grant.epoch || row.deadlineMs <= owner.clock.at(world.now)) {
      return `shard ${shard}: ${owner.id} was granted ${epochText(grant.epoch)} and does not forward`;
    }
    for (const host of world.hosts) {
      const known = host.shards.get(shard);
      if (known === undefined || known.epoch !== grant.epoch) {
        return `shard ${shard}: ${host.id} obeys ${known === undefined ? 'nobody' : epochText(known.epoch)}, not ${epochText(grant.epoch)} of ${owner.id}`;
      }
    }
  }
  return undefined;
}

/** Undefined: no owner has a shard that the record placed elsewhere since it took it over. */
export function misplaced(world: World): string | undefined {
  for (const shard of world.init.shards) {
    const owner = world.owner(shard);
    const to = owner?.node?.displacedTo(shard);
    if (to !== undefined) return `shard ${shard} is placed on ${to}, and ${owner!.id} keeps it`;
  }
  return undefined;
}
