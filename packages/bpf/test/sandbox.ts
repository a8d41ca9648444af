import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { rememberNetns } from '@weft/testkit';
import { inNetns } from '@weft/tuntap';
import { mountBpffs } from '../src/index.ts';

let made = 0;

/** Files, pins and a network namespace of one test file, removed by `remove()`. */
export class Sandbox {
  readonly name: string = `wtb-${process.pid}-${made++}`;
  readonly netns: string = `/run/netns/${this.name}`;
  readonly files: string = mkdtempSync(join(tmpdir(), 'weft-bpf-'));
  /** An existing folder on the bpffs. */
  readonly pins: string = `/sys/fs/bpf/${this.name}`;

  constructor() {
    mountBpffs();
    rememberNetns(this.name, this.pins);
    execFileSync('ip', ['netns', 'add', this.name]);
    mkdirSync(this.pins);
  }

  /** Compiles C and returns the object's path. */
  compile(name: string, source: string): string {
    const [input, output] = [join(this.files, `${name}.bpf.c`), join(this.files, `${name}.bpf.o`)];
    writeFileSync(input, source);
    // Where Debian keeps <asm/types.h>, which clang does not look at for another target.
    const multiarch = `/usr/include/${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}-linux-gnu`;
    execFileSync('clang', ['-O2', '-g', '-target', 'bpf', '-I', multiarch, '-c', input, '-o', output]);
    return output;
  }

  run<T>(fn: () => T): T {
    return inNetns(this.netns, fn);
  }

  ip(...args: string[]): string {
    return execFileSync('ip', ['-n', this.name, ...args], { encoding: 'utf8' });
  }

  remove(): void {
    execFileSync('ip', ['netns', 'del', this.name]);
    // Pins are unlinked one by one: a bpffs knows no recursive removal of its own, but unlink and rmdir.
    if (existsSync(this.pins)) rmSync(this.pins, { recursive: true });
    rmSync(this.files, { recursive: true });
  }
}

/** Descriptors of this process. */
export function openFdCount(): number {
  return readdirSync('/proc/self/fd').length;
}

export function u32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return bytes;
}

export function u64(value: bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, value, true);
  return bytes;
}

export function readU64(bytes: Uint8Array): bigint {
  return new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true);
}
