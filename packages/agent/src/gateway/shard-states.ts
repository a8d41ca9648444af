import type { FenceRow, ShardRow } from '@weft/election';
import { isOpen } from '@weft/election';
import type { TakeoverTimes } from './takeover-times.ts';

/** A shard as this machine sees it. */
export interface ShardView {
  readonly shard: number;
  /** Of the member's state machine; empty on a machine that is no member. */
  readonly state: string;
  /** Whose frames are believed here; empty: nobody's. */
  readonly owner: string;
  readonly epoch: bigint;
  /** Boot clock: since when at the latest. */
  readonly sinceMs: number;
  /** Frames of it pass here now. */
  readonly forwards: boolean;
  /** How it came to this member last. Undefined: it has not since this process started. */
  readonly takeover: Takeover | undefined;
}

export interface Takeover {
  readonly times: TakeoverTimes;
  /** Boot clock: when it had come. */
  readonly atMs: number;
}

interface Seen {
  readonly owner: string;
  readonly epoch: bigint;
  readonly sinceMs: number;
}

/** What became of each shard on this machine, for those who ask: the packet path keeps who owns it, and nobody else since when. */
export class ShardStates {
  readonly #now: () => number;
  readonly #startedMs: number;
  readonly #states = new Map<string, string>();
  readonly #seen = new Map<number, Seen>();
  readonly #takeovers = new Map<string, Takeover>();

  /** @param now Boot clock, ms. */
  constructor(now: () => number) {
    this.#now = now;
    this.#startedMs = now();
  }

  /** The member's state machine is in another state. */
  entered(group: string, shard: number, state: string): void {
    this.#states.set(`${group} ${shard}`, state);
  }

  /** Shards have come to this member. */
  takenOver(group: string, times: TakeoverTimes): void {
    for (const shard of times.shards) this.#takeovers.set(`${group} ${shard}`, { times, atMs: this.#now() });
  }

  /** The shard map says so from now on. */
  obeyed({ shard, owner, epoch }: Pick<ShardRow, 'shard' | 'owner' | 'epoch'>): void {
    const before = this.#seen.get(shard);
    if (before?.owner === owner && before.epoch === epoch) return;
    this.#seen.set(shard, { owner, epoch, sinceMs: this.#now() });
  }

  /** The shards of a group: rows of the shard map and of the fence, with what was noted of them. */
  views(group: string, shards: readonly number[], rows: readonly ShardRow[], fences: readonly FenceRow[]): ShardView[] {
    const now = this.#now();
    return shards.map((shard) => {
      const row = rows.find((one) => one.shard === shard);
      const [owner, epoch] = [row?.owner ?? '', row?.epoch ?? 0n];
      const seen = this.#seen.get(shard);
      return {
        shard,
        owner,
        epoch,
        state: this.#states.get(`${group} ${shard}`) ?? '',
        // A row that this process did not write is at least as old as the process.
        sinceMs: seen?.owner === owner && seen.epoch === epoch ? seen.sinceMs : this.#startedMs,
        forwards: isOpen(
          fences.find((one) => one.shard === shard),
          now,
        ),
        takeover: this.#takeovers.get(`${group} ${shard}`),
      };
    });
  }
}
