import { type FenceRow, isOpen } from '@weft/election';
import type { GatewayTableEntry } from '@weft/forwarding';
import type { TrustStore } from '@weft/model';
import { inSlices, type SliceClock } from './in-slices.ts';

/** A network on a shard that this member owns now. */
export interface OwnedNetwork {
  readonly networkId: number;
  readonly shard: number;
  /** Of its gateway subnet: drops are counted for it. */
  readonly vsid: number;
  /** Empty: not known (yet). */
  readonly tenant: string;
}

export interface OwnedNetworksParts {
  readonly rows: (table: 'gateway_network') => Iterable<GatewayTableEntry>;
  readonly fences: () => readonly FenceRow[];
  /** Tenant of a network that this member follows. */
  readonly tenantOf: (networkId: number) => string;
  /** Boot clock, ms. */
  readonly now: () => number;
  readonly slices?: SliceClock | undefined;
}

/** Networks whose packets this member translates now, by their number. What it holds of others is a copy, for their owners to tell of. */
export async function ownedNetworks({ rows, fences, tenantOf, now, slices }: OwnedNetworksParts): Promise<Map<number, OwnedNetwork>> {
  const open = new Set(fences().flatMap((row) => (isOpen(row, now()) ? [row.shard] : [])));
  const owned = new Map<number, OwnedNetwork>();
  await inSlices(
    rows('gateway_network'),
    (row) => {
      if (row.table !== 'gateway_network' || !open.has(row.value.shard)) return;
      const { networkId } = row.key;
      owned.set(networkId, { networkId, shard: row.value.shard, vsid: row.value.vsid, tenant: tenantOf(networkId) });
    },
    slices,
  );
  return owned;
}

/**
 * Those of the networks that are asked for and may be read.
 * @param wanted Empty: all that the asker may read.
 * @throws {WeftError} `WEFT_ERR_TRUST_…` when a network is named that the asker may not read, or when he may read nothing at all.
 */
export function readableNetworks(
  owned: ReadonlyMap<number, OwnedNetwork>,
  wanted: readonly number[],
  trust: Pick<TrustStore, 'mayAct' | 'principal'>,
  signer: string,
): Map<number, OwnedNetwork> {
  const chosen = wanted.length === 0 ? [...owned.values()] : wanted.flatMap((id) => owned.get(id) ?? []);
  const isTenant = trust.principal(signer)?.role === 'tenant';
  const refusal = isTenant ? undefined : trust.mayAct(signer, '', 'read');
  if (refusal !== undefined) throw refusal;
  const readable = chosen.filter((network) => {
    const denied = isTenant ? trust.mayAct(signer, network.tenant, 'read') : undefined;
    if (denied !== undefined && wanted.length > 0) throw denied;
    return denied === undefined;
  });
  return new Map(readable.map((network) => [network.networkId, network]));
}
