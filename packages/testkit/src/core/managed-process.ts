import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, fstatSync, mkdirSync, openSync, readFileSync, readSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { CommandScope } from './command-scope.ts';
import { TestkitError, TestkitErrorCode } from './errors.ts';
import { identifyProcess, isProcessAlive, type ProcessIdentity, signalProcess } from './process-identity.ts';
import type { Registry } from './registry.ts';
import { inNetns } from './run.ts';
import { waitFor } from './wait.ts';

export interface SpawnOptions {
  /** Added to the caller's own environment. */
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /**
   * Standard output and error go to the end of this file (made, with its directories, if absent). The process then doesn't depend on its
   * creator: it may outlive it. Without it both are kept in memory, the last `maxLines` lines of them.
   */
  readonly logFile?: string;
  /** Lines kept in memory when there is no log file. Default 2,000. */
  readonly maxLines?: number;
  /** `pipe` gives `stdin`, for processes that are talked to. Default `ignore`. */
  readonly stdin?: 'ignore' | 'pipe';
  /** Only without a log file: gives standard output raw as `stdout`, not kept as lines. */
  readonly rawStdout?: boolean;
  /** Where the process is recorded, so that a later run can end it. */
  readonly registry?: Registry;
  /** What the record calls it. Default: the command. */
  readonly what?: string;
  /** Let the creator exit while this process runs on. Needs `logFile`. */
  readonly outlive?: boolean;
  readonly onExit?: (exit: ProcessExit) => void;
}

export interface ProcessExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

const ENDING_SIGNALS: ReadonlySet<NodeJS.Signals> = new Set(['SIGKILL', 'SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT', 'SIGABRT']);

/** A process that the test kit started, told apart from any other by pid and start time. */
export class ManagedProcess implements ProcessIdentity {
  readonly pid: number;
  /** `/proc/PID/stat` field 22: clock ticks from boot to the start of the process. */
  readonly startTime: number;
  readonly argv: readonly string[];
  readonly logFile: string | undefined;
  readonly exited: Promise<ProcessExit>;
  readonly stdin: Writable | undefined;
  readonly stdout: Readable | undefined;
  readonly #lines: string[] = [];
  readonly #child: ChildProcess;
  readonly #logStart: number;
  #exit: ProcessExit | undefined;
  #outputEnded = false;
  #endAsked = false;

