export interface SequenceSummary {
  readonly sent: number;
  readonly received: number;
  readonly lost: number;
  /** Answers that came a second time. */
  readonly duplicates: number;
  /** Longest time between two answers that followed each other, or from the last one to the end. In ms. */
  readonly longestGapMs: number;
  /** Runs of lost requests: number of the first, and how many. */
  readonly lostRuns: readonly { readonly first: number; readonly count: number }[];
}

/**
 * Which numbers of a sequence have come back, and when. The sequence on the wire has 16 bits and wraps, as ICMP's has; a number is taken for
 * the one nearest to the last that came.
 */
export class SequenceRecord {
  readonly #startedAtMs: number;
  /** Time of the first answer by number, counted from 1. */
  readonly #atMs = new Map<number, number>();
  #last = 0;
  #received = 0;
  #first = 1;
  #firstAtMs: number;
  #duplicates = 0;
  #longestGapMs = 0;
  #lastAtMs: number | undefined;

  constructor(startedAtMs: number) {
    this.#startedAtMs = startedAtMs;
    this.#firstAtMs = startedAtMs;
  }

  /** Answers since the very start, without duplicates. */
  get received(): number {
    return this.#received;
  }

  add(wireSequence: number, atMs: number): void {
    const distance = ((wireSequence - (this.#last & 0xffff) + 0x8000) & 0xffff) - 0x8000;
    const sequence = this.#last + distance;
    if (this.#atMs.has(sequence)) {
      this.#duplicates += 1;
      return;
    }
    // One of an earlier window that comes now is late; it must not count in this one.
    if (sequence < this.#first) return;
    this.#atMs.set(sequence, atMs);
    this.#received += 1;
    this.#last = Math.max(this.#last, sequence);
    this.#longestGapMs = Math.max(this.#longestGapMs, atMs - (this.#lastAtMs ?? this.#firstAtMs));
    this.#lastAtMs = atMs;
  }

  /** Leaves out what was sent before the first answer. */
  startAtFirst(): void {
    const [first] = this.#atMs.entries();
    const entry = first ?? [1, this.#startedAtMs];
    this.#first = entry[0];
    this.#firstAtMs = entry[1];
    this.#longestGapMs = 0;
    let before = entry[1];
    for (const atMs of this.#atMs.values()) {
      this.#longestGapMs = Math.max(this.#longestGapMs, atMs - before);
      before = atMs;
    }
  }

  /** @param end Where known: the last number that was sent, and until when an answer to it was awaited. Default: the last answer. */
  summary(end?: { readonly sentUpTo: number; readonly atMs: number }): SequenceSummary {
    const last = Math.max(end?.sentUpTo ?? 0, this.#last);
    const lostRuns: { first: number; count: number }[] = [];
    let received = 0;
    let lost = 0;
    for (let sequence = this.#first; sequence <= last; sequence++) {
      if (this.#atMs.has(sequence)) {
        received += 1;
        continue;
      }
      lost += 1;
      const run = lostRuns.at(-1);
      if (run !== undefined && run.first + run.count === sequence) run.count += 1;
      else lostRuns.push({ first: sequence, count: 1 });
    }
    const endGapMs = end === undefined ? 0 : end.atMs - (this.#lastAtMs ?? this.#firstAtMs);
    return {
      sent: received + lost,
      received,
      lost,
      duplicates: this.#duplicates,
      longestGapMs: Math.max(this.#longestGapMs, endGapMs),
      lostRuns,
    };
  }

  /** The summary up to the last answer; what follows is counted anew. */
  takeWindow(): SequenceSummary {
    const summary = this.summary();
    this.#first = this.#last + 1;
    this.#firstAtMs = this.#lastAtMs ?? this.#firstAtMs;
    this.#duplicates = 0;
    this.#longestGapMs = 0;
    // Kept for a while to tell duplicates; before that, all are known.
    for (const sequence of this.#atMs.keys()) if (sequence < this.#last - 1_000) this.#atMs.delete(sequence);
    return summary;
  }
}
