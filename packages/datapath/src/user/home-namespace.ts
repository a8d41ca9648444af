import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { inNetns } from '@weft/tuntap';

/** The network namespace in which an engine was made: what it opens and runs later belongs there too. */
export class HomeNamespace {
  #fd: number;

  /** Remembers the calling thread's. */
  constructor() {
    this.#fd = openSync('/proc/thread-self/ns/net', 'r');
  }

  /** Runs a synchronous function in it. */
  run<T>(fn: () => T): T {
    return inNetns(`/proc/self/fd/${this.#fd}`, fn);
  }

  /** Runs a command in it. @returns What it wrote, or undefined if it failed or can't be run. */
  command(name: string, args: readonly string[], input = ''): Promise<string | undefined> {
    return new Promise((resolve) => {
      if (this.#fd < 0) {
        resolve(undefined);
        return;
      }
      let child: ChildProcess;
      try {
        child = this.run(() => spawn(name, args, { stdio: ['pipe', 'pipe', 'ignore'], timeout: 10_000 }));
      } catch {
        resolve(undefined);
        return;
      }
      let text = '';
      child.stdout!.setEncoding('utf8').on('data', (part: string) => {
        text += part;
      });
      // A command that ends early closes its input.
      child.stdin!.on('error', () => {});
      child.stdin!.end(input);
      child.on('error', () => resolve(undefined));
      child.on('close', (status) => resolve(status === 0 ? text : undefined));
    });
  }

  close(): void {
    if (this.#fd >= 0) closeSync(this.#fd);
    this.#fd = -1;
  }
}
