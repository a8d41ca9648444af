import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

// What a package says it needs is what its code imports: neither more (downloaded and audited for nothing) nor less (found only because npm puts the
// packages of a workspace side by side).

interface Manifest {
  readonly name?: string;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly devDependencies?: Readonly<Record<string, string>>;
  readonly peerDependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

const root = fileURLToPath(new URL('../..', import.meta.url));
const read = <T>(path: string): T => JSON.parse(readFileSync(join(root, path), 'utf8')) as T;
const packages = readdirSync(join(root, 'packages'))
  .filter((name) => existsSync(join(root, 'packages', name, 'package.json')))
  .map((name) => ({ name, manifest: read<Manifest>(`packages/${name}/package.json`) }));
const rootManifest = read<Manifest>('package.json');

/** What ships; `gen` is what proto is made of. Its declarations name the same package as its code. */
const SHIPPED = ['src', 'bin', 'gen'];
const TESTS = ['test', 'conformance'];

function sources(folder: string): string[] {
  if (statSync(folder, { throwIfNoEntry: false })?.isDirectory() !== true) return [];
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    return entry.isDirectory() ? sources(path) : /\.m?[jt]s$/.test(entry.name) ? [path] : [];
  });
}

/** Names of packages that the files import, types included: `@scope/name` or `name`. */
function importedBy(name: string, folders: readonly string[]): Set<string> {
  const found = new Set<string>();
  const add = (target: string): void => {
    if (!target.startsWith('.') && !target.startsWith('node:'))
      found.add(
        target
          .split('/')
          .slice(0, target.startsWith('@') ? 2 : 1)
          .join('/'),
      );
  };
  for (const path of folders.flatMap((folder) => sources(join(root, 'packages', name, folder)))) {
    const text = readFileSync(path, 'utf8');
    for (const match of text.matchAll(
      /(?:^|\n)\s*(?:import|export)\b[^;'"]*?from\s*['"]([^'"]+)['"]|import\(\s*['"]([^'"]+)['"]\s*\)|(?:^|\n)import\s*['"]([^'"]+)['"]/g,
    ))
      add((match[1] ?? match[2] ?? match[3])!);
  }
  const gyp = join(root, 'packages', name, 'binding.gyp');
  if (existsSync(gyp)) for (const match of readFileSync(gyp, 'utf8').matchAll(/require\('([^']+)'\)/g)) add(match[1]!);
  found.delete(`@weft/${name}`);
  return found;
}

const keys = (record: Readonly<Record<string, string>> | undefined): string[] => Object.keys(record ?? {});

describe('a package', () => {
  it.each(packages)('$name depends on what it imports, and on nothing else', ({ name, manifest }) => {
    const imported = importedBy(name, SHIPPED);
    for (const peer of keys(manifest.peerDependencies)) imported.delete(peer);
    expect(keys(manifest.dependencies).sort()).toEqual([...imported].sort());
  });

  it.each(packages)("$name's tests import what it, or the workspace, depends on", ({ name, manifest }) => {
    // Packages of the workspace may be used by the tests of any other: a test stands above all layers.
    const tested = [...importedBy(name, TESTS)].filter((target) => !target.startsWith('@weft/'));
    const has = new Set([manifest, rootManifest].flatMap((one) => [...keys(one.dependencies), ...keys(one.devDependencies)]));
    expect(tested.filter((target) => !has.has(target))).toEqual([]);
    const shipped = importedBy(name, SHIPPED);
    expect(keys(manifest.devDependencies).filter((target) => !tested.includes(target) || shipped.has(target))).toEqual([]);
  });

  it.each(packages)('$name is built after what it imports', ({ name, manifest }) => {
    const config = join('packages', name, 'tsconfig.json');
    if (!existsSync(join(root, config))) return;
    const references = (read<{ references?: { path: string }[] }>(config).references ?? []).map(({ path }) =>
      path.replace('../', '@weft/'),
    );
    // Generated before anything is compiled.
    const wanted = keys(manifest.dependencies).filter((target) => target.startsWith('@weft/') && target !== '@weft/proto');
    expect(references.sort()).toEqual(wanted.sort());
  });
});

describe('package-lock.json', () => {
  const lock = read<{ packages: Readonly<Record<string, Manifest>> }>('package-lock.json').packages;

  it.each(packages)('says of $name what its package.json says: `npm ci` refuses anything else', ({ name, manifest }) => {
    const locked = lock[`packages/${name}`];
    for (const field of ['dependencies', 'devDependencies', 'peerDependencies'] as const)
      expect(locked?.[field] ?? {}, field).toEqual(manifest[field] ?? {});
  });

  it('holds nothing that nobody asks for', () => {
    const asked = new Set(
      Object.values(lock).flatMap((one) =>
        [one.dependencies, one.devDependencies, one.peerDependencies, one.optionalDependencies].flatMap((field) => keys(field)),
      ),
    );
    const held = Object.keys(lock).flatMap((path) =>
      path.includes('node_modules/') ? [path.slice(path.lastIndexOf('node_modules/') + 13)] : [],
    );
    expect(held.filter((name) => !asked.has(name) && !name.startsWith('@weft/'))).toEqual([]);
  });
});
