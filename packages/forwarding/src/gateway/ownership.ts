import type { GatewayShardEntry, GatewayTables } from './gateway-tables.ts';

/** How far this member owns a shard: docs/gateway-contract.md section 4. */
export type Ownership =
  | { readonly state: 'live' }
  /** Handed over just now: frames are sent on to the new owner. */
  | { readonly state: 'handover'; readonly to: GatewayShardEntry }
  | { readonly state: 'none' };

const LIVE: Ownership = { state: 'live' };
const NONE: Ownership = { state: 'none' };

export function ownership(tables: GatewayTables, shard: number, nowBootNs: bigint): Ownership {
  const entry = tables.gatewayShard(shard);
  if (entry === undefined) return NONE;
  if (nowBootNs < entry.deadlineBootNs) return LIVE;
  return nowBootNs < entry.handoverUntilBootNs ? { state: 'handover', to: entry } : NONE;
}

export function isLive(tables: GatewayTables, shard: number, nowBootNs: bigint): boolean {
  return ownership(tables, shard, nowBootNs).state === 'live';
}
