import { guard, TunTapError } from './errors.ts';
import { native } from './native.ts';

/** Options of {@link startTcpProbe}. */
export interface TcpProbeOptions {
  /** IPv4 address and port of a {@link startTcpEcho}. */
  readonly address: string;
  readonly port: number;
  /** Default: until `count` is reached. */
  readonly durationMs?: number;
  /** `round-trip`: one byte there and back on one connection. `connect`: connect, one byte there and back, close. */
  readonly mode: 'round-trip' | 'connect';
  /** Close as applications do, which leaves a TIME_WAIT for each connection, instead of by a reset. Default false. */
  readonly orderly?: boolean;
  /** IPv4 address to connect from. Default: the system's choice. */
  readonly source?: string;
  /** Transactions begun a second, evenly spaced; those that are late follow at once. Default: one after the other. */
  readonly ratePerSecond?: number;
  /** Transactions in all. Default: until the time is over. */
  readonly count?: number;
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
  /** Of those that succeeded: least time of a bucket (32 to each power of two) in ns, and how many, ascending. Those of several probes can be put together. */
  readonly histogram: readonly (readonly [ns: number, count: number])[];
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
  if (options.durationMs === undefined && options.count === undefined)
    throw new TunTapError('WEFT_ERR_TUNTAP_BAD_OPTION', 'Cannot start a TCP probe without end: give durationMs or count');
  let finish: (result: TcpProbeResult) => void;
  const result = new Promise<TcpProbeResult>((resolve) => {
    finish = resolve;
  });
  const thread = guard('start a TCP probe', `${options.address}:${options.port}`, () => {
    return new (native().TcpProbe)(
      {
        address: options.address,
        port: options.port,
        source: options.source ?? '',
        cpu: options.cpu ?? -1,
        durationNs: options.durationMs === undefined ? Number.MAX_VALUE : options.durationMs * 1e6,
        orderly: options.orderly ?? false,
        ratePerSecond: options.ratePerSecond ?? -1,
        count: options.count ?? -1,
        connectEach: options.mode === 'connect',
      },
      (done) => finish(done as TcpProbeResult),
    );
  });
  return { result: () => result, stop: () => thread.stop() };
}
