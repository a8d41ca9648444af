import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { TestkitError, TestkitErrorCode } from '../core/errors.ts';
import { runBytes } from '../core/run.ts';

export interface GuestKernel {
  /** As `uname -r` says in the guest: `6.1.0-30-cloud-amd64`. */
  readonly version: string;
  readonly image: string;
  readonly modulesDir: string;
}

/**
 * The newest kernel on this machine that suits a small guest: Debian's cloud kernel (package linux-image-cloud-amd64), which leaves out
 * the drivers of real hardware and so boots fast.
 *
 * @throws {TestkitError} `WEFT_ERR_TESTKIT_MISSING` when there is none.
 */
export function findGuestKernel(bootDir = '/boot', modulesRoot = '/lib/modules'): GuestKernel {
  const versions = (existsSync(bootDir) ? readdirSync(bootDir) : [])
    .map((file) => /^vmlinuz-(.*-cloud-amd64)$/.exec(file)?.[1])
    .filter((version) => version !== undefined && existsSync(join(modulesRoot, version, 'modules.dep')))
    .sort((a, b) => a!.localeCompare(b!, 'en', { numeric: true }));
  const version = versions.at(-1);
  if (version === undefined) {
    throw new TestkitError(
      TestkitErrorCode.Missing,
      `Cannot find a guest kernel: need ${bootDir}/vmlinuz-*-cloud-amd64 with its modules; install linux-image-cloud-amd64`,
    );
  }
  return { version, image: join(bootDir, `vmlinuz-${version}`), modulesDir: join(modulesRoot, version) };
}

/** A module's file, unpacked, ready for insmod. */
export interface GuestModule {
  /** `virtio_net.ko` */
  readonly file: string;
  readonly data: Uint8Array;
}

/**
 * The wanted modules and all they need, each after those it needs. Modules that are built into the kernel need no file and are left out.
 *
 * @throws {TestkitError} `WEFT_ERR_TESTKIT_MISSING` when the kernel has a module neither as a file nor built in.
 */
export async function loadGuestModules(kernel: GuestKernel, wanted: readonly string[]): Promise<GuestModule[]> {
  const nameOf = (path: string): string =>
    basename(path)
      .replace(/\.ko(\.(xz|zst|gz))?$/, '')
      .replaceAll('-', '_');
  const dependencies = new Map<string, { readonly path: string; readonly needs: readonly string[] }>();
  for (const line of readFileSync(join(kernel.modulesDir, 'modules.dep'), 'utf8').split('\n')) {
    const [path, rest] = line.split(':');
    if (path === undefined || rest === undefined) continue;
    dependencies.set(nameOf(path), { path, needs: rest.trim().split(' ').filter(Boolean).map(nameOf) });
  }
  const builtIn = new Set(readFileSync(join(kernel.modulesDir, 'modules.builtin'), 'utf8').split('\n').filter(Boolean).map(nameOf));
  const ordered: string[] = [];
  const visit = (name: string): void => {
    if (ordered.includes(name) || builtIn.has(name)) return;
    const found = dependencies.get(name);
    if (found === undefined) {
      throw new TestkitError(TestkitErrorCode.Missing, `Kernel ${kernel.version} has no module "${name}", which the guest needs`);
    }
    for (const need of found.needs) visit(need);
    ordered.push(name);
  };
  for (const name of wanted) visit(name);
  return Promise.all(
    ordered.map(async (name) => ({ file: `${name}.ko`, data: await unpack(join(kernel.modulesDir, dependencies.get(name)!.path)) })),
  );
}

const UNPACKERS: Readonly<Record<string, string>> = { xz: 'xz', zst: 'zstd', gz: 'gzip' };

async function unpack(path: string): Promise<Uint8Array> {
  const unpacker = UNPACKERS[path.slice(path.lastIndexOf('.') + 1)];
  if (unpacker === undefined) return readFileSync(path);
  const { stdout } = await runBytes(unpacker, ['-dc', path]);
  return stdout;
}
