import { BpfError } from './errors.ts';

/** The fields of `struct __sk_buff` (linux/bpf.h) that BPF_PROG_TEST_RUN lets be set; u32 unless said otherwise. */
export interface SkBuffInput {
  readonly mark?: number;
  readonly priority?: number;
  /** An interface of the calling thread's network namespace; default its loopback. */
  readonly ifindex?: number;
  readonly ingressIfindex?: number;
  /** Up to 5. */
  readonly cb?: readonly number[];
  /** ns, u64 */
  readonly tstamp?: bigint;
  readonly wireLen?: number;
  readonly gsoSegs?: number;
  readonly gsoSize?: number;
  /** ns, u64 */
  readonly hwtstamp?: bigint;
}

/** What BPF_PROG_TEST_RUN tells of `struct __sk_buff` afterwards; it leaves the other fields at 0. */
export interface SkBuffOutput {
  readonly mark: number;
  readonly priority: number;
  /** The interface that the run began with; redirects do not change it. */
  readonly ifindex: number;
  readonly ingressIfindex: number;
  /** 5 words. */
  readonly cb: readonly number[];
  readonly tstamp: bigint;
  readonly wireLen: number;
  readonly gsoSegs: number;
  readonly gsoSize: number;
  readonly hwtstamp: bigint;
}

/** sizeof(struct __sk_buff) since Linux 5.16. */
export const skBuffSize = 192;
export const u32Offsets = { mark: 8, priority: 32, ingressIfindex: 36, ifindex: 40, wireLen: 160, gsoSegs: 164, gsoSize: 176 } as const;
export const u64Offsets = { tstamp: 152, hwtstamp: 184 } as const;
export const cbOffset = 48;
const cbCount = 5;
// BPF runs in the byte order of the machine, and Node.js only where that is little-endian.
const littleEndian = true;

/** @throws {BpfError} `WEFT_ERR_BPF_BAD_ARGUMENT` for an unknown field or a number out of range. */
export function encodeSkBuff(input: SkBuffInput): Uint8Array {
  const bytes = new Uint8Array(skBuffSize);
  const view = new DataView(bytes.buffer);
  for (const [field, value] of Object.entries(input)) {
    if (value === undefined) continue;
    if (field === 'cb') encodeCb(view, value as readonly number[]);
    else if (isKey(u64Offsets, field)) view.setBigUint64(u64Offsets[field], checkU64(field, value), littleEndian);
    else if (isKey(u32Offsets, field)) view.setUint32(u32Offsets[field], checkU32(field, value), littleEndian);
    else
      throw refuse(`Cannot set ${field} of a test context: must be one of cb, ${Object.keys({ ...u32Offsets, ...u64Offsets }).join(', ')}`);
  }
  return bytes;
}

/** Decodes the kernel's answer; none means a program without such a context. */
export function decodeSkBuff(context: Uint8Array = new Uint8Array(skBuffSize)): SkBuffOutput {
  const bytes = new Uint8Array(skBuffSize);
  bytes.set(context.subarray(0, skBuffSize));
  const view = new DataView(bytes.buffer);
  const u32 = (field: keyof typeof u32Offsets): number => view.getUint32(u32Offsets[field], littleEndian);
  return {
    mark: u32('mark'),
    priority: u32('priority'),
    ingressIfindex: u32('ingressIfindex'),
    ifindex: u32('ifindex'),
    cb: Array.from({ length: cbCount }, (_, i) => view.getUint32(cbOffset + 4 * i, littleEndian)),
    tstamp: view.getBigUint64(u64Offsets.tstamp, littleEndian),
    wireLen: u32('wireLen'),
    gsoSegs: u32('gsoSegs'),
    gsoSize: u32('gsoSize'),
    hwtstamp: view.getBigUint64(u64Offsets.hwtstamp, littleEndian),
  };
}

function encodeCb(view: DataView, cb: readonly number[]): void {
  if (cb.length > cbCount) throw refuse(`Cannot set ${cb.length} words of cb: must be at most ${cbCount}`);
  for (const [i, word] of cb.entries()) view.setUint32(cbOffset + 4 * i, checkU32(`cb[${i}]`, word), littleEndian);
}

function checkU32(field: string, value: unknown): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= 0xffff_ffff) return value;
  throw refuse(`Cannot set ${field} to ${String(value)}: must be an integer from 0 to 4294967295`);
}

function checkU64(field: string, value: unknown): bigint {
  if (typeof value === 'bigint' && value >= 0n && value < 1n << 64n) return value;
  throw refuse(`Cannot set ${field} to ${String(value)}: must be a bigint from 0 to 2^64 - 1`);
}

function isKey<T extends object>(record: T, key: string): key is Extract<keyof T, string> {
  return Object.hasOwn(record, key);
}

function refuse(message: string): BpfError {
  return new BpfError('WEFT_ERR_BPF_BAD_ARGUMENT', message);
}
