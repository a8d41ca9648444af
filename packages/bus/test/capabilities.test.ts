import { describe, expect, it } from 'vitest';
import { isAtLeast, serverCapabilities } from '../src/index.ts';

describe('serverCapabilities()', () => {
  it.each([
    ['2.9.10', [false, false, false, false]],
    ['2.10.0', [true, true, false, false]],
    ['2.11.4', [true, true, true, false]],
    ['2.12.1', [true, true, true, true]],
    ['2.14.0-RC.1', [true, true, true, true]],
    ['3.0.0', [true, true, true, true]],
    ['nonsense', [false, false, false, false]],
  ])('of %s', (version, expected) => {
    const { syncAlways, multiFilterConsumers, messageTtl, atomicBatch } = serverCapabilities(version);
    expect([syncAlways, multiFilterConsumers, messageTtl, atomicBatch]).toEqual(expected);
  });

  it('compares numbers, not text', () => {
    expect([isAtLeast('2.9.10', '2.9.9'), isAtLeast('2.9.9', '2.9.10'), isAtLeast('2.10.0', '2.9.10')]).toEqual([true, false, true]);
  });
});
