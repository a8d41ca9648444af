import { open, readFile, rename } from 'node:fs/promises';
import { crc32 } from 'node:zlib';

const MAGIC = Buffer.from('WEFTNLG1');
const HEAD_BYTES = 8;
/** A file smaller than this is not written anew to make it shorter. */
const COMPACT_BYTES = 1 << 20;

export interface NatLogSpoolInit {
  readonly path: string;
  /** Records that may wait, in bytes. */
  readonly maxBytes: number;
  /** The file can't be written: what waits is in memory only. `undefined`: it works again. */
  readonly onProblem: (reason: string | undefined) => void;
}

/**
 * Records that wait for NATS, in the order in which they came, in memory and in a file: what an agent that is killed had not delivered, the next one
 * delivers. The file is appended to and not synced: after a power cut the successor tells what is still held. It is emptied when nothing waits.
 *
 * Layout: `WEFTNLG1`, then of each record its length (u32), the CRC-32 of it (u32) and itself. A record cut short ends the file.
 */
export class NatLogSpool {
  readonly #init: NatLogSpoolInit;
  #waiting: Uint8Array[] = [];
  #bytes = 0;
  #fileBytes = 0;
  #drafts: Uint8Array[] = [];
  #writing: Promise<void> = Promise.resolve();
  #isWriting = false;

  constructor(init: NatLogSpoolInit) {
    this.#init = init;
  }

  /** Takes up what the last run left. @returns Bytes at the end of the file that are no record: the last one was being written. */
  async start(): Promise<number> {
    let file: Buffer;
    try {
      file = await readFile(this.#init.path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') this.#init.onProblem((error as Error).message);
      return 0;
    }
    const found: Uint8Array[] = [];
    let at = file.subarray(0, MAGIC.length).equals(MAGIC) ? MAGIC.length : 0;
    while (at > 0 && at + HEAD_BYTES <= file.length) {
      const length = file.readUInt32LE(at);
      const record = file.subarray(at + HEAD_BYTES, at + HEAD_BYTES + length);
      if (record.length < length || crc32(record) !== file.readUInt32LE(at + 4)) break;
      found.push(new Uint8Array(record));
      at += HEAD_BYTES + length;
    }
    this.#waiting = [...found, ...this.#waiting];
    this.#bytes += found.reduce((sum, one) => sum + HEAD_BYTES + one.length, 0);
    this.#fileBytes = file.length;
    // New records must not stand behind what can't be read.
    if (at < file.length) await this.#later(() => this.#rewrite());
    return file.length - at;
  }

  /** @returns False: there is no room, the record is lost. */
  add(record: Uint8Array): boolean {
    if (this.#bytes + HEAD_BYTES + record.length > this.#init.maxBytes) return false;
    this.#waiting.push(record);
    this.#bytes += HEAD_BYTES + record.length;
    this.#drafts.push(record);
    this.#flush();
    return true;
  }

  get size(): number {
    return this.#waiting.length;
  }

  /** The oldest ones. */
  first(count: number): readonly Uint8Array[] {
    return this.#waiting.slice(0, count);
  }

  /** The oldest ones are where they belong. */
  delivered(count: number): void {
    for (const record of this.#waiting.splice(0, count)) this.#bytes -= HEAD_BYTES + record.length;
    if (this.#waiting.length === 0 || (this.#fileBytes > COMPACT_BYTES && this.#fileBytes > 2 * this.#bytes)) {
      void this.#later(() => (this.#fileBytes > MAGIC.length ? this.#rewrite() : Promise.resolve()));
    }
  }

  /** Resolves when all that was added is in the file. */
  async stop(): Promise<void> {
    this.#flush();
    await this.#writing;
  }

  /** Writes what has come since the last write, all at once. */
  #flush(): void {
    if (this.#isWriting || this.#drafts.length === 0) return;
    this.#isWriting = true;
    void this.#later(async () => {
      this.#isWriting = false;
      await this.#append(this.#drafts.splice(0));
    });
  }

  #later(work: () => Promise<void>): Promise<void> {
    this.#writing = this.#writing.then(work).then(
      () => this.#init.onProblem(undefined),
      (error: unknown) => this.#init.onProblem((error as Error).message),
    );
    return this.#writing;
  }

  async #append(records: readonly Uint8Array[]): Promise<void> {
    if (records.length === 0) return;
    // What was written in part, by a full disk, must not stand before what is whole.
    if (!Number.isFinite(this.#fileBytes)) return this.#rewrite();
    const bytes = Buffer.concat([...(this.#fileBytes === 0 ? [MAGIC] : []), ...records.map(framed)]);
    const before = this.#fileBytes;
    this.#fileBytes = Number.POSITIVE_INFINITY;
    const file = await open(this.#init.path, 'a', 0o600);
    try {
      await file.writeFile(bytes);
    } finally {
      await file.close();
    }
    this.#fileBytes = before + bytes.length;
  }

  /** The file anew, with what waits now. */
  async #rewrite(): Promise<void> {
    this.#drafts = [];
    const bytes = Buffer.concat([MAGIC, ...this.#waiting.map(framed)]);
    const draft = `${this.#init.path}.tmp`;
    const file = await open(draft, 'w', 0o600);
    try {
      await file.writeFile(bytes);
    } finally {
      await file.close();
    }
    await rename(draft, this.#init.path);
    this.#fileBytes = bytes.length;
  }
}

function framed(record: Uint8Array): Buffer {
  const frame = Buffer.alloc(HEAD_BYTES + record.length);
  frame.writeUInt32LE(record.length, 0);
  frame.writeUInt32LE(crc32(record), 4);
  frame.set(record, HEAD_BYTES);
  return frame;
}
