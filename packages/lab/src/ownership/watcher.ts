import { readFileSync } from 'node:fs';
import { type LabNet, waitFor } from '@weft/testkit';
import { OwnershipHistory, type OwnershipSample, openFences, type ShardMove, unrest } from './history.ts';
import { OwnershipMaps } from './maps.ts';

const INTERVAL_MS = 10;

/**
 * Watches who owns the shards of a lab, in the maps that frames meet, from its start to its end. A test lets it run through whatever it does to the lab and
 * asks at the end for `faults`; the demo takes from it how long a loss went unnoticed.
 */
export class OwnershipWatcher {
  readonly #net: LabNet;
  readonly #maps: OwnershipMaps;
  readonly #history = new OwnershipHistory();
  readonly #timer: NodeJS.Timeout;
  /** Boot clock less Node's own. */
  readonly #offsetMs: number;
  #failure: Error | undefined;

  private constructor(net: LabNet) {
    this.#net = net;
    this.#maps = new OwnershipMaps(net);
    this.#offsetMs = Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0]) * 1_000 - performance.now();
    this.#look();
    this.#timer = setInterval(() => this.#look(), INTERVAL_MS);
    this.#timer.unref();
  }

  /** @throws {BpfError} When an agent has not made its maps yet. */
  static start(net: LabNet): OwnershipWatcher {
    return new OwnershipWatcher(net);
  }

  /** Boot clock, ms. */
  now(): number {
    return performance.now() + this.#offsetMs;
  }

  /** Promises that were broken; also when it could not look any more, as then it proves nothing. */
  get faults(): readonly string[] {
    return this.#failure === undefined ? this.#history.faults : [...this.#history.faults, `the watcher failed: ${this.#failure.message}`];
  }

  /** In the order in which the first host obeyed. */
  get moves(): readonly ShardMove[] {
    return this.#history.moves;
  }

  get overlapMs(): number {
    return this.#history.overlapMs;
  }

  sample(): OwnershipSample {
    return { atMs: this.now(), ...this.#maps.read() };
  }

  /** Name of the host that a shard's hosts obey: the one with the highest epoch. */
  owner(shard: number): string | undefined {
    const rows = this.sample().accepted.filter((row) => row.shard === shard);
    const highest = rows.reduce<(typeof rows)[number] | undefined>(
      (best, row) => (best === undefined || row.epoch > best.epoch ? row : best),
      undefined,
    );
    return [...this.#net.hosts.values()].find(({ address }) => address === highest?.owner)?.name;
  }

  /** Highest epoch that any host obeys for a shard. */
  epoch(shard: number): bigint {
    return this.sample().accepted.reduce((best, row) => (row.shard === shard && row.epoch > best ? row.epoch : best), 0n);
  }

  /** Whether a host's packet path forwards for a shard now. */
  isOpen(host: string, shard: number): boolean {
    return openFences(this.sample(), shard).some((fence) => fence.host === host);
  }

  /** Waits until each shard has one owner, obeyed by every host and open there alone. @throws {DeadlineError} With what is not so. */
  async untilAtRest(deadlineMs = 30_000): Promise<void> {
    let last: readonly string[] = [];
    await waitFor(
      () => {
        last = unrest(this.sample());
        return last.length === 0;
      },
      { what: 'each shard to have one owner that every host obeys', deadlineMs, show: () => last.join('; ') },
    );
  }

  /** Waits until a shard is obeyed as another host's than `host`. */
  async untilMovedFrom(host: string, shard: number, deadlineMs = 30_000): Promise<void> {
    await waitFor(() => this.owner(shard) !== host, {
      what: `shard ${shard} to move from ${host}`,
      deadlineMs,
      intervalMs: INTERVAL_MS,
      show: () => `it is ${this.owner(shard)}'s with epoch ${this.epoch(shard)}`,
    });
  }

  stop(): void {
    clearInterval(this.#timer);
    if (this.#failure === undefined) this.#look();
    this.#maps.close();
  }

  #look(): void {
    try {
      this.#history.add(this.sample());
    } catch (error) {
      this.#failure ??= error as Error;
      clearInterval(this.#timer);
    }
  }
}
