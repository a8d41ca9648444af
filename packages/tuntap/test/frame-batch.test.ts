import { expect, test } from 'vitest';
import { SpanBatch } from '../src/frame-batch.ts';

const batch = new SpanBatch(Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8), Uint32Array.of(0, 2, 4, 3));
batch.count = 2;

test('frames are views of the spans', () => {
  expect([...batch]).toEqual([Uint8Array.of(1, 2), Uint8Array.of(5, 6, 7)]);
  expect(batch.frame(1).byteOffset).toBe(4);
});

test.each([-1, 2, 0.5, Number.NaN])('frame(%d) is refused', (index) => {
  expect(() => batch.frame(index)).toThrow(RangeError);
});
