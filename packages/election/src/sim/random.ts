/** Pseudo-random numbers from a seed (mulberry32): the same seed gives the same schedule on every machine. */
export class Random {
  #state: number;
  constructor(seed: number) {
    this.#state = (seed ^ 0x9e3779b9) >>> 0;
    // Seeds that follow each other shall not begin alike.
    for (let i = 0; i < 4; i++) this.unit();
  }
  /** 0 <= x < 1 */
  unit(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  }
  /** 53 bits. */
  bits(): number {
    return Math.floor(this.unit() * 2 ** 21) * 2 ** 32 + Math.floor(this.unit() * 2 ** 32);
  }
  between(low: number, high: number): number {
    return low + this.unit() * (high - low);
  }
  chance(p: number): boolean {
    return this.unit() < p;
  }
  pick<T>(items: readonly T[]): T {
    return items[Math.floor(this.unit() * items.length)]!;
  }
}
