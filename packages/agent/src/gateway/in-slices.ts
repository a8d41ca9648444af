/** Work that may be done before others get their turn: heartbeats are due every 30 ms. */
const SLICE_MS = 4;
/** Rows between looks at the clock. */
const STRIDE = 128;

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

/** Visits all rows, of which there may be a million, without holding the process up. */
export async function inSlices<T>(rows: Iterable<T>, visit: (row: T) => void, clock: SliceClock = PROCESS_SLICES): Promise<void> {
  let started = clock.now();
  let seen = 0;
  for (const row of rows) {
    visit(row);
    if (++seen % STRIDE !== 0 || clock.now() - started < SLICE_MS) continue;
    await clock.pause();
    started = clock.now();
  }
}
