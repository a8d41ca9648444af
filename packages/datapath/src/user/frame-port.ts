import { type FrameSource, openPacketSocket, type PacketFilterInstruction, TunTapError } from '@weft/tuntap';
import { DatapathError } from '../errors.ts';
import { type Offload, readOffload, VNET_HEADER_BYTES, withOffload } from './offload.ts';

/** How long to leave a device alone that is down. */
const RETRY_MS = 200;
/** Room for two of the largest frames: a device with little traffic should not cost a megabyte. */
const BATCH_BUFFER_BYTES = 192 << 10;
const BATCH_FRAMES = 64;

/** What a {@link FramePort} tells of. */
export interface FramePortEvents {
  /** `frame` is valid, and may be written to, until this returns. */
  onFrame(frame: Uint8Array, offload: Offload): void;
  /** The kernel has a frame that it can't hand over (segments of a kind that the header has no word for); it is lost. */
  onUnreadable(): void;
  /** The device is gone; the port has closed itself. */
  onGone(): void;
}

export interface FramePortInit {
  readonly name: string;
  readonly ifindex: number;
  readonly receiveBufferBytes: number;
  readonly filter?: readonly PacketFilterInstruction[];
}

/** A device by its packet socket: frames that arrive there, and frames sent from there. To be made in the device's network namespace. */
export class FramePort {
  readonly name: string;
  readonly ifindex: number;
  readonly #source: FrameSource;
  readonly #events: FramePortEvents;
  #retry: ReturnType<typeof setTimeout> | undefined;

  /** @throws {DatapathError} `WEFT_ERR_DATAPATH_NO_DEVICE`. */
  constructor(init: FramePortInit, events: FramePortEvents) {
    this.name = init.name;
    this.ifindex = init.ifindex;
    this.#events = events;
    this.#source = open(init);
    this.#source.start(
      (batch) => {
        for (const bytes of batch) {
          if (bytes.length >= VNET_HEADER_BYTES) events.onFrame(bytes.subarray(VNET_HEADER_BYTES), readOffload(bytes));
          if (this.#source.closed) return;
        }
      },
      { batchSize: BATCH_FRAMES, bufferBytes: BATCH_BUFFER_BYTES, onError: (error) => this.#failed(error) },
    );
  }

  get closed(): boolean {
    return this.#source.closed;
  }

  /**
   * Sends a frame without waiting.
   * @returns False if the kernel refuses: the queue is full, the device down or gone, the frame too long.
   */
  send(frame: Uint8Array, offload?: Offload): boolean {
    if (this.#source.closed) return false;
    try {
      this.#source.write(withOffload(frame, offload));
      return true;
    } catch (error) {
      if (error instanceof TunTapError) return false;
      throw error;
    }
  }

  close(): void {
    clearTimeout(this.#retry);
    this.#source.close();
  }

  #failed(error: TunTapError): void {
    if (error.code === 'WEFT_ERR_TUNTAP_GONE' || error.errnoName === 'ENXIO' || error.errnoName === 'ENODEV') {
      this.close();
      this.#events.onGone();
    } else if (error.errnoName === 'EINVAL') {
      this.#events.onUnreadable();
      this.#source.resume();
    } else {
      this.#retry = setTimeout(() => {
        if (!this.#source.closed) this.#source.resume();
      }, RETRY_MS);
      this.#retry.unref();
    }
  }
}

function open({ name, ifindex, receiveBufferBytes, filter }: FramePortInit): FrameSource {
  let source: FrameSource;
  try {
    source = openPacketSocket({ interfaceName: name, vnetHdr: true, receiveBufferBytes, ...(filter !== undefined && { filter }) });
  } catch (error) {
    if (!(error instanceof TunTapError) || error.code !== 'WEFT_ERR_TUNTAP_NOT_FOUND') throw error;
    throw new DatapathError('WEFT_ERR_DATAPATH_NO_DEVICE', error.message, { cause: error });
  }
  if (source.ifindex === ifindex) return source;
  source.close();
  throw new DatapathError(
    'WEFT_ERR_DATAPATH_NO_DEVICE',
    `Cannot attach to "${name}": its index is ${source.ifindex}, not ${ifindex}; it was made anew, look again`,
  );
}
