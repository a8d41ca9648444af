/**
 * The Trickle timer of RFC 6206 as pure logic: state, time and a random number in, state and "send now" out.
 *
 * ```
 *  |<------------------- interval I ------------------>|<------------------ 2I, at most Imax
 *  |  listen only (I/2)      |  t: send, unless k equal |
 *  start                                               end
 * ```
 * Each interval picks t in its second half. If fewer than `redundancy` equal digests were heard before t, ours is sent. Hearing a
 * different digest shrinks the interval to Imin, so that news spreads within about Imin and a settled network is nearly silent.
 *
 * @see RFC 6206 section 4.2 (algorithm)
 */
export interface TrickleInit {
  /** Imin in ms: shortest interval. Default 1,000. */
  readonly minIntervalMs: number;
  /** Imax in ms: longest interval. Default 4,000. */
  readonly maxIntervalMs: number;
  /** k: so many equal digests make ours superfluous. Default 2. */
  readonly redundancy: number;
}

export const DEFAULT_TRICKLE: TrickleInit = { minIntervalMs: 1_000, maxIntervalMs: 4_000, redundancy: 2 };

export interface TrickleState {
  readonly intervalMs: number;
  readonly startMs: number;
  /** When to send, unless suppressed; in [startMs + intervalMs / 2, startMs + intervalMs). */
  readonly sendAtMs: number;
  /** Equal digests heard in this interval. */
  readonly heard: number;
  /** The moment `sendAtMs` of this interval has passed. */
  readonly fired: boolean;
}

/** A number in [0, 1), as `Math.random` gives. */
export type Random = () => number;

/** Starts with a first interval chosen in [Imin, Imax] (RFC 6206 section 4.2, step 1). */
export function startTrickle(init: TrickleInit, nowMs: number, random: Random): TrickleState {
  const intervalMs = init.minIntervalMs + random() * (init.maxIntervalMs - init.minIntervalMs);
  return beginInterval(intervalMs, nowMs, random);
}

/** Notes an equal digest. */
export function hearEqual(state: TrickleState): TrickleState {
  return { ...state, heard: state.heard + 1 };
}

/** Notes a different digest: back to Imin, unless already there (step 6: then nothing happens, or floods would never end). */
export function hearDifferent(init: TrickleInit, state: TrickleState, nowMs: number, random: Random): TrickleState {
  if (state.intervalMs <= init.minIntervalMs) return state;
  return beginInterval(init.minIntervalMs, nowMs, random);
}

/**
 * Advances to `nowMs`.
 *
 * After a long silence of the caller (a paused process) one interval is begun anew rather than all missed ones replayed, so at most one
 * transmission results.
 */
export function tickTrickle(
  init: TrickleInit,
  state: TrickleState,
  nowMs: number,
  random: Random,
): { readonly state: TrickleState; readonly send: boolean } {
  let next = state;
  let send = false;
  if (!next.fired && nowMs >= next.sendAtMs) {
    send = next.heard < init.redundancy;
    next = { ...next, fired: true };
  }
  const endMs = next.startMs + next.intervalMs;
  if (nowMs >= endMs) {
    const intervalMs = Math.min(next.intervalMs * 2, init.maxIntervalMs);
    next = beginInterval(intervalMs, nowMs, random);
  }
  return { state: next, send };
}

/** When `tickTrickle` has something to do next. */
export function trickleDeadlineMs(state: TrickleState): number {
  return state.fired ? state.startMs + state.intervalMs : state.sendAtMs;
}

function beginInterval(intervalMs: number, nowMs: number, random: Random): TrickleState {
  const half = intervalMs / 2;
  return { intervalMs, startMs: nowMs, sendAtMs: nowMs + half + random() * half, heard: 0, fired: false };
}
