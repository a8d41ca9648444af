import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

/*
 * Imports go down this list, never up: values, then logic, then adapters, then programs, then tools. A package may import those of lower layers, and of
 * its own layer only what stands before it.
 */
const layers: readonly (readonly string[])[] = [
  ['packet', 'proto'],
  ['model'],
  ['forwarding', 'tables', 'election'],
  ['tuntap', 'bpf', 'bus', 'audit', 'datapath'],
  ['controller', 'agent'],
  ['testkit', 'lab'],
  ['cli', 'console', 'bench'],
];
const order = layers.flat();

/** Why a package must not import something, said where it is forbidden. */
const forbidden: readonly { readonly packages: readonly string[]; readonly imports: RegExp; readonly why: string }[] = [
  {
    packages: ['packet', 'model', 'forwarding', 'tables', 'election'],
    imports: /^node:(fs|net|dgram|child_process|http|https|tls|worker_threads|cluster|os|timers)/,
    why: 'it is replayed offline and compared with the kernel: what it says may depend on its arguments only',
  },
  {
    packages: order.filter((name) => name !== 'bus'),
    imports: /^@nats-io\//,
    why: 'the bus package alone knows the client library, its traps and its settings',
  },
  {
    packages: ['forwarding', 'tables', 'datapath'],
    imports: /^@weft\/bus/,
    why: 'packets are forwarded, and tables folded, with NATS absent',
  },
];
const impure = /\b(Date\.now|Math\.random|performance\.now|process\.hrtime)\b/;
const pure = ['packet', 'model', 'forwarding', 'tables', 'election'];

const root = fileURLToPath(new URL('../../packages', import.meta.url));

function sources(folder: string): string[] {
  return readdirSync(folder).flatMap((name) => {
    const path = join(folder, name);
    return statSync(path).isDirectory() ? sources(path) : path.endsWith('.ts') ? [path] : [];
  });
}

const files = readdirSync(root).flatMap((name) => {
  const at = join(root, name, 'src');
  return statSync(at, { throwIfNoEntry: false })?.isDirectory()
    ? sources(at).map((path) => ({ name, path, text: readFileSync(path, 'utf8') }))
    : [];
});

function imports(text: string): string[] {
  return [
    ...text.matchAll(
      /(?:^|\n)\s*(?:import|export)\b[^;'"]*?from\s*['"]([^'"]+)['"]|import\(\s*['"]([^'"]+)['"]\s*\)|(?:^|\n)import\s*['"]([^'"]+)['"]/g,
    ),
  ].map((match) => match[1] ?? match[2] ?? match[3] ?? '');
}

describe('imports', () => {
  it('finds the sources at all', () => {
    expect(files.length).toBeGreaterThan(50);
    expect(files.flatMap((file) => imports(file.text)).filter((name) => name.startsWith('@weft/')).length).toBeGreaterThan(30);
  });

  it('of every package are of packages below it', () => {
    const upward = files.flatMap(({ name, path, text }) =>
      imports(text)
        .filter((target) => target.startsWith('@weft/'))
        .map((target) => target.split('/')[1]!)
        .filter((target) => !order.includes(target) || !order.includes(name) || order.indexOf(target) >= order.indexOf(name))
        .map((target) => `${path.slice(root.length + 1)} imports @weft/${target}: ${name} stands below it in ${JSON.stringify(layers)}`),
    );
    expect(upward).toEqual([]);
  });

  it('never name what is forbidden, for the reason given', () => {
    const found = files.flatMap(({ name, path, text }) =>
      forbidden
        .filter((rule) => rule.packages.includes(name))
        .flatMap((rule) =>
          imports(text)
            .filter((target) => rule.imports.test(target))
            .map((target) => `${path.slice(root.length + 1)} imports ${target}: ${rule.why}`),
        ),
    );
    expect(found).toEqual([]);
  });

  it('go to the public door of a sibling, never into it', () => {
    const deep = files.flatMap(({ path, text }) =>
      imports(text)
        .filter((target) => /^@weft\/[^/]+\/(dist|src)/.test(target))
        .map((target) => `${path.slice(root.length + 1)}: ${target}`),
    );
    expect(deep).toEqual([]);
  });
});

describe('pure packages', () => {
  it('take time and randomness as inputs', () => {
    const found = files
      .filter(({ name }) => pure.includes(name))
      .flatMap(({ path, text }) =>
        text
          .split('\n')
          .map((line, index) => ({ line, index }))
          .filter(({ line }) => impure.test(line) && !/^\s*(\/?\*|\/\/)/.test(line))
          .map(({ index, line }) => `${path.slice(root.length + 1)}:${index + 1}: ${line.trim()}`),
      );
    expect(found).toEqual([]);
  });
});
