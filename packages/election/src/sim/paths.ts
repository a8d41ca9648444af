import type { Path } from '../io.ts';
import type { Random } from './random.ts';

/** How messages travel at the moment: the share that is lost, comes twice, comes late, and by how much at most. */
export interface Weather {
  loss: number;
  twice: number;
  late: number;
  lateMs: number;
}

/** A copy on a second path that is as good as the first says nothing new; most are spared, so that more schedules fit in a second. */
const SPARED = 0.8;

/** The ways between machines: what is cut, and when what is sent arrives. */
export class Paths {
  readonly weather: Weather = { loss: 0, twice: 0, late: 0, lateMs: 0 };
  /** Directed cuts, counted, so that two may overlap: "from to" for the underlay, "nats id" for a client, "nats" for the servers. */
  readonly cuts: Map<string, number> = new Map();
  readonly #random: Random;

  constructor(random: Random) {
    this.#random = random;
  }

  cut(key: string): void {
    this.cuts.set(key, (this.cuts.get(key) ?? 0) + 1);
  }
  mend(key: string): void {
    const left = (this.cuts.get(key) ?? 0) - 1;
    if (left > 0) this.cuts.set(key, left);
    else this.cuts.delete(key);
  }

  isOpen(path: Path, from: string, to: string): boolean {
    if (this.cuts.size === 0) return true;
    if (path === 'nats') return !this.cuts.has('nats') && !this.cuts.has(`nats ${from}`) && !this.cuts.has(`nats ${to}`);
    return !this.cuts.has(path === 'external' ? `external ${from} ${to}` : `${from} ${to}`);
  }

  /** Whether a machine reaches the store. */
  reachesNats(id: string): boolean {
    return this.isOpen('nats', id, id);
  }

  /** Delays in ms, one for each copy of a message that arrives. */
  *copies(paths: readonly Path[], from: string, to: string): IterableIterator<number> {
    const random = this.#random;
    let delivered = false;
    for (const path of paths) {
      if (!this.isOpen(path, from, to)) continue;
      const { loss, twice, late } = this.weather;
      if (loss > 0 && random.chance(loss)) continue;
      if (delivered && loss === 0 && late === 0 && this.cuts.size === 0 && random.chance(SPARED)) continue;
      delivered = true;
      const count = twice > 0 && random.chance(twice) ? 2 : 1;
      for (let i = 0; i < count; i++) yield this.#delay(2);
    }
  }

  /** Delay in ms of an answer by the packet path of `to`. Undefined: none comes. */
  roundTrip(from: string, to: string): number | undefined {
    if (!this.isOpen('underlay', from, to) || !this.isOpen('underlay', to, from)) return undefined;
    const { loss } = this.weather;
    return loss > 0 && this.#random.chance(loss) ? undefined : this.#delay(1);
  }

  #delay(usualMs: number): number {
    const { late, lateMs } = this.weather;
    return late > 0 && this.#random.chance(late) ? this.#random.between(1, lateMs) : this.#random.between(0.1, usualMs);
  }
}
