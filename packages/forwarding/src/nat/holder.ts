import { DropReason } from '@weft/model';
import { NatEventKind, type PortChange } from './events.ts';
import {
  BLOCK_PORTS,
  emptyPort,
  HOLDER_ADDRESSES_MAX,
  type NatAddress,
  type NatBlock,
  type NatKey,
  type NatPort,
  type NatSource,
  type NatSourceState,
  PortState,
  portReference,
  referenceIndex,
  referencePort,
  SourceFlag,
} from './rows.ts';
import type { NatState } from './state.ts';
import { HOLD_NS, secondsDown } from './timing.ts';

// Ports without guessing: each step below reads and writes a fixed number of rows, however full the pool is.
//
//   take   1. head of the holder's free list, when its hold is over
//          2. the next fresh port of its newest block
//          3. a block from the ring of its paired address, else of the pool's other addresses in their order; then 2
//   give   to the tail, with a hold of 120 s

/** A port of a holder. */
export interface HeldPort {
  readonly reference: number;
  readonly segment: number;
  readonly address: Uint8Array;
  readonly externalPort: number;
  /** The state's own. */
  readonly port: NatPort;
  readonly source: NatSource;
}

export interface TakeContext {
  readonly epoch: bigint;
  readonly nowBootNs: bigint;
}

/** Takes a port for a mapping, or says why there is none. */
export function takePort(
  state: NatState,
  key: NatKey<'source'>,
  protocol: number,
  insidePort: number,
  context: TakeContext,
): HeldPort | DropReason {
  const source = state.get('source', key);
  if (source !== undefined && !reopen(source)) return DropReason.NAT_PORTS_EXHAUSTED;
  let reference = source === undefined ? 0 : takeReference(state, source, context.nowBootNs);
  if (reference === 0) {
    const reason = grantBlock(state, key, context);
    if (reason !== DropReason.NONE) return reason;
    reference = takeReference(state, state.get('source', key)!, context.nowBootNs);
  }
  const held = heldPort(state, state.get('source', key)!, reference);
  held.source.version = (held.source.version + 1) >>> 0;
  held.source.mappings++;
  Object.assign(held.port, {
    state: PortState.USED,
    protocol,
    insidePort,
    next: 0,
    sessions: 1,
    version: held.source.version,
    freeAtBootNs: 0n,
  });
  return held;
}

/** Takes the sweep's mark away, as long as no block has been given back; false: it is too late. `nat_source_reopen` in nat_holder.h. */
function reopen(source: NatSource): boolean {
  if ((source.flags & SourceFlag.RELEASING) === 0) return true;
  const isWhole = source.freeCount + source.freshLeft === source.blocks * BLOCK_PORTS;
  if ((source.flags & SourceFlag.DELETING) !== 0 || !isWhole) return false;
  source.flags &= ~SourceFlag.RELEASING;
  return true;
}

/** Unlinks the port to use next; 0 if a new block is needed. */
function takeReference(state: NatState, source: NatSource, nowBootNs: bigint): number {
  const head = source.freeHead;
  if (head !== 0) {
    const { port } = heldPort(state, source, head);
    if (port.freeAtBootNs <= nowBootNs) {
      source.freeHead = port.next;
      if (port.next === 0) source.freeTail = 0;
      source.freeCount--;
      return head;
    }
  }
  if (source.freshLeft === 0) return 0;
  source.freshLeft--;
  return source.fresh++;
}

/** The port that a reference of this holder means. */
export function heldPort(state: NatState, source: NatSource, reference: number): HeldPort {
  const { segment, address } = source.addresses[referenceIndex(reference)]!;
  const externalPort = referencePort(reference);
  const block = state.get('block', { segment, address, block: externalPort >>> 6 })!;
  return { reference, segment, address, externalPort, port: block.ports[externalPort & 63]!, source };
}

/** Puts a port at the end of the free list, not to be used before the hold is over. @returns The port that leads to it now. */
export function givePort(state: NatState, key: NatKey<'source'>, held: HeldPort, nowBootNs: bigint): PortChange | undefined {
  const { source, port, reference } = held;
  source.version = (source.version + 1) >>> 0;
  Object.assign(port, freePort(source.version, nowBootNs + HOLD_NS));
  let link: PortChange | undefined;
  if (source.freeTail === 0) {
    source.freeHead = reference;
  } else {
    const tail = heldPort(state, source, source.freeTail);
    tail.port.next = reference;
    tail.port.version = source.version;
    link = { reference: source.freeTail, port: { ...tail.port } };
  }
  source.freeTail = reference;
  source.freeCount++;
  source.mappings--;
  if (source.mappings === 0) {
    source.idleBootNs = nowBootNs;
    if ((source.flags & SourceFlag.QUEUED) === 0) {
      source.flags |= SourceFlag.QUEUED;
      state.queue.push({ kind: 'source', key });
    }
  }
  return link;
}

function freePort(version: number, freeAtBootNs: bigint): NatPort {
  return { state: PortState.FREE, protocol: 0, insidePort: 0, next: 0, sessions: 0, version, freeAtBootNs };
}

