// `node scripts/install.mjs [--prefix DIR] [--uninstall]`: puts what `npm run setup` has built where systemd's units expect it, or takes it away again. It may be
// repeated; a newer Weft takes the older one's place whole. DESTDIR stands before every path, for packages and tests. Exit status 0: done; 1: it can't be done, said
// why, and nothing was changed; 2: a mistake in the call.
//
//   PREFIX/bin/weft                   link to the command
//   PREFIX/lib/weft/                  packages and the npm packages that they need at run time; INSTALLED lists all that stands elsewhere
//   PREFIX/lib/systemd/system/        the units; with a prefix where systemd does not look, /etc/systemd/system
//   PREFIX/share/doc/weft/            the documentation
//   /etc/weft/weft.example.yaml       beside it goes the operator's own configuration, which is never touched
import { spawnSync } from 'node:child_process';
import {
  accessSync,
  constants,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, isAbsolute, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
/** Of a package, what it needs when it runs. */
const RUNTIME = ['package.json', 'bin', 'dist', 'dist-bpf', 'gen', 'helpers', 'prebuilds', 'build/Release'];
const BUILT = ['cli/dist/main.js', 'datapath/dist-bpf/weft.bpf.o', 'proto/gen/weft.js'];
const BINDINGS = ['bpf', 'tuntap'];
/** Where systemd looks for units (systemd.unit(5)), and for Node.js. */
const UNIT_PREFIXES = ['/usr', '/usr/local'];
const SYSTEM_PATH = ['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin'];

class Refusal extends Error {}
const fail = (message) => {
  throw new Refusal(message);
};
const say = (message) => process.stderr.write(`weft install: ${message}\n`);

try {
  const { prefix, uninstall } = parse(process.argv.slice(2));
  const places = placesOf(prefix, process.env.DESTDIR ?? '');
  checkWritable(places);
  if (uninstall) remove(places);
  else install(places);
} catch (error) {
  if (!(error instanceof Refusal) && !['EACCES', 'ENOSPC', 'EROFS'].includes(error.code)) throw error;
  say(error.message);
  process.exitCode ||= 1;
}

function parse(argv) {
  const options = { prefix: '/usr', uninstall: false };
  const misuse = (message) => {
    process.exitCode = 2;
    fail(`${message}: see node scripts/install.mjs --help`);
  };
  for (let i = 0; i < argv.length; i++) {
    const [flag, inline] = argv[i].split(/=(.*)/s);
    if (flag === '--help' || flag === '-h') {
      console.log('Usage: [DESTDIR=DIR] node scripts/install.mjs [--prefix DIR, default /usr] [--uninstall]');
      process.exit(0);
    } else if (flag === '--uninstall' && inline === undefined) options.uninstall = true;
    else if (flag === '--prefix') {
      const value = inline ?? argv[++i];
      if (value === undefined || !isAbsolute(value))
        misuse(`--prefix is ${value === undefined ? 'without a value' : `"${value}"`}, must be an absolute path`);
      options.prefix = resolve(value);
    } else misuse(`cannot understand "${argv[i]}"`);
  }
  return options;
}

/** Paths as they are when it runs; `at` gives them below DESTDIR. */
function placesOf(prefix, destination) {
  if (destination !== '' && !isAbsolute(destination)) fail(`DESTDIR is "${destination}", must be an absolute path`);
  return {
    isStaged: destination !== '',
    at: (path) => join(destination || '/', path),
    lib: join(prefix, 'lib/weft'),
    command: join(prefix, 'bin/weft'),
    units: UNIT_PREFIXES.includes(prefix) ? join(prefix, 'lib/systemd/system') : '/etc/systemd/system',
    docs: join(prefix, 'share/doc/weft'),
    example: '/etc/weft/weft.example.yaml',
  };
}

/** The nearest directories that exist have to let this user in: found out before anything is changed. */
function checkWritable({ at, lib, command, units, docs, example }) {
  for (const path of [lib, command, `${units}/x`, docs, example]) {
    let place = dirname(at(path));
    while (!existsSync(place)) place = dirname(place);
    try {
      accessSync(place, constants.W_OK);
    } catch {
      fail(`cannot write to ${place}: run it as root, or set DESTDIR`);
    }
  }
}

function install(places) {
  const { at, lib, command, units, docs, example, isStaged } = places;
  const missing = BUILT.find((path) => !existsSync(join(root, 'packages', path)));
  if (missing !== undefined) fail(`packages/${missing} is missing: run "npm run setup" first`);
  for (const name of BINDINGS) {
    const ways = ['build/Release', `prebuilds/linux-${process.arch}`];
    if (!ways.some((way) => existsSync(join(root, 'packages', name, way, `weft_${name}.node`)))) {
      fail(`the native binding of packages/${name} is missing: run "npm run setup" first`);
    }
  }
  if (existsSync(at(lib)) && !existsSync(at(`${lib}/INSTALLED`)))
    fail(`${at(lib)} is there and was not installed by this script: move it away first`);
  const link = relative(dirname(command), `${lib}/packages/cli/bin/weft.js`);
  if (isThere(at(command)) && !isOurLink(at(command), link)) fail(`${at(command)} is there and is none of ours: move it away first`);
  if (!SYSTEM_PATH.some((path) => existsSync(join(path, 'node'))))
    say(
      `warning: node is at ${process.execPath}, where systemd does not look; link it to /usr/local/bin/node, else the units do not start`,
    );

  const fresh = `${at(lib)}.new`;
  rmSync(fresh, { recursive: true, force: true });
  copyRuntime(fresh);
  const files = [command, example];
  for (const name of readdirSync(join(root, 'packaging/systemd'))) files.push(`${units}/${name}`);
  for (const name of documents()) files.push(`${docs}/${name}`);
  // Before the first of them is made: an install that is cut off can be taken away, too.
  writeFileSync(join(fresh, 'INSTALLED'), `${files.join('\n')}\n`);
  for (const old of installedFiles(places)) if (!files.includes(old)) rmSync(at(old), { force: true });
  replace(at(lib), fresh);

  for (const name of readdirSync(join(root, 'packaging/systemd'))) {
    const text = readFileSync(join(root, 'packaging/systemd', name), 'utf8');
    write(at(`${units}/${name}`), text.replaceAll('/usr/bin/weft', command).replaceAll('/usr/share/doc/weft', docs));
  }
  for (const name of documents()) write(at(`${docs}/${name}`), readFileSync(join(root, 'docs', name)));
  write(at(example), readFileSync(join(root, 'packaging/weft.example.yaml')));
  mkdirSync(dirname(at(command)), { recursive: true });
  rmSync(at(command), { force: true });
  symlinkSync(link, at(command));
  reload(isStaged);
  say(`installed ${at(command)}; its units are weft-up (all on one machine), weft-agent and weft-controller: see ${docs}/configuration.md`);
}

function remove(places) {
  const { at, lib, command, units, isStaged } = places;
  if (!existsSync(at(`${lib}/INSTALLED`))) fail(`nothing to take away: ${at(lib)} was not installed by this script (another --prefix?)`);
  const files = installedFiles(places);
  if (!isStaged) {
    for (const unit of files.filter((path) => path.startsWith(units)).map((path) => path.slice(units.length + 1))) {
      if (spawnSync('systemctl', ['is-active', '--quiet', unit]).status === 0) fail(`${unit} runs: systemctl disable --now ${unit} first`);
    }
  }
  for (const path of files) {
    if (path === command && !isOurLink(at(command), relative(dirname(command), `${lib}/packages/cli/bin/weft.js`))) continue;
    rmSync(at(path), { force: true });
  }
  rmSync(at(lib), { recursive: true, force: true });
  const directories = [...new Set(files.flatMap((path) => parentsNamed(path, 'weft')))];
  for (const directory of directories.sort((a, b) => b.length - a.length)) removeIfEmpty(at(directory));
  reload(isStaged);
  say(
    'taken away. Left: /etc/weft with what you wrote, /var/lib/weft, /etc/default/weft, and what agents have put into the kernel ("weft agent --purge" does that before)',
  );
}

/** The packages that the command needs, and theirs, as they stand in node_modules. */
function copyRuntime(target) {
  const seen = new Set();
  const visit = (directory) => {
    if (seen.has(directory)) return;
    seen.add(directory);
    const { dependencies = {}, optionalDependencies = {} } = JSON.parse(readFileSync(join(directory, 'package.json'), 'utf8'));
    for (const name of Object.keys({ ...dependencies, ...optionalDependencies })) {
      const found = name.startsWith('@weft/') ? join(root, 'packages', name.slice('@weft/'.length)) : findPackage(directory, name);
      if (found !== undefined) visit(found);
      else if (name in dependencies)
        fail(`npm package ${name}, which ${relative(root, directory)} needs, is missing: run "npm run setup" first`);
    }
  };
  visit(join(root, 'packages/cli'));
  const packages = join(root, 'packages');
  // Compiler's leftovers beside the bindings.
  const isWanted = (path) => !/\/build\/Release\/(?!weft_\w+\.node$)./.test(path) && !path.endsWith('.d.ts') && !path.endsWith('.map');
  for (const directory of seen) {
    const to = join(target, relative(root, directory));
    if (dirname(directory) !== packages) {
      cpSync(directory, to, {
        recursive: true,
        filter: (path) => path === directory || !relative(directory, path).startsWith('node_modules'),
      });
      continue;
    }
    for (const part of RUNTIME) {
      if (existsSync(join(directory, part))) cpSync(join(directory, part), join(to, part), { recursive: true, filter: isWanted });
    }
    const { name } = JSON.parse(readFileSync(join(directory, 'package.json'), 'utf8'));
    mkdirSync(join(target, 'node_modules/@weft'), { recursive: true });
    symlinkSync(`../../${relative(root, directory)}`, join(target, 'node_modules', name));
  }
  for (const name of ['package.json', 'LICENSE']) if (existsSync(join(root, name))) cpSync(join(root, name), join(target, name));
}

/** As Node.js looks: in node_modules of the directory, then of those above. */
function findPackage(from, name) {
  for (let directory = from; directory.startsWith(root.replace(/\/$/, '')); directory = dirname(directory)) {
    const place = join(directory, 'node_modules', name);
    if (existsSync(join(place, 'package.json'))) return place;
  }
  return undefined;
}

function documents() {
  return readdirSync(join(root, 'docs'), { recursive: true }).filter((name) => /\.(md|yaml)$/.test(name));
}

function installedFiles({ at, lib }) {
  const list = at(`${lib}/INSTALLED`);
  return existsSync(list) ? readFileSync(list, 'utf8').split('\n').filter(Boolean) : [];
}

/** A running agent keeps what it has loaded; there is no moment without the one or the other, but for two renames. */
function replace(place, fresh) {
  const old = `${place}.old`;
  rmSync(old, { recursive: true, force: true });
  if (existsSync(place)) renameSync(place, old);
  renameSync(fresh, place);
  rmSync(old, { recursive: true, force: true });
}

function write(path, content) {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(`${path}.new`, content);
  renameSync(`${path}.new`, path);
}

function isThere(path) {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}

function isOurLink(path, link) {
  return lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() === true && readlinkSync(path) === link;
}

/** The directories above a path, from the deepest up to the one of that name. */
function parentsNamed(path, name) {
  const parts = dirname(path).split('/');
  const last = parts.indexOf(name);
  return last < 0 ? [] : Array.from({ length: parts.length - last }, (_, i) => parts.slice(0, parts.length - i).join('/'));
}

function removeIfEmpty(path) {
  if (existsSync(path) && readdirSync(path).length === 0) rmdirSync(path);
}

function reload(isStaged) {
  if (!isStaged && existsSync('/run/systemd/system')) spawnSync('systemctl', ['daemon-reload'], { stdio: 'inherit' });
}
