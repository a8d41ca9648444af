/** What code under test needs of time. `now()` is in ms and never goes back. */
export interface Clock {
  now(): number;
  setTimeout(callback: () => void, delayMs: number): unknown;
  clearTimeout(handle: unknown): void;
}

interface Timer {
  readonly id: number;
  readonly dueMs: number;
  readonly callback: () => void;
}

/**
 * A clock that stands still until a test moves it.
 *
 * Timers fire in the order of their due time, those due at the same time in the order in which they were set, and each sees `now()` equal to
 * its own due time. A timer set by a callback fires in the same `advance` if it is due by then.
 */
export class FakeClock implements Clock {
  #nowMs: number;
  #nextId = 1;
  readonly #timers = new Map<number, Timer>();

  constructor(startMs = 0) {
    this.#nowMs = startMs;
  }

  now(): number {
    return this.#nowMs;
  }

  /** Timers set and not yet fired. */
  get pendingTimerCount(): number {
    return this.#timers.size;
  }

  /** Due time of the next timer in ms, or undefined. */
  get nextTimerMs(): number | undefined {
    return this.#next()?.dueMs;
  }

  setTimeout(callback: () => void, delayMs: number): number {
    const id = this.#nextId++;
    this.#timers.set(id, { id, dueMs: this.#nowMs + Math.max(0, delayMs), callback });
    return id;
  }

  clearTimeout(handle: unknown): void {
    this.#timers.delete(handle as number);
  }

  /** Resolves once the clock has been moved on by `ms`. Rejects with the signal's reason when that comes first. */
  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const handle = this.setTimeout(resolve, ms);
      signal?.addEventListener('abort', () => {
        this.clearTimeout(handle);
        reject(signal.reason as Error);
      });
    });
  }

  /**
   * Moves the clock on by `ms` and fires what is due on the way.
   *
   * @throws {RangeError} When `ms` is negative or not finite.
   */
  advance(ms: number): void {
    const target = this.#target(ms);
    for (let timer = this.#next(); timer !== undefined && timer.dueMs <= target; timer = this.#next()) this.#fire(timer);
    this.#nowMs = target;
  }

  /** Like `advance`, but lets promises settle before, between and after the timers, for code under test that awaits. */
  async advanceAsync(ms: number): Promise<void> {
    const target = this.#target(ms);
    await settle();
    for (let timer = this.#next(); timer !== undefined && timer.dueMs <= target; timer = this.#next()) {
      this.#fire(timer);
      await settle();
    }
    this.#nowMs = target;
  }

  #target(ms: number): number {
    if (!(ms >= 0 && Number.isFinite(ms))) throw new RangeError(`Cannot advance the clock by ${ms} ms: must be finite and not negative`);
    return this.#nowMs + ms;
  }

  #next(): Timer | undefined {
    let next: Timer | undefined;
    for (const timer of this.#timers.values()) {
      if (next === undefined || timer.dueMs < next.dueMs || (timer.dueMs === next.dueMs && timer.id < next.id)) next = timer;
    }
    return next;
  }

  #fire(timer: Timer): void {
    this.#timers.delete(timer.id);
    this.#nowMs = timer.dueMs;
    timer.callback();
  }
}

async function settle(): Promise<void> {
  // setImmediate runs after all microtasks, however long the chain of promises is.
  await new Promise<void>((resolve) => setImmediate(resolve));
}
