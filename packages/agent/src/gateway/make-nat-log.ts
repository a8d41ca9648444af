import { join } from 'node:path';
import { isOpen } from '@weft/election';
import { addressId } from '@weft/model';
import type { AgentParts } from '../role.ts';
import { NatLog } from './nat-log.ts';
import { NatLogSpool } from './nat-log-spool.ts';
import { ownedNetworks } from './owned-networks.ts';

/** Of records that wait while NATS is away: some 100,000. */
const SPOOL_BYTES = 16 << 20;

/** The NAT log of this machine's packet path. */
export function makeNatLog({ init, identity, datapath, gateways, clock, logger, conditions }: AgentParts): NatLog {
  const spool = new NatLogSpool({
    path: join(init.stateDirectory, 'nat-log.spool'),
    maxBytes: SPOOL_BYTES,
    onProblem: (reason) =>
      reason === undefined
        ? conditions.clear('NAT_LOG_NOT_SAVED')
        : conditions.raise('NAT_LOG_NOT_SAVED', `Records of the NAT log wait in memory only: ${reason}`),
  });
  const networks = async (): Promise<ReadonlySet<number>> => {
    const owned = await ownedNetworks({
      rows: (table) => datapath.gateway.rows(table),
      fences: () => gateways.fences(),
      tenantOf: () => '',
      now: () => clock.now(),
    });
    return new Set(owned.keys());
  };
  const shards = (): ReadonlySet<number> => new Set(gateways.fences().flatMap((row) => (isOpen(row, clock.now()) ? [row.shard] : [])));
  let [known, groups]: [unknown, ReadonlyMap<string, string>] = [undefined, new Map()];
  const groupOf = (segment: number, address: string): string => {
    if (known !== gateways.directory.groups) {
      known = gateways.directory.groups;
      const all = [...gateways.directory.groups].flatMap(
        ([id, { assignment }]) => assignment?.addresses.map((one) => [addressId(one), id] as const) ?? [],
      );
      groups = new Map(all);
    }
    return groups.get(addressId({ segment, address })) ?? '';
  };
  return new NatLog({
    ...{ hostId: init.hostId, identity, clock, logger, conditions, spool, groupOf },
    store: datapath.gateway.nat,
    shards,
    networks,
  });
}
