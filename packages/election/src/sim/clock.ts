/** One machine's boot clock over real time: its own rate, forward jumps (sleep), stand-stills (a frozen guest), and zero again at a boot. */
export class SimClock {
  #realAt: number;
  #ownAt: number;
  #rate: number;
  readonly #normal: number;

  constructor(real: number, rate: number) {
    this.#realAt = real;
    this.#ownAt = 0;
    this.#rate = rate;
    this.#normal = rate;
  }
  at(real: number): number {
    return this.#ownAt + (real - this.#realAt) * this.#rate;
  }
  jump(real: number, ms: number): void {
    this.#rebase(real);
    this.#ownAt += ms;
  }
  stop(real: number): void {
    this.#rebase(real);
    this.#rate = 0;
  }
  go(real: number): void {
    this.#rebase(real);
    this.#rate = this.#normal;
  }
  reboot(real: number): void {
    this.#realAt = real;
    this.#ownAt = 0;
    this.#rate = this.#normal;
  }
  #rebase(real: number): void {
    this.#ownAt = this.at(real);
    this.#realAt = real;
  }
}
