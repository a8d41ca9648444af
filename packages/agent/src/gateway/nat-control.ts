import { FIRST_BLOCK, isOwnBlock, type NatKey, type NatStore, type NatUsage, natFreeRow, poolShare, sessionsShare } from '@weft/forwarding';
import type { ReleasedBlocks } from '@weft/model';
import { parseIp } from '@weft/packet';
import type { NatPoolSetup, NatSetupChange, NatSliceSetup, QuotaSetup } from '@weft/tables';
import type { NatControl } from './gateway-role.ts';
import { inSlices, PROCESS_SLICES, type SliceClock } from './in-slices.ts';

/** Sessions and holders that are looked at in a second, at most: some 20 ms in all. What is left waits for the next. */
const SWEEP_STEPS = 65_536;
/** The same, in one go; and what may have come since they were counted. */
const SWEEP_PIECE = 4_096;

export interface NatControlInit {
  /** The NAT's state in the packet path. */
  readonly store: NatStore;
  readonly runSweep: (steps: number) => number;
  /** Sessions that there is room for, of all networks. */
  readonly sessionsMax: () => number;
  /** Networks that have so many sessions begin no more; 0: all may. */
  readonly shareSessions: (share: number) => void;
  /** Gives an address that has a ring another slice, while the packet path may be granting blocks from it. */
  readonly resize: (key: NatKey<'free'>, own: Uint8Array) => void;
  /** Whether this member may be granting blocks of an address now. */
  readonly isServed: (key: NatKey<'free'>) => boolean;
  readonly slices?: SliceClock;
}

/** Gives port mapping its pools, slices and quotas. What it makes of them is the packet path's own. */
export class NatSetupControl implements NatControl {
  readonly #init: NatControlInit;
  /** Slices that are to end while their address is served: once it is served elsewhere. */
  readonly #ending = new Map<string, NatSliceSetup>();
  /** By address: blocks of this member's slice. */
  readonly #slices = new Map<string, number>();
  readonly #pools = new Map<number, readonly NatKey<'free'>[]>();
  readonly #quotas = new Map<number, QuotaSetup['value']>();
  #share: number | undefined;
  /** Sessions and holders there were at the last sweep, at most. */
  #queued = SWEEP_STEPS;

  constructor(init: NatControlInit) {
    this.#init = init;
  }

