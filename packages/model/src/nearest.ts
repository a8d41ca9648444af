/** The candidate nearest to what was written, if it is near enough to be what was meant: at most a third of its letters differ, at least one. */
export function nearest(written: string, candidates: readonly string[]): string | undefined {
  let best: string | undefined;
  let bestDistance = Number.POSITIVE_INFINITY;
  for (const candidate of candidates) {
    const distance = editDistance(written.toLowerCase(), candidate.toLowerCase());
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best !== undefined && bestDistance <= Math.max(1, Math.ceil(best.length / 3)) ? best : undefined;
}

/**
 * Number of letters to insert, remove, replace or swap with their neighbour to make `b` of `a` (optimal string alignment). What is longer
 * than 64 letters is taken as 64.
 */
function editDistance(a: string, b: string): number {
  const [left, right] = [a.slice(0, 64), b.slice(0, 64)];
  let before: number[] = [];
  let row = Array.from({ length: right.length + 1 }, (_, i) => i);
  for (let i = 1; i <= left.length; i++) {
    const next = [i];
    for (let j = 1; j <= right.length; j++) {
      const replaced = row[j - 1]! + (left[i - 1] === right[j - 1] ? 0 : 1);
      const isSwap = i > 1 && j > 1 && left[i - 1] === right[j - 2] && left[i - 2] === right[j - 1];
      next[j] = Math.min(next[j - 1]! + 1, row[j]! + 1, replaced, isSwap ? before[j - 2]! + 1 : Number.POSITIVE_INFINITY);
    }
    [before, row] = [row, next];
  }
  return row[right.length]!;
}
