import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ClaimedRows } from '../src/claimed-rows.ts';

interface Row {
  readonly key: string;
  readonly value: number;
}

const made = (): ClaimedRows<Row> =>
  new ClaimedRows<Row>(
    ({ key }) => key,
    (rows) => (rows.length > 1 ? { key: rows[0]!.row.key, value: -1 } : rows[0]!.row),
  );
const rowArbitrary = fc.record({ key: fc.constantFrom('a', 'b', 'c', 'd'), value: fc.nat(3) });

describe('ClaimedRows', () => {
  it('equals the fold from zero after any history, and its changes lead there', () => {
    const step = fc.record({
      owner: fc.constantFrom('', 'x', 'y', 'z'),
      rows: fc.array(rowArbitrary, { maxLength: 4 }),
      take: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 12 }), (steps) => {
        const rows = made();
        const owners = new Map<string, readonly Row[]>();
        const followed = new Map<string, Row>();
        const follow = (): void => {
          for (const { before, after } of rows.take()) {
            if (after === undefined) followed.delete(before?.key ?? '');
            else followed.set(after.key, after);
          }
        };
        for (const one of steps) {
          rows.set(one.owner, one.rows);
          owners.set(one.owner, one.rows);
          if (one.take) follow();
        }
        follow();
        const claims = new Map<string, Map<string, Row>>();
        for (const [owner, of] of owners) for (const row of of) claims.set(row.key, (claims.get(row.key) ?? new Map()).set(owner, row));
        const zero = new Map([...claims].map(([key, of]) => [key, of.size > 1 ? { key, value: -1 } : [...of.values()][0]!]));
        expect(new Map([...rows.rows()].map((row) => [row.key, row]))).toEqual(zero);
        expect(followed).toEqual(zero);
        expect(rows.take()).toEqual([]);
      }),
    );
  });

  it('looks at the keys of the owner that changed only', () => {
    let settled = 0;
    const rows = new ClaimedRows<Row>(
      ({ key }) => key,
      (all) => {
        settled++;
        return all.at(-1)!.row;
      },
    );
    for (let i = 0; i < 10_000; i++) rows.set(`o${i}`, [{ key: `k${i}`, value: i }]);
    rows.take();
    settled = 0;
    rows.set('o17', [
      { key: 'k17', value: 1 },
      { key: 'other', value: 2 },
    ]);
    expect(settled).toBe(2);
    expect(rows.take()).toHaveLength(2);
  });
});
