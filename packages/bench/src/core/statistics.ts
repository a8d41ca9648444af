/** Middle value; the mean of the two middle ones when the count is even. NaN of nothing. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** Median and its 95 % interval. */
export interface Estimate {
  readonly median: number;
  readonly low: number;
  readonly high: number;
}

// Two-sided 95 % quantiles of Student's t, by degrees of freedom from 1.
const T95 = [12.71, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.16, 2.145, 2.131];

/** From this many values on the interval is one of ranks. */
const RANKS_FROM = 20;

/**
 * Median of positive values with a 95 % interval around it.
 *
 * Few values: that of the mean of their logarithms (Student's t), moved to the median. Ratios are what it is made for: they spread evenly as logarithms, and 5 rounds give it
 * enough, where an interval by ranks would need 6. From 20 on: by ranks, which assumes nothing about how the values spread, so that a slice in which something else had the CPU
 * counts as one low value and no more.
 */
export function estimate(values: readonly number[]): Estimate {
  const middle = median(values);
  if (values.length < 2 || values.some((value) => !(value > 0)))
    return { median: middle, low: Math.min(...values), high: Math.max(...values) };
  if (values.length >= RANKS_FROM) {
    const sorted = [...values].sort((a, b) => a - b);
    const outside = ranksOutside(sorted.length);
    return { median: middle, low: sorted[outside]!, high: sorted[sorted.length - 1 - outside]! };
  }
  const logs = values.map(Math.log);
  const mean = logs.reduce((sum, value) => sum + value, 0) / logs.length;
  const variance = logs.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (logs.length - 1);
  const half = (T95[logs.length - 2] ?? 2.1) * Math.sqrt(variance / logs.length);
  return { median: middle, low: middle * Math.exp(-half), high: middle * Math.exp(half) };
}

/** How many of `count` values on each side of the median lie outside its 95 % interval: the most for which both tails of the binomial distribution stay within 2.5 %. */
function ranksOutside(count: number): number {
  let probability = 0.5 ** count;
  let tail = probability;
  let outside = 0;
  // After k steps `tail` is the chance that at most k of `count` values are below the true median.
  while (tail <= 0.025) {
    outside++;
    probability *= (count - outside + 1) / outside;
    tail += probability;
  }
  return Math.max(0, outside - 1);
}

/** The `fraction`-quantile (0..1) by nearest rank. */
export function quantile(values: readonly number[], fraction: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(fraction * sorted.length) - 1))] ?? Number.NaN;
}

/** Values and how often each was seen. */
export type Counted = readonly (readonly [value: number, count: number])[];

/** The `fraction`-quantile (0..1) by nearest rank of all parts together. NaN of nothing. */
export function pooledQuantile(parts: readonly Counted[], fraction: number): number {
  const sorted = parts.flat().sort((a, b) => a[0] - b[0]);
  const total = sorted.reduce((sum, [, count]) => sum + count, 0);
  let left = Math.max(1, Math.ceil(fraction * total));
  for (const [value, count] of sorted) {
    left -= count;
    if (left <= 0) return value;
  }
  return Number.NaN;
}

const RESAMPLES = 1_000;

/**
 * Ratio of a quantile of all slices of one series to that of another's, with a 95 % interval by resampling the slices (bootstrap, always with the same choices). A high quantile of
 * one slice is that of a few values; of all slices together it is one of many, while what disturbed a slice stays one slice's.
 *
 * @param ours A part per slice; `theirs` has one for each.
 */
export function quantileRatio(ours: readonly Counted[], theirs: readonly Counted[], fraction: number): Estimate {
  const of = (slices: readonly number[]): number =>
    pooledQuantile(
      slices.map((index) => ours[index]!),
      fraction,
    ) /
    pooledQuantile(
      slices.map((index) => theirs[index]!),
      fraction,
    );
  const all = ours.map((_, index) => index);
  let state = 1;
  const choose = (): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * all.length);
  };
  const ratios = Array.from({ length: RESAMPLES }, () => of(all.map(choose))).sort((a, b) => a - b);
  return { median: of(all), low: ratios[Math.floor(RESAMPLES * 0.025)]!, high: ratios[Math.ceil(RESAMPLES * 0.975) - 1]! };
}
