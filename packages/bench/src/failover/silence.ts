/** Numbered frames as they passed a place, in order of time. */
export interface Passages {
  readonly sequences: ArrayLike<number>;
  /** The same clock at every place. */
  readonly timesMs: ArrayLike<number>;
}

/** How long nothing arrived at a place. */
export interface Silence {
  /** Longest time between two arrivals. */
  readonly longestMs: number;
  /**
   * Longest such time in which something was under way: from the arrival before, or from when the oldest frame that had not arrived was sent, whichever was later. A sender that sends nothing
   * for a while is silent, too, but nothing on the way is to blame for that.
   */
  readonly owedMs: number;
  /** When the longest owed silence ended. 0: there was none. */
  readonly owedUntilMs: number;
}

/**
 * The silences of one way, from how frames passed its begin and its end.
 *
 * @param sent Numbered upwards in the order of sending.
 * @param arrived In any order, with any of them missing: a frame that is lost is under way until a later one arrives.
 */
export function silenceOf(sent: Passages, arrived: Passages): Silence {
  let longestMs = 0;
  let owedMs = 0;
  let owedUntilMs = 0;
  /** First of `sent` that is above all that has arrived. */
  let due = 0;
  let highest = Number.NEGATIVE_INFINITY;
  let before: number | undefined;
  for (let i = 0; i < arrived.timesMs.length; i++) {
    const now = arrived.timesMs[i]!;
    if (before !== undefined) {
      longestMs = Math.max(longestMs, now - before);
      const owed = due < sent.timesMs.length ? now - Math.max(before, sent.timesMs[due]!) : 0;
      if (owed > owedMs) {
        owedMs = owed;
        owedUntilMs = now;
      }
    }
    before = now;
    highest = Math.max(highest, arrived.sequences[i]!);
    while (due < sent.sequences.length && sent.sequences[due]! <= highest) due++;
  }
  return { longestMs, owedMs, owedUntilMs };
}
