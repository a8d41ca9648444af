import { getU32, setU32 } from '@weft/packet';

// Probes of gateways, which packet paths answer: docs/gateway-contract.md section 9.
//
//   0   magic 57 46 50 52     4  version 1     5  type     6  count     7  zero
//   8   nonce, 8 bytes
//   16  count x { shard u32, flags u32 (bit 0: it forwards now), epoch u64 }, network order

export const ProbeType = { REQUEST: 1, REPLY: 2 } as const;
export type ProbeType = (typeof ProbeType)[keyof typeof ProbeType];

export const PROBE_SHARDS_MAX = 8;

export interface Probe {
  readonly type: ProbeType;
  readonly nonce: bigint;
  /** At most {@link PROBE_SHARDS_MAX}. What a request says of them is of no account. */
  readonly shards: readonly { readonly shard: number; readonly epoch: bigint; readonly isForwarding: boolean }[];
}

const MAGIC = 0x57465052;
const VERSION = 1;
const HEADER_BYTES = 16;
const SHARD_BYTES = 16;
const FORWARDS = 1;

/** True if the UDP payload at `offset` begins as a probe does, sound or not. */
export function isProbe(bytes: Uint8Array, offset = 0): boolean {
  return bytes.length >= offset + 4 && getU32(bytes, offset) === MAGIC;
}

/** @throws {RangeError} With more than {@link PROBE_SHARDS_MAX} shards. */
export function encodeProbe({ type, nonce, shards }: Probe): Uint8Array {
  if (shards.length > PROBE_SHARDS_MAX)
    throw new RangeError(`Cannot ask for ${shards.length} shards in a probe: at most ${PROBE_SHARDS_MAX}`);
  const bytes = new Uint8Array(HEADER_BYTES + shards.length * SHARD_BYTES);
  const view = new DataView(bytes.buffer);
  setU32(bytes, 0, MAGIC);
  bytes[4] = VERSION;
  bytes[5] = type;
  bytes[6] = shards.length;
  view.setBigUint64(8, nonce);
  shards.forEach(({ shard, epoch, isForwarding }, i) => {
    const at = HEADER_BYTES + i * SHARD_BYTES;
    setU32(bytes, at, shard);
    setU32(bytes, at + 4, isForwarding ? FORWARDS : 0);
    view.setBigUint64(at + 8, epoch);
  });
  return bytes;
}

/** @returns The probe that all of the bytes are, or undefined if they are none. */
export function decodeProbe(bytes: Uint8Array): Probe | undefined {
  if (!isProbe(bytes) || bytes.length < HEADER_BYTES) return undefined;
  const type = bytes[5]!;
  const count = bytes[6]!;
  const isSound = bytes[4] === VERSION && (type === ProbeType.REQUEST || type === ProbeType.REPLY) && bytes[7] === 0;
  if (!isSound || count > PROBE_SHARDS_MAX || bytes.length !== HEADER_BYTES + count * SHARD_BYTES) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const shards = Array.from({ length: count }, (_, i) => {
    const at = HEADER_BYTES + i * SHARD_BYTES;
    return { shard: getU32(bytes, at), epoch: view.getBigUint64(at + 8), isForwarding: (getU32(bytes, at + 4) & FORWARDS) !== 0 };
  });
  return { type, nonce: view.getBigUint64(8), shards };
}
