import { spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { CliError, CliErrorCode } from '../core/errors.ts';

export interface Lock {
  release(): void;
}

/**
 * Takes a lock that the kernel gives back when this process ends, however it ends: `flock` (util-linux) holds it as long as the pipe to it is open.
 *
 * @throws {CliError} `WEFT_ERR_CLI_ALREADY_RUNNING` when another process has it, `WEFT_ERR_CLI_PROCESS` when flock can't be run.
 */
export async function takeLock(path: string, who: string): Promise<Lock> {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  // A session of its own: Ctrl-C must not take the lock away while the owner still stops what it started.
  const child = spawn('flock', ['--nonblock', '--conflict-exit-code', '75', path, 'sh', '-c', 'echo taken; exec cat >/dev/null'], {
    stdio: ['pipe', 'pipe', 'pipe'],
    detached: true,
  });
  child.stdin.on('error', () => {});
  const outcome = await new Promise<'taken' | number | Error>((resolve) => {
    child.once('error', resolve);
    child.stdout.once('data', () => resolve('taken'));
    child.once('exit', (code) => resolve(code ?? -1));
  });
  if (outcome === 'taken') {
    child.unref();
    for (const stream of [child.stdin, child.stdout, child.stderr]) (stream as unknown as { unref?(): void }).unref?.();
    return { release: () => child.stdin.end() };
  }
  if (outcome === 75) throw new CliError(CliErrorCode.AlreadyRunning, `${who} runs already (it holds ${path}): use it, or stop it first`);
  const why = outcome instanceof Error ? outcome.message : `flock ended with exit status ${outcome}`;
  throw new CliError(CliErrorCode.Process, `Cannot lock ${path}: ${why}`);
}
