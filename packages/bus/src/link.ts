import { setMaxListeners } from 'node:events';
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { type ConnectionOptions, connect, type Msg, type MsgHdrs, type NatsConnection, RequestError } from '@nats-io/transport-node';
import { WeftError } from '@weft/model';
import type { BusInit, BusLogger, BusState } from './api.ts';
import type { Identity } from './identity.ts';

// One connection to NATS that is tried for ever, from the first moment on. Callers see three things: the state, subscriptions that
// outlive every reconnect, and requests that fail at once when there is no connection, so that "nothing was sent" is certain.

export const silentLogger: BusLogger = { debug() {}, info() {}, warn() {}, error() {} };

/** nats.js dials every server of its list once per round; each may take this long. */
const DIAL_TIMEOUT_MS = 2_000;
const MAX_PINGS_OUT = 2;
/**
 * Subscriptions that are made before others have their turn: 3 ms. A gateway's agent may have 30,000, and to make those in one go kept it from its heartbeats for most of a
 * second, each time it found NATS.
 */
const ATTACH_AT_ONCE = 128;

export interface Incoming {
  readonly subject: string;
  readonly reply: string | undefined;
  /** A copy: the caller may keep it. */
  readonly data: Uint8Array;
  readonly headers: MsgHdrs | undefined;
}

interface Registration {
  readonly subject: string;
  readonly queue: string | undefined;
  readonly handler: (message: Incoming) => void;
  live: { unsubscribe(): void } | undefined;
}

export interface LinkSubscription {
  stop(): void;
}

export class Link {
  readonly logger: BusLogger;
  readonly requestTimeoutMs: number;
  readonly now: () => number;
  readonly random: () => number;
  readonly #init: BusInit;
  readonly #registrations = new Set<Registration>();
  readonly #listeners = new Set<(state: BusState) => void>();
  readonly #abort = new AbortController();
  #connection: NatsConnection | undefined;
  #state: BusState;
  /** Aborted at each disconnect, so that requests under way end at once. */
  #session = new AbortController();
  readonly #running: Promise<void>;

