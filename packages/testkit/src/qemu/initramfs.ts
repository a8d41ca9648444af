import { createHash, randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { TestkitError, TestkitErrorCode } from '../core/errors.ts';
import { run } from '../core/run.ts';
import { type CpioEntry, cpioArchive } from './cpio.ts';
import { GUEST_INIT } from './guest-init.ts';
import { type GuestKernel, loadGuestModules } from './guest-kernel.ts';

const MODULES = ['virtio_pci', 'virtio_net', 'virtio_console'];
const BUSYBOX = '/usr/bin/busybox';

/**
 * Makes the part of a guest's file system that all guests share (busybox, modules, init), or finds it in `cacheDir`.
 *
 * The file's name holds a hash of all that goes into it, so a new kernel, busybox or init makes a new file. It is not compressed: an emulated
 * CPU would take longer to unpack it than the host takes to copy it.
 *
 * @throws {TestkitError} `WEFT_ERR_TESTKIT_MISSING` when busybox is absent or not linked statically.
 */
export async function baseInitramfs(kernel: GuestKernel, cacheDir: string): Promise<string> {
  if (!existsSync(BUSYBOX)) throw new TestkitError(TestkitErrorCode.Missing, `Cannot find ${BUSYBOX}: install busybox-static`);
  const busybox = readFileSync(BUSYBOX);
  const hash = createHash('sha256').update(kernel.version).update(busybox).update(GUEST_INIT).update(MODULES.join());
  const file = join(cacheDir, `guest-${kernel.version}-${hash.digest('hex').slice(0, 16)}.cpio`);
  if (existsSync(file)) return file;
  if (busybox.includes('/lib64/ld-linux')) {
    throw new TestkitError(TestkitErrorCode.Missing, `Cannot use ${BUSYBOX} in a guest: it is linked dynamically; install busybox-static`);
  }

  const applets = (await run(BUSYBOX, ['--list'])).stdout.split('\n').filter((name) => name !== '' && name !== 'busybox');
  const modules = await loadGuestModules(kernel, MODULES);
  const text = (content: string): Uint8Array => Buffer.from(content);
  const dirs = ['bin', 'dev', 'etc', 'etc/weft', 'lib', 'lib/modules', 'proc', 'root', 'run', 'sys', 'tmp'];
  const entries: CpioEntry[] = [
    ...dirs.map((path) => ({ kind: 'dir', path }) as const),
    // The kernel opens it for init before /dev is mounted.
    { kind: 'chardev', path: 'dev/console', major: 5, minor: 1 },
    { kind: 'file', path: 'init', data: text(GUEST_INIT), executable: true },
    { kind: 'file', path: 'bin/busybox', data: busybox, executable: true },
    ...applets.map((name) => ({ kind: 'symlink', path: `bin/${name}`, target: 'busybox' }) as const),
    ...modules.map(({ file: name, data }) => ({ kind: 'file', path: `lib/modules/${name}`, data }) as const),
    { kind: 'file', path: 'lib/modules/order', data: text(modules.map(({ file: name }) => `${name}\n`).join('')) },
  ];
  mkdirSync(cacheDir, { recursive: true });
  // Renamed into place, so that a run at the same time never finds half a file.
  const unfinished = `${file}.${randomBytes(4).toString('hex')}`;
  writeFileSync(unfinished, cpioArchive(entries));
  renameSync(unfinished, file);
  return file;
}

/** Writes a guest's whole initramfs: the shared part and, unpacked after it, the guest's own files. */
export function writeInitramfs(base: string, overlay: readonly CpioEntry[], file: string): void {
  writeFileSync(file, Buffer.concat([readFileSync(base), cpioArchive(overlay)]));
}