  apply(changes: readonly NatSetupChange[]): void {
    for (const change of changes) {
      switch (change.table) {
        case 'nat_pool':
          if (change.op === 'put') this.#setPool(change);
          else this.#deletePool(change.key as NatKey<'pool'>);
          break;
        case 'gateway_quota':
          if (change.op === 'put') this.#setQuota(change);
          else this.#deleteQuota(change.key as NatKey<'quota'>);
          break;
        case 'nat_slice':
          if (change.op === 'put') this.#setSlice(change);
          else this.#deleteSlice(change.key as NatKey<'free'>);
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

  holds(networkId: number): boolean {
    const usage = this.#init.store.get('usage', { networkId });
    return usage !== undefined && usage.blocks + usage.sessions > 0;
  }

  forget(networkId: number): void {
    this.#init.store.delete('usage', { networkId });
    this.#init.store.delete('rate', { networkId });
  }

  async sweep(): Promise<void> {
    const { store, runSweep, slices = PROCESS_SLICES } = this.#init;
    for (const slice of [...this.#ending.values()]) this.#setSlice(slice);
    // What is looked at goes back to the end of the queue: more steps than it is long would go round it again.
    const steps = Math.min(SWEEP_STEPS, this.#queued + SWEEP_PIECE);
    for (let swept = 0; swept < steps; swept += SWEEP_PIECE) {
      if (swept > 0) await slices.pause();
      if (runSweep(SWEEP_PIECE) < SWEEP_PIECE) break;
    }
    const usage = new Map<number, NatUsage>();
    let queued = 0;
    const count = ({ key, value }: { readonly key: NatKey<'usage'>; readonly value: NatUsage }): void => {
      usage.set(key.networkId, value);
      // A holder has a block at least.
      queued += value.sessions + value.blocks;
    };
    await inSlices(store.rows('usage'), count, slices);
    this.#queued = queued;
    this.#shareSessions(usage);
    await this.#shareBlocks(usage);
  }

  async #shareBlocks(usage: ReadonlyMap<number, NatUsage>): Promise<void> {
    const { store, slices = PROCESS_SLICES } = this.#init;
    const networks = new Map<number, { blocks: number; quota: number }[]>();
    const add = ([networkId, { blocks: quota, pools }]: readonly [number, QuotaSetup['value']]): void => {
      const blocks = usage.get(networkId)?.blocks ?? 0;
      for (const pool of pools) {
        const known = networks.get(pool);
        if (known === undefined) networks.set(pool, [{ blocks, quota }]);
        else known.push({ blocks, quota });
      }
    };
    await inSlices(this.#quotas, add, slices);
    for (const [pool, addresses] of this.#pools) {
      const rings = addresses.map((key) => ({
        own: this.#slices.get(nameOf(key)) ?? 0,
        free: () => store.get('free', key)?.blocks.length ?? 0,
      }));
      const wanted = poolShare({ rings, networks: networks.get(pool) ?? [] });
      const present = store.get('share', { pool });
      if (wanted === undefined && present !== undefined) store.delete('share', { pool });
      if (wanted !== undefined && (wanted.blocks !== present?.blocks || wanted.keep !== present.keep)) store.set('share', { pool }, wanted);
    }
  }

  #setPool({ key, value }: NatPoolSetup): void {
    this.#pools.set(key.pool, value.addresses);
    this.#init.store.set('pool', key, value);
  }

  #deletePool(key: NatKey<'pool'>): void {
    this.#pools.delete(key.pool);
    this.#init.store.delete('pool', key);
    this.#init.store.delete('share', key);
  }

  #setQuota({ key, value }: QuotaSetup): void {
    const { pools: _, ...limits } = value;
    this.#quotas.set(key.networkId, value);
    this.#init.store.set('quota', key, limits);
  }

  #deleteQuota(key: NatKey<'quota'>): void {
    this.#quotas.delete(key.networkId);
    this.#init.store.delete('quota', key);
  }

  #deleteSlice(key: NatKey<'free'>): void {
    this.#slices.delete(nameOf(key));
    this.#init.store.delete('free', key);
  }

  #shareSessions(usage: ReadonlyMap<number, NatUsage>): void {
    const { sessionsMax, shareSessions } = this.#init;
    let used = 0;
    for (const { sessions } of usage.values()) used += sessions;
    const share = sessionsShare(used, sessionsMax(), this.#quotas.size);
    // What a former process has said is not known.
    if (share !== this.#share) shareSessions(share);
    this.#share = share;
  }

  /**
   * The ring of blocks that may be granted: the member's own, less those that somebody holds. Made once; then the packet path's, which is told of another slice.
   * An owner that is to have nothing goes on until its shard is with another: till it consents, nobody else grants these.
   */
  #setSlice(slice: NatSliceSetup): void {
    const { store, resize, isServed } = this.#init;
    const { key, value } = slice;
    const { own } = value;
    const name = nameOf(key);
    this.#slices.set(name, bitsOf(own));
    this.#ending.delete(name);
    const present = store.get('free', key);
    if (present === undefined) {
      const isHeld = (block: number): boolean => store.get('block', { ...key, block }) !== undefined;
      store.set('free', key, natFreeRow({ own, known: [], isHeld, freeAtS: 0 }));
    } else if (own.every((byte) => byte === 0) && isServed(key)) this.#ending.set(name, slice);
    else if (Buffer.compare(present.own, own) !== 0) resize(key, own);
  }
}

function nameOf({ segment, address }: NatKey<'free'>): string {
  return `${segment} ${Buffer.from(address).toString('hex')}`;
}

function bitsOf(bytes: Uint8Array): number {
  let count = 0;
  for (const byte of bytes) for (let rest = byte; rest !== 0; rest &= rest - 1) count++;
  return count;
}