  constructor(init: BusInit) {
    this.#init = init;
    this.logger = init.logger ?? silentLogger;
    this.requestTimeoutMs = init.requestTimeoutMs ?? 2_000;
    this.now = init.now ?? Date.now;
    this.random = init.random ?? Math.random;
    this.#state = { state: 'disconnected', sinceMs: this.now(), reason: 'not connected yet', server: '', serverVersion: '' };
    // As many as there are requests under way.
    setMaxListeners(0, this.#abort.signal, this.#session.signal);
    this.#running = this.#run();
  }

  get state(): BusState {
    return this.#state;
  }
  get closed(): boolean {
    return this.#abort.signal.aborted;
  }
  /** Aborted when the bus is closed by its program. */
  get closing(): AbortSignal {
    return this.#abort.signal;
  }

  onState(handler: (state: BusState) => void): () => void {
    this.#listeners.add(handler);
    handler(this.#state);
    return () => this.#listeners.delete(handler);
  }

  /** @throws {WeftError} `WEFT_ERR_BUS_CLOSED`; the signal's reason when it aborts. */
  async whenConnected(signal?: AbortSignal): Promise<void> {
    if (this.closed) throw closedError();
    if (this.#state.state === 'connected') return;
    await new Promise<void>((resolve, reject) => {
      const done = (settle: () => void): void => {
        stop();
        signal?.removeEventListener('abort', aborted);
        this.closing.removeEventListener('abort', closed);
        settle();
      };
      const aborted = (): void => done(() => reject(signal!.reason));
      const closed = (): void => done(() => reject(closedError()));
      // The handler is called at once, before `stop` is there; not connected then, as just seen.
      const stop = this.onState((state) => state.state === 'connected' && done(resolve));
      signal?.addEventListener('abort', aborted, { once: true });
      this.closing.addEventListener('abort', closed, { once: true });
      if (signal?.aborted) aborted();
    });
  }

  /** Subscribes now and after each new connection. Errors of the handler are logged, never thrown into nats.js. */
  subscribe(subject: string, handler: (message: Incoming) => void, queue?: string): LinkSubscription {
    if (this.closed) throw closedError();
    const registration: Registration = { subject, queue, handler, live: undefined };
    this.#registrations.add(registration);
    this.#attach(registration);
    return {
      stop: () => {
        this.#registrations.delete(registration);
        try {
          registration.live?.unsubscribe();
        } catch {
          // The connection is closed: so is the subscription.
        }
        registration.live = undefined;
      },
    };
  }

  /** Sends if connected; returns whether it was handed to the connection. */
  publish(subject: string, data: Uint8Array): boolean {
    if (this.#state.state !== 'connected' || this.#connection === undefined) return false;
    try {
      this.#connection.publish(subject, data);
      return true;
    } catch (error) {
      this.logger.warn({ subject, error: (error as Error).message }, 'cannot publish');
      return false;
    }
  }

  /** An inbox subject of this connection's own. */
  inbox(): string {
    let token = '';
    while (token.length < 22) token += Math.floor(this.random() * 36 ** 8).toString(36);
    return `_INBOX.weft.${token.slice(0, 22)}`;
  }

  /**
   * One request, one answer.
   * @throws {WeftError} `WEFT_ERR_BUS_DISCONNECTED` with `details.sent` (false: certainly not sent; true: the connection broke while it
   *   was under way), `WEFT_ERR_BUS_TIMEOUT` (outcome unknown), `WEFT_ERR_BUS_NO_RESPONDER` (nobody got it).
   */
  async request(
    subject: string,
    data: Uint8Array,
    options: { readonly timeoutMs?: number; readonly headers?: MsgHdrs; readonly signal?: AbortSignal | undefined } = {},
  ): Promise<Uint8Array> {
    if (this.closed) throw closedError();
    const connection = this.#connection;
    if (this.#state.state !== 'connected' || connection === undefined) throw this.#disconnected(false);
    const session = this.#session.signal;
    const timeoutMs = Math.max(1, options.timeoutMs ?? this.requestTimeoutMs);
    let broken: () => void = () => {};
    const breaks = new Promise<never>((_, reject) => {
      broken = () => reject(options.signal?.aborted ? options.signal.reason : this.#disconnected(true));
      session.addEventListener('abort', broken, { once: true });
      options.signal?.addEventListener('abort', broken, { once: true });
    });
    try {
      const asked = connection.request(subject, data, {
        timeout: timeoutMs,
        ...(options.headers === undefined ? {} : { headers: options.headers }),
      });
      // If the connection breaks first, nobody looks at this promise's rejection.
      asked.catch(() => {});
      const answer = await Promise.race([asked, breaks]);
      return new Uint8Array(answer.data);
    } catch (error) {
      if (error instanceof WeftError || error === options.signal?.reason) throw error;
      const details = { subject, timeoutMs };
      if (error instanceof RequestError && error.isNoResponders()) {
        throw new WeftError('WEFT_ERR_BUS_NO_RESPONDER', `Cannot reach ${subject}: nobody serves it`, details, { cause: error });
      }
      if (!(error instanceof Error)) throw error;
      if (error.name === 'TimeoutError' || (error.cause instanceof Error && error.cause.name === 'TimeoutError')) {
        throw new WeftError('WEFT_ERR_BUS_TIMEOUT', `No answer from ${subject} within ${Math.round(timeoutMs)} ms`, details, {
          cause: error,
        });
      }
      throw new WeftError('WEFT_ERR_BUS_API', `Cannot send to ${subject}: ${error.message}`, details, { cause: error });
    } finally {
      session.removeEventListener('abort', broken);
      options.signal?.removeEventListener('abort', broken);
    }
  }

  async close(): Promise<void> {
    if (!this.closed) {
      this.#abort.abort(closedError());
      const connection = this.#connection;
      if (connection !== undefined) {
        // Draining flushes what was published; a dead server must not hold up the end.
        const drained = this.#state.state === 'connected' ? connection.drain() : connection.close();
        await Promise.race([drained.catch(() => {}), sleep(1_000, undefined, { ref: false })]);
        await Promise.race([connection.close().catch(() => {}), sleep(1_000, undefined, { ref: false })]);
      }
      this.#setState('disconnected', 'closed');
    }
    await this.#running;
  }

  async #run(): Promise<void> {
    for (let attempt = 0; !this.closed; attempt++) {
      let reason: string;
      try {
        const connection = await connect(this.#options());
        if (this.closed) {
          await connection.close();
          break;
        }
        await this.#use(connection);
        reason = 'connection closed';
      } catch (error) {
        reason = (error as Error).message;
      }
      if (this.closed) break;
      if (attempt === 0 || this.#state.reason !== reason)
        this.logger.warn({ servers: this.#init.servers, reason }, 'NATS is not reachable; trying on');
      this.#setState('disconnected', reason);
      await sleep(this.#reconnectDelayMs(), undefined, { signal: this.closing }).catch(() => {});
    }
  }

  /** Lives as long as one NatsConnection; reconnects inside of it are nats.js's. */
  async #use(connection: NatsConnection): Promise<void> {
    this.#connection = connection;
    let isAttached = false;
    let isUp = true;
    paceReading(connection);
    const look = (): void => {
      if (isAttached && isUp) this.#connected(connection);
    };
    const statuses = (async () => {
      for await (const status of connection.status()) {
        if (status.type === 'disconnect') {
          isUp = false;
          this.#setState('disconnected', 'connection lost');
        } else if (status.type === 'reconnect') {
          isUp = true;
          paceReading(connection);
          look();
        } else if (status.type === 'error') this.logger.warn({ error: status.error.message }, 'NATS reports an error');
      }
    })();
    // Whoever hears of the connection reads what it may have missed: not before it would hear of what comes after that.
    await this.#attachAll(connection);
    isAttached = true;
    if (!connection.isClosed() && !this.closed) look();
    const error = await connection.closed();
    await statuses.catch(() => {});
    this.#connection = undefined;
    for (const registration of this.#registrations) registration.live = undefined;
    if (error) throw error;
  }

  #connected(connection: NatsConnection): void {
    const version = connection.info?.version ?? '';
    this.#setState('connected', '', connection.getServer(), version);
  }

  /** What is subscribed meanwhile attaches itself. */
  async #attachAll(connection: NatsConnection): Promise<void> {
    let made = 0;
    for (const registration of this.#registrations) {
      if (registration.live !== undefined) continue;
      if (made > 0 && made % ATTACH_AT_ONCE === 0) {
        await sleep(1);
        if (connection.isClosed()) return;
        if (!this.#registrations.has(registration)) continue;
      }
      this.#attach(registration);
      made++;
    }
  }

  #attach(registration: Registration): void {
    if (this.#connection === undefined || this.#connection.isClosed()) return;
    registration.live = this.#connection.subscribe(registration.subject, {
      ...(registration.queue === undefined ? {} : { queue: registration.queue }),
      callback: (error: Error | null, message: Msg) => {
        if (error) {
          this.logger.warn({ subject: registration.subject, error: error.message }, 'subscription error');
          return;
        }
        try {
          registration.handler({
            subject: message.subject,
            reply: message.reply,
            data: new Uint8Array(message.data),
            headers: message.headers,
          });
        } catch (fault) {
          this.logger.error({ subject: message.subject, error: (fault as Error).message }, 'a handler failed');
        }
      },
    });
  }

  #setState(state: BusState['state'], reason: string, server = this.#state.server, serverVersion = this.#state.serverVersion): void {
    const same = this.#state.state === state;
    if (same && this.#state.reason === reason && this.#state.server === server) return;
    this.#state = { state, reason, server, serverVersion, sinceMs: same ? this.#state.sinceMs : this.now() };
    if (!same) {
      if (state === 'disconnected') this.#session.abort();
      else {
        this.#session = new AbortController();
        setMaxListeners(0, this.#session.signal);
      }
      this.logger.info({ state, server, serverVersion, reason }, state === 'connected' ? 'connected to NATS' : 'disconnected from NATS');
    }
    for (const listener of [...this.#listeners]) listener(this.#state);
  }

  #disconnected(sent: boolean): WeftError {
    const { reason } = this.#state;
    return new WeftError(
      'WEFT_ERR_BUS_DISCONNECTED',
      sent
        ? 'The connection to NATS broke while the request was under way'
        : `NATS is not reachable (${reason}): nothing was sent; Weft keeps trying`,
      { sent },
    );
  }

  #reconnectDelayMs(): number {
    return Math.ceil((this.#init.reconnectWaitMs ?? 250) * (1 + this.random() / 2));
  }

  #options(): ConnectionOptions {
    const { servers, name, authentication, tls, pingIntervalMs } = this.#init;
    return {
      servers: typeof servers === 'string' ? servers : [...servers],
      name,
      timeout: DIAL_TIMEOUT_MS,
      reconnect: true,
      maxReconnectAttempts: -1,
      reconnectTimeWait: this.#init.reconnectWaitMs ?? 250,
      reconnectDelayHandler: () => this.#reconnectDelayMs(),
      pingInterval: pingIntervalMs ?? 2_000,
      maxPingOut: MAX_PINGS_OUT,
      ignoreAuthErrorAbort: true,
      noAsyncTraces: true,
      inboxPrefix: '_INBOX.weft',
      ...(tls === undefined ? {} : { tls: { ...tls } }),
      ...(authentication?.kind === 'nkey' ? { authenticator: (nonce?: string) => logIn(authentication.identity, nonce ?? '') } : {}),
      ...(authentication?.kind === 'password' ? { user: authentication.user, pass: authentication.password } : {}),
      ...(authentication?.kind === 'token' ? { token: authentication.token } : {}),
    };
  }
}

/**
 * One piece of at most 64 KB of what has come in is taken at a time, then whoever has a timer due. Of a process that stood still megabytes wait, and were taken in one go: it
 * stood still for as long again. nats.js has no word for it, so its socket is taken from within; where there is none, nothing is paced.
 */
function paceReading(connection: NatsConnection): void {
  const { protocol } = connection as unknown as { readonly protocol?: { readonly transport?: { readonly socket?: Socket } } };
  const socket = protocol?.transport?.socket;
  if (socket === undefined || paced.has(socket)) return;
  paced.add(socket);
  socket.on('data', () => {
    socket.pause();
    setImmediate(() => socket.resume());
  });
}
const paced = new WeakSet<Socket>();

export function closedError(): WeftError {
  return new WeftError('WEFT_ERR_BUS_CLOSED', 'The bus is closed');
}

/** What an nkey log-in sends: the key and its signature of the server's nonce. */
function logIn(identity: Identity, nonce: string): { nkey: string; sig: string } {
  return { nkey: identity.publicKey, sig: Buffer.from(identity.sign(new TextEncoder().encode(nonce))).toString('base64') };
}
