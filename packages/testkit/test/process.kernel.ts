import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import {
  cleanLab,
  createNetns,
  findProcessesByEnvironment,
  identifyProcess,
  isProcessAlive,
  listLabs,
  Registry,
  readLabNote,
  run,
  signalProcess,
  spawnIn,
  tempDir,
  uniqueName,
  waitFor,
} from '../src/index.ts';

const labs: string[] = [];
const newRegistry = (): Registry => {
  const registry = Registry.create(uniqueName('tk-'));
  labs.push(registry.name);
  return registry;
};
afterEach(async () => {
  for (const name of labs.splice(0)) await cleanLab(name);
});

describe('run()', () => {
  it('returns output and status, and feeds input', async () => {
    expect(await run('cat', [], { input: 'a line' })).toEqual({ stdout: 'a line', stderr: '', code: 0 });
    expect(await run('sh', ['-c', 'exit 7'], { allowFailure: true })).toMatchObject({ code: 7 });
  });

  it('tells command, status and standard error when it fails', async () => {
    const failed = run('ip', ['link', 'show', 'dev', 'no-such-dev']);
    await expect(failed).rejects.toMatchObject({ code: 'WEFT_ERR_TESTKIT_COMMAND', exitCode: 1 });
    await expect(failed).rejects.toThrow(/ip link show dev no-such-dev" exited with 1: .*does not exist/);
    await expect(run('/no/such/program', [])).rejects.toMatchObject({ exitCode: null, timedOut: false });
  });

  it('ends a command at its deadline', async () => {
    await expect(run('sleep', ['60'], { timeoutMs: 50 })).rejects.toMatchObject({ timedOut: true });
  });
});

describe('spawnIn()', () => {
  it('keeps lines, waits for one, and stops by SIGTERM', async () => {
    const child = await spawnIn(undefined, ['sh', '-c', 'echo starting; echo ready >&2; exec sleep 60']);
    expect(await child.waitForLine(/^ready$/)).toBe('ready');
    expect(child.lastLines().sort()).toEqual(['ready', 'starting']);
    expect(identifyProcess(child.pid)).toEqual({ pid: child.pid, startTime: child.startTime });
    expect(await child.stop()).toEqual({ code: null, signal: 'SIGTERM' });
    expect(child.alive).toBe(false);
  });

  it('uses SIGKILL on what ignores SIGTERM', async () => {
    const child = await spawnIn(undefined, ['sh', '-c', 'trap "" TERM; echo deaf; while :; do sleep 60; done']);
    await child.waitForLine(/deaf/);
    const [sleeper] = (await waitFor(
      async () => (await run('ps', ['-o', 'pid=', '--ppid', String(child.pid)], { allowFailure: true })).stdout.trim().split('\n'),
      { what: 'the child of the shell' },
    )) as string[];
    const orphan = identifyProcess(Number(sleeper))!;
    expect(await child.stop(50)).toMatchObject({ signal: 'SIGKILL' });
    signalProcess(orphan, 'SIGKILL');
  });

  it('writes to a log file, and says so when a process ends instead of getting ready', async () => {
    const dir = tempDir();
    const logFile = join(dir.path, 'logs', 'x.log');
    const child = await spawnIn(undefined, ['sh', '-c', 'echo bad configuration; exit 3'], { logFile });
    await expect(child.waitForLine(/ready/)).rejects.toThrow(/ended \(3\) before it wrote .*bad configuration/s);
    expect(readFileSync(logFile, 'utf8')).toBe('bad configuration\n');
    const second = await spawnIn(undefined, ['sh', '-c', 'printf "run 2, bad "; sleep 0.05; echo luck; exec sleep 60'], { logFile });
    expect(await second.waitForLine(/bad/)).toBe('run 2, bad luck');
    expect(second.lastLines()).toEqual(['bad configuration', 'run 2, bad luck']);
    await second.stop();
    dir.remove();
  });

  it('names a command that cannot be started', async () => {
    await expect(spawnIn(undefined, ['/no/such/program'])).rejects.toMatchObject({ code: 'WEFT_ERR_TESTKIT_PROCESS' });
  });

  it('does not signal another process that has the pid now', () => {
    const self = identifyProcess(process.pid)!;
    expect(isProcessAlive(self)).toBe(true);
    const earlier = { ...self, startTime: self.startTime - 1 };
    expect(isProcessAlive(earlier)).toBe(false);
    expect(signalProcess(earlier, 'SIGKILL')).toBe(false);
  });
});

describe('cleanLab()', () => {
  it('removes namespaces, devices, tables, directories and processes, once, and a second time does nothing', async () => {
    const registry = newRegistry();
    const netns = `weft-${registry.name}-a`;
    const dir = tempDir('weft-clean-');
    const device = uniqueName('tk');
    await createNetns(registry, [netns]);
    registry.record(
      { kind: 'device', name: device, netns },
      { kind: 'nft', family: 'inet', table: 'tk', netns },
      { kind: 'dir', path: dir.path },
    );
    await run('ip', ['-n', netns, 'link', 'add', device, 'type', 'bridge']);
    await run('nft', ['add', 'table', 'inet', 'tk'], { netns });
    mkdirSync(join(dir.path, 'deep', 'er'), { recursive: true });
    writeFileSync(join(dir.path, 'deep', 'er', 'file'), 'x');
    const child = await spawnIn(netns, ['sleep', '600'], { registry });
    registry.note('vms', ['a', 'b']);
    expect(readLabNote(registry.name, 'vms')).toEqual(['a', 'b']);
    expect(listLabs().find((lab) => lab.name === registry.name)).toMatchObject({ ownerAlive: true, kept: false, namespaces: [netns] });

    expect(await cleanLab(registry.name)).toEqual({ found: true, processes: 1, namespaces: 1, devices: 1, tables: 1, paths: 1 });
    expect(await child.exited).toMatchObject({ signal: 'SIGTERM' });
    expect(existsSync(`/run/netns/${netns}`)).toBe(false);
    expect(existsSync(dir.path)).toBe(false);
    expect(await cleanLab(registry.name)).toMatchObject({ found: false });
    expect(() => registry.note('late', 1)).toThrow(/has been removed/);
  });

  it('passes over what was recorded but never made, and a record cut short', async () => {
    const registry = newRegistry();
    registry.record(
      { kind: 'netns', name: `weft-${registry.name}-never` },
      { kind: 'process', pid: process.pid, startTime: 1, what: 'an earlier process with our pid' },
      { kind: 'device', name: 'tk-never' },
      { kind: 'nft', family: 'inet', table: 'tk-never' },
      { kind: 'pins', path: '/sys/fs/bpf/weft/tk-never' },
    );
    writeFileSync(`/run/weft/labs/${registry.name}.jsonl`, '{"kind":"netns","na', { flag: 'a' });
    expect(await cleanLab(registry.name)).toEqual({ found: true, processes: 0, namespaces: 0, devices: 0, tables: 0, paths: 0 });
  });

  it('finds processes that were started but not recorded, by the token in their environment', async () => {
    const registry = newRegistry();
    const child = await spawnIn(undefined, ['sh', '-c', 'sleep 600 & sleep 600'], { env: registry.environment });
    await waitFor(() => findProcessesByEnvironment('WEFT_LAB_TOKEN', registry.token).length === 3, { what: 'the shell and its children' });
    expect(await cleanLab(registry.name)).toMatchObject({ processes: 3 });
    await child.exited;
    expect(findProcessesByEnvironment('WEFT_LAB_TOKEN', registry.token)).toEqual([]);
  });

  it('refuses a second lab of the same name', () => {
    const registry = newRegistry();
    expect(() => Registry.create(registry.name)).toThrow(/is recorded in/);
    expect(() => Registry.create('../etc')).toThrow(/Cannot name a lab/);
  });
});
