import { describe, expect, it } from 'vitest';
import { keepScavengesShort } from '../src/short-scavenges.ts';

describe('keepScavengesShort()', () => {
  /** A heap whose space for young objects doubles with each collection, as far as it is let. */
  class Heap {
    readonly flags: string[] = [];
    bytes: number;
    listener: (() => void) | undefined;

    constructor(bytes: number) {
      this.bytes = bytes;
      keepScavengesShort({
        newSpaceBytes: () => this.bytes,
        setFlag: (flag) => void this.flags.push(flag),
        onCollected: (listener) => {
          this.listener = listener;
          return () => {
            this.listener = undefined;
          };
        },
      });
    }

    collect(): void {
      if (this.flags.length === 0) this.bytes *= 2;
      this.listener?.();
    }
  }

  it('lets the space grow to 8 MB, and no further', () => {
    const heap = new Heap(1 << 20);
    for (let i = 0; i < 10; i++) heap.collect();
    expect([heap.bytes, heap.flags]).toEqual([8 << 20, ['--semi-space-growth-factor=1']]);
    expect(heap.listener).toBeUndefined();
  });

  it('leaves one as it is that has grown already', () => {
    const heap = new Heap(32 << 20);
    expect([heap.bytes, heap.flags, heap.listener]).toEqual([32 << 20, ['--semi-space-growth-factor=1'], undefined]);
  });
});
