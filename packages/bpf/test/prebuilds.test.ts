import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

// As a package is on a machine without a compiler: dist and prebuilds, no build folder.

const root = fileURLToPath(new URL('../../../', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'weft-prebuilds-'));
const place = `prebuilds/linux-${process.arch}`;

interface Package {
  readonly name: 'bpf' | 'tuntap';
  /** Says something only if the addon is loaded. */
  readonly script: string;
  readonly says: string;
}

const PACKAGES: readonly Package[] = [
  {
    name: 'bpf',
    script: `try { m.BpfMap.fromPin('/nowhere') } catch (error) { console.log(error.errnoName, error.message) }`,
    says: 'ENOENT',
  },
  { name: 'tuntap', script: `console.log('lo is', m.interfaceIndex('lo') > 0)`, says: 'lo is true' },
];

function load({ name, script }: Package): { status: number | null; output: string } {
  const code = `import(${JSON.stringify(join(folder, name, 'dist/index.js'))}).then((m) => { ${script} })`;
  const { status, stdout, stderr } = spawnSync(process.execPath, ['-e', code], { encoding: 'utf8' });
  return { status, output: stdout + stderr };
}

beforeAll(() => {
  const { status, stderr } = spawnSync(process.execPath, [join(root, 'scripts/prebuild.mjs'), '--no-build', '--out', folder], {
    encoding: 'utf8',
  });
  expect(status, stderr).toBe(0);
  for (const { name } of PACKAGES)
    for (const part of ['dist', 'package.json']) cpSync(join(root, 'packages', name, part), join(folder, name, part), { recursive: true });
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('prebuilds', () => {
  it.each(PACKAGES.map((one) => [one.name, one] as const))('of %s are loaded where nothing was built in place', (name, one) => {
    expect(existsSync(join(folder, name, 'build'))).toBe(false);
    const { status, output } = load(one);
    expect(output).toContain(one.says);
    expect(status).toBe(0);
  });

  it.each(PACKAGES.map(({ name }) => name))('of %s have a checksum', (name) => {
    const { status, stdout } = spawnSync('sha256sum', ['--check', '--strict', 'SHA256SUMS'], {
      cwd: join(folder, name, place),
      encoding: 'utf8',
    });
    expect([status, stdout]).toEqual([0, `weft_${name}.node: OK\n`]);
  });

  it.each(PACKAGES.map((one) => [one.name, one] as const))('of %s that are missing are named', (name, one) => {
    rmSync(join(folder, name, 'prebuilds'), { recursive: true });
    expect(load(one).output).toMatch(
      new RegExp(`Cannot load weft_${name}: neither build/Release/.* nor ${place}/weft_${name}.node exists`),
    );
  });
});
