import type { AgentClock, AgentDatapath } from '../components.ts';

/** Between a hand-over and its announcement. Hosts obey within milliseconds; a busy one may need longer. */
export const HOSTS_FIRST_MS = 200;

/**
 * Which shards are not announced outside yet. One that was handed over waits until hosts have had time to hear of it: what the outside sends to the new owner
 * before they obey, they drop; meanwhile the former owner passes on what reaches it. After a takeover nobody does, so nothing waits.
 */
export class HandoverPause {
  readonly #clock: Pick<AgentClock, 'now' | 'setTimeout'>;
  readonly #datapath: Pick<AgentDatapath, 'entries'>;
  readonly #onOver: () => void;
  readonly #waiting = new Map<number, { readonly epoch: bigint; readonly untilMs: number }>();

  /** @param onOver A pause is over: what waited may be announced. */
  constructor(clock: Pick<AgentClock, 'now' | 'setTimeout'>, datapath: Pick<AgentDatapath, 'entries'>, onOver: () => void) {
    this.#clock = clock;
    this.#datapath = datapath;
    this.#onOver = onOver;
  }

  /** @param owned Epochs of the shards that this member has open and has not announced. */
  waiting(owned: ReadonlyMap<number, bigint>): ReadonlySet<number> {
    const now = this.#clock.now();
    const waiting = new Set<number>();
    for (const row of this.#datapath.entries('shard')) {
      if (row.table !== 'shard' || Number(row.value.prevUntilBootNs) / 1e6 <= now) continue;
      const epoch = owned.get(row.key.id);
      if (epoch !== undefined && this.#waits(row.key.id, epoch, now)) waiting.add(row.key.id);
    }
    return waiting;
  }

  #waits(shard: number, epoch: bigint, now: number): boolean {
    const known = this.#waiting.get(shard);
    if (known?.epoch === epoch) return now < known.untilMs;
    this.#waiting.set(shard, { epoch, untilMs: now + HOSTS_FIRST_MS });
    this.#clock.setTimeout(this.#onOver, HOSTS_FIRST_MS);
    return true;
  }
}
