import { PerformanceObserver } from 'node:perf_hooks';
import { getHeapSpaceStatistics, setFlagsFromString } from 'node:v8';

// V8 collects young objects in one go, in which nothing else is done: as long as it takes to copy those that live. It lets the space for them grow to twice 16 MB, and while ten
// thousand networks are taken up most of them live: 20 to 90 ms at a time, thirty heartbeats' worth of silence in a minute. A quarter of the space is collected four times as often, in a
// quarter of the time each, for the same work in all.

/** Both halves, bytes. */
const NEW_SPACE_BYTES = 8 << 20;

/** V8's heap, for tests. */
export interface YoungHeap {
  /** Of the space for young objects, both halves, bytes. */
  readonly newSpaceBytes: () => number;
  readonly setFlag: (flag: string) => void;
  /** Calls after each collection. @returns Ends that. */
  readonly onCollected: (listener: () => void) => () => void;
}

const V8_HEAP: YoungHeap = {
  newSpaceBytes: () => getHeapSpaceStatistics().find(({ space_name }) => space_name === 'new_space')?.space_size ?? 0,
  setFlag: setFlagsFromString,
  onCollected: (listener) => {
    const observer = new PerformanceObserver(listener);
    observer.observe({ entryTypes: ['gc'] });
    return () => observer.disconnect();
  },
};

/** Keeps V8 from letting the space for young objects grow beyond 8 MB: its size at the start is fixed by then, but by how much it grows is asked each time. */
export function keepScavengesShort(heap: YoungHeap = V8_HEAP): void {
  const look = (): boolean => {
    if (heap.newSpaceBytes() < NEW_SPACE_BYTES) return false;
    heap.setFlag('--semi-space-growth-factor=1');
    return true;
  };
  if (look()) return;
  const end = heap.onCollected(() => {
    if (look()) end();
  });
}
