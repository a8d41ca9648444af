// Builds what is out of date, in order: protobuf code, native bindings, BPF programs, TypeScript. Speaks on standard error.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
process.chdir(root);

/** Newest modification time in ms under the paths given; folders are walked. */
function newest(...paths) {
  let time = 0;
  for (const path of paths) {
    if (!existsSync(path)) continue;
    const stat = statSync(path);
    time = Math.max(time, stat.isDirectory() ? newest(...readdirSync(path).map((name) => join(path, name))) : stat.mtimeMs);
  }
  return time;
}

function run(what, command, args, options = {}) {
  const started = Date.now();
  process.stderr.write(`weft build: ${what} … `);
  const result = spawnSync(command, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    encoding: 'utf8',
    timeout: 600_000,
    maxBuffer: 1 << 28,
    ...options,
  });
  if (result.status !== 0) {
    process.stderr.write(`failed\n${result.stdout ?? ''}${result.stderr ?? ''}${result.error ? `${result.error.message}\n` : ''}`);
    process.exit(1);
  }
  process.stderr.write(`${((Date.now() - started) / 1000).toFixed(1)} s\n`);
}

const force = process.argv.includes('--force');
const generated = 'packages/proto/gen/weft.js';
if (force || newest('proto', 'scripts/build.mjs') > newest(generated)) {
  mkdirSync('packages/proto/gen', { recursive: true });
  const protos = readdirSync('proto/weft/v1').map((name) => `proto/weft/v1/${name}`);
  // Conversion from and to plain objects is the model's (packages/model): without protobuf's own, half of the code is read at each start.
  const unused = ['--no-verify', '--no-convert', '--no-delimited', '--no-typeurl'];
  run('protobuf', 'npx', ['pbjs', '-t', 'static-module', '-w', 'esm', '--dts', ...unused, '-p', 'proto', '-o', generated, ...protos]);
}
run('drop reasons', 'node', ['scripts/generate-reasons.mjs', '--check']);
for (const name of ['tuntap', 'bpf']) {
  const at = `packages/${name}`;
  if (force || newest(`${at}/src/native`, `${at}/binding.gyp`, 'scripts/native') > newest(`${at}/build/Release/weft_${name}.node`)) {
    run(`native binding ${name}`, 'npm', ['run', '--silent', 'build:native'], { cwd: at });
  }
}
if (force || newest('packages/datapath/bpf') > newest('packages/datapath/dist-bpf')) {
  run('BPF programs', 'node', ['packages/datapath/scripts/build-bpf.mjs']);
}
if (force || newest('packages/bench/bpf') > newest('packages/bench/dist-bpf')) {
  mkdirSync('packages/bench/dist-bpf', { recursive: true });
  const include = `-I/usr/include/${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}-linux-gnu`;
  const [source, object] = ['packages/bench/bpf/redirect.bpf.c', 'packages/bench/dist-bpf/redirect.bpf.o'];
  run("benchmark's BPF program", 'clang', ['-O2', '-g', '-Wall', '-target', 'bpf', include, '-c', source, '-o', object]);
}
run('TypeScript', 'npx', ['tsc', '-b']);
const compiled = readdirSync('packages').map((name) => `packages/${name}/tsconfig.tsbuildinfo`);
if (force || newest(...compiled, generated, 'scripts/bundle.mjs', 'package-lock.json') >= newest('packages/cli/dist/bundle')) {
  run('the command in one file', 'node', ['scripts/bundle.mjs']);
}
