import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { TestkitError, TestkitErrorCode } from '../core/errors.ts';
import { type ManagedProcess, spawnIn } from '../core/managed-process.ts';
import type { Registry } from '../core/registry.ts';
import { waitFor } from '../core/wait.ts';
import { NetnsWorker } from '../net/netns-worker.ts';
import { type NatsConfigInit, natsConfig } from './nats-config.ts';

export interface NatsServerInit {
  /** Working directory: configuration, JetStream store and log. Made if absent; the caller removes it. */
  readonly dir: string;
  readonly serverName?: string;
  /** Address to listen on. Default 127.0.0.1. */
  readonly host?: string;
  /** Client port. 0, the default, takes a free one; it then stays the same over restarts. */
  readonly port?: number;
  readonly netns?: string;
  readonly registry?: Registry;
  readonly cluster?: NatsConfigInit['cluster'];
  /** Lines added to the configuration as they are. */
  readonly extraConfig?: string;
  /** Lets the server run on when this process ends. */
  readonly outlive?: boolean;
  /** Default `nats-server`, from PATH and /usr/sbin. */
  readonly binary?: string;
  readonly deadlineMs?: number;
}

const DEFAULT_DEADLINE_MS = 15_000;

/** A real nats-server with JetStream and a store of its own. */
export class NatsServer implements AsyncDisposable {
  readonly serverName: string;
  readonly host: string;
  readonly netns: string | undefined;
  readonly dir: string;
  readonly logFile: string;
  readonly #init: NatsServerInit;
  #port: number;
  #httpPort = -1;
  #process: ManagedProcess | undefined;
  #worker: NetnsWorker | undefined;

  private constructor(init: NatsServerInit) {
    this.#init = init;
    this.serverName = init.serverName ?? 'nats';
    this.host = init.host ?? '127.0.0.1';
    this.netns = init.netns;
    this.dir = init.dir;
    this.logFile = join(init.dir, 'nats-server.log');
    this.#port = init.port === undefined || init.port === 0 ? -1 : init.port;
  }

  /**
   * Starts a server and returns once it has greeted a connection.
   *
   * @throws {TestkitError} `WEFT_ERR_TESTKIT_PROCESS` when it ends at once (port in use, bad configuration), with the end of its log.
   * @throws {DeadlineError} After `deadlineMs` (default 15,000).
   */
  static async start(init: NatsServerInit): Promise<NatsServer> {
    const server = new NatsServer(init);
    await server.launch();
    await server.ready();
    return server;
  }

  /** Like `start`, but returns as soon as the process runs; for clusters, whose members need each other. */
  static async launch(init: NatsServerInit): Promise<NatsServer> {
    const server = new NatsServer(init);
    await server.launch();
    return server;
  }

  /** Client port. -1 until the server has chosen it. */
  get port(): number {
    return this.#port;
  }

  /** For clients: `nats://127.0.0.1:41234`. */
  get url(): string {
    return `nats://${this.host}:${this.#port}`;
  }

  get process(): ManagedProcess | undefined {
    return this.#process;
  }

  get running(): boolean {
    return this.#process?.alive === true;
  }

  private async launch(): Promise<void> {
    const portsDir = join(this.dir, 'ports');
    rmSync(portsDir, { recursive: true, force: true });
    mkdirSync(portsDir, { recursive: true });
    const config = join(this.dir, 'nats-server.conf');
    const { cluster, extraConfig } = this.#init;
    writeFileSync(
      config,
      natsConfig({
        serverName: this.serverName,
        host: this.host,
        port: this.#port,
        httpPort: this.#httpPort,
        storeDir: join(this.dir, 'store'),
        portsDir,
        ...(cluster === undefined ? {} : { cluster }),
        ...(extraConfig === undefined ? {} : { extra: extraConfig }),
      }),
    );
    const { registry, outlive } = this.#init;
    this.#process = await spawnIn(this.netns, [this.#init.binary ?? 'nats-server', '-c', config], {
      env: { PATH: `${process.env.PATH ?? ''}:/usr/sbin:/usr/local/bin` },
      logFile: this.logFile,
      what: `nats-server ${this.serverName}`,
      ...(registry === undefined ? {} : { registry }),
      ...(outlive === undefined ? {} : { outlive }),
    });
  }

  /** Waits until the server greets a connection (`INFO …`), and learns its ports. */
  async ready(): Promise<void> {
    const deadlineMs = this.#init.deadlineMs ?? DEFAULT_DEADLINE_MS;
    const child = this.#process;
    if (child === undefined) throw new TestkitError(TestkitErrorCode.Process, `NATS server "${this.serverName}" has not been launched`);
    const worker = await this.worker();
    const outcome = await waitFor(
      async () => {
        if (!child.alive) return { ended: true as const };
        if (this.#port === -1 || this.#httpPort === -1) this.#learnPorts();
        if (this.#port === -1) return undefined;
        const { greeting } = await worker.request<{ greeting: string }>('tcpGreeting', {
          host: this.host,
          port: this.#port,
          timeoutMs: 1_000,
        });
        // Another server that has taken the port would greet as well.
        return greeting.startsWith('INFO ') && greeting.includes(`"server_name":"${this.serverName}"`)
          ? { ended: false as const }
          : undefined;
      },
      { what: `nats-server "${this.serverName}" to greet at ${this.host}:${this.#port} (log: ${this.logFile})`, deadlineMs },
    );
    if (outcome.ended) {
      const exit = await child.exited;
      throw new TestkitError(
        TestkitErrorCode.Process,
        `NATS server "${this.serverName}" ended (${exit.signal ?? exit.code}) before it was ready:\n${child.lastLines(10).join('\n')}`,
      );
    }
  }

  /** An answer of the monitoring endpoint, parsed: `varz`, `jsz?meta=1`, `connz`… */
  async monitor<T>(path: string): Promise<T> {
    const worker = await this.worker();
    const url = `http://${this.host}:${this.#httpPort}/${path}`;
    const { text } = await worker.request<{ text: string }>('httpGet', { url, timeoutMs: 5_000, keepText: true });
    return JSON.parse(text) as T;
  }

  /** Ends the server in good order and waits for it. The store stays. */
  async stop(): Promise<void> {
    await this.#process?.stop(10_000);
  }

  /** Ends the server as a crash would, and waits until it is gone. */
  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    this.#process?.kill(signal);
    await this.#process?.exited;
  }

  /** Starts the server again on the same port and store, stopping it first if it runs. */
  async restart(): Promise<void> {
    await this.stop();
    await this.launch();
    await this.ready();
  }

  /** Stops the server and the helper that probes it. */
  async close(): Promise<void> {
    await this.stop();
    await this.#worker?.stop();
    this.#worker = undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  private async worker(): Promise<NetnsWorker> {
    const { registry } = this.#init;
    this.#worker ??= await NetnsWorker.start(this.netns, registry === undefined ? {} : { registry });
    return this.#worker;
  }

  #learnPorts(): void {
    const dir = join(this.dir, 'ports');
    const file = readdirSync(dir).find((name) => name.endsWith('.ports'));
    if (file === undefined) return;
    const ports = JSON.parse(readFileSync(join(dir, file), 'utf8')) as { nats?: string[]; monitoring?: string[] };
    const portOf = (urls: string[] | undefined): number => Number(new URL(urls?.[0] ?? 'nats://0:0').port) || -1;
    this.#port = portOf(ports.nats);
    this.#httpPort = portOf(ports.monitoring);
  }
}
