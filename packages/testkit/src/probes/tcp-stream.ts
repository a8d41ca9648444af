import type { NetnsWorker } from '../net/netns-worker.ts';
import type { Served } from './http.ts';

/** Sends back what it receives, in the worker's namespace. */
export async function tcpEchoServe(worker: NetnsWorker, init: { readonly host?: string; readonly port?: number } = {}): Promise<Served> {
  const { handle, port } = await worker.request<{ handle: number; port: number }>('tcpEchoServe', {
    host: init.host ?? '::',
    port: init.port ?? 7,
  });
  return { port, close: () => worker.request<void>('close', { handle }) };
}

/** Tells each client, in the worker's namespace, from which address and port it came: `tcpMirror` asks. */
export async function tcpMirrorServe(worker: NetnsWorker, init: { readonly host?: string; readonly port: number }): Promise<Served> {
  const { handle, port } = await worker.request<{ handle: number; port: number }>('tcpMirrorServe', { host: '::', ...init });
  return { port, close: () => worker.request<void>('close', { handle }) };
}

/**
 * Connects to a server of `tcpMirrorServe` and asks who it sees.
 *
 * @throws {WorkerError} When there is no connection; `socketCode` says why.
 */
export async function tcpMirror(
  worker: NetnsWorker,
  init: { readonly host: string; readonly port: number; readonly localPort?: number; readonly timeoutMs?: number },
): Promise<{ readonly address: string; readonly port: number }> {
  const { greeting } = await worker.request<{ greeting: string }>('tcpGreeting', { timeoutMs: 3_000, ...init });
  const [address, port] = greeting.split(' ');
  return { address: address!.replace('::ffff:', ''), port: Number(port) };
}

export interface TcpStreamInit {
  /** Of an echo server. */
  readonly host: string;
  readonly port?: number;
  /** Default 4. */
  readonly connections?: number;
  /** Between two numbers sent on each connection. Default 5. */
  readonly intervalMs?: number;
  /** Default 5,000. */
  readonly connectTimeoutMs?: number;
}

export interface TcpStreamResult {
  readonly connections: number;
  /** Why each connection that ended did so; empty when all live. */
  readonly broken: readonly string[];
  /** Numbers sent and come back, over all connections. */
  readonly sent: number;
  readonly echoed: number;
  /** Numbers that came back out of order or changed: more than 0 means that TCP itself was deceived. */
  readonly corrupt: number;
  /** Connections that are not broken and wait for an answer. After `stop`: those that nothing came over any more. */
  readonly owed: number;
  /** Connections that live, and have been owed an answer for more than 5 s. */
  readonly stalled: number;
  /** Longest time in which a connection that was owed an answer had none, in ms. */
  readonly longestStallMs: number;
}

export interface TcpStream {
  read(): Promise<TcpStreamResult>;
  /** Stops sending, waits up to `settleMs` (default 5,000) for what is under way, and closes. Call it once. */
  stop(settleMs?: number): Promise<TcpStreamResult>;
}

/**
 * Opens long-lived connections and sends consecutive numbers over each, whose echo must be the same numbers in order. Returns when all are
 * connected.
 *
 * @throws {WorkerError} When one can't be connected.
 */
export async function startTcpStream(worker: NetnsWorker, init: TcpStreamInit): Promise<TcpStream> {
  const { handle } = await worker.request<{ handle: number }>('tcpStreamStart', {
    host: init.host,
    port: init.port ?? 7,
    connections: init.connections ?? 4,
    intervalMs: init.intervalMs ?? 5,
    connectTimeoutMs: init.connectTimeoutMs ?? 5_000,
  });
  return {
    read: () => worker.request<TcpStreamResult>('tcpStreamRead', { handle }),
    stop: (settleMs = 5_000) => worker.request<TcpStreamResult>('tcpStreamStop', { handle, settleMs }),
  };
}

/** Sends `count` (default 1) equal datagrams from the worker's namespace; marked ones are counted by `startCapture`. */
export async function sendUdp(
  worker: NetnsWorker,
  init: { readonly host: string; readonly port: number; readonly payload: string | Uint8Array; readonly count?: number },
): Promise<void> {
  await worker.request('udpSend', {
    host: init.host,
    port: init.port,
    payload: Buffer.from(init.payload).toString('base64'),
    count: init.count ?? 1,
  });
}
