import type { OwnershipFile } from '@weft/model';

/** What a node keeps in its file. */
export type Durable = OwnershipFile;

/**
 * Puts changes on disk, one write at a time, and runs what waits for them. What changes while a write is under way goes into the next one.
 */
export class DurableQueue {
  #current: Durable;
  #version = 0;
  #saved = 0;
  #writing = 0;
  #waiting: { readonly version: number; readonly then: () => void }[] = [];
  readonly #persist: (token: number, state: Durable) => void;
  readonly #now: () => number;
  #begunAt = 0;
  #tookMs = 0;

  /**
   * @param saved False: the state isn't on disk yet.
   * @param now Clock for how long writes take, in ms.
   */
  constructor(state: Durable, saved: boolean, persist: (token: number, state: Durable) => void, now: () => number) {
    this.#current = state;
    this.#persist = persist;
    this.#now = now;
    if (!saved) this.#version = 1;
  }

  get state(): Durable {
    return this.#current;
  }
  /** Version that a change made now has, to wait for later. */
  get version(): number {
    return this.#version;
  }

  /** How long the disk takes for a write, in ms: the last one, or the one that is under way, if that has taken longer already. */
  get tookMs(): number {
    return this.#writing === 0 ? this.#tookMs : Math.max(this.#tookMs, this.#now() - this.#begunAt);
  }

  change(part: Partial<Durable>): number {
    this.#current = { ...this.#current, ...part };
    this.#version++;
    return this.#version;
  }

  /** Runs `then` once that version is on disk; at once if it is. */
  when(version: number, then: () => void): void {
    if (version <= this.#saved) then();
    else this.#waiting.push({ version, then });
  }

  /** To be called at the end of each step: starts a write if there is something to write. */
  flush(): void {
    if (this.#writing !== 0 || this.#version === this.#saved) return;
    this.#writing = this.#version;
    this.#begunAt = this.#now();
    this.#persist(this.#version, this.#current);
  }

  persisted(token: number): void {
    if (token !== this.#writing) return;
    this.#saved = token;
    this.#writing = 0;
    this.#tookMs = this.#now() - this.#begunAt;
    const ready = this.#waiting.filter(({ version }) => version <= token);
    this.#waiting = this.#waiting.filter(({ version }) => version > token);
    for (const { then } of ready) then();
  }
}
