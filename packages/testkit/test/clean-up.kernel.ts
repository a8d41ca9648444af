import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, it } from 'vitest';
import {
  cleanDeadLabs,
  cleanDeadTestRuns,
  cleanLab,
  findProcessesByEnvironment,
  listLabs,
  Registry,
  run,
  spawnIn,
  uniqueName,
  waitFor,
} from '../src/index.ts';

const CREATOR = fileURLToPath(new URL('./fixtures/creator.mjs', import.meta.url));
const TEST_RUN = fileURLToPath(new URL('./fixtures/test-run.mjs', import.meta.url));

describe('clean-up after a creator', () => {
  const name = uniqueName('tk-dead-');
  afterEach(async () => {
    await cleanLab(name);
  });

  const namespaces = async (): Promise<string[]> =>
    (await run('ip', ['netns', 'list'])).stdout.split('\n').filter((line) => line.startsWith(`weft-${name}-`));
  const expectNothingLeft = async (token: string): Promise<void> => {
    expect(await namespaces()).toEqual([]);
    expect(findProcessesByEnvironment('WEFT_LAB_TOKEN', token)).toEqual([]);
    expect(existsSync(`/run/weft/labs/${name}.jsonl`)).toBe(false);
    expect(existsSync(`/run/weft/labs/${name}.d`)).toBe(false);
    expect(existsSync(`/sys/fs/bpf/weft-${name}`)).toBe(false);
  };

  it('a later run removes all that a creator killed by SIGKILL left, and leaves living and kept labs alone', async () => {
    const creator = await spawnIn(undefined, [process.execPath, CREATOR, name, 'bare']);
    await creator.waitForLine(/^ready$/, 20_000);
    const { token } = Registry.open(name)!;
    expect(await cleanDeadLabs(name)).toEqual([]);
    creator.kill('SIGKILL');
    await creator.exited;
    // Five namespaces: a, b, ctl, switch and the VM's. The worker that probed NATS ends by itself, the others stay.
    expect(await namespaces()).toHaveLength(5);
    expect(listLabs().find((lab) => lab.name === name)).toMatchObject({ ownerAlive: false });
    expect(findProcessesByEnvironment('WEFT_LAB_TOKEN', token).length).toBeGreaterThanOrEqual(3);

    expect(await cleanDeadLabs(name)).toEqual([name]);
    await expectNothingLeft(token);
  });

  it('one that is killed half way is removed as well', async () => {
    const creator = await spawnIn(undefined, [process.execPath, CREATOR, name, 'bare']);
    await waitFor(async () => (await namespaces()).length >= 2, { what: 'the first namespaces', intervalMs: 1 });
    creator.kill('SIGKILL');
    await creator.exited;
    const { token } = Registry.open(name)!;
    await cleanLab(name);
    await expectNothingLeft(token);
  });

  for (const [how, end, code] of [
    ['guarded', 'SIGINT', 130],
    ['guarded', 'SIGTERM', 143],
    ['crash', undefined, 1],
  ] as const) {
    it(`withCleanup() cleans up after ${end ?? 'an error nobody caught'} and exits with ${code}`, async () => {
      const creator = await spawnIn(undefined, [process.execPath, CREATOR, name, how]);
      await creator.waitForLine(/^ready$/, 20_000);
      const token = Registry.open(name)?.token;
      if (end !== undefined) creator.kill(end);
      expect(await creator.exited).toEqual({ code, signal: null });
      await expectNothingLeft(token ?? 'none');
      if (end === undefined) expect(creator.lastLines().join('\n')).toContain('nobody caught this');
    });
  }
});

describe('cleanDeadTestRuns()', () => {
  it('removes the namespaces and pins that a killed test has made by hand, and leaves those of one that lives', async () => {
    const [dead, living] = [uniqueName('tk-run-'), uniqueName('tk-run-')];
    const isThere = (name: string): boolean[] => [`/run/netns/${name}`, `/sys/fs/bpf/${name}`].map((path) => existsSync(path));
    const tests = await Promise.all([dead, living].map((name) => spawnIn(undefined, [process.execPath, TEST_RUN, name])));
    const end = async (index: number): Promise<void> => {
      tests[index]!.kill('SIGKILL');
      await tests[index]!.exited;
    };
    try {
      for (const test of tests) await test.waitForLine(/^ready$/, 20_000);
      await end(0);
      expect(isThere(dead)).toEqual([true, true]);
      expect((await cleanDeadTestRuns()).length).toBeGreaterThanOrEqual(1);
      expect(isThere(dead)).toEqual([false, false]);
      expect(isThere(living)).toEqual([true, true]);
    } finally {
      await Promise.all(tests.map((_, index) => end(index)));
      await cleanDeadTestRuns();
    }
    expect(isThere(living)).toEqual([false, false]);
  });
});
