import { readFileSync } from 'node:fs';
import { afterAll, describe, expect, it } from 'vitest';
import { DEFAULT_OBJECT_FILE } from '../src/index.ts';
import { bpfFunctions, type Instruction, refusedBackEdges } from './support/bpf-functions.ts';
import { compileHarness } from './support/nat-harness.ts';

// The compiler may lay a loop out so that its last step is no jump. Kernel 6.1 refuses that, newer ones do not: found here, without a guest of 6.1.

const harness = compileHarness();
afterAll(() => harness.remove());

describe('loops', () => {
  it.each([
    ['the programs', DEFAULT_OBJECT_FILE],
    ['the harness of port mapping', harness.path],
  ])('of %s end with a jump', (_, path) => {
    const functions = bpfFunctions(readFileSync(path));
    expect(functions.length).toBeGreaterThan(10);
    expect(functions.filter((one) => refusedBackEdges(one).length > 0).map(({ name }) => name)).toEqual([]);
  });

  it('that end with another instruction are found', () => {
    const of = (...instructions: readonly (readonly [opcode: number, offset?: number])[]): number[] =>
      refusedBackEdges({ name: 'f', instructions: instructions.map(([opcode, offset = 0]): Instruction => ({ opcode, offset })) });
    const [ADD, ALWAYS, EQUAL, EXIT] = [0x07, 0x05, 0x15, 0x95] as const;
    // 1: the body; 2: out, or back by a jump.
    expect(of([ADD], [ADD], [EQUAL, -2], [EXIT])).toEqual([]);
    // Into the middle, whose end falls through to what was entered first.
    expect(of([ALWAYS, 1], [ADD], [EQUAL, 1], [ALWAYS, -3], [EXIT])).toEqual([1]);
    expect(of([ALWAYS, 1], [ALWAYS, 0], [EQUAL, 1], [ALWAYS, -3], [EXIT])).toEqual([]);
  });
});
