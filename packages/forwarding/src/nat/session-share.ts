import type { NatStore } from './state.ts';

// One table of sessions serves all networks of a member, and quotas may add up to more than it holds. A quarter of it is kept for networks that have less than
// their share of that quarter: once the rest is full, the others begin no more. So who has less is never refused for want of room, whatever others do.

/** Of the table. */
const RESERVED = 1 / 4;

/**
 * What a network may have while the table is nearly full; 0: it is not.
 * @param room Sessions that the table holds.
 * @param networks That may have some.
 */
export function sessionsShare(used: number, room: number, networks: number): number {
  const reserved = Math.floor(room * RESERVED);
  return used < room - reserved ? 0 : Math.max(1, Math.floor(reserved / Math.max(1, networks)));
}

/** Sessions of all networks, and how many networks may have some. */
export function sessionsInUse(store: Pick<NatStore, 'rows'>): { readonly used: number; readonly networks: number } {
  let [used, networks] = [0, 0];
  for (const { value } of store.rows('usage')) used += value.sessions;
  for (const _ of store.rows('quota')) networks++;
  return { used, networks };
}