/** Where in the pool a holder begins to look: the same on every member, spread evenly. `nat_pool_start` in nat_block.h. */
export function poolStart(networkId: number, ca: Uint8Array, count: number): number {
  const low = (ca[12]! << 24) | (ca[13]! << 16) | (ca[14]! << 8) | ca[15]!;
  const mixed = Math.imul((networkId ^ low) >>> 0, 0x9e3779b1) >>> 0;
  // By the upper bits: all of the address has an effect on them, on the others only what is below.
  return Math.floor((mixed * count) / 2 ** 32);
}

function grantBlock(state: NatState, key: NatKey<'source'>, context: TakeContext): DropReason {
  const pool = state.get('pool', { pool: key.pool });
  if (pool === undefined) return DropReason.NAT_POOL_UNKNOWN;
  const quota = state.get('quota', { networkId: key.networkId });
  const usage = state.usage(key.networkId);
  const source = state.get('source', key);
  if (quota === undefined || usage.blocks >= quota.blocks || (source?.blocks ?? 0) >= quota.blocksPerSource) {
    usage.deniedBlocks++;
    return DropReason.NAT_BLOCK_QUOTA;
  }
  const share = state.get('share', { pool: key.pool });
  const keep = share !== undefined && usage.blocks >= share.blocks ? share.keep : 0;
  const found = findBlock(state, pool.addresses, { key, source, keep, nowS: secondsDown(context.nowBootNs) });
  if (found === undefined) {
    if (keep > 0) {
      usage.deniedBlocks++;
      return DropReason.NAT_BLOCK_QUOTA;
    }
    usage.exhausted++;
    return DropReason.NAT_PORTS_EXHAUSTED;
  }
  usage.blocks++;
  // Above every version of a holder that had this key before: it changes less than four times a ticket.
  const holder = source ?? newSource(Number((state.serial * 4n) & 0xffff_ffffn));
  if (source === undefined) state.set('source', key, holder);
  let addressIndex = holder.addresses.findIndex((one) => sameAddress(one, found));
  if (addressIndex < 0) {
    addressIndex = holder.addressCount++;
    holder.addresses.push({ segment: found.segment, address: found.address });
  }
  const reference = portReference(addressIndex, found.block * BLOCK_PORTS);
  const block: NatBlock = {
    networkId: key.networkId,
    pool: key.pool,
    ca: key.ca,
    epoch: context.epoch,
    grantedBootNs: context.nowBootNs,
    next: holder.newest,
    addressIndex,
    version: (holder.version + 1) >>> 0,
    ports: Array.from({ length: BLOCK_PORTS }, emptyPort),
  };
  state.set('block', { segment: found.segment, address: found.address, block: found.block }, block);
  holder.version = (holder.version + 1) >>> 0;
  holder.newest = reference;
  holder.fresh = reference;
  holder.freshLeft = BLOCK_PORTS;
  holder.blocks++;
  const { ports: _, ...told } = block;
  state.emit({
    kind: NatEventKind.BLOCK_GRANTED,
    timeBootNs: context.nowBootNs,
    key: { segment: found.segment, address: found.address, block: found.block },
    block: told,
    source: sourceState(holder),
  });
  return DropReason.NONE;
}

function findBlock(
  state: NatState,
  addresses: readonly NatAddress[],
  of: { readonly key: NatKey<'source'>; readonly source: NatSource | undefined; readonly keep: number; readonly nowS: number },
): (NatAddress & { readonly block: number }) | undefined {
  const { key, source, keep, nowS } = of;
  const paired = source?.addresses[0];
  const first = paired === undefined ? [] : [paired];
  const start = addresses.length === 0 ? 0 : poolStart(key.networkId, key.ca, addresses.length);
  const order = [...first, ...addresses.map((_, i) => addresses[(start + i) % addresses.length]!)];
  for (const { segment, address } of order) {
    const isKnown = source?.addresses.some((one) => sameAddress(one, { segment, address })) ?? false;
    if (!isKnown && (source?.addressCount ?? 0) >= HOLDER_ADDRESSES_MAX) continue;
    const free = state.get('free', { segment, address });
    const head = free?.blocks[0];
    if (free === undefined || head === undefined || free.blocks.length <= keep || head.freeAtS > nowS) continue;
    state.set('free', { segment, address }, { own: free.own, blocks: free.blocks.slice(1) });
    return { segment, address, block: head.block };
  }
  return undefined;
}

function newSource(version: number): NatSource {
  return {
    version,
    freeHead: 0,
    freeTail: 0,
    freeCount: 0,
    fresh: 0,
    freshLeft: 0,
    newest: 0,
    blocks: 0,
    mappings: 0,
    flags: 0,
    addressCount: 0,
    idleBootNs: 0n,
    addresses: [],
  };
}

/** The part of a holder that events carry. */
export function sourceState(source: NatSource): NatSourceState {
  const { addresses: _, ...state } = source;
  return state;
}

export function sameAddress(a: NatAddress, b: NatAddress): boolean {
  return a.segment === b.segment && a.address.every((byte, i) => byte === b.address[i]);
}
