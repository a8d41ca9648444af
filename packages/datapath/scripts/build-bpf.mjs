// Builds the kernel engine's object with clang: bpf/weft.bpf.c (which includes the three programs) -> dist-bpf/weft.bpf.o.
// Needs clang and the headers of libbpf and of the kernel (Debian: clang, libbpf-dev, linux-libc-dev).
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, renameSync, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const source = join(root, 'bpf');
const target = join(root, 'dist-bpf', 'weft.bpf.o');

if (process.argv.includes('--if-needed') && isFresh()) process.exit(0);
mkdirSync(dirname(target), { recursive: true });
const temporary = `${target}.${process.pid}`; // renamed when whole: another process may be loading the old one
const clang = process.env.CLANG ?? 'clang';
const result = spawnSync(
  clang,
  [
    '-O2',
    '-g',
    '-Wall',
    '-Wextra',
    '-Werror',
    '-target',
    'bpf',
    '-mcpu=v3',
    ...includes(),
    '-c',
    join(source, 'weft.bpf.c'),
    '-o',
    temporary,
  ],
  { stdio: 'inherit', cwd: root },
);
if (result.error) {
  console.error(`Cannot build ${target}: ${clang} does not start (${result.error.message}). Install clang, or set CLANG to its path.`);
  process.exit(1);
}
if (result.status === 0) renameSync(temporary, target);
process.exit(result.status ?? 1);

/** The kernel's asm/ headers stand in a folder named after the machine, which clang does not look into for the target bpf. */
function includes() {
  const machines = { x64: 'x86_64-linux-gnu', arm64: 'aarch64-linux-gnu' };
  const folder = `/usr/include/${machines[process.arch]}`;
  return existsSync(folder) ? [`-I${folder}`] : [];
}

function isFresh() {
  if (!existsSync(target)) return false;
  const built = statSync(target).mtimeMs;
  const files = [
    fileURLToPath(import.meta.url),
    ...[source, join(source, 'lib')].flatMap((d) => readdirSync(d).map((name) => join(d, name))),
  ];
  return files.every((file) => statSync(file).mtimeMs < built);
}
