import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

/** In a process of its own: what one has given up it does not get back. */
const SCRIPT = String.raw`
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { giveWay } from ${JSON.stringify(fileURLToPath(new URL('../dist/index.js', import.meta.url)))};
const turnIn = (text) => Number(/se\.slice\s*:\s*(\d+)/.exec(text)?.[1]);
const turns = () => readdirSync('/proc/self/task').map((thread) => turnIn(readFileSync('/proc/self/task/' + thread + '/sched', 'utf8')));
const before = turns();
const answers = [giveWay(), giveWay()];
const after = turns();
const child = turnIn(execFileSync('cat', ['/proc/self/sched'], { encoding: 'utf8' }));
process.stdout.write(JSON.stringify({ before, answers, after, child }));
`;

interface Seen {
  readonly before: readonly number[];
  readonly answers: readonly boolean[];
  readonly after: readonly number[];
  readonly child: number;
}

test('gives the threads of this process turns twice as long, once, and none to its children', () => {
  const usual = Number(/se\.slice\s*:\s*(\d+)/.exec(readFileSync('/proc/self/sched', 'utf8'))?.[1]);
  const out = execFileSync(process.execPath, ['--input-type=module', '-e', SCRIPT], { encoding: 'utf8', timeout: 60_000 });
  const { before, answers, after, child } = JSON.parse(out) as Seen;
  if (Number.isNaN(usual)) {
    // A kernel that knows no turns of a length of one's own, or does not tell of them.
    expect(new Set(answers).size).toBe(1);
    return;
  }
  expect(answers).toEqual([true, true]);
  expect(before.length).toBeGreaterThan(1);
  expect(new Set(before)).toEqual(new Set([usual]));
  expect(new Set(after)).toEqual(new Set([2 * usual]));
  expect(child).toBe(usual);
});
