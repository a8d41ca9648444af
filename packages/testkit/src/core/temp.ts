import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface TempDir extends Disposable {
  readonly path: string;
  /** Removes the directory and all in it. May be called more than once. */
  remove(): void;
}

/** Makes an empty directory of its own for the caller, in the system's directory for such. */
export function tempDir(prefix = 'weft-'): TempDir {
  const path = mkdtempSync(join(tmpdir(), prefix));
  const remove = (): void => rmSync(path, { recursive: true, force: true });
  return { path, remove, [Symbol.dispose]: remove };
}

/** A name that no other test on this machine has: `prefix` and 6 characters of a-z and 2-7. Fits where names are short. */
export function uniqueName(prefix: string): string {
  const letters = 'abcdefghijklmnopqrstuvwxyz234567';
  return prefix + Array.from(randomBytes(6), (byte) => letters[byte % 32]).join('');
}
