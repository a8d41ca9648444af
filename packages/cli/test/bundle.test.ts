import { existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { run } from '@weft/testkit';
import { afterEach, describe, expect, it } from 'vitest';

const PACKAGES = fileURLToPath(new URL('../../', import.meta.url));
let root: string | undefined;
afterEach(() => {
  if (root !== undefined) rmSync(root, { recursive: true });
  root = undefined;
});

/** Packages as they stand in a clone, with a command whose two forms say which of them was taken. */
function clone(): { readonly compiled: string; readonly bundled: string; readonly command: string } {
  root = mkdtempSync(join(tmpdir(), 'weft-bundle-'));
  const cli = join(root, 'packages/cli');
  for (const path of ['bin', 'dist/bundle']) mkdirSync(join(cli, path), { recursive: true });
  mkdirSync(join(root, 'packages/agent'));
  writeFileSync(join(cli, 'package.json'), '{"type":"module"}');
  const says = (text: string): string => `export const main = async () => { console.log(${JSON.stringify(text)}); return 0; };\n`;
  writeFileSync(join(cli, 'dist/main.js'), says('compiled'));
  writeFileSync(join(cli, 'dist/bundle/weft.js'), says('bundled'));
  writeFileSync(join(root, 'packages/agent/tsconfig.tsbuildinfo'), '');
  symlinkSync(join(PACKAGES, 'cli/bin/weft.js'), join(cli, 'bin/weft.js'));
  return {
    compiled: join(root, 'packages/agent/tsconfig.tsbuildinfo'),
    bundled: join(cli, 'dist/bundle/weft.js'),
    command: join(cli, 'bin/weft.js'),
  };
}

const said = async (command: string): Promise<string> =>
  (await run(process.execPath, ['--preserve-symlinks-main', '--preserve-symlinks', command])).stdout.trim();

describe('the command in one file', () => {
  it('is taken unless something was compiled since it was made, or it is not there', async () => {
    const { compiled, bundled, command } = clone();
    utimesSync(compiled, 100, 100);
    utimesSync(bundled, 200, 200);
    expect(await said(command)).toBe('bundled');
    utimesSync(compiled, 300, 300);
    expect(await said(command)).toBe('compiled');
    rmSync(compiled);
    expect(await said(command)).toBe('bundled');
    rmSync(bundled);
    expect(await said(command)).toBe('compiled');
  });

  it('is the same command, and finds its files from where it lies', async () => {
    const bundle = join(PACKAGES, 'cli/dist/bundle/weft.js');
    expect(existsSync(bundle), 'run "npm run build"').toBe(true);
    const outputs = await Promise.all(
      [bundle, join(PACKAGES, 'cli/dist/main.js')].map(async (file) => {
        const code = `import(${JSON.stringify(file)}).then(({ main }) => main(['version', '--json']))`;
        return (await run(process.execPath, ['-e', code])).stdout;
      }),
    );
    expect(outputs[0]).toBe(outputs[1]);
    expect(outputs[0]).toContain('0.1.0');
  });
});
