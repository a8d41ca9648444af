import { chmodSync, mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { CliError, CliErrorCode } from './errors.ts';

/** Why the system refused, in words. */
function reasonOf(error: unknown): string {
  const code = (error as NodeJS.ErrnoException).code;
  if (code === 'ENOENT') return 'there is no such file';
  if (code === 'EACCES' || code === 'EPERM') return 'permission denied (try as root)';
  if (code === 'EISDIR') return 'it is a directory';
  return error instanceof Error ? error.message : String(error);
}

/**
 * Reads a text file.
 *
 * @throws {CliError} `WEFT_ERR_CLI_FILE` naming `what` the file is to the command.
 */
export function readText(path: string, what: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw new CliError(CliErrorCode.File, `Cannot read ${what} ${path}: ${reasonOf(error)}`, { cause: error });
  }
}

/** Like `readText`, but undefined when there is no such file. */
export function readTextIfThere(path: string, what: string): string | undefined {
  try {
    statSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
  }
  return readText(path, what);
}

/**
 * Writes a file whole or not at all (written beside it, then renamed), with its directories. Secrets are given mode 0600 before their first byte.
 *
 * @throws {CliError} `WEFT_ERR_CLI_FILE`
 */
export function writeWhole(path: string, content: string, options: { readonly secret?: boolean } = {}): void {
  const mode = options.secret === true ? 0o600 : 0o644;
  const beside = `${path}.${process.pid}.new`;
  try {
    mkdirSync(dirname(path), { recursive: true, mode: options.secret === true ? 0o700 : 0o755 });
    writeFileSync(beside, content, { mode, flag: 'wx' });
    chmodSync(beside, mode);
    renameSync(beside, path);
  } catch (error) {
    throw new CliError(CliErrorCode.File, `Cannot write ${path}: ${reasonOf(error)}`, { cause: error });
  }
}

/**
 * Checks that nobody but the owner can read a file that holds a secret.
 *
 * @throws {CliError} `WEFT_ERR_CLI_FILE` with the command that mends it.
 */
export function requireSecret(path: string, what: string): void {
  const mode = statSync(path, { throwIfNoEntry: false })?.mode;
  if (mode !== undefined && (mode & 0o077) !== 0) {
    throw new CliError(
      CliErrorCode.File,
      `Refusing ${what} ${path}: mode ${(mode & 0o777).toString(8)} lets others read a secret; run "chmod 600 ${path}"`,
    );
  }
}
