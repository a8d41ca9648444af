import { execFileSync } from 'node:child_process';
import { readdirSync, writeFileSync } from 'node:fs';
import { rememberNetns } from '@weft/testkit';
import { expect, vi } from 'vitest';
import { inNetns } from '../src/index.ts';

let made = 0;

/** A network namespace of its own for one test, quiet (no IPv6, so no router solicitations), removed by `remove()`. */
export class Sandbox {
  readonly name: string = `wtt-${process.pid}-${made++}`;
  readonly path: string = `/run/netns/${this.name}`;

  constructor() {
    rememberNetns(this.name);
    execFileSync('ip', ['netns', 'add', this.name]);
    try {
      this.run(() => {
        writeFileSync('/proc/sys/net/ipv6/conf/default/disable_ipv6', '1');
        writeFileSync('/proc/sys/net/ipv6/conf/all/disable_ipv6', '1');
      });
    } catch (error) {
      this.remove();
      throw error;
    }
  }

  run<T>(fn: () => T): T {
    return inNetns(this.path, fn);
  }

  ip(...args: string[]): string {
    return execFileSync('ip', ['-n', this.name, ...args], { encoding: 'utf8' });
  }

  /** Makes a veth pair that carries frames. The kernel starts a queue some time after the carrier came, and drops frames until then. */
  async vethPair(...names: [string, string]): Promise<void> {
    this.ip('link', 'add', names[0], 'type', 'veth', 'peer', 'name', names[1]);
    for (const name of names) this.ip('link', 'set', name, 'up');
    for (const name of names) await soon(() => expect(this.ip('link', 'show', 'dev', name)).toContain('state UP'));
  }

  remove(): void {
    execFileSync('ip', ['netns', 'del', this.name]);
  }
}

/** Descriptors of this process. The one that lists them is left out of account by both sides of a comparison. */
export function openFdCount(): number {
  return readdirSync('/proc/self/fd').length;
}

/** An Ethernet frame of the local experimental EtherType 0x88b5, broadcast, numbered and filled up to `size`. */
export function numberedFrame(number: number, size = 60): Uint8Array {
  const frame = new Uint8Array(size);
  frame.set([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0, 0, 0, 0, 1, 0x88, 0xb5]);
  new DataView(frame.buffer).setUint32(14, number);
  return frame;
}

export function numberOf(frame: Uint8Array): number {
  return new DataView(frame.buffer, frame.byteOffset).getUint32(14);
}

/** Some turns of the event loop: what is ready by now is delivered after them. */
export async function turns(count = 50): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve));
}

/** Until the expectation holds; a busy machine may take its time. */
export function soon(expectation: () => void): Promise<void> {
  return vi.waitFor(expectation, { timeout: 20_000, interval: 5 });
}
