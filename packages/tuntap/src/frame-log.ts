import { guard } from './errors.ts';
import { checkRange } from './frame-source.ts';
import { checkInterfaceName } from './names.ts';
import { native } from './native.ts';

/** Options of {@link startFrameLog}. Offsets count from the Ethernet header. */
export interface FrameLogOptions {
  readonly interfaceName: string;
  /** Frames that have these bytes at `inOffset`, of those that come in by the interface, or at `outOffset`, of those that leave by it. The others are not recorded. */
  readonly match: { readonly bytes: Uint8Array; readonly inOffset: number; readonly outOffset: number };
  /** Where the generator wrote the sequence number: within the first 256 bytes. */
  readonly sequenceOffset: number;
  /** The CPU that the thread is pinned to. Default: any. */
  readonly cpu?: number;
}

/** Frames in the order in which they passed: index i of each array is one of them. */
export interface FrameRecord {
  readonly sequences: Float64Array;
  /** Wall clock in ms, to a quarter of a microsecond, as the kernel noted it when the frame passed. One machine's records may be compared. */
  readonly timesMs: Float64Array;
  /** 1: left by the interface. 0: came in by it. */
  readonly out: Uint8Array;
  /** Frames that the kernel had no room for, of whatever kind: the record has holes. */
  readonly missed: number;
}

export interface FrameLog {
  /** Ends it. Idempotent. */
  stop(): Promise<FrameRecord>;
}

/**
 * Notes when numbered frames pass an interface, both ways, by a packet socket's kernel timestamps (SO_TIMESTAMPNS): neither whoever sends and reads them nor this
 * recorder itself has its waits for a processor in the times. In the network namespace of the caller (see `inNetns`). Memory grows by 24 bytes a frame.
 *
 * @throws {TunTapError} `WEFT_ERR_TUNTAP_NOT_FOUND`, `WEFT_ERR_TUNTAP_NOT_PERMITTED` (CAP_NET_RAW and CAP_NET_ADMIN), `WEFT_ERR_TUNTAP_BAD_NAME`, `WEFT_ERR_TUNTAP_BAD_OPTION`.
 * @see packet(7), socket(7)
 */
export function startFrameLog(options: FrameLogOptions): FrameLog {
  const { interfaceName, match, sequenceOffset, cpu = -1 } = options;
  checkInterfaceName(interfaceName);
  const { bytes: matchBytes, inOffset, outOffset } = match;
  checkRange('match.inOffset', inOffset, 0, 255);
  checkRange('match.outOffset', outOffset, 0, 255);
  checkRange('sequenceOffset', sequenceOffset, 0, 248);
  let finish: (record: FrameRecord) => void;
  const done = new Promise<FrameRecord>((resolve) => {
    finish = resolve;
  });
  const thread = guard(`record frames of "${interfaceName}"`, interfaceName, () => {
    const { FrameLog } = native();
    return new FrameLog({ interfaceName, cpu, matchBytes, inOffset, outOffset, sequenceOffset }, (record) => finish(record as FrameRecord));
  });
  return {
    stop: () => {
      thread.stop();
      return done;
    },
  };
}
