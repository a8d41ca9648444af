import { chmodSync, copyFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  cleanLab,
  findProcessesByEnvironment,
  identifyProcess,
  isProcessAlive,
  labNames,
  type ManagedProcess,
  Registry,
  run,
  spawnIn,
  type TempDir,
  tempDir,
  uniqueName,
  waitFor,
} from '../src/index.ts';

const fixture = (name: string): string => fileURLToPath(new URL(`./fixtures/${name}`, import.meta.url));

/*
 * A signal that comes while a command of the lab's making is under way. The command is held between what was recorded and what it makes, so
 * that every clean-up which doesn't see to it comes too early, each time.
 */
describe('an interruption while a command is under way', () => {
  let dir: TempDir;
  let name: string;
  let creator: ManagedProcess | undefined;

  beforeEach(() => {
    dir = tempDir('weft-held-');
    name = uniqueName('tk-int-');
    copyFileSync(fixture('held-ip.sh'), join(dir.path, 'ip'));
    chmodSync(join(dir.path, 'ip'), 0o755);
  });
  afterEach(async () => {
    release();
    creator?.kill('SIGKILL');
    await creator?.exited;
    const left = await namespaces();
    await cleanLab(name);
    for (const netns of left) await run('ip', ['netns', 'del', netns], { allowFailure: true });
    dir.remove();
  });

  const namespaces = async (): Promise<string[]> =>
    (await run('ip', ['netns', 'list'])).stdout
      .split('\n')
      .filter((line) => line.startsWith(`weft-${name}-`))
      .map((line) => line.split(' ')[0]!);
  const release = (): void => writeFileSync(join(dir.path, 'released'), '');

  /** Starts a creator and waits until its batch with these words is held; returns the batch's process and the lab's token. */
  async function createAndHold(
    words: string,
  ): Promise<{ creator: ManagedProcess; held: { pid: number; startTime: number }; token: string }> {
    const realIp = (await run('sh', ['-c', 'command -v ip'])).stdout.trim();
    const env = { PATH: `${dir.path}:${process.env['PATH']}`, REAL_IP: realIp, HELD_DIR: dir.path, HELD_BATCH: words };
    creator = await spawnIn(undefined, [process.execPath, fixture('creator.mjs'), name, 'guarded'], { env });
    const file = join(dir.path, 'held');
    await waitFor(() => existsSync(file), { what: 'the batch to be held', deadlineMs: 20_000 });
    return { creator, held: identifyProcess(Number(readFileSync(file, 'utf8')))!, token: Registry.open(name)!.token };
  }

  async function expectNothingLeft(held: { pid: number; startTime: number }, token: string): Promise<void> {
    // What still waits would make its namespace now.
    release();
    await waitFor(() => !isProcessAlive(held), { what: 'the held batch to end' });
    expect(await namespaces()).toEqual([]);
    expect(findProcessesByEnvironment('WEFT_LAB_TOKEN', token)).toEqual([]);
    expect(labNames()).not.toContain(name);
    expect(existsSync(`/run/weft/labs/${name}.d`)).toBe(false);
  }

  // The first batch of all, when the lab's maker has nothing in hand yet; the switch's, after which the body would go on; the VM's, by the name.
  const places = { hosts: '-a\n', switch: '-switch', vm: '-vm-v1' } as const;

  for (const [place, words] of Object.entries(places)) {
    it(`${place}: a command that comes to its end is waited for, and what it made is removed`, async () => {
      const { creator, held, token } = await createAndHold(`netns add weft-${name}${words}`);
      creator.kill('SIGINT');
      await creator.waitForLine(/^interrupted$/);
      release();
      expect(await creator.exited).toEqual({ code: 130, signal: null });
      await expectNothingLeft(held, token);
    });
  }

  for (const [signals, code] of [
    [['SIGINT'], 130],
    [['SIGTERM'], 143],
    [['SIGINT', 'SIGINT'], 130],
    [['SIGTERM', 'SIGINT'], 143],
  ] as const) {
    it(`${signals.join(', then ')}: a command that stays is ended, and makes nothing later`, async () => {
      const { creator, held, token } = await createAndHold(`netns add weft-${name}-switch`);
      creator.kill(signals[0]);
      await creator.waitForLine(/^interrupted$/);
      if (signals[1] !== undefined) creator.kill(signals[1]);
      expect(await creator.exited).toEqual({ code, signal: null });
      expect(isProcessAlive(held)).toBe(false);
      await expectNothingLeft(held, token);
    });
  }

  it('a third signal ends the process at once, and the next run removes what is left', async () => {
    const { creator, held, token } = await createAndHold(`netns add weft-${name}-switch`);
    creator.kill('SIGINT');
    await creator.waitForLine(/^interrupted$/);
    creator.kill('SIGTERM');
    creator.kill('SIGHUP');
    expect((await creator.exited).signal).toBe(null);
    await cleanLab(name);
    await expectNothingLeft(held, token);
  });

  it('another process that removes the lab meanwhile ends the command, and the maker makes no more', async () => {
    const { creator, held, token } = await createAndHold(`netns add weft-${name}-switch`);
    await cleanLab(name);
    expect(isProcessAlive(held)).toBe(false);
    expect((await creator.exited).code).not.toBe(0);
    await expectNothingLeft(held, token);
  });

  it('a maker killed by SIGKILL leaves the command to the next run', async () => {
    const { creator, held, token } = await createAndHold(`netns add weft-${name}-switch`);
    creator.kill('SIGKILL');
    await creator.exited;
    await cleanLab(name);
    await expectNothingLeft(held, token);
  });
});
