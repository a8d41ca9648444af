import { type Estimate, estimate } from './statistics.ts';

/** One line of the benchmark's table. */
export interface Figure {
  readonly id: string;
  /** What was measured, for people. */
  readonly what: string;
  readonly value: number;
  /** 95 % interval of the value, when it comes from several rounds. */
  readonly low?: number;
  readonly high?: number;
  readonly unit: string;
  /** What the value is a ratio to, or was measured beside. */
  readonly against: string;
  /** For people: ">= 1.15"; empty when the figure is printed only. */
  readonly goal: string;
  /** Null: no goal. */
  readonly ok: boolean | null;
  /** The raw medians behind it. */
  readonly note?: string;
}

/** A goal: the value must be at least, or at most, this. */
export type Goal = { readonly atLeast: number } | { readonly atMost: number };

/**
 * Judges an estimate by the bound of its 95 % interval that lies nearer to failing: the low one for "at least", the high one for "at most". So a lucky
 * median does not pass.
 */
export function judge(value: Estimate, goal: Goal): boolean {
  return 'atLeast' in goal ? value.low >= goal.atLeast : value.high <= goal.atMost;
}

export function describeGoal(goal: Goal): string {
  return 'atLeast' in goal ? `>= ${goal.atLeast}` : `<= ${goal.atMost}`;
}

/** The figure for a ratio of two series measured in the same rounds. */
export function ratioFigure(init: {
  readonly id: string;
  readonly what: string;
  readonly ours: readonly number[];
  readonly theirs: readonly number[];
  readonly against: string;
  readonly goal?: Goal;
  readonly note?: string;
}): Figure {
  return estimatedRatio(estimate(init.ours.map((ours, round) => ours / init.theirs[round]!)), init);
}

/** The figure for a ratio that has been estimated. */
export function estimatedRatio(
  value: Estimate,
  init: { readonly id: string; readonly what: string; readonly against: string; readonly goal?: Goal; readonly note?: string },
): Figure {
  return {
    id: init.id,
    what: init.what,
    value: value.median,
    low: value.low,
    high: value.high,
    unit: 'x',
    against: init.against,
    goal: init.goal === undefined ? '' : describeGoal(init.goal),
    ok: init.goal === undefined ? null : judge(value, init.goal),
    ...(init.note === undefined ? {} : { note: init.note }),
  };
}

/** A figure with its own unit. */
export function plainFigure(init: {
  readonly id: string;
  readonly what: string;
  readonly values: readonly number[];
  readonly unit: string;
  readonly against?: string;
  readonly goal?: Goal;
  readonly note?: string;
}): Figure {
  const value = estimate(init.values);
  return {
    id: init.id,
    what: init.what,
    value: value.median,
    ...(init.values.length > 1 ? { low: value.low, high: value.high } : {}),
    unit: init.unit,
    against: init.against ?? '',
    goal: init.goal === undefined ? '' : describeGoal(init.goal),
    ok: init.goal === undefined ? null : judge(value, init.goal),
    ...(init.note === undefined ? {} : { note: init.note }),
  };
}
