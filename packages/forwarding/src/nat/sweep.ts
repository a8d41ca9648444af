import { mayMap } from '../gateway/gateway-tables.ts';
import { NatEventKind } from './events.ts';
import { sourceState } from './holder.ts';
import { isForwarded, isOwned, type NatTables } from './port-mapping.ts';
import { BLOCK_PORTS, type NatKey, type NatSource, referenceIndex, referencePort, SourceFlag } from './rows.ts';
import { isLive, retireSession } from './session.ts';
import type { NatState } from './state.ts';
import { GRACE_NS, HOLD_NS, secondsUp } from './timing.ts';

// The sweep: what is over goes. Each session stands in the queue once, and each holder without mappings; a step takes the head of the queue,
// and what is not over goes to its tail. So one run does bounded work, the next goes on where it ended, and nothing is scanned.

/** Blocks that a holder gives back in one step. */
const RELEASES_PER_STEP = 8;

export interface SweepInput {
  /** Steps at most. */
  readonly budget: number;
  readonly nowBootNs: bigint;
}

export interface SweepResult {
  readonly steps: number;
  readonly sessions: number;
  readonly blocks: number;
}

/** What this member does not own now, it leaves alone: the owner retires it, and tells. */
export function natSweep(state: NatState, tables: NatTables, input: SweepInput): SweepResult {
  const { nowBootNs } = input;
  const owns = (networkId: number): boolean => isOwned(tables, networkId, nowBootNs);
  const result = { steps: 0, sessions: 0, blocks: 0 };
  while (result.steps < input.budget) {
    const entry = state.queue.shift();
    if (entry === undefined) break;
    // One that has more blocks than a run can give back begins with it.
    const blocksLeft = result.steps === 0 ? Number.POSITIVE_INFINITY : (input.budget - result.steps) * RELEASES_PER_STEP;
    result.steps++;
    if (entry.kind === 'source') {
      let next = sweepSource(state, entry.key, nowBootNs, owns, blocksLeft, result);
      // As long as it gives blocks back it is refused others: so it comes to an end at once.
      while (next === 'unfinished' && result.steps < input.budget) {
        result.steps++;
        next = sweepSource(state, entry.key, nowBootNs, owns, blocksLeft, result);
      }
      if (next !== 'done') state.queue.push(entry);
      continue;
    }
    const session = state.get('session', entry.key);
    if (session === undefined || session.ticket !== entry.ticket) continue;
    const isOver =
      !isLive(session, nowBootNs) || !isForwarded(tables, entry.key, session) || !isInPlace(tables, entry.key, session.networkId);
    if (!isOver || !owns(session.networkId)) {
      state.queue.push(entry);
      continue;
    }
    retireSession(state, entry.key, session, nowBootNs);
    result.sessions++;
  }
  return result;
}

/** False of a session whose address another network has by now, or whose network is on another shard or segment than when the session began. */
function isInPlace(tables: NatTables, { segment, address }: NatKey<'session'>, networkId: number): boolean {
  const network = tables.gatewayNetwork(networkId);
  // Nobody's for now: it is left alone.
  if (network === undefined) return true;
  return segment === network.segment && mayMap(tables.externalAddress(segment, address), networkId, network.shard);
}

/** @returns `unfinished`: it has begun to give its blocks back, and has more. */
function sweepSource(
  state: NatState,
  key: NatKey<'source'>,
  nowBootNs: bigint,
  owns: (networkId: number) => boolean,
  blocksLeft: number,
  result: { blocks: number },
): 'done' | 'later' | 'unfinished' {
  const source = state.get('source', key);
  if (source === undefined) return 'done';
  if ((source.flags & SourceFlag.RELEASING) === 0) {
    if (source.mappings > 0) {
      source.flags &= ~SourceFlag.QUEUED;
      return 'done';
    }
    if (nowBootNs < source.idleBootNs + HOLD_NS || !owns(key.networkId)) return 'later';
    // Its ports stay as they are: until blocks go, who takes one has them all again.
    source.flags |= SourceFlag.RELEASING;
    source.version = (source.version + 1) >>> 0;
    source.idleBootNs = nowBootNs;
    return 'later';
  }
  // Who looked at it before it was marked has long finished when time has passed.
  if (nowBootNs < source.idleBootNs + GRACE_NS || !owns(key.networkId)) return 'later';
  // Until it is gone its source is refused: so it goes in this run, or not yet.
  if ((source.flags & SourceFlag.DELETING) === 0 && source.blocks > blocksLeft) return 'later';
  source.flags |= SourceFlag.DELETING;
  Object.assign(source, { freeHead: 0, freeTail: 0, freeCount: 0, fresh: 0, freshLeft: 0 });
  for (let i = 0; i < RELEASES_PER_STEP && source.blocks > 0; i++) {
    releaseNewest(state, key, source, nowBootNs);
    result.blocks++;
  }
  if (source.blocks > 0) return 'unfinished';
  state.delete('source', key);
  return 'done';
}

function releaseNewest(state: NatState, key: NatKey<'source'>, source: NatSource, nowBootNs: bigint): void {
  const { segment, address } = source.addresses[referenceIndex(source.newest)]!;
  const number = referencePort(source.newest) / BLOCK_PORTS;
  const blockKey = { segment, address, block: number };
  const { ports: _, ...block } = state.get('block', blockKey)!;
  source.newest = block.next;
  source.blocks--;
  source.version = (source.version + 1) >>> 0;
  state.delete('block', blockKey);
  state.usage(key.networkId).blocks--;
  const free = state.get('free', { segment, address });
  if (free !== undefined && free.own[number >>> 3]! & (1 << (number & 7))) {
    const freeAtS = secondsUp(nowBootNs);
    state.set('free', { segment, address }, { own: free.own, blocks: [...free.blocks, { block: number, freeAtS }] });
  }
  state.emit({ kind: NatEventKind.BLOCK_RELEASED, timeBootNs: nowBootNs, key: blockKey, block, source: sourceState(source) });
}
