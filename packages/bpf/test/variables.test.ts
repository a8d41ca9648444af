import fc from 'fast-check';
import { expect, test } from 'vitest';
import { encodeVariable } from '../src/variables.ts';

const variable = (size: number) => ({ section: '.rodata', name: 'x', offset: 0, size });
const widths = [1, 2, 4, 8] as const;

test('integers are little-endian, signed or not', () => {
  expect(encodeVariable(variable(2), 4789)).toEqual(Uint8Array.of(0xb5, 0x12));
  expect(encodeVariable(variable(1), -1)).toEqual(Uint8Array.of(0xff));
  expect(encodeVariable(variable(8), (1n << 64n) - 1n)).toEqual(new Uint8Array(8).fill(0xff));
  expect(encodeVariable(variable(1), true)).toEqual(Uint8Array.of(1));
});

test('an integer is taken exactly if it fits the width', () => {
  fc.assert(
    fc.property(fc.constantFrom(...widths), fc.bigInt({ min: -(1n << 66n), max: 1n << 66n }), (size, value) => {
      const bits = BigInt(8 * size);
      const fits = value >= -(1n << (bits - 1n)) && value < 1n << bits;
      if (!fits) {
        expect(() => encodeVariable(variable(size), value)).toThrow(/must fit/);
        return;
      }
      const decoded = encodeVariable(variable(size), value).reduceRight((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
      expect(decoded).toBe(BigInt.asUintN(Number(bits), value));
    }),
  );
});

test.each([
  [4, 1.5, /safe integer/],
  [8, 2 ** 60, /safe integer/],
  [4, Number.NaN, /safe integer/],
  [16, 1, /16 bytes, so give a Uint8Array/],
  [3, 1, /3 bytes, so give a Uint8Array/],
  [4, new Uint8Array(3), /must be 4 bytes/],
])('a variable of %i bytes refuses %s', (size, value, message) => {
  expect(() => encodeVariable(variable(size), value)).toThrow(message);
});
