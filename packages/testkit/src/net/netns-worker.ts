import { fileURLToPath } from 'node:url';
import { TestkitError, TestkitErrorCode } from '../core/errors.ts';
import { eachLine, type ManagedProcess, spawnIn } from '../core/managed-process.ts';
import type { Registry } from '../core/registry.ts';

const SCRIPT = fileURLToPath(new URL('../../helpers/netns-worker.mjs', import.meta.url));

/** A socket operation in another namespace that failed; `cause` of the socket is in `socketCode` (`ECONNREFUSED`, `ETIMEDOUT`…). */
export class WorkerError extends TestkitError {
  readonly socketCode: string;

  constructor(message: string, socketCode: string) {
    super(TestkitErrorCode.Worker, message);
    this.name = 'WorkerError';
    this.socketCode = socketCode;
  }
}

interface Answer {
  readonly id?: number;
  readonly ready?: true;
  readonly ok?: unknown;
  readonly error?: { readonly code: string; readonly message: string };
}

/**
 * A small Node process inside a network namespace that opens sockets there on request. A process can't have sockets in two namespaces, and
 * starting one for each request would cost 50 ms each. It ends with its creator, however that ends.
 */
export class NetnsWorker implements AsyncDisposable {
  readonly netns: string | undefined;
  readonly #process: ManagedProcess;
  readonly #waiting = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void; op: string }>();
  #nextId = 1;

  private constructor(netns: string | undefined, child: ManagedProcess) {
    this.netns = netns;
    this.#process = child;
  }

  static async start(netns: string | undefined, options: { readonly registry?: Registry } = {}): Promise<NetnsWorker> {
    const child = await spawnIn(netns, [process.execPath, SCRIPT], {
      stdin: 'pipe',
      rawStdout: true,
      what: 'testkit worker',
      ...(options.registry === undefined ? {} : { registry: options.registry }),
    });
    const worker = new NetnsWorker(netns, child);
    const ready = new Promise<void>((resolve, reject) => {
      eachLine(child.stdout!, (line) => {
        const answer = JSON.parse(line) as Answer;
        if (answer.ready === true) resolve();
        else worker.#take(answer);
      });
      void child.exited.then((exit) => {
        const error = new WorkerError(
          `Worker in namespace "${netns ?? '(own)'}" ended (${exit.signal ?? exit.code}): ${child.lastLines(5).join(' | ')}`,
          'EPIPE',
        );
        reject(error);
        for (const waiting of worker.#waiting.values()) waiting.reject(error);
        worker.#waiting.clear();
      });
    });
    await ready;
    return worker;
  }

  /** @throws {WorkerError} When the operation fails there, or the worker has ended. */
  async request<T>(op: string, parameters: Readonly<Record<string, unknown>>): Promise<T> {
    if (!this.#process.alive) throw new WorkerError(`Cannot ask for ${op}: the worker in "${this.netns ?? '(own)'}" has ended`, 'EPIPE');
    const id = this.#nextId++;
    const answer = new Promise<unknown>((resolve, reject) => this.#waiting.set(id, { resolve, reject, op }));
    this.#process.stdin!.write(`${JSON.stringify({ id, op, ...parameters })}\n`);
    return (await answer) as T;
  }

  async stop(): Promise<void> {
    this.#process.stdin?.end();
    await this.#process.stop(1_000);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  #take(answer: Answer): void {
    const waiting = this.#waiting.get(answer.id ?? 0);
    if (waiting === undefined) return;
    this.#waiting.delete(answer.id!);
    if (answer.error === undefined) waiting.resolve(answer.ok);
    else {
      const { code, message } = answer.error;
      waiting.reject(new WorkerError(`${waiting.op} in namespace "${this.netns ?? '(own)'}" failed: ${message} (${code})`, code));
    }
  }
}
