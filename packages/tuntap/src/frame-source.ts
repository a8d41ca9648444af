import { explain, guard, isNativeError, TunTapError } from './errors.ts';
import { type FrameBatch, SpanBatch } from './frame-batch.ts';
import { type NativeFramePoller, type NativeHandle, native } from './native.ts';

/** Options of {@link FrameSource.start}. */
export interface StartOptions {
  /** Most frames in a batch, 1 to 4096. Default 64. */
  readonly batchSize?: number;
  /** Size of the reused buffer. At least 67,584 (the largest frame); default 1 MiB. A batch ends when the rest can't hold a largest frame. */
  readonly bufferBytes?: number;
  /**
   * Called once when reading fails for good (`WEFT_ERR_TUNTAP_GONE`: the interface was removed); the source is paused then and should be
   * closed. Without it the error is thrown on the event loop.
   */
  readonly onError?: (error: TunTapError) => void;
}

/** A descriptor from which Ethernet frames are read and to which they are written: a TAP's queue or a packet socket. */
export interface FrameSource {
  /** The descriptor, owned by this object: never close it elsewhere. -1 once closed. */
  readonly fd: number;
  readonly name: string;
  /** At the time of opening. */
  readonly ifindex: number;
  /** Bytes of virtio-net header in front of each frame, read and written: 0, 10 or 12. */
  readonly vnetHeaderBytes: number;
  readonly closed: boolean;
  /** Reads one frame without waiting; `null` when none waits. A frame over `maxBytes` is cut. The result is the caller's. */
  read(maxBytes?: number): Uint8Array | null;
  /** Writes one frame. The bytes are copied before it returns. @throws {TunTapError} `…_WOULD_BLOCK`, `…_DOWN`, `…_GONE`, `…_BAD_FRAME`. */
  write(frame: Uint8Array): void;
  /**
   * Writes frames in order.
   *
   * @returns How many were written. Fewer than given: the queue is full or frame `[result]` is refused; if that frame is the first of the
   *   next call, the reason is thrown then (a full queue returns 0).
   */
  writeBatch(frames: readonly Uint8Array[]): number;
  /** Calls `onFrames` with each batch from now on. @throws {TunTapError} `WEFT_ERR_TUNTAP_ALREADY_STARTED`, `WEFT_ERR_TUNTAP_CLOSED`. */
  start(onFrames: (batch: FrameBatch) => void, options?: StartOptions): void;
  /** Stops reading, so that the kernel's queue fills and then drops: back-pressure. No effect unless started. */
  pause(): void;
  resume(): void;
  /** Stops reading and closes the descriptor. Idempotent; allowed in the callback. */
  close(): void;
}

const defaultBatchSize = 64;
const defaultBufferBytes = 1 << 20;

/** {@link FrameSource} over a descriptor of the addon. */
export class DescriptorSource implements FrameSource {
  readonly name: string;
  readonly ifindex: number;
  readonly vnetHeaderBytes: number;
  #fd: number;
  #poller: NativeFramePoller | undefined;

  constructor(handle: NativeHandle, vnetHeaderBytes: number) {
    this.#fd = handle.fd;
    this.name = handle.name;
    this.ifindex = handle.ifindex;
    this.vnetHeaderBytes = vnetHeaderBytes;
  }

  get fd(): number {
    return this.#fd;
  }

  get closed(): boolean {
    return this.#fd < 0;
  }

  read(maxBytes: number = native().maxFrameBytes): Uint8Array | null {
    const fd = this.openFd('read from');
    return guard(`read from "${this.name}"`, this.name, () => native().readFrame(fd, maxBytes));
  }

  write(frame: Uint8Array): void {
    const fd = this.openFd('write to');
    guard(`write ${frame.byteLength} bytes to "${this.name}"`, this.name, () => native().writeFrame(fd, frame));
  }

  writeBatch(frames: readonly Uint8Array[]): number {
    const fd = this.openFd('write to');
    return guard(`write ${frames.length} frames to "${this.name}"`, this.name, () => native().writeFrames(fd, frames));
  }

  start(onFrames: (batch: FrameBatch) => void, options: StartOptions = {}): void {
    const fd = this.openFd('read from');
    if (this.#poller) throw new TunTapError('WEFT_ERR_TUNTAP_ALREADY_STARTED', `Cannot start "${this.name}": it is started; use resume()`);
    const { batchSize = defaultBatchSize, bufferBytes = defaultBufferBytes } = options;
    checkRange('batchSize', batchSize, 1, 4096);
    checkRange('bufferBytes', bufferBytes, native().maxFrameBytes, 1 << 30);
    const buffer = new Uint8Array(bufferBytes);
    const spans = new Uint32Array(2 * batchSize);
    const batch = new SpanBatch(buffer, spans);
    const onBatch = (count: number, error: Error | undefined): void => {
      batch.count = count;
      try {
        if (count > 0) onFrames(batch);
      } finally {
        // A view's owner can't take a frame of a batch that is over.
        batch.count = 0;
        if (error && !this.closed) this.#fail(error, options.onError);
      }
    };
    this.#poller = guard(`poll "${this.name}"`, this.name, () => new (native().FramePoller)(fd, buffer, spans, onBatch));
    this.resume();
  }

  pause(): void {
    this.#poller?.pause();
  }

  resume(): void {
    const poller = this.#poller;
    if (poller) guard(`poll "${this.name}"`, this.name, () => poller.resume());
  }

  close(): void {
    if (this.#fd < 0) return;
    const fd = this.#fd;
    this.#fd = -1;
    this.#poller?.close();
    this.#poller = undefined;
    guard(`close "${this.name}"`, this.name, () => native().closeFd(fd));
  }

  protected openFd(action: string): number {
    if (this.#fd < 0) throw new TunTapError('WEFT_ERR_TUNTAP_CLOSED', `Cannot ${action} "${this.name}": it is closed; open it anew`);
    return this.#fd;
  }

  #fail(error: Error, onError: StartOptions['onError']): void {
    const typed = isNativeError(error) ? explain(`read from "${this.name}"`, this.name, error) : error;
    if (onError && typed instanceof TunTapError) onError(typed);
    else throw typed;
  }
}

/** @throws {TunTapError} `WEFT_ERR_TUNTAP_BAD_OPTION` unless `value` is an integer from `low` to `high`. */
export function checkRange(option: string, value: number, low: number, high: number): void {
  if (Number.isInteger(value) && value >= low && value <= high) return;
  throw new TunTapError('WEFT_ERR_TUNTAP_BAD_OPTION', `Cannot use ${option} ${value}: must be an integer from ${low} to ${high}`);
}
