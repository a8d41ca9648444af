import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { wantsColor } from '../src/core/io.ts';
import { toJson, toYaml } from '../src/format/output.ts';
import { formatProblems } from '../src/format/problems.ts';
import { formatBytes, formatCount, formatDuration, formatTime, parseSince } from '../src/format/quantity.ts';
import { formatFields, formatTable } from '../src/format/table.ts';

const plain = { width: undefined, color: false };

describe('formatTable()', () => {
  const columns = [{ title: 'NAME' }, { title: 'ADDRESSES', flexible: true }, { title: 'N', align: 'right' as const }];

  it('aligns columns, shows empty cells as "-" and leaves no trailing blanks', () => {
    expect(
      formatTable(
        columns,
        [
          ['web1', '10.0.0.1', '7'],
          ['db', '', '12'],
        ],
        plain,
      ),
    ).toBe('NAME  ADDRESSES   N\nweb1  10.0.0.1    7\ndb    -          12\n');
    expect(formatTable([{ title: 'A' }, { title: 'B' }], [['x', 'y']], plain)).toBe('A  B\nx  y\n');
  });

  it('cuts flexible columns, and only those, to the width of the terminal', () => {
    const lines = formatTable(columns, [['web1', '10.0.0.1, 10.0.0.2, 10.0.0.3', '7']], { width: 24, color: false }).split('\n');
    expect(lines[1]).toBe('web1  10.0.0.1, 10.0…  7');
    expect(formatTable(columns, [['a-name-of-some-length', '10.0.0.1', '7']], { width: 10, color: false })).toContain(
      'a-name-of-some-length',
    );
  });

  it('never lets control characters of a name through to the terminal', () => {
    expect(formatTable([{ title: 'A' }], [['\u001b[2Jx\n']], plain)).toBe('A\n?[2Jx?\n');
    expect(formatFields([['Name', 'a\u0007b']], plain)).toBe('Name:  a?b\n');
  });

  it('fits the width whenever the fixed columns leave room for 8 characters a flexible one', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.string({ maxLength: 6 }), fc.string({ maxLength: 60 }), fc.nat(99).map(String))),
        fc.integer({ min: 24, max: 90 }),
        (rows, width) => {
          for (const line of formatTable(columns, rows, { width, color: false }).split('\n'))
            expect([...line].length).toBeLessThanOrEqual(width);
        },
      ),
    );
  });

  it('keeps its layout with colour', () => {
    const colored = formatTable([{ title: 'A' }, { title: 'B' }], [[{ text: 'up', tone: 'good' }, 'x']], { width: undefined, color: true });
    // biome-ignore lint/suspicious/noControlCharactersInRegex: escape codes are what is taken out
    expect(colored.replaceAll(/\u001b\[\d+m/g, '')).toBe('A   B\nup  x\n');
    expect(colored).toContain('\u001b[32mup\u001b[0m');
  });
});

describe('wantsColor()', () => {
  it('follows NO_COLOR, TERM and the terminal', () => {
    expect(wantsColor(true, {})).toBe(true);
    expect(wantsColor(true, { NO_COLOR: '1' })).toBe(false);
    expect(wantsColor(true, { NO_COLOR: '' })).toBe(true);
    expect(wantsColor(true, { TERM: 'dumb' })).toBe(false);
    expect(wantsColor(false, {})).toBe(false);
  });
});

describe('quantities', () => {
  it.each([
    [0, '0s'],
    [250, '250ms'],
    [59_999, '59s'],
    [60_000, '1m'],
    [192_000, '3m12s'],
    [18_120_000, '5h2m'],
    [12 * 86_400_000 + 4 * 3_600_000, '12d4h'],
    [-5, '0s'],
  ])('formatDuration(%i) is %s', (ms, text) => expect(formatDuration(ms)).toBe(text));

  it.each([
    [0, '0 B'],
    [999, '999 B'],
    [1_234, '1.2 kB'],
    [34_000_000, '34 MB'],
    [999_950, '1.0 MB'],
  ])('formatBytes(%i) is %s', (bytes, text) => expect(formatBytes(bytes)).toBe(text));

  it('groups thousands, also of numbers beyond 2^53', () => {
    expect(formatCount(1_234_567)).toBe('1,234,567');
    expect(formatCount(18_446_744_073_709_551_615n)).toBe('18,446,744,073,709,551,615');
  });

  it('reads spans and times, and refuses the rest', () => {
    const now = Date.parse('2026-11-22T21:00:00Z');
    expect(parseSince('30m', now)).toBe(now - 1_800_000);
    expect(parseSince('2026-11-22T20:00:00Z', now)).toBe(now - 3_600_000);
    expect(parseSince('2026-11-22', now)).toBe(Date.parse('2026-11-22'));
    for (const bad of ['', 'yesterday', '5', '-3m', '12', '2026-99-99']) expect(parseSince(bad, now)).toBeUndefined();
    expect(formatTime(now)).toBe('2026-11-22 21:00:00Z');
  });
});

describe('output for programs', () => {
  it('writes big integers as numbers while they are exact', () => {
    expect(toJson({ a: 5n, b: 2n ** 63n })).toBe('{\n  "a": 5,\n  "b": "9223372036854775808"\n}\n');
  });

  it('writes arrays as several YAML documents', () => {
    expect(toYaml([{ a: 1 }, { b: 'x: y' }])).toBe('a: 1\n---\nb: "x: y"\n');
  });
});

describe('formatProblems()', () => {
  it('says place, resource, path, value, rule, hint and code', () => {
    const text = formatProblems([
      {
        at: 'net.yaml:12',
        code: 'WEFT_ERR_RULE_VSID_RANGE',
        resource: 'VirtualSubnet coke/net/web',
        path: 'spec.vsid',
        value: '7',
        rule: 'must be 4096 to 16777214',
        hint: 'take another',
      },
      { code: 'WEFT_ERR_TRUST_ROLE', resource: '', path: '', value: '', rule: 'only admins', hint: '' },
    ]);
    expect(text).toBe(`weft: refused, nothing was changed (2 problems)
  net.yaml:12: VirtualSubnet coke/net/web spec.vsid = "7"
    must be 4096 to 16777214
    → take another   [WEFT_ERR_RULE_VSID_RANGE]
  only admins
    [WEFT_ERR_TRUST_ROLE]`);
  });
});
