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

/** `struct __sk_buff` after a test run. */
export interface SkBuffOutput {
  readonly len: number;
  readonly pktType: number;
  readonly mark: number;
  readonly queueMapping: number;
  /** EtherType in network byte order, as the struct has it. */
  readonly protocol: number;
  readonly vlanPresent: number;
  readonly vlanTci: number;
  readonly vlanProto: number;
  readonly priority: number;
  readonly ingressIfindex: number;
  readonly ifindex: number;
  readonly tcIndex: number;
  readonly cb: readonly number[];
  readonly hash: number;
  readonly tcClassid: number;
  readonly tstamp: bigint;
  readonly wireLen: number;
  readonly gsoSegs: number;
  readonly gsoSize: number;
  readonly hwtstamp: bigint;
}

/** sizeof(struct __sk_buff) since Linux 5.16. */
const skBuffSize = 192;
const u32Offsets = {
  len: 0,
  pktType: 4,
  mark: 8,
  queueMapping: 12,
  protocol: 16,
  vlanPresent: 20,
  vlanTci: 24,
  vlanProto: 28,
  priority: 32,
  ingressIfindex: 36,
  ifindex: 40,
  tcIndex: 44,
  hash: 68,
  tcClassid: 72,
  wireLen: 160,
  gsoSegs: 164,
  gsoSize: 176,
} as const;
const u64Offsets = { tstamp: 152, hwtstamp: 184 } as const;
const cbOffset = 48;
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
    else if (isKey(settable, field)) view.setUint32(u32Offsets[field], checkU32(field, value), littleEndian);
    else
      throw refuse(`Cannot set ${field} of a test context: must be one of cb, ${Object.keys({ ...settable, ...u64Offsets }).join(', ')}`);
  }
  return bytes;
}

const settable = { mark: true, priority: true, ifindex: true, ingressIfindex: true, wireLen: true, gsoSegs: true, gsoSize: true } as const;

/** Decodes the kernel's answer; none means a program without such a context. */
export function decodeSkBuff(context: Uint8Array = new Uint8Array(skBuffSize)): SkBuffOutput {
  const bytes = new Uint8Array(skBuffSize);
  bytes.set(context.subarray(0, skBuffSize));
  const view = new DataView(bytes.buffer);
  const u32 = (field: keyof typeof u32Offsets): number => view.getUint32(u32Offsets[field], littleEndian);
  return {
    len: u32('len'),
    pktType: u32('pktType'),
    mark: u32('mark'),
    queueMapping: u32('queueMapping'),
    protocol: u32('protocol'),
    vlanPresent: u32('vlanPresent'),
    vlanTci: u32('vlanTci'),
    vlanProto: u32('vlanProto'),
    priority: u32('priority'),
    ingressIfindex: u32('ingressIfindex'),
    ifindex: u32('ifindex'),
    tcIndex: u32('tcIndex'),
    cb: Array.from({ length: cbCount }, (_, i) => view.getUint32(cbOffset + 4 * i, littleEndian)),
    hash: u32('hash'),
    tcClassid: u32('tcClassid'),
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
