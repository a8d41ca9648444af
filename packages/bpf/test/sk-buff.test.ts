import fc from 'fast-check';
import { expect, test } from 'vitest';
import { decodeSkBuff, encodeSkBuff } from '../src/sk-buff.ts';

const u32 = fc.integer({ min: 0, max: 0xffff_ffff });
const u64 = fc.bigInt({ min: 0n, max: (1n << 64n) - 1n });

test('what is encoded is decoded', () => {
  const input = fc.record({
    ...{ mark: u32, priority: u32, ifindex: u32, ingressIfindex: u32, wireLen: u32, gsoSegs: u32, gsoSize: u32 },
    ...{ tstamp: u64, hwtstamp: u64, cb: fc.array(u32, { minLength: 5, maxLength: 5 }) },
  });
  fc.assert(fc.property(input, (fields) => void expect(decodeSkBuff(encodeSkBuff(fields))).toMatchObject(fields)));
});

test.each([
  [{ mark: -1 }, /Cannot set mark to -1/],
  [{ mark: 2 ** 32 }, /mark to 4294967296/],
  [{ priority: 1.5 }, /priority to 1.5/],
  [{ cb: [1, 2, 3, 4, 5, 6] }, /6 words of cb: must be at most 5/],
  [{ cb: [-1] }, /cb\[0\] to -1/],
  [{ tstamp: -1n }, /tstamp to -1/],
  [{ hash: 1 } as object, /Cannot set hash of a test context: must be one of/],
])('a bad field is refused: %#', (input, message) => {
  expect(() => encodeSkBuff(input)).toThrow(
    expect.objectContaining({ code: 'WEFT_ERR_BPF_BAD_ARGUMENT', message: expect.stringMatching(message) }),
  );
});

test('a shorter answer of an older kernel leaves zeros', () => {
  expect(decodeSkBuff(encodeSkBuff({ mark: 9, hwtstamp: 7n }).subarray(0, 184))).toMatchObject({ mark: 9, hwtstamp: 0n });
});
