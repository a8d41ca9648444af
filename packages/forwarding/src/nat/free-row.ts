import { BLOCKS_END, FIRST_BLOCK, type NatFree } from './rows.ts';

/**
 * What of an address a member may grant: its slice without the blocks that are held. For an address that is new to the member, and after it has been
 * without ownership: what others granted, or gave back, meanwhile.
 * @param slice Block numbers (port / 64) of the member's own slice.
 * @param held Block numbers that stand in `nat_block` for this address.
 * @param freeAtS Seconds of the boot clock: none is granted before.
 */
export function natFreeRow(slice: Iterable<number>, held: ReadonlySet<number>, freeAtS: number): NatFree {
  const own = new Uint8Array(BLOCKS_END / 8);
  const blocks: { block: number; freeAtS: number }[] = [];
  for (const block of [...new Set(slice)].sort((a, b) => a - b)) {
    if (!Number.isInteger(block) || block < FIRST_BLOCK || block >= BLOCKS_END)
      throw new RangeError(`Cannot grant block ${block}: must be an integer from ${FIRST_BLOCK} to ${BLOCKS_END - 1}`);
    own[block >>> 3]! |= 1 << (block & 7);
    if (!held.has(block)) blocks.push({ block, freeAtS });
  }
  return { own, blocks };
}
