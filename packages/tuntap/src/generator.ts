import { guard, TunTapError } from './errors.ts';
import { checkRange } from './frame-source.ts';
import { native } from './native.ts';

/** Options of {@link startGenerator}. Without `count` and `durationMs` it runs until `stop()`. */
export interface GeneratorOptions {
  /** A TAP's or packet socket's descriptor; it is duplicated, so the caller may close its own. */
  readonly fd: number;
  /** Sent in turn, over and over; copied. Each starts with the virtio-net header when the device has one. */
  readonly frames: readonly Uint8Array[];
  /** Frames to offer: those sent and those that failed add up to it. */
  readonly count?: number;
  readonly durationMs?: number;
  /** Frames a second, evenly spaced. Default: as fast as the device takes them. */
  readonly ratePerSecond?: number;
  /** The CPU that the thread is pinned to. Default: any. */
  readonly cpu?: number;
  /** Bytes of virtio-net header in front of each frame; `sequenceOffset` counts after it. Default 0. */
  readonly vnetHeaderBytes?: number;
  /**
   * Offset from the Ethernet header at which 16 bytes are written into each frame: a sequence number from 0 (u64, big-endian), and the
   * time of sending (CLOCK_MONOTONIC in ns, u64, big-endian). Checksums are not adapted: send UDP over IPv4 with checksum 0, or leave the
   * checksum to the device by the virtio-net header.
   */
  readonly sequenceOffset?: number;
}

/** What a generator did. */
export interface GeneratorResult {
  readonly sent: number;
  /** Bytes of sent frames, virtio-net headers included. */
  readonly bytes: number;
  /** Refused frames by errno name. A full queue (EAGAIN) is waited for, not counted. */
  readonly errors: Readonly<Record<string, number>>;
  readonly elapsedNs: number;
}

export interface Generator {
  /** Frames sent up to now. */
  readonly sent: number;
  /** Resolves when the thread has ended. */
  result(): Promise<GeneratorResult>;
  /** Asks the thread to end. Idempotent. */
  stop(): void;
}

/**
 * Sends frames from a native thread of its own, so that the event loop measures nothing and delays nothing.
 *
 * @throws {TunTapError} `WEFT_ERR_TUNTAP_BAD_OPTION`, or `WEFT_ERR_TUNTAP_SYSCALL` for a descriptor or CPU that does not exist.
 */
export function startGenerator(options: GeneratorOptions): Generator {
  const { frames, vnetHeaderBytes = 0, sequenceOffset } = options;
  if (frames.length === 0) throw new TunTapError('WEFT_ERR_TUNTAP_BAD_OPTION', 'Cannot generate from no frames: give at least one');
  const offset = sequenceOffset === undefined ? -1 : vnetHeaderBytes + sequenceOffset;
  const shortest = Math.min(...frames.map((frame) => frame.byteLength));
  if (sequenceOffset !== undefined) checkRange('sequenceOffset', sequenceOffset, 0, shortest - vnetHeaderBytes - 16);
  for (const option of ['count', 'durationMs', 'ratePerSecond', 'cpu'] as const) checkPositive(option, options[option]);

  let finish: (result: GeneratorResult) => void;
  const result = new Promise<GeneratorResult>((resolve) => {
    finish = resolve;
  });
  const thread = guard('start a generator', '', () => {
    return new (native().Generator)(
      {
        fd: options.fd,
        cpu: options.cpu ?? -1,
        frames,
        count: options.count ?? -1,
        durationNs: options.durationMs === undefined ? -1 : options.durationMs * 1e6,
        ratePerSecond: options.ratePerSecond ?? -1,
        sequenceOffset: offset,
      },
      (done) => finish(done as GeneratorResult),
    );
  });
  return {
    get sent(): number {
      return thread.sent();
    },
    result: () => result,
    stop: () => thread.stop(),
  };
}

function checkPositive(option: string, value: number | undefined): void {
  if (value === undefined || (Number.isFinite(value) && value >= 0)) return;
  throw new TunTapError('WEFT_ERR_TUNTAP_BAD_OPTION', `Cannot use ${option} ${value}: must be a finite number, 0 or above`);
}
