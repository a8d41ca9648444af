/** Runs tasks of one key one after another, tasks of different keys at once. */
export class KeyedMutex {
  readonly #tails = new Map<string, Promise<unknown>>();

  async run<T>(key: string, task: () => Promise<T>): Promise<T> {
    const before = this.#tails.get(key);
    const mine = (async () => {
      await before?.catch(() => undefined);
      return await task();
    })();
    const tail = mine.catch(() => undefined);
    this.#tails.set(key, tail);
    try {
      return await mine;
    } finally {
      if (this.#tails.get(key) === tail) this.#tails.delete(key);
    }
  }
}

/** Exponential back-off with jitter: `baseMs`·2^n up to `maxMs`, each between half and whole. */
export function backoffMs(attempt: number, baseMs: number, maxMs: number, random: () => number): number {
  const whole = Math.min(maxMs, baseMs * 2 ** Math.min(attempt, 30));
  return whole * (0.5 + random() / 2);
}

/** What waits for I/O has its turn first. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
