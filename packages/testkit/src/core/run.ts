import { spawn } from 'node:child_process';
import { CommandScope } from './command-scope.ts';
import { CommandError } from './errors.ts';

export interface RunOptions {
  /** Name of the network namespace to run in (`/run/netns/NAME`). Without it the command runs where the caller runs. */
  readonly netns?: string | undefined;
  /** After this time the command is ended by SIGKILL. Default 30,000. */
  readonly timeoutMs?: number;
  /** Written to the command's standard input, which is closed afterwards. Without it standard input is empty. */
  readonly input?: string | Uint8Array;
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /**
   * In a session of its own, so that a Ctrl-C at the terminal, which reaches all that run there, doesn't end it. For clean-ups, which a second
   * Ctrl-C must not break off.
   */
  readonly ownSession?: boolean;
  /** Resolve instead of throwing when the command ends with a status other than 0. A deadline or failed start throws all the same. */
  readonly allowFailure?: boolean;
}

export interface RunResult {
  readonly stdout: string;
  readonly stderr: string;
  /** Exit status, or -1 when a signal ended the command. */
  readonly code: number;
}

/**
 * Puts a command into a network namespace, and into nothing else.
 *
 * `ip netns exec` would mount a fresh sysfs as well, which hides `/sys/fs/bpf`: an agent started through it would not find its pins. The
 * price is that `/sys/class/net` goes on showing the devices of the namespace in which sysfs was mounted; ask netlink instead.
 */
export function inNetns(netns: string | undefined, argv: readonly string[]): string[] {
  return netns === undefined ? [...argv] : ['nsenter', `--net=/run/netns/${netns}`, '--', ...argv];
}

/**
 * Runs a command to its end and returns what it wrote. Arguments are an array and pass through no shell.
 *
 * A command started in a scope (see `CommandScope`) belongs to it: the clean-up of that scope waits for it, and ends it when it stays.
 *
 * @throws {CommandError} When the command can't be started, ends with a status other than 0 (unless `allowFailure`), or runs past `timeoutMs`.
 * @throws {Error} The scope's reason, when it is closed: its clean-up has begun, and nothing more is started.
 */
export async function run(command: string, args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  const { stdout, stderr, code } = await runBytes(command, args, options);
  return { stdout: stdout.toString('utf8'), stderr, code };
}

/** As `run`, for commands that write something other than text. */
export async function runBytes(
  command: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<{ readonly stdout: Buffer; readonly stderr: string; readonly code: number }> {
  CommandScope.throwIfClosed();
  const argv = inNetns(options.netns, [command, ...args]);
  const child = spawn(argv[0]!, argv.slice(1), {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { ...process.env, ...CommandScope.environment, ...options.env },
    detached: options.ownSession === true,
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
  });
  const stdout: Buffer[] = [];
  const stderr: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => stdout.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => stderr.push(chunk));
  // A command may end before it has read its input; its status tells more than EPIPE would.
  child.stdin.on('error', () => {});
  child.stdin.end(options.input);

  let timedOut = false;
  const timer = setTimeout(() => {
    timedOut = true;
    child.kill('SIGKILL');
  }, options.timeoutMs ?? 30_000);
  const ended = new Promise<{ code: number | null; signal: NodeJS.Signals | null; cause?: Error }>((resolve) => {
    child.once('error', (cause) => resolve({ code: null, signal: null, cause }));
    child.once('close', (code, signal) => resolve({ code, signal }));
  });
  CommandScope.add({ ended, kill: (signal) => child.kill(signal) });
  const ending = await ended;
  clearTimeout(timer);

  const result = {
    stdout: Buffer.concat(stdout),
    stderr: Buffer.concat(stderr).toString('utf8'),
  };
  if (ending.cause !== undefined || timedOut || (ending.code !== 0 && options.allowFailure !== true)) {
    const stderrText = ending.cause === undefined ? result.stderr : ending.cause.message;
    throw new CommandError(
      { argv, exitCode: ending.code, signal: ending.signal, stdout: result.stdout.toString('utf8'), stderr: stderrText, timedOut },
      ending.cause === undefined ? undefined : { cause: ending.cause },
    );
  }
  return { ...result, code: ending.code ?? -1 };
}
