import { BpfError, guard } from './errors.ts';
import type { BpfMap } from './map.ts';
import { native } from './native.ts';

const firstRoom = 256;

/**
 * Walks a map by batches, or key by key where the type has no batches. See `BpfMap.entries`.
 *
 * A batch of a hash is whole buckets: entries added or deleted meanwhile can't shift the others. Room for one bucket is all that must fit, so a
 * bucket that does not makes the room larger.
 */
export function* mapEntries(map: BpfMap): Generator<[Uint8Array, Uint8Array]> {
  const cursor = new Uint8Array(Math.max(map.keySize, 8));
  let room = Math.min(Math.max(map.maxEntries, 1), firstRoom);
  for (let isFirst = true; ; ) {
    const keys = new Uint8Array(room * map.keySize);
    const values = new Uint8Array(room * map.valueBytes);
    // A failed call may have moved the cursor.
    const before = cursor.slice();
    const batch = guard(`read map "${map.name}"`, () => native().lookupBatch(map.fd, cursor, isFirst, keys, values, room));
    if (batch.status === 'unsupported') {
      if (isFirst) yield* entriesByKey(map);
      return;
    }
    if (batch.status === 'small') {
      if (room >= map.maxEntries)
        throw new BpfError('WEFT_ERR_BPF_SYSCALL', `Cannot read map "${map.name}": a batch of ${room} entries, its maximum, is too small`);
      room = Math.min(room * 2, map.maxEntries);
      cursor.set(before);
      continue;
    }
    for (let i = 0; i < batch.count; i++) {
      yield [keys.slice(i * map.keySize, (i + 1) * map.keySize), values.slice(i * map.valueBytes, (i + 1) * map.valueBytes)];
    }
    if (batch.status === 'end') return;
    isFirst = false;
  }
}

/**
 * Key by key. When the key that the walk stands on is deleted, the kernel starts again from the first: seen keys are left out, and the walk ends
 * after as many steps as could be new.
 */
function* entriesByKey(map: BpfMap): Generator<[Uint8Array, Uint8Array]> {
  const seen = new Set<string>();
  let key = nextKey(map, null);
  for (let steps = 0; key !== null && steps < 2 * map.maxEntries + 16; steps++) {
    const name = Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString('latin1');
    if (!seen.has(name)) {
      seen.add(name);
      const value = map.lookup(key);
      if (value) yield [key, value];
    }
    key = nextKey(map, key);
  }
}

function nextKey(map: BpfMap, key: Uint8Array | null): Uint8Array | null {
  return guard(`walk map "${map.name}"`, () => native().mapNextKey(map.fd, key, map.keySize));
}
