import { spawnSync } from 'node:child_process';
import { DatapathError } from '../errors.ts';

/** What a command said. */
export interface CommandResult {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command of the host in the calling thread's network namespace and waits for it. @throws {DatapathError} If it can't be started. */
export function tryCommand(command: string, args: readonly string[], input?: string): CommandResult {
  const result = spawnSync(command, args, {
    encoding: 'utf8',
    timeout: 20_000,
    maxBuffer: 64 << 20,
    ...(input !== undefined && { input }),
  });
  if (result.error || result.status === null) {
    const why = result.error?.message ?? `ended by ${result.signal}`;
    throw new DatapathError('WEFT_ERR_DATAPATH_COMMAND', `Cannot run ${command}: ${why}; is it installed and in the PATH?`);
  }
  return { status: result.status, stdout: result.stdout, stderr: result.stderr };
}

/** As {@link tryCommand}. @throws {DatapathError} `WEFT_ERR_DATAPATH_COMMAND` if it fails. */
export function runCommand(command: string, args: readonly string[], input?: string): string {
  const { status, stdout, stderr } = tryCommand(command, args, input);
  if (status === 0) return stdout;
  const said = (stderr || stdout).trim() || 'nothing';
  throw new DatapathError('WEFT_ERR_DATAPATH_COMMAND', `${command} ${args.join(' ')} failed with status ${status} and said: ${said}`);
}

/** Runs `ip -json …`. */
export function ipJson<T>(args: readonly string[]): T[] {
  const text = runCommand('ip', ['-json', ...args]).trim();
  return text === '' ? [] : (JSON.parse(text) as T[]);
}
