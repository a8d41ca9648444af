import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { tempDir } from '@weft/testkit';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';

// scripts/install.mjs, into a directory of its own: what it puts there runs without the repository, and all of it goes again.

const SCRIPT = fileURLToPath(new URL('../../../scripts/install.mjs', import.meta.url));
const UNITS = ['weft-agent.service', 'weft-controller.service', 'weft-up.service'];

let root: string;
let remove: () => void;
function openRoot(): void {
  const directory = tempDir('weft-install-');
  root = directory.path;
  remove = () => directory.remove();
}

function install(...options: string[]): { status: number | null; text: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [SCRIPT, ...options], {
    cwd: '/',
    env: { ...process.env, DESTDIR: root },
    encoding: 'utf8',
  });
  return { status, text: stdout + stderr };
}

/** Every file and link below the root. */
function files(): string[] {
  return readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((one) => !one.isDirectory())
    .map((one) => join(one.parentPath, one.name).slice(root.length))
    .sort();
}

describe('what scripts/install.mjs installs', () => {
  beforeAll(() => {
    openRoot();
    expect(install().status).toBe(0);
  });
  afterAll(() => remove());

  it('runs away from the repository, and is no more than that needs', () => {
    // As a package would be unpacked elsewhere.
    const moved = `${root}/moved`;
    cpSync(join(root, 'usr'), moved, { recursive: true, verbatimSymlinks: true });
    const { stdout, stderr, status } = spawnSync(join(moved, 'bin/weft'), ['--version'], { cwd: '/', encoding: 'utf8' });
    expect([status, stderr]).toEqual([0, '']);
    expect(stdout).toMatch(/^(weft )?0\.1\.0/);
    rmSync(moved, { recursive: true });
    const all = files();
    expect(all.filter((path) => path.startsWith('/usr/lib/weft/packages/') && /\.(ts|map|d|tsbuildinfo)$/.test(path))).toEqual([]);
    for (const name of ['bench', 'vitest', 'typescript']) expect(all.some((path) => path.includes(`/${name}/`))).toBe(false);
    for (const name of ['datapath/dist-bpf/weft.bpf.o', 'testkit/helpers/netns-worker.mjs', 'proto/gen/weft.js'])
      expect(all).toContain(`/usr/lib/weft/packages/${name}`);
  });

  it('has the agent read its configuration with all that it loads for it', () => {
    const settings = join(root, 'weft.yaml');
    writeFileSync(settings, 'nonsense: 1\n');
    const { status, stderr } = spawnSync(join(root, 'usr/bin/weft'), ['agent', '--config', settings, '--check-config'], {
      encoding: 'utf8',
    });
    expect(status).toBe(2);
    expect(stderr).toContain('nonsense');
  });

  it('has units that systemd-analyze finds nothing wrong with, where there is such', () => {
    if (spawnSync('systemd-analyze', ['--version']).status !== 0) return;
    const place = join(root, 'usr/lib/systemd/system');
    // What they refer to, of this machine's systemd.
    const system = '/usr/lib/systemd/system';
    for (const name of readdirSync(system))
      if (/\.(target|slice|mount|socket)$/.test(name)) copyUnit(join(system, name), join(place, name));
    for (const name of UNITS) {
      const { stderr } = spawnSync('systemd-analyze', ['verify', '--man=no', `--root=${root}`, name], { encoding: 'utf8' });
      expect(stderr.split('\n').filter((line) => line.includes('weft'))).toEqual([]);
    }
  });
});

describe('scripts/install.mjs', () => {
  beforeEach(() => openRoot());
  afterEach(() => remove());

  it('may be repeated, keeps what the operator wrote, and leaves only that when it is taken away', () => {
    install();
    const first = files();
    mkdirSync(join(root, 'etc/weft'), { recursive: true });
    writeFileSync(join(root, 'etc/weft/weft.yaml'), 'hostId: mine\n');
    // Of an older Weft, which this one has not any more; and of an install that was cut off.
    const list = join(root, 'usr/lib/weft/INSTALLED');
    writeFileSync(join(root, 'usr/lib/systemd/system/weft-old.service'), '');
    writeFileSync(list, `${readFileSync(list, 'utf8')}/usr/lib/systemd/system/weft-old.service\n`);
    mkdirSync(join(root, 'usr/lib/weft.new/half'), { recursive: true });
    expect(install().status).toBe(0);
    expect(files()).toEqual([...first, '/etc/weft/weft.yaml'].sort());
    expect(install('--uninstall').status).toBe(0);
    expect(files()).toEqual(['/etc/weft/weft.yaml']);
    expect(existsSync(join(root, 'usr/share/doc/weft'))).toBe(false);
    const again = install('--uninstall');
    expect([again.status, again.text]).toEqual([1, expect.stringContaining('nothing to take away')]);
  });

  it('puts units where systemd looks, with the command as it is called there', () => {
    for (const [prefix, units] of [
      ['/usr/local', '/usr/local/lib/systemd/system'],
      ['/opt/weft', '/etc/systemd/system'],
    ] as const) {
      expect(install('--prefix', prefix).status).toBe(0);
      for (const name of UNITS) {
        const text = readFileSync(join(root, units, name), 'utf8');
        expect(text).toMatch(new RegExp(`^ExecStart=${prefix}/bin/weft `, 'm'));
        expect(text).not.toContain('/usr/bin/weft');
        expect(text).toContain(`file://${prefix}/share/doc/weft/configuration.md`);
        expect(existsSync(join(root, prefix, 'share/doc/weft/configuration.md'))).toBe(true);
      }
      expect(readlinkSync(join(root, prefix, 'bin/weft'))).toBe('../lib/weft/packages/cli/bin/weft.js');
    }
  });

  it('touches nothing of others', () => {
    mkdirSync(join(root, 'usr/bin'), { recursive: true });
    symlinkSync('/somewhere/else', join(root, 'usr/bin/weft'));
    const other = install();
    expect([other.status, other.text]).toEqual([1, expect.stringContaining('is none of ours')]);
    rmSync(join(root, 'usr/bin/weft'));
    mkdirSync(join(root, 'usr/lib/weft'), { recursive: true });
    const directory = install();
    expect([directory.status, directory.text]).toEqual([1, expect.stringContaining('was not installed by this script')]);
    expect(files()).toEqual([]);
  });

  it.each([
    [['--prefix', 'opt'], 'must be an absolute path'],
    [['--prefix'], 'without a value'],
    [['--purge'], 'cannot understand "--purge"'],
  ])('refuses %j as a mistake', (options, message) => {
    const { status, text } = install(...options);
    expect([status, text]).toEqual([2, expect.stringContaining(message)]);
    expect(files()).toEqual([]);
  });
});

function copyUnit(from: string, to: string): void {
  mkdirSync(dirname(to), { recursive: true });
  cpSync(from, to, { dereference: true });
}
