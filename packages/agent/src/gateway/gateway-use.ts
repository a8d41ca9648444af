import { type NatEventBatch, NatEventKind, type NatStore, type NatUsage } from '@weft/forwarding';
import type { NetworkUse, UseDrops } from '@weft/model';
import { inSlices, type SliceClock } from './in-slices.ts';
import type { NatListener } from './nat-feed.ts';
import type { OwnedNetwork } from './owned-networks.ts';

/** Networks of one answer. */
export const USE_ROWS_MAX = 2_000;
/** Stands for nobody's in {@link NetworkUse}: what came from outside and was for no network that could be told. */
export const OUTSIDE = 0;

/** Counts the sessions that begin, by network: nobody else does. */
export class FlowMeter implements NatListener {
  readonly #begun = new Map<number, number>();

  onEvents(batch: NatEventBatch): void {
    for (let i = 0; i < batch.count; i++) {
      if (batch.kindAt(i) !== NatEventKind.SESSION_ADDED) continue;
      const networkId = batch.networkAt(i);
      this.#begun.set(networkId, (this.#begun.get(networkId) ?? 0) + 1);
    }
  }

  onLost(): void {
    // The reading says how many events were lost.
  }

  begun(): ReadonlyMap<number, number> {
    return new Map(this.#begun);
  }
}

interface PacketCount {
  readonly packets: bigint;
  readonly bytes: bigint;
}

interface Quota {
  readonly blocks: number;
  readonly sessions: number;
}

/** Counters as they stood at one moment. */
export interface UseReading {
  readonly atMs: number;
  readonly usage: ReadonlyMap<number, NatUsage>;
  /** New flows refused by the limit of a second, ever. */
  readonly deniedFlows: ReadonlyMap<number, bigint>;
  readonly begun: ReadonlyMap<number, number>;
  readonly traffic: ReadonlyMap<number, PacketCount>;
  /** By VSID, then by reason. VSID 0: at external devices only. */
  readonly drops: ReadonlyMap<number, ReadonlyMap<number, PacketCount>>;
  readonly eventsLost: bigint;
}

export interface UseParts {
  readonly store: Pick<NatStore, 'rows'>;
  readonly drops: () => readonly { ifindex: number; vsid: number; reason: number; packets: bigint; bytes: bigint }[];
  readonly externalDevices: () => readonly number[];
  /** By network. */
  readonly traffic: () => ReadonlyMap<number, PacketCount>;
  readonly eventsLost: () => bigint;
  readonly meter: FlowMeter;
  /** Boot clock, ms. */
  readonly now: () => number;
  readonly slices?: SliceClock | undefined;
}

/** Reads all counters. */
export async function readUse(parts: UseParts): Promise<UseReading> {
  const usage = new Map<number, NatUsage>();
  await inSlices(parts.store.rows('usage'), ({ key, value }) => void usage.set(key.networkId, value), parts.slices);
  const deniedFlows = new Map<number, bigint>();
  await inSlices(parts.store.rows('rate'), ({ key, value }) => void deniedFlows.set(key.networkId, value.denied), parts.slices);
  const outside = new Set(parts.externalDevices());
  const drops = new Map<number, Map<number, PacketCount>>();
  for (const { ifindex, vsid, reason, packets, bytes } of parts.drops()) {
    if (vsid === 0 && !outside.has(ifindex)) continue;
    const of = drops.get(vsid) ?? new Map<number, PacketCount>();
    const known = of.get(reason);
    of.set(reason, { packets: (known?.packets ?? 0n) + packets, bytes: (known?.bytes ?? 0n) + bytes });
    drops.set(vsid, of);
  }
  return {
    atMs: parts.now(),
    usage,
    deniedFlows,
    begun: parts.meter.begun(),
    traffic: parts.traffic(),
    drops,
    eventsLost: parts.eventsLost(),
  };
}

/** What networks may have at most. */
export async function readQuotas(store: Pick<NatStore, 'rows'>, slices?: SliceClock): Promise<ReadonlyMap<number, Quota>> {
  const quotas = new Map<number, Quota>();
  await inSlices(store.rows('quota'), ({ key, value }) => void quotas.set(key.networkId, value), slices);
  return quotas;
}

/** Ports in use, by network: each holder counts its own. */
export async function countMappings(
  store: Pick<NatStore, 'rows'>,
  networks: ReadonlyMap<number, unknown>,
  slices?: SliceClock,
): Promise<Map<number, number>> {
  const counts = new Map<number, number>();
  await inSlices(
    store.rows('source'),
    ({ key, value }) => {
      if (networks.has(key.networkId)) counts.set(key.networkId, (counts.get(key.networkId) ?? 0) + value.mappings);
    },
    slices,
  );
  return counts;
}

/** What each network has, and did between two readings; those that did most first. */
export function networkUses(
  before: UseReading,
  after: UseReading,
  networks: ReadonlyMap<number, OwnedNetwork>,
  facts: {
    readonly quotas: ReadonlyMap<number, Quota>;
    readonly mappings: ReadonlyMap<number, number>;
    readonly outside: boolean;
  },
): NetworkUse[] {
  const uses = [...networks.values()].map(({ networkId, vsid }): NetworkUse => {
    const [was, is] = [before.usage.get(networkId), after.usage.get(networkId)];
    const quota = facts.quotas.get(networkId);
    return {
      networkId,
      blocks: is?.blocks ?? 0,
      blocksQuota: quota?.blocks ?? 0,
      sessions: is?.sessions ?? 0,
      sessionsQuota: quota?.sessions ?? 0,
      mappings: facts.mappings.get(networkId) ?? 0,
      newFlows: grown(before.begun.get(networkId), after.begun.get(networkId)),
      deniedBlocks: grown(was?.deniedBlocks, is?.deniedBlocks),
      deniedSessions: grown(was?.deniedSessions, is?.deniedSessions),
      deniedFlows: grown(before.deniedFlows.get(networkId), after.deniedFlows.get(networkId)),
      exhausted: grown(was?.exhausted, is?.exhausted),
      packets: grown(before.traffic.get(networkId)?.packets, after.traffic.get(networkId)?.packets),
      bytes: grown(before.traffic.get(networkId)?.bytes, after.traffic.get(networkId)?.bytes),
      drops: grownDrops(before.drops.get(vsid), after.drops.get(vsid)),
    };
  });
  const fromOutside = facts.outside ? grownDrops(before.drops.get(0), after.drops.get(0)) : [];
  if (fromOutside.length > 0) uses.push({ ...NOTHING, drops: fromOutside });
  return uses.sort((a, b) => activity(b) - activity(a) || b.sessions - a.sessions || b.blocks - a.blocks || a.networkId - b.networkId);
}

const NOTHING: NetworkUse = {
  networkId: OUTSIDE,
  blocks: 0,
  blocksQuota: 0,
  sessions: 0,
  sessionsQuota: 0,
  mappings: 0,
  newFlows: 0,
  deniedBlocks: 0,
  deniedSessions: 0,
  deniedFlows: 0,
  exhausted: 0,
  packets: 0,
  bytes: 0,
  drops: [],
};

/** What of the gateway's work a network caused: packets, and what costs more than their passing, new flows and what was dropped (refusals are drops). */
export function activity({ packets, newFlows, drops }: Pick<NetworkUse, 'packets' | 'newFlows' | 'drops'>): number {
  return packets + newFlows + drops.reduce((sum, drop) => sum + drop.packets, 0);
}

/** Counters that have fallen began anew. */
function grown(before: bigint | number | undefined, after: bigint | number | undefined): number {
  const [was, is] = [Number(before ?? 0), Number(after ?? 0)];
  return is >= was ? is - was : is;
}

function grownDrops(before: ReadonlyMap<number, PacketCount> | undefined, after: ReadonlyMap<number, PacketCount> | undefined): UseDrops[] {
  return [...(after ?? [])]
    .map(([reason, { packets, bytes }]) => ({
      reason,
      packets: grown(before?.get(reason)?.packets, packets),
      bytes: grown(before?.get(reason)?.bytes, bytes),
    }))
    .filter(({ packets }) => packets > 0)
    .sort((a, b) => b.packets - a.packets);
}
