import { type ChildProcess, spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Backoff, defaultBackoff, nextWait } from './backoff.ts';

/** A process that is kept running. */
export interface Service {
  readonly name: string;
  readonly argv: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Resolves when the process does its work; rejects, or is aborted, when it does not. Called after each start. */
  readonly ready?: (signal: AbortSignal) => Promise<void>;
  /** How long it may take to end after SIGTERM, in ms, before SIGKILL. Default 5 s. */
  readonly graceMs?: number;
}

/** What a supervisor tells. */
export type ServiceEvent =
  | { readonly kind: 'started'; readonly name: string; readonly pid: number }
  | { readonly kind: 'ready'; readonly name: string; readonly pid: number }
  | { readonly kind: 'ended'; readonly name: string; readonly how: string; readonly restartInMs: number }
  | { readonly kind: 'line'; readonly name: string; readonly line: string }
  | { readonly kind: 'stopped'; readonly name: string };

export interface SupervisorInit {
  readonly onEvent: (event: ServiceEvent) => void;
  readonly backoff?: Backoff;
}

/**
 * Starts a process and starts it again whenever it ends, until told to stop.
 *
 * The child gets SIGTERM from the kernel when this process dies (`setpriv --pdeathsig`), so that a `kill -9` of the parent leaves no half of an
 * installation behind, which the next start would collide with. What the agent has put into the kernel stays, and goes on forwarding.
 */
export class SupervisedService {
  readonly service: Service;
  readonly #init: SupervisorInit;
  #child: ChildProcess | undefined;
  #stopping = false;
  #loop: Promise<void> | undefined;
  readonly #stop = new AbortController();

  constructor(service: Service, init: SupervisorInit) {
    this.service = service;
    this.#init = init;
  }

  /** The running process, undefined between two lives. */
  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /**
   * Starts it and waits until it is ready for the first time.
   *
   * @throws What `ready` throws at the first start. A later failure is told by an event and tried again.
   */
  async start(): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#loop = this.#run(resolve, reject);
    });
  }

  /** Ends the process (SIGTERM, then SIGKILL after its grace) and does not start it again. */
  async stop(): Promise<void> {
    if (this.#stopping) return this.#loop;
    this.#stopping = true;
    this.#stop.abort();
    const child = this.#child;
    if (child !== undefined) {
      child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), this.service.graceMs ?? 5_000);
      await this.#loop;
      clearTimeout(timer);
    } else await this.#loop;
    this.#init.onEvent({ kind: 'stopped', name: this.service.name });
  }

  async #run(firstReady: () => void, firstFailed: (error: unknown) => void): Promise<void> {
    const { name } = this.service;
    let deaths = 0;
    while (!this.#stopping) {
      const startedMs = performance.now();
      const life = new AbortController();
      const ended = this.#spawn();
      const pid = this.#child?.pid;
      if (pid !== undefined) {
        this.#init.onEvent({ kind: 'started', name, pid });
        const ready = this.service.ready?.(AbortSignal.any([life.signal, this.#stop.signal])) ?? Promise.resolve();
        ready.then(
          () => {
            if (!life.signal.aborted) this.#init.onEvent({ kind: 'ready', name, pid });
            firstReady();
          },
          (error: unknown) => firstFailed(error),
        );
      }
      const how = await ended;
      life.abort(new Error(`${name} ended (${how}) before it was ready`));
      if (pid === undefined) firstFailed(new Error(`Cannot start ${name}: ${how}`));
      this.#child = undefined;
      if (this.#stopping) return;
      const next = nextWait(this.#init.backoff ?? defaultBackoff, deaths, performance.now() - startedMs);
      deaths = next.deaths;
      this.#init.onEvent({ kind: 'ended', name, how, restartInMs: next.waitMs });
      await sleep(next.waitMs, undefined, { signal: this.#stop.signal }).catch(() => {});
    }
    firstFailed(new Error(`${name} was stopped`));
  }

  /** Resolves with how the process ended. */
  #spawn(): Promise<string> {
    const { argv, env, name } = this.service;
    const child = spawn('setpriv', ['--pdeathsig', 'TERM', ...argv], {
      stdio: ['ignore', 'pipe', 'pipe'],
      // A session of its own: Ctrl-C at the terminal reaches the supervisor only, which stops its children in order.
      detached: true,
      env: { ...process.env, ...env },
    });
    this.#child = child;
    for (const stream of [child.stdout, child.stderr]) {
      let rest = '';
      stream.setEncoding('utf8');
      stream.on('data', (chunk: string) => {
        const lines = (rest + chunk).split('\n');
        rest = lines.pop()!;
        for (const line of lines) this.#init.onEvent({ kind: 'line', name, line });
      });
    }
    return new Promise((resolve) => {
      child.once('error', (error) => resolve(error.message));
      child.once('exit', (code, signal) => resolve(signal !== null ? `signal ${signal}` : `exit status ${code}`));
    });
  }
}
