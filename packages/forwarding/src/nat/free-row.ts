import { BLOCKS_END, FIRST_BLOCK, type FreeBlock, type NatFree, type NatKey } from './rows.ts';
import type { NatStore } from './state.ts';

// What of an address a member may grant, of its own slice: a block stands in the ring once, or somebody holds it.

export function isOwnBlock(own: Uint8Array, block: number): boolean {
  return ((own[block >>> 3] ?? 0) & (1 << (block & 7))) !== 0;
}

export interface FreeRowInput {
  /** The member's own slice, a bit a block. */
  readonly own: Uint8Array;
  /** The ring so far: what of it may be granted still keeps its place and its time. */
  readonly known: readonly FreeBlock[];
  /** Whether a block stands in `nat_block` for this address. */
  readonly isHeld: (block: number) => boolean;
  /** Seconds of the boot clock: blocks that come into the ring are not granted before. */
  readonly freeAtS: number;
}

/** The ring of an address that is new to the member, or whose slice has changed. */
export function natFreeRow({ own, known, isHeld, freeAtS }: FreeRowInput): NatFree {
  const kept = known.filter(({ block }) => isOwnBlock(own, block) && !isHeld(block));
  const present = new Set(kept.map(({ block }) => block));
  const fresh: FreeBlock[] = [];
  for (let block = FIRST_BLOCK; block < BLOCKS_END; block++) {
    if (isOwnBlock(own, block) && !present.has(block) && !isHeld(block)) fresh.push({ block, freeAtS });
  }
  return { own, blocks: [...kept, ...fresh] };
}

/** Puts a block that nobody holds any more at the end of the ring, if it is of this member's slice; once. */
export function giveBlockBack(store: NatStore, { segment, address, block }: NatKey<'block'>, freeAtS: number): void {
  const free = store.get('free', { segment, address });
  if (free === undefined || !isOwnBlock(free.own, block) || free.blocks.some((one) => one.block === block)) return;
  store.set('free', { segment, address }, { own: free.own, blocks: [...free.blocks, { block, freeAtS }] });
}

/** Takes a block that somebody holds out of the ring. */
export function takeBlockOut(store: NatStore, { segment, address, block }: NatKey<'block'>): void {
  const free = store.get('free', { segment, address });
  if (free === undefined || !isOwnBlock(free.own, block)) return;
  const blocks = free.blocks.filter((one) => one.block !== block);
  if (blocks.length < free.blocks.length) store.set('free', { segment, address }, { own: free.own, blocks });
}
