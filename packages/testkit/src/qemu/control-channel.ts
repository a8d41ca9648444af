import { connect, type Socket } from 'node:net';
import { CommandError, TestkitError, TestkitErrorCode } from '../core/errors.ts';
import { eachLine } from '../core/managed-process.ts';
import type { RunResult } from '../core/run.ts';
import type { ExecOptions } from '../net/netns.ts';

interface Waiting {
  readonly resolve: (answer: { code: number; stdout: Buffer; stderr: Buffer }) => void;
  readonly reject: (error: Error) => void;
}

/**
 * Runs commands in a guest through its control port (see `GUEST_INIT` for the form of requests and answers). One program at a time can be
 * connected to a guest; requests of one program may overlap.
 */
export class GuestControl {
  readonly #socket: Socket;
  readonly #guest: string;
  readonly #waiting = new Map<string, Waiting>();
  // Answers to a program that was connected before may still come; their ids must not be taken for ours.
  readonly #prefix = `${process.pid}-${Date.now().toString(36)}-`;
  #nextId = 1;
  #closed: string | undefined;

  private constructor(guest: string, socket: Socket) {
    this.#guest = guest;
    this.#socket = socket;
    eachLine(socket, (line) => this.#take(line));
    socket.on('error', () => {});
    socket.on('close', () => this.#end('the control connection closed'));
    // Ends what a program before us may have left unfinished.
    socket.write('\n');
  }

  static async open(guest: string, path: string): Promise<GuestControl> {
    const socket = connect({ path });
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve);
      socket.once('error', reject);
    });
    return new GuestControl(guest, socket);
  }

  /**
   * Runs a command in the guest.
   *
   * @throws {CommandError} As `run` does.
   * @throws {TestkitError} `WEFT_ERR_TESTKIT_GUEST` when the connection to the guest ends first.
   */
  async exec(argv: readonly string[], options: ExecOptions = {}): Promise<RunResult> {
    if (argv.length === 0) throw new RangeError(`Cannot run an empty command in guest "${this.#guest}"`);
    if (this.#closed !== undefined)
      throw new TestkitError(TestkitErrorCode.Guest, `Cannot run "${argv.join(' ')}" in guest "${this.#guest}": ${this.#closed}`);
    const timeoutMs = options.timeoutMs ?? 30_000;
    const id = this.#prefix + this.#nextId++;
    const started = performance.now();
    const seconds = Math.max(1, Math.ceil(timeoutMs / 1000));
    const script = `exec ${argv.map(shellQuote).join(' ')}\n`;
    const answer = new Promise<{ code: number; stdout: Buffer; stderr: Buffer }>((resolve, reject) =>
      this.#waiting.set(id, { resolve, reject }),
    );
    this.#socket.write(`${id} ${seconds} ${encode(script)} ${encode(options.input ?? '')}\n`);

    const failure = (fields: { exitCode: number | null; stdout?: string; stderr?: string; timedOut: boolean }): CommandError =>
      new CommandError({ argv: [`${this.#guest}:`, ...argv], signal: null, stdout: '', stderr: '', ...fields });
    let timer: NodeJS.Timeout | undefined;
    try {
      const late = new Promise<never>((_, reject) => {
        // The guest ends the command itself; this is for a guest that hangs.
        timer = setTimeout(() => reject(failure({ exitCode: null, timedOut: true })), seconds * 1000 + 2_000);
      });
      const { code, stdout, stderr } = await Promise.race([answer, late]);
      const result = { stdout: stdout.toString('utf8'), stderr: stderr.toString('utf8'), code };
      const timedOut = code === 137 && performance.now() - started >= seconds * 1000;
      if (timedOut || (code !== 0 && options.allowFailure !== true)) {
        throw failure({ exitCode: code, stdout: result.stdout, stderr: result.stderr, timedOut });
      }
      return result;
    } finally {
      clearTimeout(timer);
      this.#waiting.delete(id);
    }
  }

  close(): void {
    this.#end('the control connection was closed');
    this.#socket.destroy();
  }

  #take(line: string): void {
    const [id, code, stdout, stderr] = line.trimEnd().split(' ');
    const waiting = this.#waiting.get(id ?? '');
    if (waiting === undefined || stderr === undefined) return;
    waiting.resolve({ code: Number(code), stdout: decode(stdout!), stderr: decode(stderr) });
  }

  #end(why: string): void {
    this.#closed ??= why;
    for (const waiting of this.#waiting.values()) {
      waiting.reject(new TestkitError(TestkitErrorCode.Guest, `Guest "${this.#guest}": ${this.#closed}`));
    }
    this.#waiting.clear();
  }
}

/** One word for a POSIX shell, whatever it holds. */
export function shellQuote(word: string): string {
  return /^[A-Za-z0-9_./:=@%+,-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

function encode(data: string | Uint8Array): string {
  return data.length === 0 ? '-' : Buffer.from(data).toString('base64');
}

function decode(field: string): Buffer {
  return field === '-' ? Buffer.alloc(0) : Buffer.from(field, 'base64');
}
