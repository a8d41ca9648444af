import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { claimRunDirectory } from '../src/run-files.ts';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'weft-run-'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

describe('claimRunDirectory()', () => {
  it('tells whether the last start came to its end, whether it was ended in order or not', () => {
    const first = claimRunDirectory(directory, 'g1');
    expect(first.lastStarted).toBe(true);
    first.started();
    const second = claimRunDirectory(directory, 'g1');
    expect(second.lastStarted).toBe(true);
    second.remove();
    const third = claimRunDirectory(directory, 'g1');
    expect(third.lastStarted).toBe(false);
    third.started();
    third.remove();
    expect(claimRunDirectory(directory, 'g1').lastStarted).toBe(true);
    expect(claimRunDirectory(directory, 'g1').lastStarted).toBe(false);
  });

  it('leaves no directory of an instance that ends in order; of one that did not get so far, what tells the next start', () => {
    const whole = claimRunDirectory(directory, 'g1');
    whole.started();
    whole.remove();
    expect(existsSync(directory)).toBe(false);
    claimRunDirectory(directory, 'g1').remove();
    expect(readdirSync(directory)).toEqual(['agent.starting']);
  });
});
