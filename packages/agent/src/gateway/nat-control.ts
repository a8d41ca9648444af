import { FIRST_BLOCK, isOwnBlock, type NatKey, type NatStore, natFreeRow } from '@weft/forwarding';
import type { ReleasedBlocks } from '@weft/model';
import { parseIp } from '@weft/packet';
import type { NatSetupChange, NatSliceSetup } from '@weft/tables';
import type { NatControl } from './gateway-role.ts';

export interface NatControlInit {
  /** The NAT's state in the packet path. */
  readonly store: NatStore;
  readonly runSweep: () => void;
  /** Gives an address that has a ring another slice, while the packet path may be granting blocks from it. */
  readonly resize: (key: NatKey<'free'>, own: Uint8Array) => void;
  /** Whether this member may be granting blocks of an address now. */
  readonly isServed: (key: NatKey<'free'>) => boolean;
}

/** Gives port mapping its pools, slices and quotas. What it makes of them is the packet path's own. */
export class NatSetupControl implements NatControl {
  readonly #init: NatControlInit;
  /** Slices that are to end while their address is served: once it is served elsewhere. */
  readonly #ending = new Map<string, NatSliceSetup>();

  constructor(init: NatControlInit) {
    this.#init = init;
  }

  apply(changes: readonly NatSetupChange[]): void {
    const { store } = this.#init;
    for (const change of changes) {
      switch (change.table) {
        case 'nat_pool':
          if (change.op === 'put') store.set('pool', change.key, change.value);
          else store.delete('pool', change.key as NatKey<'pool'>);
          break;
        case 'gateway_quota':
          if (change.op === 'put') store.set('quota', change.key, change.value);
          else store.delete('quota', change.key as NatKey<'quota'>);
          break;
        case 'nat_slice':
          if (change.op === 'put') this.#setSlice(change);
          else store.delete('free', change.key as NatKey<'free'>);
          break;
      }
    }
  }

  free(pieces: readonly ReleasedBlocks[]): readonly ReleasedBlocks[] {
    const { store } = this.#init;
    return pieces.flatMap(({ segment, address, first, count }) => {
      const key = { segment, address: parseIp(address) };
      // No ring: nothing is granted from it.
      const own = store.get('free', key)?.own ?? new Uint8Array();
      const isFree = (block: number): boolean => !isOwnBlock(own, block) && store.get('block', { ...key, block }) === undefined;
      const found: ReleasedBlocks[] = [];
      for (let at = first; at < first + count; at++) {
        if (!isFree(FIRST_BLOCK + at)) continue;
        const last = found.at(-1);
        if (last !== undefined && last.first + last.count === at) found[found.length - 1] = { ...last, count: last.count + 1 };
        else found.push({ segment, address, first: at, count: 1 });
      }
      return found;
    });
  }

  sweep(): void {
    for (const slice of [...this.#ending.values()]) this.#setSlice(slice);
    this.#init.runSweep();
  }

  /**
   * The ring of blocks that may be granted: the member's own, less those that somebody holds. Made once; then the packet path's, which is told of another slice.
   * An owner that is to have nothing goes on until its shard is with another: till it consents, nobody else grants these.
   */
  #setSlice(slice: NatSliceSetup): void {
    const { store, resize, isServed } = this.#init;
    const { key, value } = slice;
    const { own } = value;
    const name = `${key.segment} ${Buffer.from(key.address).toString('hex')}`;
    this.#ending.delete(name);
    const present = store.get('free', key);
    if (present === undefined) {
      const isHeld = (block: number): boolean => store.get('block', { ...key, block }) !== undefined;
      store.set('free', key, natFreeRow({ own, known: [], isHeld, freeAtS: 0 }));
    } else if (own.every((byte) => byte === 0) && isServed(key)) this.#ending.set(name, slice);
    else if (Buffer.compare(present.own, own) !== 0) resize(key, own);
  }
}
