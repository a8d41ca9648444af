import { quotas } from './assignment.ts';
import type { AssignedAddress, Assignment, BlockSlice } from './gateway-records.ts';

// Who grants which blocks of an external address. A block changes hands only with the consent of the member that has it: first it is marked
// (`movingTo`: its member prepares to grant it no more, nobody else may yet), and when its member says that it grants it no more, it is the other's. So within one incarnation
// no block is ever granted by two, however documents are delayed on their way.
//
//   member A ──planSlices──► A, moving to B ──settleSlices (A consents)──► B
//                                 └──planSlices (B leaves)──► A

/** Blocks of 64 ports of one external address: ports 1024..65535. */
export const BLOCKS_PER_ADDRESS = 1_008;

/** One entry a block: the member that has it, and where it is going (0: nowhere). */
interface Blocks {
  readonly member: Int32Array;
  readonly movingTo: Int32Array;
}

/**
 * The slices after a change of members: once all that is marked as moving has moved, equal shares within 1; and the fewest are marked. Every plan
 * starts from what members have, so a move that is no longer needed is called off.
 * @param members All members; blocks of others, which a forced removal leaves, are dealt at once.
 * @param active Those that may have blocks: not drained. None: all members.
 */
export function planSlices(before: readonly BlockSlice[], members: readonly number[], active: readonly number[]): BlockSlice[] {
  const among = active.length > 0 ? active : members;
  const { member, movingTo: goal } = spread(before);
  const movingTo = new Int32Array(BLOCKS_PER_ADDRESS);
  const isMember = new Set(members);
  const count = new Map<number, number>(among.map((one) => [one, 0]));
  const add = (one: number, n: number): void => {
    if (count.has(one)) count.set(one, count.get(one)! + n);
  };
  for (let block = 0; block < BLOCKS_PER_ADDRESS; block++) {
    if (!isMember.has(member[block]!)) member[block] = 0;
    add(member[block]!, 1);
  }
  const quota = quotas(BLOCKS_PER_ADDRESS, among, count);
  const free: boolean[] = new Array(BLOCKS_PER_ADDRESS).fill(false);
  const isOver = (one: number): boolean => !count.has(one) || count.get(one)! > quota.get(one)!;
  // Those on their way already go first: nobody grants them.
  for (const moving of [true, false]) {
    for (let block = BLOCKS_PER_ADDRESS - 1; block >= 0; block--) {
      if (free[block] || (goal[block] !== 0) !== moving || !isOver(member[block]!)) continue;
      free[block] = true;
      add(member[block]!, -1);
    }
  }
  const hasRoom = (one: number): boolean => count.has(one) && count.get(one)! < quota.get(one)!;
  const take = (block: number, one: number): void => {
    free[block] = false;
    add(one, 1);
    if (member[block] === 0) member[block] = one;
    else movingTo[block] = one;
  };
  // Where they were to go, if that still holds.
  for (let block = 0; block < BLOCKS_PER_ADDRESS; block++) if (free[block] && hasRoom(goal[block]!)) take(block, goal[block]!);
  const waiting = among.filter(hasRoom);
  for (let block = 0; block < BLOCKS_PER_ADDRESS; block++) {
    if (!free[block]) continue;
    while (!hasRoom(waiting[0]!)) waiting.shift();
    take(block, waiting[0]!);
  }
  return gather({ member, movingTo });
}

/** A piece of a slice that its member has given up. */
export interface ReleasedBlocks {
  readonly segment: number;
  readonly address: string;
  readonly first: number;
  readonly count: number;
}

/**
 * Blocks that `member` grants no more go where they were to go. Those that are not its own, or not on their way, stay as they are: the consent
 * came late, and nothing rests on it.
 */
export function settleSlices(assignment: Assignment, member: number, released: readonly ReleasedBlocks[]): Assignment {
  const byAddress = groupByAddress(released);
  return {
    ...assignment,
    addresses: assignment.addresses.map((one): AssignedAddress => {
      const pieces = byAddress.get(key(one));
      if (pieces === undefined) return one;
      const blocks = spread(one.slices);
      for (const { first, count } of pieces) {
        for (let block = Math.max(0, first); block < Math.min(first + count, BLOCKS_PER_ADDRESS); block++) {
          if (blocks.member[block] !== member || blocks.movingTo[block] === 0) continue;
          blocks.member[block] = blocks.movingTo[block]!;
          blocks.movingTo[block] = 0;
        }
      }
      return { ...one, slices: gather(blocks) };
    }),
  };
}

/** What a member may grant from: its own slices that are not on their way elsewhere. */
export function grantable(address: Pick<AssignedAddress, 'slices'>, member: number): BlockSlice[] {
  return address.slices.filter((slice) => slice.member === member && slice.movingTo === 0);
}

/** The same division with nothing for `member` to grant from: for when what it may grant is not known. */
export function withholdSlices(assignment: Assignment, member: number): Assignment {
  return {
    ...assignment,
    addresses: assignment.addresses.map((one) => ({
      ...one,
      slices: one.slices.map((slice) => (slice.member === member && slice.movingTo === 0 ? { ...slice, movingTo: member } : slice)),
    })),
  };
}

/** What a member is asked to give up. */
export function releasable(assignment: Assignment, member: number): ReleasedBlocks[] {
  return assignment.addresses.flatMap(({ segment, address, slices }) =>
    slices
      .filter((slice) => slice.member === member && slice.movingTo !== 0)
      .map(({ first, count }) => ({ segment, address, first, count })),
  );
}

function key({ segment, address }: { readonly segment: number; readonly address: string }): string {
  return `${segment}/${address}`;
}

function groupByAddress(released: readonly ReleasedBlocks[]): Map<string, ReleasedBlocks[]> {
  const groups = new Map<string, ReleasedBlocks[]>();
  for (const one of released) groups.set(key(one), [...(groups.get(key(one)) ?? []), one]);
  return groups;
}

function spread(slices: readonly BlockSlice[]): Blocks {
  const blocks = { member: new Int32Array(BLOCKS_PER_ADDRESS), movingTo: new Int32Array(BLOCKS_PER_ADDRESS) };
  for (const { member, first, count, movingTo } of slices) {
    blocks.member.fill(member, first, first + count);
    blocks.movingTo.fill(movingTo, first, first + count);
  }
  return blocks;
}

function gather({ member, movingTo }: Blocks): BlockSlice[] {
  const slices: BlockSlice[] = [];
  let first = 0;
  for (let block = 1; block <= BLOCKS_PER_ADDRESS; block++) {
    if (block < BLOCKS_PER_ADDRESS && member[block] === member[first] && movingTo[block] === movingTo[first]) continue;
    slices.push({ member: member[first]!, first, count: block - first, movingTo: movingTo[first]! });
    first = block;
  }
  return slices;
}
