const FILE_HEADER_SIZE = 24;
const RECORD_HEADER_SIZE = 16;
const MAGIC_MICROSECONDS = 0xa1b2c3d4;

/**
 * Takes a pcap file apart while it is being written (format: draft-ietf-opsawg-pcap; little-endian, as tcpdump writes on this machine).
 *
 * `take` gets each whole frame, as a view that is valid during the call only, and the frame's size on the wire.
 */
export class PcapStream {
  readonly #take: (frame: Buffer, size: number) => void;
  #rest: Buffer = Buffer.alloc(0);
  #started = false;

  constructor(take: (frame: Buffer, size: number) => void) {
    this.#take = take;
  }

  /** @throws {RangeError} When the stream is no such pcap file. */
  push(chunk: Buffer): void {
    let data = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    if (!this.#started && data.length >= FILE_HEADER_SIZE) {
      if (data.readUInt32LE(0) !== MAGIC_MICROSECONDS) {
        throw new RangeError(`Cannot read pcap: it begins with 0x${data.readUInt32LE(0).toString(16)}, must be 0xa1b2c3d4`);
      }
      data = data.subarray(FILE_HEADER_SIZE);
      this.#started = true;
    }
    while (this.#started && data.length >= RECORD_HEADER_SIZE) {
      const captured = data.readUInt32LE(8);
      const end = RECORD_HEADER_SIZE + captured;
      if (data.length < end) break;
      this.#take(data.subarray(RECORD_HEADER_SIZE, end), data.readUInt32LE(12));
      data = data.subarray(end);
    }
    this.#rest = data;
  }
}
