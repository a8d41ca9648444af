import { CommandError, TestkitError, TestkitErrorCode } from '../core/errors.ts';
import type { Endpoint } from '../net/netns.ts';

export interface PingOptions {
  /** Default 1. */
  readonly count?: number;
  /** Default 200. */
  readonly intervalMs?: number;
  /** How long to wait for the answer to the last request, in ms. Default 1,000. */
  readonly timeoutMs?: number;
  /** Payload size in bytes, without ICMP's header. Default 56. */
  readonly size?: number;
  /** Refuse to fragment, to learn about the MTU. */
  readonly dontFragment?: boolean;
  /** Payload as hexadecimal digits (at most 16 bytes), repeated: marks the frames for `captureCount`. */
  readonly patternHex?: string;
  readonly ttl?: number;
  /** Source address. */
  readonly from?: string;
}

export interface PingResult {
  readonly sent: number;
  readonly received: number;
  readonly lost: number;
  readonly duplicates: number;
  /** Undefined when nothing came back. */
  readonly rttMs: { readonly min: number; readonly avg: number; readonly max: number } | undefined;
  /** ICMP errors that came instead, such as `From 10.0.0.1 icmp_seq=1 Time to live exceeded`. */
  readonly errors: readonly string[];
}

/**
 * Pings `destination` from a namespace or a VM with the `ping` found there: iputils' or busybox's. Loss is a result, not an error.
 *
 * @throws {CommandError} When ping can't run: an unknown option, no permission. "Network unreachable" counts as all lost.
 */
export async function ping(from: Endpoint, destination: string, options: PingOptions = {}): Promise<PingResult> {
  const count = options.count ?? 1;
  const intervalMs = options.intervalMs ?? 200;
  const timeoutMs = options.timeoutMs ?? 1_000;
  const argv = ['ping', '-n', '-c', String(count), '-W', String(Math.max(timeoutMs / 1000, 0.001))];
  if (from.busybox === true) {
    // busybox takes whole seconds for -W, knows no -n, and quits at the first error only with -w.
    argv.splice(0, argv.length, 'ping', '-c', String(count), '-W', String(Math.ceil(timeoutMs / 1000)));
  }
  if (count > 1) argv.push('-i', String(intervalMs / 1000));
  if (options.size !== undefined) argv.push('-s', String(options.size));
  if (options.ttl !== undefined) argv.push('-t', String(options.ttl));
  if (options.from !== undefined) argv.push('-I', options.from);
  if (options.patternHex !== undefined) argv.push('-p', options.patternHex);
  if (options.dontFragment === true) argv.push('-M', 'do');
  argv.push(destination);
  const deadline = count * intervalMs + timeoutMs * 2 + 10_000;
  const { stdout, stderr, code } = await from.exec(argv, { timeoutMs: deadline, allowFailure: true });
  const result = parsePing(`${stdout}\n${stderr}`);
  if (result !== undefined) return result;
  if (/unreachable|not permitted/i.test(stderr)) {
    return { sent: count, received: 0, lost: count, duplicates: 0, rttMs: undefined, errors: [stderr.trim()] };
  }
  throw new CommandError({ argv, exitCode: code, signal: null, stdout, stderr, timedOut: false });
}

/** Reads the summary that iputils' and busybox's ping print at their end. Undefined when there is none. */
export function parsePing(output: string): PingResult | undefined {
  const summary = /(\d+) packets transmitted, (\d+) (?:packets )?received/.exec(output);
  if (summary === null) return undefined;
  const sent = Number(summary[1]);
  const received = Number(summary[2]);
  const times = /(?:rtt|round-trip) min\/avg\/max(?:\/mdev)? = ([\d.]+)\/([\d.]+)\/([\d.]+)/.exec(output);
  return {
    sent,
    received,
    lost: sent - received,
    duplicates: Number(/\+(\d+) duplicates|(\d+) duplicates/.exec(output)?.slice(1).find(Boolean) ?? 0),
    rttMs: times === null ? undefined : { min: Number(times[1]), avg: Number(times[2]), max: Number(times[3]) },
    errors: output.split('\n').filter((line) => /^From .*icmp_seq/.test(line) || /^ping: .*(too long|unreachable)/.test(line)),
  };
}

/** @throws {TestkitError} `WEFT_ERR_TESTKIT_MISSING` when fewer than all came back; for set-up steps that must hold. */
export async function mustPing(from: Endpoint, destination: string, options: PingOptions = {}): Promise<PingResult> {
  const result = await ping(from, destination, options);
  if (result.lost === 0) return result;
  throw new TestkitError(
    TestkitErrorCode.Missing,
    `Ping from ${from.name} to ${destination}: ${result.lost} of ${result.sent} lost${result.errors.length > 0 ? ` (${result.errors[0]})` : ''}`,
  );
}
