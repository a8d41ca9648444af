/** Work that may be done before others get their turn: heartbeats are due every 30 ms. */
const SLICE_MS = 4;
/** Rows between looks at the clock, at most; fewer where rows take long, so that nobody waits for sixteen that take a millisecond each. */
const STRIDE = 16;
/** Between two looks at the clock there should be less than this, ms. */
const LOOK_MS = 0.5;

export interface SliceClock {
  /** Any clock, ms. */
  readonly now: () => number;
  /** Lets everybody else do what is due. */
  readonly pause: () => Promise<void>;
}

export const PROCESS_SLICES: SliceClock = {
  now: () => performance.now(),
  // A timer rather than setImmediate: as long as others have something due, they come first.
  pause: () => new Promise((resolve) => setTimeout(resolve, 1)),
};

/** Says after each row whether the slice is over. */
class Stride {
  readonly #clock: SliceClock;
  #startedMs: number;
  #lookedMs: number;
  #stride = 1;
  #seen = 0;

  constructor(clock: SliceClock) {
    this.#clock = clock;
    this.#startedMs = clock.now();
    this.#lookedMs = this.#startedMs;
  }

  isOver(): boolean {
    if (++this.#seen < this.#stride) return false;
    this.#seen = 0;
    const now = this.#clock.now();
    const tookMs = now - this.#lookedMs;
    this.#lookedMs = now;
    this.#stride = tookMs > LOOK_MS ? 1 : Math.min(STRIDE, this.#stride * 2);
    return now - this.#startedMs >= SLICE_MS;
  }

  async pause(): Promise<void> {
    await this.#clock.pause();
    this.#startedMs = this.#clock.now();
    this.#lookedMs = this.#startedMs;
  }
}

/** Visits all rows, of which there may be a million, without holding the process up. */
export async function inSlices<T>(rows: Iterable<T>, visit: (row: T) => void, clock: SliceClock = PROCESS_SLICES): Promise<void> {
  const stride = new Stride(clock);
  for (const row of rows) {
    visit(row);
    if (stride.isOver()) await stride.pause();
  }
}

/** To be awaited after each piece of work that itself waits for something: pauses when a slice's time is over. */
export function whenSliceOver(clock: SliceClock = PROCESS_SLICES): () => Promise<void> {
  let started = clock.now();
  return async () => {
    if (clock.now() - started < SLICE_MS) return;
    await clock.pause();
    started = clock.now();
  };
}

/** Goes through the steps of some work likewise. @returns What it comes to. */
export async function stepsInSlices<R>(work: Generator<void, R>, clock: SliceClock = PROCESS_SLICES): Promise<R> {
  const stride = new Stride(clock);
  for (;;) {
    const step = work.next();
    if (step.done === true) return step.value;
    if (stride.isOver()) await stride.pause();
  }
}

/** Rows that are written in one go: a batch of system calls of some ms. */
const PIECE_ROWS = 512;

/** Hands a long list over piece by piece, in order. */
export async function inPieces<T>(
  all: readonly T[],
  take: (some: readonly T[]) => void,
  clock: SliceClock = PROCESS_SLICES,
): Promise<void> {
  for (let at = 0; at < all.length; at += PIECE_ROWS) {
    if (at > 0) await clock.pause();
    take(all.length <= PIECE_ROWS ? all : all.slice(at, at + PIECE_ROWS));
  }
}
