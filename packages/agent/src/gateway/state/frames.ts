import type { Socket } from 'node:net';

/** A message of {@link StateSocket} is at most this long: a thousand changes are some 200 kB. */
export const MAX_STATE_FRAME_BYTES: number = 1 << 20;
const LENGTH_BYTES = 4;

/** Cuts a stream of bytes into messages, each behind its length (u32, big-endian). */
export class FrameReader {
  #chunks: Buffer[] = [];
  #bytes = 0;

  /** @throws {RangeError} If a message is empty or longer than {@link MAX_STATE_FRAME_BYTES}: the stream is worth nothing from there on. */
  *push(chunk: Buffer): Generator<Uint8Array> {
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    while (this.#bytes >= LENGTH_BYTES) {
      const length = this.#peek(LENGTH_BYTES).readUInt32BE(0);
      if (length === 0 || length > MAX_STATE_FRAME_BYTES)
        throw new RangeError(`a message of ${length} bytes: must be 1 to ${MAX_STATE_FRAME_BYTES}`);
      if (this.#bytes < LENGTH_BYTES + length) return;
      this.#take(LENGTH_BYTES);
      yield new Uint8Array(this.#take(length));
    }
  }

  #peek(length: number): Buffer {
    if (this.#chunks[0]!.length < length) this.#chunks = [Buffer.concat(this.#chunks)];
    return this.#chunks[0]!;
  }

  #take(length: number): Buffer {
    const taken: Buffer[] = [];
    let left = length;
    while (left > 0) {
      const first = this.#chunks[0]!;
      if (first.length <= left) {
        taken.push(first);
        this.#chunks.shift();
        left -= first.length;
      } else {
        taken.push(first.subarray(0, left));
        this.#chunks[0] = first.subarray(left);
        left = 0;
      }
    }
    this.#bytes -= length;
    return taken.length === 1 ? taken[0]! : Buffer.concat(taken);
  }
}

/** Messages to and from one other agent, in order, until one side closes. What is sent meanwhile may be lost. */
export interface StateSocket {
  send(message: Uint8Array): void;
  /** Bytes that the kernel has not taken yet. */
  readonly unsentBytes: number;
  close(): void;
}

export interface StateSocketEvents {
  message(message: Uint8Array): void;
  /** Room again for what is to be sent. */
  drained(): void;
  /** Once; also after `close`. */
  closed(reason: string): void;
}

/** {@link StateSocket} on TCP. */
export function stateSocket(socket: Socket, on: StateSocketEvents): StateSocket {
  const reader = new FrameReader();
  let reason = 'closed by the other side';
  socket.setNoDelay(true);
  socket.on('data', (chunk: Buffer) => {
    try {
      for (const message of reader.push(chunk)) on.message(message);
    } catch (error) {
      reason = (error as Error).message;
      socket.destroy();
    }
  });
  socket.on('drain', () => on.drained());
  socket.on('error', (error) => {
    reason = error.message;
  });
  socket.on('close', () => on.closed(reason));
  return {
    send: (message) => {
      const length = Buffer.alloc(LENGTH_BYTES);
      length.writeUInt32BE(message.length);
      socket.cork();
      socket.write(length);
      socket.write(message);
      socket.uncork();
    },
    get unsentBytes() {
      return socket.writableLength;
    },
    close: () => {
      reason = 'closed here';
      socket.destroy();
    },
  };
}
