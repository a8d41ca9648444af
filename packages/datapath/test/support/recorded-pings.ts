import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { netnsPath } from './lab.ts';

/**
 * Pings that go on while this process stands still, as it does while programs load: they are written to a file. A pipe takes some 300 lines that nobody reads;
 * then iputils' ping sends no more, and busybox's loses what it is not there to receive.
 */
export class RecordedPings {
  readonly #process: ChildProcess;
  readonly #folder: string;

  /** @param netns Of the VM that pings. */
  constructor(netns: string, address: string, intervalMs: number) {
    this.#folder = mkdtempSync(join(tmpdir(), 'weft-pings-'));
    const out = openSync(this.#path, 'w');
    const argv = [`--net=${netnsPath(netns)}`, 'ping', '-i', String(intervalMs / 1_000), address];
    this.#process = spawn('nsenter', argv, { stdio: ['ignore', out, 'inherit'] });
    closeSync(out);
  }

  get #path(): string {
    return join(this.#folder, 'answers');
  }

  /** Numbers of those that were answered, in the order of the answers. */
  get answered(): number[] {
    // Not what a router or the own stack says of one: `From 10.0.0.1 icmp_seq=5 Destination Host Unreachable`.
    return [...readFileSync(this.#path, 'utf8').matchAll(/^\d+ bytes from .*seq=(\d+) ttl=/gm)].map(([, number]) => Number(number));
  }

  /** Waits until so many more are answered. */
  async untilAnswered(count: number): Promise<void> {
    for (const wanted = this.answered.length + count; this.answered.length < wanted; ) {
      if (this.#process.exitCode !== null) throw new Error(`ping ended by itself: ${readFileSync(this.#path, 'utf8').slice(-300)}`);
      await setTimeout(20);
    }
  }

  /** @returns How many were answered, and after which number which one came that is not the next. The last one may have been under way and is not missed. */
  async stop(): Promise<{ readonly answered: number; readonly gaps: readonly string[] }> {
    if (this.#process.exitCode === null) {
      this.#process.kill('SIGINT');
      await once(this.#process, 'close');
    }
    const { answered } = this;
    rmSync(this.#folder, { recursive: true });
    const gaps = answered.flatMap((number, i) => (i > 0 && number !== answered[i - 1]! + 1 ? [`${answered[i - 1]}, then ${number}`] : []));
    // The first is 1 for iputils, 0 for busybox.
    if (answered[0] !== undefined && answered[0] > 1) gaps.unshift(`begins with ${answered[0]}`);
    return { answered: answered.length, gaps };
  }
}
