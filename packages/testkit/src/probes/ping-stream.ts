import { TestkitError, TestkitErrorCode } from '../core/errors.ts';
import { eachLine, type ManagedProcess, spawnIn } from '../core/managed-process.ts';
import type { Registry } from '../core/registry.ts';
import { waitFor } from '../core/wait.ts';
import type { NetnsEndpoint } from '../net/netns.ts';
import { SequenceRecord, type SequenceSummary } from './sequence-record.ts';

export interface PingStreamOptions {
  /** Between two requests. Default 10; 1 is possible for root. */
  readonly intervalMs?: number;
  readonly size?: number;
  readonly registry?: Registry;
  /** Return only when the first answer has come, and count from that request on. Default true. */
  readonly waitForFirst?: boolean;
  /** For the first answer. Default 10,000. */
  readonly deadlineMs?: number;
}

/** A ping that goes on until it is stopped, with a record of every request. */
export class PingStream {
  readonly #process: ManagedProcess;
  readonly #record: SequenceRecord;
  readonly #what: string;
  #sent: number | undefined;

  private constructor(child: ManagedProcess, record: SequenceRecord, what: string) {
    this.#process = child;
    this.#record = record;
    this.#what = what;
    eachLine(child.stdout!, (line) => {
      const reply = parseReply(line);
      if (reply !== undefined) record.add(reply.sequence, reply.atMs);
      const summary = /^(\d+) packets transmitted/.exec(line);
      if (summary !== null) this.#sent = Number(summary[1]);
    });
  }

  static async start(from: NetnsEndpoint, destination: string, options: PingStreamOptions = {}): Promise<PingStream> {
    const argv = ['ping', '-n', '-D', '-i', String((options.intervalMs ?? 10) / 1000)];
    if (options.size !== undefined) argv.push('-s', String(options.size));
    argv.push(destination);
    const child = await spawnIn(from.netns, argv, {
      rawStdout: true,
      what: `ping ${from.name} to ${destination}`,
      ...(options.registry === undefined ? {} : { registry: options.registry }),
    });
    const stream = new PingStream(child, new SequenceRecord(Date.now()), `ping from ${from.name} to ${destination}`);
    if (options.waitForFirst !== false) {
      try {
        await stream.answered(1, options.deadlineMs ?? 10_000);
      } catch (error) {
        child.kill('SIGKILL');
        throw error;
      }
      stream.#record.startAtFirst();
    }
    return stream;
  }

  /** Waits until `count` further answers have come. @throws {DeadlineError} */
  async answered(count: number, deadlineMs = 10_000): Promise<void> {
    const wanted = this.#record.received + count;
    await waitFor(
      () => {
        if (!this.#process.alive) {
          throw new TestkitError(TestkitErrorCode.Process, `${this.#what} ended: ${this.#process.lastLines(3).join(' | ')}`);
        }
        return this.#record.received >= wanted;
      },
      { what: `${this.#what} to be answered`, deadlineMs, intervalMs: 2, show: () => `${this.#record.received} answers in all` },
    );
  }

  /**
   * What has been recorded, up to the last answer: what was sent after it may still be under way. Where answers have stopped coming, `stop` tells
   * the loss.
   */
  read(): SequenceSummary {
    return this.#record.summary();
  }

  /**
   * Ends the window that is counted and begins the next; returns the ended one. First waits for an answer that comes from now on, so that a
   * loss at the window's end is in it.
   *
   * @throws {DeadlineError} When nothing is answered within `settleMs` (default 2,000).
   */
  async takeWindow(settleMs = 2_000): Promise<SequenceSummary> {
    await this.answered(2, settleMs);
    return this.#record.takeWindow();
  }

  /**
   * Stops, and returns the record since the start or the last `takeWindow`. First waits up to `settleMs` (default 1,000) for an answer: if one
   * comes, the requests behind it were under way when ping was ended and are not counted; if none comes, they are lost.
   */
  async stop(settleMs = 1_000): Promise<SequenceSummary> {
    const answering = await this.answered(2, settleMs).then(
      () => true,
      () => false,
    );
    const stoppedAtMs = Date.now();
    this.#process.kill('SIGINT');
    const timer = setTimeout(() => this.#process.kill('SIGKILL'), 3_000);
    await this.#process.exited;
    clearTimeout(timer);
    if (answering) return this.#record.summary();
    // The summary is the last that ping writes and may still be in the pipe.
    await waitFor(() => this.#sent !== undefined, { what: `${this.#what} to sum up`, deadlineMs: 2_000, intervalMs: 5 }).catch(() => {});
    return this.#record.summary({ sentUpTo: this.#sent ?? 0, atMs: stoppedAtMs });
  }
}

/** Starts a long-running ping from a namespace, to measure what a change under way loses. */
export function startPingStream(from: NetnsEndpoint, destination: string, options: PingStreamOptions = {}): Promise<PingStream> {
  return PingStream.start(from, destination, options);
}

function parseReply(line: string): { sequence: number; atMs: number } | undefined {
  const match = /^\[(\d+\.\d+)\] \d+ bytes from .*icmp_seq=(\d+)/.exec(line);
  return match === null ? undefined : { atMs: Number(match[1]) * 1000, sequence: Number(match[2]) };
}
