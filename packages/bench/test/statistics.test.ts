import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { judge } from '../src/core/figure.ts';
import { type Counted, estimate, median, pooledQuantile, quantile, quantileRatio } from '../src/core/statistics.ts';

describe('an estimate', () => {
  it('has the median of its values inside its interval', () => {
    fc.assert(
      fc.property(fc.array(fc.double({ min: 0.01, max: 100, noNaN: true }), { minLength: 1, maxLength: 60 }), (values) => {
        const { median: middle, low, high } = estimate(values);
        expect(middle).toBe(median(values));
        expect(low).toBeLessThanOrEqual(middle * (1 + 1e-12));
        expect(high).toBeGreaterThanOrEqual(middle * (1 - 1e-12));
      }),
    );
  });

  // Ranks of the interval for a median: binomial distribution, tails of at most 2.5 %.
  it.each([
    [20, 6, 15],
    [25, 8, 18],
    [40, 14, 27],
  ])('of %d values goes from rank %d to rank %d', (count, low, high) => {
    const values = Array.from({ length: count }, (_, i) => i + 1).reverse();
    expect(estimate(values)).toMatchObject({ low, high });
  });

  it('of few values follows Student: five ratios', () => {
    const { low, high } = estimate([1.0, 1.1, 1.05, 0.95, 1.02]);
    expect(low).toBeCloseTo(0.951, 2);
    expect(high).toBeCloseTo(1.094, 2);
  });

  it('of many values is not moved by one that was disturbed', () => {
    const values = Array.from({ length: 20 }, (_, i) => 1 + i / 1000);
    expect(estimate([...values.slice(1), 0.3]).low).toBeGreaterThan(1);
  });

  it('is judged by the bound that is nearer to failing', () => {
    const value = { median: 1.2, low: 1.1, high: 1.3 };
    expect(judge(value, { atLeast: 1.15 })).toBe(false);
    expect(judge(value, { atLeast: 1.1 })).toBe(true);
    expect(judge(value, { atMost: 1.25 })).toBe(false);
  });
});

describe('a quantile of several parts', () => {
  const counted = fc.array(fc.tuple(fc.nat(1_000), fc.integer({ min: 1, max: 5 })), { minLength: 1, maxLength: 30 });

  it('is that of all their values', () => {
    fc.assert(
      fc.property(fc.array(counted, { minLength: 1, maxLength: 5 }), fc.constantFrom(0.01, 0.5, 0.9, 0.99, 1), (parts, fraction) => {
        const values = parts.flat().flatMap(([value, count]) => Array.from({ length: count }, () => value));
        expect(pooledQuantile(parts, fraction)).toBe(quantile(values, fraction));
      }),
    );
  });

  it('has a ratio to that of others, inside its interval and wide if one slice was disturbed', () => {
    const slice = (scale: number): Counted => Array.from({ length: 100 }, (_, i) => [(100 + i) * scale, 1] as const);
    const calm = Array.from({ length: 10 }, () => slice(1));
    expect(
      quantileRatio(
        calm.map(() => slice(1.5)),
        calm,
        0.99,
      ),
    ).toEqual({ median: 1.5, low: 1.5, high: 1.5 });
    const { low, high } = quantileRatio([slice(50), ...calm.slice(1)], calm, 0.99);
    expect(low).toBe(1);
    expect(high).toBeGreaterThan(10);
  });

  it('is a number although none succeeded: what was given up has its time', () => {
    const givenUp: Counted = [[2e9, 7]];
    expect(quantileRatio([givenUp], [[[1e6, 100]]], 0.99).median).toBe(2_000);
  });
});
