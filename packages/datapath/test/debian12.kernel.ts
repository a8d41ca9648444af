import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findGuestKernel, loadGuestModules, QemuVm, tempDir, testRun } from '@weft/testkit';
import { rolldown } from 'rolldown';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { addHostNetns, RUN, sh } from './support/lab.ts';
import { compileHarness } from './support/nat-harness.ts';

// The kernel engine on Debian 12's own kernel (6.1), in an emulated guest: this very Node.js, the addons and the programs, against the oracle.

const PACKAGES = fileURLToPath(new URL('../../', import.meta.url));
const MODULES = ['sch_ingress', 'cls_bpf', 'vxlan', 'tun', 'veth', 'bridge', 'nf_tables'];
const ENVIRONMENT = ['env', 'PATH=/usr/sbin:/bin'];

async function bundle(entry: string): Promise<string> {
  const build = await rolldown({
    input: join(PACKAGES, 'datapath/test/support', entry),
    platform: 'node',
    resolve: {
      alias: Object.fromEntries(
        ['audit', 'bpf', 'bus', 'datapath', 'forwarding', 'model', 'packet', 'tables', 'testkit', 'tuntap'].map((name) => [
          `@weft/${name}`,
          join(PACKAGES, name, 'src/index.ts'),
        ]),
      ),
    },
  });
  const { output } = await build.generate({ format: 'esm', codeSplitting: false });
  await build.close();
  return output[0].code;
}

/** A program's file with all that its loader wants. */
function withLibraries(...binaries: string[]): string[] {
  const { stdout } = spawnSync('ldd', binaries, { encoding: 'utf8' });
  return [...new Set([...binaries, ...[...stdout.matchAll(/(?:=> |^\s+)(\/\S+) \(/gm)].map((match) => match[1]!)])];
}

const netns = `wdp61${RUN}`;
const directory = tempDir('weft-61-');
let guest: QemuVm;
beforeAll(async () => {
  addHostNetns(netns);
  sh(`ip -n ${netns} tuntap add tap0 mode tap vnet_hdr; ip -n ${netns} link set tap0 up`);
  const kernel = findGuestKernel();
  const addons = ['bpf/build/Release/weft_bpf.node', 'tuntap/build/Release/weft_tuntap.node'];
  const modules = await loadGuestModules(kernel, MODULES);
  const programs = withLibraries(
    process.execPath,
    '/usr/sbin/ip',
    '/usr/sbin/nft',
    '/bin/dash',
    ...addons.map((path) => join(PACKAGES, path)),
  );
  const harness = compileHarness();
  const files: Record<string, string | Uint8Array> = {
    '/weft/dist/nat.mjs': await bundle('old-kernel-nat.ts'),
    '/dist-bpf/nat-harness.bpf.o': readFileSync(harness.path),
    '/weft/dist/oracle.mjs': await bundle('old-kernel-guest.ts'),
    '/dist-bpf/weft.bpf.o': readFileSync(join(PACKAGES, 'datapath/dist-bpf/weft.bpf.o')),
    '/usr/sbin/sh': readFileSync('/bin/dash'),
    '/etc/weft/modules': modules.map(({ file }) => `/weft/modules/${file}\n`).join(''),
  };
  harness.remove();
  for (const { file, data } of modules) files[`/weft/modules/${file}`] = data;
  for (const path of programs) {
    const place = path.startsWith(PACKAGES)
      ? path.replace(/^.*(?=\/build\/)/, '/weft')
      : path === process.execPath
        ? '/usr/sbin/node'
        : path;
    files[place] = readFileSync(path);
  }
  guest = await QemuVm.start({
    name: 'debian12',
    registry: testRun(),
    tap: 'tap0',
    hostNetns: netns,
    dir: join(directory.path, 'guest'),
    cacheDir: join(dirname(PACKAGES), '.cache'),
    kernel,
    // At the worst, while 6.1's verifier loads a gateway's programs, 540 MiB are in use (MemTotal - MemAvailable, looked at five times a second), 120 of them
    // these files; with 640 all of it passes. The rest is for what grows.
    memoryMiB: 1_024,
    mac: '02:00:00:00:00:61',
    addresses: ['10.0.0.5/24'],
    files,
  });
  await guest.exec(['sh', '-c', 'while read -r module; do insmod "$module" || exit 1; done < /etc/weft/modules']);
}, 180_000);
afterAll(async () => {
  await guest?.stop();
  directory.remove();
  sh(`ip netns del ${netns}`);
});

describe('kernel 6.1', () => {
  it('runs the engine: traffic, a restart without a gap, every verdict of the oracle', { timeout: 260_000 }, async () => {
    const run = await guest.exec([...ENVIRONMENT, 'node', '/weft/dist/oracle.mjs', '1', '1', '150'], {
      timeoutMs: 240_000,
      allowFailure: true,
    });
    expect(run.code, `${run.stdout}\n${run.stderr}`).toBe(0);
    const report = JSON.parse(run.stdout) as {
      tried: number;
      climbed: number;
      overRestart: { answered: number };
      difference?: string;
    };
    const answered = '1 packets transmitted, 1 packets received';
    expect(report).toMatchObject({
      kernel: expect.stringMatching(/^6\.1\./),
      tcx: false,
      pings: [answered, answered],
      tcpBytes: [300_000, 300_000],
      attached: true,
      isReplaced: true,
    });
    expect(report.overRestart, JSON.stringify(report)).toMatchObject({ gaps: [] });
    // Five before and after it, the others while it went on.
    expect(report.overRestart.answered).toBeGreaterThan(15);
    expect(report.climbed, JSON.stringify(report)).toBeGreaterThan(0);
    expect(report.difference).toBeUndefined();
    expect(report.tried).toBeGreaterThan(120);
  });

  it('maps ports as the oracle does, over histories', { timeout: 260_000 }, async () => {
    const run = await guest.exec([...ENVIRONMENT, 'node', '/weft/dist/nat.mjs', '/dist-bpf/nat-harness.bpf.o', '4'], {
      timeoutMs: 240_000,
      allowFailure: true,
    });
    expect(run.code, `${run.stdout}\n${run.stderr}`).toBe(0);
    expect(JSON.parse(run.stdout)).toEqual({ kernel: expect.stringMatching(/^6\.1\./), tried: 4 });
  });
});
