import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { TestkitError, TestkitErrorCode } from '../core/errors.ts';
import { runBytes } from '../core/run.ts';

export interface GuestKernel {
  /** As `uname -r` says in the guest: `6.1.0-30-cloud-amd64`. */
  readonly version: string;
  readonly image: string;
  readonly modulesDir: string;
}

/** Where `scripts/guest-kernel.sh` unpacks the guests' kernel, so that none need be installed on the machine. */
const PROJECT_ROOT = fileURLToPath(new URL('../../../../.cache/guest-kernel', import.meta.url));

/**
 * The newest kernel at hand that suits a small guest: Debian's cloud kernel (package linux-image-cloud-amd64), which leaves out the drivers of
 * real hardware and so boots fast.
 *
 * @param roots Directories that hold `boot/vmlinuz-VERSION` and `lib/modules/VERSION`; the first with a kernel counts. Default: the project's
 *   `.cache/guest-kernel`, then the machine's own.
 * @throws {TestkitError} `WEFT_ERR_TESTKIT_MISSING` when there is none.
 */
export function findGuestKernel(roots: readonly string[] = [PROJECT_ROOT, '/']): GuestKernel {
  for (const root of roots) {
    const boot = join(root, 'boot');
    const modulesOf = (version: string): string => join(root, 'lib/modules', version);
    const version = (existsSync(boot) ? readdirSync(boot) : [])
      .map((file) => /^vmlinuz-(.*-cloud-amd64)$/.exec(file)?.[1])
      .filter((found) => found !== undefined && existsSync(join(modulesOf(found), 'modules.dep')))
      .sort((a, b) => a!.localeCompare(b!, 'en', { numeric: true }))
      .at(-1);
    if (version !== undefined) return { version, image: join(boot, `vmlinuz-${version}`), modulesDir: modulesOf(version) };
  }
  throw new TestkitError(
    TestkitErrorCode.Missing,
    `Cannot find a guest kernel in ${roots.join(', ')}: need boot/vmlinuz-*-cloud-amd64 with its modules; run scripts/guest-kernel.sh or install linux-image-cloud-amd64`,
  );
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
