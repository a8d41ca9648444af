import { guard } from './errors.ts';
import { checkRange } from './frame-source.ts';
import { native } from './native.ts';

/** Options of {@link startSink}. Offsets count from the Ethernet header. */
export interface SinkOptions {
  /** A TAP's or packet socket's descriptor; it is duplicated, so the caller may close its own. Nobody else should read from it. */
  readonly fd: number;
  /** The CPU that the thread is pinned to. Default: any. */
  readonly cpu?: number;
  /** Whether frames start with a virtio-net header. It is in no count and no offset. */
  readonly vnetHdr: boolean;
  /** Size of that header. Default 10. */
  readonly vnetHeaderBytes?: 10 | 12;
  /** Frames with these bytes at `offset` are `matched`. Default: all. */
  readonly match?: { readonly offset: number; readonly bytes: Uint8Array };
  /**
   * Never sleep: look for frames without pause, on a CPU of its own. Waking a sleeping reader costs the *sender* of a frame some microseconds, which would be
   * counted against whichever path is slow enough to let the reader fall asleep. Default false.
   */
  readonly spin?: boolean;
  /** Where the generator wrote sequence number and time. Only matched frames are looked at. */
  readonly sequenceOffset?: number;
}

/** Counts since the sink was started. */
export interface SinkStats {
  readonly frames: number;
  /** Bytes from the Ethernet header on. */
  readonly bytes: number;
  readonly largestFrame: number;
  readonly matched: number;
  readonly matchedBytes: number;
  /** Frames shorter than the virtio-net header. */
  readonly shortFrames: number;
  /** From the first to the last matched frame. */
  readonly spanNs: number;
  /** Longest silence between two matched frames. */
  readonly maxGapNs: number;
  /** The errno name that ended the sink early, such as EBADFD for a removed device. */
  readonly error?: string;
  /** Only with `sequenceOffset`. */
  readonly sequence?: SequenceStats;
}

/** What the sequence numbers and send times of matched frames say. Numbers over 2^20 behind the highest count as duplicates. */
export interface SequenceStats {
  /** Frames with a sequence number, duplicates included. */
  readonly sequenced: number;
  /** In the order of arrival. */
  readonly firstSequence: number;
  readonly lastSequence: number;
  readonly highestSequence: number;
  /** Numbers between the lowest and the highest that never came. */
  readonly lost: number;
  readonly duplicates: number;
  readonly reordered: number;
  /** The last number before the longest silence. */
  readonly maxGapAfterSequence: number;
  /** Sending to receiving, right to about 3 % in the percentiles. */
  readonly latencyMeanNs: number;
  readonly latencyP50Ns: number;
  readonly latencyP90Ns: number;
  readonly latencyP99Ns: number;
  readonly latencyMaxNs: number;
}

export interface Sink {
  stats(): SinkStats;
  /** Ends the thread. What waits in the queue by then is not counted. Idempotent. */
  stop(): Promise<SinkStats>;
}

/**
 * Takes and counts frames in a native thread of its own.
 *
 * @throws {TunTapError} `WEFT_ERR_TUNTAP_BAD_OPTION`, or `WEFT_ERR_TUNTAP_SYSCALL` for a descriptor or CPU that does not exist.
 */
export function startSink(options: SinkOptions): Sink {
  const { match, sequenceOffset } = options;
  if (match) checkRange('match.offset', match.offset, 0, 65535);
  if (sequenceOffset !== undefined) checkRange('sequenceOffset', sequenceOffset, 0, 65535);
  let finish: (stats: SinkStats) => void;
  const done = new Promise<SinkStats>((resolve) => {
    finish = resolve;
  });
  const thread = guard('start a sink', '', () => {
    return new (native().Sink)(
      {
        fd: options.fd,
        cpu: options.cpu ?? -1,
        headerBytes: options.vnetHdr ? (options.vnetHeaderBytes ?? 10) : 0,
        matchOffset: match?.offset ?? 0,
        matchBytes: match?.bytes ?? new Uint8Array(),
        sequenceOffset: sequenceOffset ?? -1,
        spin: options.spin === true,
      },
      (stats) => finish(toStats(stats)),
    );
  });
  return {
    stats: () => toStats(thread.stats()),
    stop: () => {
      thread.stop();
      return done;
    },
  };
}

/** The addon gives one flat object; the sequence's part is there only if asked for. */
function toStats(flat: unknown): SinkStats {
  const { frames, bytes, largestFrame, matched, matchedBytes, shortFrames, spanNs, maxGapNs, error, ...sequence } = flat as SinkStats &
    Partial<SequenceStats>;
  return {
    ...{ frames, bytes, largestFrame, matched, matchedBytes, shortFrames, spanNs, maxGapNs },
    ...(error !== undefined && { error }),
    ...('sequenced' in sequence && { sequence: sequence as unknown as SequenceStats }),
  };
}
