import { guard } from './errors.ts';
import { BpfMap } from './map.ts';
import { type MapType, mapTypeNumber } from './map-types.ts';
import { native } from './native.ts';

/** Options of {@link createMap}. */
export interface CreateMapOptions {
  /** At most 15 characters. */
  readonly name: string;
  readonly type: MapType;
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
  /** `BPF_F_*`, such as 1 (BPF_F_NO_PREALLOC), which an LPM trie needs. Default 0. */
  readonly flags?: number;
}

/** Makes a map without an object, to share between objects or for tests. */
export function createMap(options: CreateMapOptions): BpfMap {
  const { name, type, keySize, valueSize, maxEntries, flags = 0 } = options;
  const fd = guard(`create map "${name}"`, () => native().createMap(mapTypeNumber(type), name, keySize, valueSize, maxEntries, flags));
  return BpfMap.fromFd(fd);
}
