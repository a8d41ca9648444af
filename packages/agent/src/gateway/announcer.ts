import { buildAnnouncement } from '@weft/packet';
import type { AgentClock } from '../components.ts';

/** When the addresses of a new owner are announced, in ms after the takeover. One lost frame would leave a neighbour's cache stale for minutes. */
export const ANNOUNCE_AT_MS: readonly number[] = [0, 50, 200, 500, 1_000, 2_000, 5_000, 10_000];
/** And again while it stays the owner: mends what a neighbour learned from an impostor or missed. */
export const REFRESH_MS = 60_000;

export interface AnnouncerInit {
  readonly clock: Pick<AgentClock, 'setTimeout' | 'clearTimeout'>;
  /** Whether the packet path forwards for the shard now: else its addresses may be another's, and nothing is said. */
  readonly isOpen: (shard: number) => boolean;
  /** Puts a frame on the wire of an external interface. An error is given to `onError`, the schedule goes on. */
  readonly send: (device: string, frame: Uint8Array) => void;
  readonly onError: (device: string, error: unknown) => void;
}

/** What one shard announces on one interface. */
export interface Announced {
  /** The external interface. */
  readonly device: string;
  /** Its MAC address. */
  readonly mac: Uint8Array;
  /** 16 bytes each, IPv4 mapped. */
  readonly addresses: readonly Uint8Array[];
}

/**
 * Tells the physical segments who has the external addresses: at a takeover at once and repeatedly, then at long intervals, until withdrawn.
 *
 * The caller decides ownership; this keeps the schedule, and is silent whenever the shard is closed: an owner that lost its lease unheard says
 * nothing against the next one. `announce` for a shard that is announced already starts its schedule anew (an
 * address was added, an impostor was heard).
 */
export class Announcer {
  readonly #init: AnnouncerInit;
  readonly #shards = new Map<number, { timer: unknown; step: number; what: readonly Announced[] }>();

  constructor(init: AnnouncerInit) {
    this.#init = init;
  }

  announce(shard: number, what: readonly Announced[]): void {
    this.withdraw(shard);
    const entry = { timer: undefined as unknown, step: 0, what };
    this.#shards.set(shard, entry);
    const run = (): void => {
      if (this.#init.isOpen(shard)) this.#send(entry.what);
      const last = ANNOUNCE_AT_MS[entry.step] ?? 0;
      const next = ANNOUNCE_AT_MS[++entry.step];
      entry.timer = this.#init.clock.setTimeout(run, next === undefined ? REFRESH_MS : next - last);
    };
    run();
  }

  withdraw(shard: number): void {
    const entry = this.#shards.get(shard);
    if (entry === undefined) return;
    this.#init.clock.clearTimeout(entry.timer);
    this.#shards.delete(shard);
  }

  stop(): void {
    for (const shard of [...this.#shards.keys()]) this.withdraw(shard);
  }

  #send(what: readonly Announced[]): void {
    for (const { device, mac, addresses } of what) {
      try {
        for (const address of addresses) for (const frame of buildAnnouncement(mac, address)) this.#init.send(device, frame);
      } catch (error) {
        this.#init.onError(device, error);
      }
    }
  }
}
