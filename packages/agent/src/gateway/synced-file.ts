import { createHash } from 'node:crypto';
import { open, readFile, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';

const MAGIC = 'WEFTSYN1';
const HASH_BYTES = 32;

/**
 * A small file that is on disk when `write` resolves: written aside, fsynced, renamed, its directory fsynced. Off the main thread, since a slow disk
 * must not delay heartbeats.
 *
 * Layout: `WEFTSYN1`, SHA-256 of the content, content. A file cut short or damaged reads as damaged, never as something older.
 */
export class SyncedFile {
  readonly path: string;
  #last: Promise<unknown> = Promise.resolve();

  constructor(path: string) {
    this.path = path;
  }

  /** What was written last; undefined if there is no file. @throws {Error} If it is damaged or unreadable, saying why. */
  async read(): Promise<Uint8Array | undefined> {
    let bytes: Buffer;
    try {
      bytes = await readFile(this.path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
    if (bytes.subarray(0, MAGIC.length).toString('latin1') !== MAGIC) throw new Error(`${this.path} is not of a format this version knows`);
    const content = bytes.subarray(MAGIC.length + HASH_BYTES);
    const hash = bytes.subarray(MAGIC.length, MAGIC.length + HASH_BYTES);
    if (hash.length < HASH_BYTES || !createHash('sha256').update(content).digest().equals(hash)) throw new Error(`${this.path} is damaged`);
    return new Uint8Array(content);
  }

  /** Replaces the content. Writes go one after the other, in the order asked for. @throws What the file system says. */
  write(content: Uint8Array): Promise<void> {
    const next = this.#last.then(
      () => this.#write(content),
      () => this.#write(content),
    );
    this.#last = next.catch(() => {});
    return next;
  }

  /** Takes the file away, if there is one. @throws What the file system says. */
  async remove(): Promise<void> {
    await this.#last;
    await rm(this.path, { force: true });
  }

  async #write(content: Uint8Array): Promise<void> {
    const draft = `${this.path}.tmp`;
    const file = await open(draft, 'w', 0o600);
    try {
      await file.writeFile(Buffer.concat([Buffer.from(MAGIC, 'latin1'), createHash('sha256').update(content).digest(), content]));
      await file.datasync();
    } finally {
      await file.close();
    }
    await rename(draft, this.path);
    const directory = await open(dirname(this.path), 'r');
    try {
      await directory.sync();
    } finally {
      await directory.close();
    }
  }
}
