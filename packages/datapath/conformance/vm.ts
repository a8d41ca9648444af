import { type FrameSource, TunTapError } from '@weft/tuntap';
import { completeChecksum, type Offload, readOffload, withOffload } from '../src/user/offload.ts';

/** A frame as a VM has got it. */
export interface Received {
  readonly frame: Uint8Array;
  readonly offload: Offload;
}

/** A VM without a stack: the test writes what it sends, and reads what it receives. */
export class Vm {
  readonly received: Received[] = [];
  readonly #source: FrameSource;

  /** @param source With a virtio-net header; closed by {@link close}. */
  constructor(source: FrameSource) {
    this.#source = source;
    source.start((batch) => {
      for (const bytes of batch) this.received.push({ frame: bytes.slice(10), offload: readOffload(bytes) });
    });
  }

  send(frame: Uint8Array, offload?: Offload): void {
    this.#source.write(withOffload(frame, offload));
  }

  /** As {@link send}, for frames that the kernel itself may refuse. @returns Whether it took it. */
  trySend(frame: Uint8Array, offload?: Offload): boolean {
    try {
      this.send(frame, offload);
      return true;
    } catch (error) {
      if (error instanceof TunTapError) return false;
      throw error;
    }
  }

  /** Frames with their checksums completed, as a NIC would show them. */
  frames(): Uint8Array[] {
    return this.received.map(({ frame, offload }) => {
      const copy = frame.slice();
      if (offload.needsChecksum && offload.gsoType === 0) completeChecksum(copy, offload);
      return copy;
    });
  }

  close(): void {
    this.#source.close();
  }
}
