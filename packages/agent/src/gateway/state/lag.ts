const KEPT = 1_024;

/** The last so many delays, for percentiles. */
export class Lags {
  readonly #values: number[] = [];
  #next = 0;

  add(ms: number): void {
    this.#values[this.#next] = ms;
    this.#next = (this.#next + 1) % KEPT;
  }

  clear(): void {
    this.#values.length = 0;
    this.#next = 0;
  }

  get last(): number | undefined {
    return this.#values[(this.#next + KEPT - 1) % KEPT];
  }

  /** @returns Undefined without values. */
  percentile(share: number): number | undefined {
    const sorted = [...this.#values].sort((a, b) => a - b);
    return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
  }
}
