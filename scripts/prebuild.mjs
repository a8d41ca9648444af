// `npm run prebuilds [-- --no-build] [-- --out FOLDER]`: builds the native bindings and puts them, with their checksums, where their loaders look
// when nothing was built in place: packages/{bpf,tuntap}/prebuilds/linux-<arch>. A package packed then (`npm pack -w @weft/bpf`) needs no
// compiler where it is installed. They use Node-API only, so one build serves every Node.js from 20.20 on; glibc and, for bpf, libbpf are the
// machine's: build on the oldest distribution that is to be served.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, copyFileSync, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const { build, out } = parse(process.argv.slice(2));

for (const name of ['bpf', 'tuntap']) {
  const at = join(root, 'packages', name);
  if (build) {
    const { status } = spawnSync('npm', ['run', '--silent', 'build:native'], { cwd: at, stdio: ['ignore', 'ignore', 'inherit'] });
    if (status !== 0) fail(`building @weft/${name} failed; the compiler's words stand above`, 1);
  }
  const addon = `weft_${name}.node`;
  const from = join(at, 'build/Release', addon);
  if (!existsSync(from)) fail(`${from} does not exist; leave --no-build out`, 1);
  const folder = join(out, name, 'prebuilds', `linux-${process.arch}`);
  mkdirSync(folder, { recursive: true });
  const checksum = createHash('sha256').update(readFileSync(from)).digest('hex');
  // By renaming: a process that has the former file loaded keeps it whole.
  copyFileSync(from, join(folder, `.${addon}.new`));
  chmodSync(join(folder, `.${addon}.new`), 0o755);
  renameSync(join(folder, `.${addon}.new`), join(folder, addon));
  writeFileSync(join(folder, 'SHA256SUMS'), `${checksum}  ${addon}\n`);
  console.log(`${checksum}  ${join(folder, addon)}`);
}

function parse(argv) {
  const options = { build: true, out: join(root, 'packages') };
  for (let index = 0; index < argv.length; index++) {
    const flag = argv[index];
    if (flag === '--help' || flag === '-h') {
      console.log('Usage: npm run prebuilds -- [--no-build] [--out FOLDER, default packages]');
      process.exit(0);
    }
    if (flag === '--no-build') options.build = false;
    else if (flag === '--out' && argv[index + 1] !== undefined) options.out = resolve(argv[++index]);
    else fail(`unknown argument ${flag}; there are --no-build and --out FOLDER`, 2);
  }
  return options;
}

function fail(message, status) {
  console.error(`prebuild: ${message}`);
  process.exit(status);
}
