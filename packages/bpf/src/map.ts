import { Descriptor } from './descriptor.ts';
import { BpfError, guard } from './errors.ts';
import { mapEntries } from './map-entries.ts';
import { isPerCpu, type MapType, mapTypeName } from './map-types.ts';
import { native } from './native.ts';
import { openPinned } from './pins.ts';
import { possibleCpuCount } from './possible-cpus.ts';

/** `BPF_ANY` writes either way, `BPF_NOEXIST` only new keys, `BPF_EXIST` only known ones. linux/bpf.h */
export const updateFlags = { any: 0, noExist: 1, exist: 2 } as const;

/** A BPF map. Keys and values are bytes in the byte order that the program uses; arrays passed in are copied, arrays returned are the caller's. */
export class BpfMap extends Descriptor {
  /** At most 15 characters: the kernel cuts the rest. */
  readonly name: string;
  readonly type: MapType;
  /** The kernel's id, unique while the map lives. */
  readonly id: number;
  readonly keySize: number;
  /** Of one value; see {@link valueBytes} for per-CPU maps. */
  readonly valueSize: number;
  readonly maxEntries: number;
  /** `BPF_F_*` of creation. */
  readonly flags: number;
  /** Bytes that one lookup gives and one update takes: `valueSize`, or for per-CPU types that rounded up to 8, for each possible CPU. */
  readonly valueBytes: number;
  readonly isPerCpu: boolean;

  private constructor(fd: number) {
    super(fd);
    const info = guard('inspect a map', () => native().mapInfo(fd));
    this.name = info.name;
    this.type = mapTypeName(info.type);
    this.id = info.id;
    this.keySize = info.keySize;
    this.valueSize = info.valueSize;
    this.maxEntries = info.maxEntries;
    this.flags = info.flags;
    this.isPerCpu = isPerCpu(this.type);
    this.valueBytes = this.isPerCpu ? Math.ceil(info.valueSize / 8) * 8 * possibleCpuCount() : info.valueSize;
  }

  /** Takes over a descriptor, which is closed with the map; it stays the caller's if this throws. */
  static fromFd(fd: number): BpfMap {
    return new BpfMap(fd);
  }

  /** @throws {BpfError} `WEFT_ERR_BPF_NOT_FOUND`, `WEFT_ERR_BPF_PIN_KIND`. */
  static fromPin(path: string): BpfMap {
    return BpfMap.fromFd(openPinned(path, 'map'));
  }

  protected get label(): string {
    return `map "${this.name}"`;
  }

  /** @returns The value, {@link valueBytes} long, or `undefined` if there is no such key. */
  lookup(key: Uint8Array): Uint8Array | undefined {
    this.#checkSize('key', key, this.keySize);
    return guard(`look up in ${this.label}`, () => native().mapLookup(this.fd, key, this.valueBytes)) ?? undefined;
  }

  /** @throws {BpfError} `WEFT_ERR_BPF_MAP_FULL`, `WEFT_ERR_BPF_EXISTS` or `…_NOT_FOUND` as `flags` ask (see {@link updateFlags}). */
  update(key: Uint8Array, value: Uint8Array, flags: number = updateFlags.any): void {
    this.#checkSize('key', key, this.keySize);
    this.#checkSize('value', value, this.valueBytes);
    guard(`update ${this.label}`, () => native().mapUpdate(this.fd, key, value, flags));
  }

  /** @returns Whether the key was there. */
  delete(key: Uint8Array): boolean {
    this.#checkSize('key', key, this.keySize);
    return guard(`delete from ${this.label}`, () => native().mapDelete(this.fd, key));
  }

  /**
   * Writes `count` entries in one call: `keys` is `count * keySize` bytes, `values` `count * valueBytes`. Not atomic: when it throws, the first
   * entries are written. Types without batches are written one by one.
   */
  updateBatch(keys: Uint8Array, values: Uint8Array, count: number, flags: number = updateFlags.any): void {
    this.#checkSize('keys', keys, count * this.keySize);
    this.#checkSize('values', values, count * this.valueBytes);
    if (count === 0) return;
    guard(`update ${count} entries of ${this.label}`, () =>
      native().updateBatch(this.fd, keys, values, count, this.keySize, this.valueBytes, flags),
    );
  }

  /** Deletes `count` keys. @returns How many were there. */
  deleteBatch(keys: Uint8Array, count: number): number {
    this.#checkSize('keys', keys, count * this.keySize);
    return guard(`delete ${count} entries of ${this.label}`, () => native().deleteBatch(this.fd, keys, count, this.keySize));
  }

  /**
   * All entries, in no order. Entries that change meanwhile may be seen or not, none is seen twice, and none that stays is missed in maps with
   * batches (hash, array, LPM trie, their per-CPU and LRU kinds).
   */
  entries(): Iterable<[key: Uint8Array, value: Uint8Array]> {
    return mapEntries(this);
  }

  /** Splits a value of a per-CPU map into those of the CPUs. Views of `value`. */
  perCpuValues(value: Uint8Array): Uint8Array[] {
    this.#checkSize('value', value, this.valueBytes);
    if (!this.isPerCpu) return [value];
    const stride = Math.ceil(this.valueSize / 8) * 8;
    return Array.from({ length: value.byteLength / stride }, (_, cpu) => value.subarray(cpu * stride, cpu * stride + this.valueSize));
  }

  /** Refuses writes from user space from now on, for good. */
  freeze(): void {
    guard(`freeze ${this.label}`, () => native().mapFreeze(this.fd));
  }

  #checkSize(what: string, bytes: Uint8Array, size: number): void {
    if (bytes.byteLength === size) return;
    throw new BpfError(
      'WEFT_ERR_BPF_BAD_ARGUMENT',
      `Cannot use ${what} of ${bytes.byteLength} bytes with ${this.label}: must be ${size} bytes`,
    );
  }
}