  /** @internal Use `spawnIn`. */
  constructor(child: ChildProcess, identity: ProcessIdentity, argv: readonly string[], options: SpawnOptions, logStart: number) {
    this.#child = child;
    this.pid = identity.pid;
    this.startTime = identity.startTime;
    this.argv = argv;
    this.logFile = options.logFile;
    this.stdin = child.stdin ?? undefined;
    this.stdout = options.rawStdout === true ? (child.stdout ?? undefined) : undefined;
    this.exited = new Promise((resolve) => {
      child.once('exit', (code, signal) => {
        this.#exit = { code, signal };
        options.onExit?.(this.#exit);
        resolve(this.#exit);
      });
    });
    // Output may still be in the pipes when a process exits.
    child.once('close', () => {
      this.#outputEnded = true;
    });
    this.#logStart = logStart;
    child.stdin?.on('error', () => {});
    const maxLines = options.maxLines ?? 2_000;
    const keep = (line: string): void => {
      this.#lines.push(line);
      if (this.#lines.length > maxLines) this.#lines.splice(0, this.#lines.length - maxLines);
    };
    if (this.stdout === undefined && child.stdout !== null) eachLine(child.stdout, keep);
    if (child.stderr !== null) eachLine(child.stderr, keep);
  }

  get alive(): boolean {
    return this.#exit === undefined && isProcessAlive(this);
  }

  /** The exit, or undefined while the process runs. */
  get exit(): ProcessExit | undefined {
    return this.#exit;
  }

  /** Whether `kill` or `stop` has told it to end. A process that ended without died by itself, or by a hand from outside. */
  get endAsked(): boolean {
    return this.#endAsked;
  }

  /** Sends a signal; says whether there was a process to send it to. */
  kill(signal: NodeJS.Signals = 'SIGKILL'): boolean {
    if (ENDING_SIGNALS.has(signal)) this.#endAsked = true;
    return this.#exit === undefined && signalProcess(this, signal);
  }

  /** SIGTERM, then SIGKILL if the process still runs after `graceMs`. Returns at once when it has ended already. */
  async stop(graceMs = 3_000): Promise<ProcessExit> {
    if (this.#exit !== undefined) return this.#exit;
    this.kill('SIGTERM');
    const timer = setTimeout(() => this.kill('SIGKILL'), graceMs);
    try {
      return await this.exited;
    } finally {
      clearTimeout(timer);
    }
  }

  /** The last lines that the process wrote, for the message of a failing test. */
  lastLines(count = 40): string[] {
    if (this.logFile === undefined) return this.#lines.slice(-count);
    const lines = readFileSync(this.logFile, 'utf8').split('\n');
    if (lines.at(-1) === '') lines.pop();
    return lines.slice(-count);
  }

  /**
   * Waits until the process has written a line that matches, now or before. Lines that an earlier process left in the same log file don't count.
   *
   * @throws {TestkitError} `WEFT_ERR_TESTKIT_PROCESS` when the process ends first, with its last lines.
   * @throws {DeadlineError} After `deadlineMs`.
   */
  async waitForLine(pattern: RegExp, deadlineMs = 10_000): Promise<string> {
    const look = this.logFile === undefined ? (): string[] => this.#lines : this.#logReader(this.logFile);
    const found = await waitFor(
      () => {
        // Asked before the lines are looked at: what ended has no more to say.
        const ended = this.#outputEnded;
        const line = look().find((candidate) => pattern.test(candidate));
        return line !== undefined ? { line } : ended ? { line: undefined } : undefined;
      },
      { what: `"${this.argv.join(' ')}" to write ${pattern}`, deadlineMs, show: () => `its last lines:\n${this.lastLines(15).join('\n')}` },
    );
    if (found.line !== undefined) return found.line;
    throw new TestkitError(
      TestkitErrorCode.Process,
      `Process "${this.argv.join(' ')}" ended (${this.#exit?.signal ?? this.#exit?.code}) before it wrote ${pattern}:\n${this.lastLines(25).join('\n')}`,
    );
  }

  /** Each call gives the whole lines that this process has added to its log file since the last one. */
  #logReader(logFile: string): () => string[] {
    let offset = this.#logStart;
    return () => {
      const fd = openSync(logFile, 'r');
      try {
        const fresh = Buffer.alloc(Math.max(0, fstatSync(fd).size - offset));
        const size = readSync(fd, fresh, 0, fresh.length, offset);
        const text = fresh.subarray(0, size);
        const end = this.#outputEnded ? size : text.lastIndexOf(10) + 1;
        offset += end;
        return text.subarray(0, end).toString('utf8').split('\n');
      } finally {
        closeSync(fd);
      }
    };
  }

  /** Lets Node exit while the process runs. */
  unref(): void {
    this.#child.unref();
  }
}

/**
 * Starts a process, in a network namespace or in the caller's own, in a session of its own: a Ctrl-C at the terminal reaches the creator
 * only, which then cleans up in order.
 *
 * @throws {TestkitError} `WEFT_ERR_TESTKIT_PROCESS` when the command can't be started. Inside a namespace it is `nsenter` that starts, so a
 *   missing command shows as exit status 127 of the process instead.
 * @throws {TestkitError} `WEFT_ERR_TESTKIT_LAB` when the registry's lab is being removed or has been. Nothing runs then.
 */
export async function spawnIn(netns: string | undefined, argv: readonly string[], options: SpawnOptions = {}): Promise<ManagedProcess> {
  if (options.outlive === true && options.logFile === undefined) {
    throw new RangeError(`Cannot let "${argv.join(' ')}" outlive its creator without a log file: its output would have nowhere to go`);
  }
  CommandScope.throwIfClosed();
  options.registry?.throwIfClosed();
  const whole = inNetns(netns, argv);
  let logFd: number | undefined;
  let logStart = 0;
  if (options.logFile !== undefined) {
    mkdirSync(dirname(options.logFile), { recursive: true });
    logFd = openSync(options.logFile, 'a');
    logStart = fstatSync(logFd).size;
  }
  const output = logFd ?? 'pipe';
  const child = spawn(whole[0]!, whole.slice(1), {
    detached: true,
    stdio: [options.stdin ?? 'ignore', output, output],
    env: { ...process.env, ...CommandScope.environment, ...options.registry?.environment, ...options.env },
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
  });
  if (logFd !== undefined) closeSync(logFd);
  // Before the event loop runs again: until then even a process that has ended is unreaped and can be identified.
  const identity = child.pid === undefined ? undefined : identifyProcess(child.pid);
  if (identity === undefined) {
    const cause = await new Promise<Error>((resolve) => child.once('error', resolve));
    throw new TestkitError(TestkitErrorCode.Process, `Cannot start "${whole.join(' ')}": ${cause.message}`, { cause });
  }
  try {
    options.registry?.recordProcess(identity, options.what ?? argv.join(' '));
  } catch (error) {
    // Another process has begun to remove the lab in this moment: what is in no record must not run.
    child.once('error', () => {});
    signalProcess(identity, 'SIGKILL');
    throw error;
  }
  const managed = new ManagedProcess(child, identity, whole, options, logStart);
  if (options.outlive === true) managed.unref();
  return managed;
}

/** Calls `take` for each whole line of a stream, and for what is left without a line's end when it closes. */
export function eachLine(stream: Readable, take: (line: string) => void): void {
  let rest = '';
  stream.setEncoding('utf8');
  stream.on('data', (chunk: string) => {
    const parts = (rest + chunk).split('\n');
    rest = parts.pop()!;
    for (const line of parts) take(line);
  });
  stream.on('close', () => {
    if (rest !== '') take(rest);
    rest = '';
  });
}
