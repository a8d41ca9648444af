import { guard } from './errors.ts';
import { native } from './native.ts';

/** Options of {@link startTcpProbe}. */
export interface TcpProbeOptions {
  /** IPv4 address and port of a {@link startTcpEcho}. */
  readonly address: string;
  readonly port: number;
  readonly durationMs: number;
  /** `round-trip`: one byte there and back on one connection. `connect`: connect, one byte there and back, reset. */
  readonly mode: 'round-trip' | 'connect';
  /** The CPU that the thread is pinned to. Default: any. */
  readonly cpu?: number;
}

/** What a probe found; times are of whole transactions. */
export interface TcpProbeResult {
  readonly transactions: number;
  readonly failed: number;
  readonly errors: Readonly<Record<string, number>>;
  readonly elapsedNs: number;
  readonly p50Ns: number;
  readonly p99Ns: number;
  readonly maxNs: number;
}

/**
 * Answers TCP connections with what they send, from a native thread that runs in the network namespace of the caller (see `inNetns`).
 *
 * @throws {TunTapError} `WEFT_ERR_TUNTAP_SYSCALL` when the address can't be bound.
 */
export function startTcpEcho(options: { readonly address: string; readonly port: number; readonly cpu?: number }): {
  stop(): Promise<void>;
} {
  let finish: () => void;
  const done = new Promise<void>((resolve) => {
    finish = resolve;
  });
  const thread = guard('start a TCP echo', `${options.address}:${options.port}`, () => {
    return new (native().TcpEcho)({ address: options.address, port: options.port, cpu: options.cpu ?? -1 }, () => finish());
  });
  return {
    stop: () => {
      thread.stop();
      return done;
    },
  };
}

/** Measures TCP transactions from a native thread that runs in the network namespace of the caller (see `inNetns`). */
export function startTcpProbe(options: TcpProbeOptions): { result(): Promise<TcpProbeResult>; stop(): void } {
  let finish: (result: TcpProbeResult) => void;
  const result = new Promise<TcpProbeResult>((resolve) => {
    finish = resolve;
  });
  const thread = guard('start a TCP probe', `${options.address}:${options.port}`, () => {
    return new (native().TcpProbe)(
      {
        address: options.address,
        port: options.port,
        cpu: options.cpu ?? -1,
        durationNs: options.durationMs * 1e6,
        connectEach: options.mode === 'connect',
      },
      (done) => finish(done as TcpProbeResult),
    );
  });
  return { result: () => result, stop: () => thread.stop() };
}
