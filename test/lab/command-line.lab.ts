import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { cleanLab, labNames, run, uniqueName, waitFor } from '@weft/testkit';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { projectRoot, weft } from './support.ts';

/** What a person types: `weft lab …` and `npm run demo`, from the outside. */

const [program, ...first] = weft;
const command = (...args: string[]) => run(program!, [...first, ...args], { timeoutMs: 90_000, allowFailure: true, cwd: projectRoot });
const made: string[] = [];
const name = (): string => {
  const one = uniqueName('t');
  made.push(one);
  return one;
};
afterEach(async () => {
  for (const lab of made.splice(0)) await cleanLab(lab);
});

describe('weft lab', () => {
  it('brings up two labs side by side, runs commands in their VMs, and takes each down alone', async () => {
    const [one, two] = [name(), name()];
    for (const lab of [one, two])
      expect(await command('lab', 'up', '-f', 'docs/examples/lab.yaml', '--name', lab)).toMatchObject({ code: 0 });
    for (const lab of [one, two]) {
      expect((await command('lab', 'exec', '--name', lab, 'web1', '--', 'ping', '-c', '2', '-i', '0.05', '10.0.2.10')).code).toBe(0);
    }
    // A real guest, by its busybox; its exit status is the command's.
    expect((await command('lab', 'exec', '--name', one, 'guest', '--', 'ping', '-c', '2', '10.0.1.10')).stdout).toContain(
      '2 packets received',
    );
    expect((await command('lab', 'exec', '--name', one, 'guest', '--', 'sh', '-c', 'exit 7')).code).toBe(7);
    const status = JSON.parse((await command('lab', 'status', '--name', one, '--json')).stdout) as { complete: boolean; vms: unknown[] };
    expect(status).toMatchObject({ complete: true });
    expect(status.vms).toHaveLength(4);
    expect((await command('--lab', two, 'get', 'ports', '--json')).stdout).toContain('web1');
    // The option that names the lab to every other command names it to these, too.
    expect((await command('--lab', two, 'lab', 'exec', 'web1', '--', 'true')).code).toBe(0);
    expect(JSON.parse((await command('--lab', two, 'lab', 'status', '--json')).stdout)).toMatchObject({ name: two });
    const again = await command('lab', 'up', '-f', 'docs/examples/lab.yaml', '--name', one);
    expect(again.code).toBe(1);
    expect(again.stderr).toMatch(/is up already/);
    expect((await command('lab', 'down', '--name', one)).code).toBe(0);
    expect((await command('lab', 'exec', '--name', two, 'web1', '--', 'ping', '-c', '1', '10.0.2.10')).code).toBe(0);
    expect((await command('lab', 'down', '--name', two)).code).toBe(0);
    expect((await command('lab', 'down', '--name', two)).code).toBe(0);
    expect(readdirSync('/run/netns').filter((netns) => netns.includes(one) || netns.includes(two))).toEqual([]);
    expect(
      existsSync('/sys/fs/bpf/weft') ? readdirSync('/sys/fs/bpf/weft').filter((pin) => pin.startsWith(one) || pin.startsWith(two)) : [],
    ).toEqual([]);
  });

  it('removes what a killed "lab up" left, and starts', async () => {
    const lab = name();
    const child = spawn(program!, [...first, 'lab', 'up', '-f', 'docs/examples/lab.yaml', '--name', lab], {
      stdio: 'ignore',
      cwd: projectRoot,
    });
    await waitFor(() => existsSync(`/run/netns/weft-${lab}-h1`), { what: 'the lab to be half made', deadlineMs: 20_000, intervalMs: 10 });
    child.kill('SIGKILL');
    const up = await command('lab', 'up', '-f', 'docs/examples/lab.yaml', '--name', lab);
    expect(up.code, up.stderr).toBe(0);
    expect((await command('lab', 'exec', '--name', lab, 'web1', '--', 'ping', '-c', '1', '10.0.1.11')).code).toBe(0);
  });

  it('removes what an interrupted "lab up" has made', async () => {
    const lab = name();
    const child = spawn(program!, [...first, 'lab', 'up', '-f', 'docs/examples/lab.yaml', '--name', lab], {
      stdio: 'ignore',
      cwd: projectRoot,
    });
    const exited = new Promise((resolve) => child.once('exit', resolve));
    await waitFor(() => existsSync(`/run/netns/weft-${lab}-h1`), { what: 'the lab to be half made', deadlineMs: 20_000, intervalMs: 10 });
    child.kill('SIGTERM');
    expect(await exited).toBe(143);
    expect(labNames()).not.toContain(lab);
    expect(readdirSync('/run/netns').filter((netns) => netns.includes(lab))).toEqual([]);
  });

  it('refuses a lab file with every fault by line, and lists what is there for a wrong name', async () => {
    const bad = await run(program!, [...first, 'lab', 'up', '-f', '-', '--name', name()], {
      input:
        'apiVersion: weft/v1\nkind: Lab\nspec:\n  hosts: [{ name: h1 }]\n  vms:\n    - { name: a, host: h9, port: coke }\n  extra: 1\n',
      allowFailure: true,
    });
    expect(bad.code).toBe(1);
    expect(bad.stderr).toMatch(/-:6: spec\.vms\.0\.host: "h9": must be one of the lab's hosts \(h1\)/);
    expect(bad.stderr).toMatch(/-:6: spec\.vms\.0\.port: "coke": must be tenant\/network\/port/);
    expect(bad.stderr).toMatch(/-:7: spec\.extra: unknown key "extra"/);
    expect((await command('lab', 'status', '--name', 'no-such-lab')).stderr).toMatch(/There is no lab "no-such-lab"/);
  });
});

describe('npm run demo', () => {
  const started: ChildProcess[] = [];
  /** In a process group of its own: npm, its shell and the demo can be ended together. */
  const demo = () => {
    const child = spawn('npm', ['run', 'demo', '--', '--json'], { cwd: projectRoot, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
    started.push(child);
    return child;
  };
  // What a failed test leaves running would take the processors, and the build's files, from those after it.
  afterEach(async () => {
    for (const child of started.splice(0)) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      const exited = new Promise((resolve) => child.once('exit', resolve));
      process.kill(-child.pid!, 'SIGTERM');
      await exited;
    }
  });
  // "npm run demo" sets up first. Where packages or the build are behind, that takes minutes, which are not the demo's.
  beforeAll(async () => {
    await run('bash', ['scripts/setup.sh'], { cwd: projectRoot, timeoutMs: 170_000 });
  });
  /** The lab that a run makes, which is named after a process of its group. Demos of others may run on this machine, too. */
  const labOf = async (run: ChildProcess, said: () => string): Promise<string> =>
    await waitFor(() => labNames().find((lab) => lab.startsWith('demo-') && groupOf(lab.slice('demo-'.length)) === run.pid), {
      what: 'the demo to begin',
      deadlineMs: 60_000,
      show: () => `what it said:\n${said()}`,
    });

  it('holds, right after an earlier run was killed, and prints one JSON value on standard output', async () => {
    const killed = demo();
    let said = '';
    killed.stderr.on('data', (chunk: Buffer) => {
      said += chunk.toString();
    });
    const lab = await labOf(killed, () => said);
    await waitFor(() => existsSync(`/run/netns/weft-${lab}-h3`), {
      what: 'the first run to have made hosts',
      deadlineMs: 20_000,
      intervalMs: 10,
    });
    // The process that made the lab, and not npm around it.
    const journal = await readFile(`/run/weft/labs/${lab}.jsonl`, 'utf8');
    process.kill((JSON.parse(journal.split('\n')[0]!) as { owner: { pid: number } }).owner.pid, 'SIGKILL');
    await new Promise((resolve) => killed.once('exit', resolve));

    const child = demo();
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (chunk: Buffer) => {
      stdout += chunk.toString();
    });
    child.stderr.on('data', (chunk: Buffer) => {
      stderr += chunk.toString();
    });
    const ended = new Promise((resolve) => child.once('exit', resolve));
    const next = await labOf(child, () => stderr);
    const code = await ended;
    const result = JSON.parse(stdout) as { ok: boolean; steps: { id: string; ok: boolean; line: string }[] };
    expect(
      result.steps.filter((step) => !step.ok).map((step) => `${step.id}: ${step.line}`),
      stderr,
    ).toEqual([]);
    expect(result.steps.map((step) => step.id)).toEqual([
      'build',
      'ping',
      'http',
      'isolation',
      'migration',
      'agent-killed',
      'nats-stopped',
      'way-out',
      'port-forward',
      'power-cut',
      'drain',
      'consistent',
    ]);
    expect(code).toBe(0);
    expect(labNames().filter((name) => [lab, next].includes(name))).toEqual([]);
  }, 400_000);

  it('cleans up after itself when interrupted', async () => {
    const child = spawn(program!, [...first, 'demo', '--json'], { stdio: 'ignore', cwd: projectRoot });
    const mine = `demo-${child.pid}`;
    await waitFor(() => existsSync(`/run/netns/weft-${mine}-h2`), {
      what: 'the demo to have made hosts',
      deadlineMs: 30_000,
      intervalMs: 10,
    });
    child.kill('SIGINT');
    const code = await new Promise((resolve) => child.once('exit', resolve));
    expect(code).not.toBe(0);
    expect(labNames()).not.toContain(mine);
    expect(readdirSync('/run/netns').filter((netns) => netns.includes(mine))).toEqual([]);
  });
});

/** Process group of a process, by number. Undefined: there is none such. */
function groupOf(pid: string): number | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // Field 5; field 2, the command in parentheses, may hold spaces.
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[2]);
  } catch {
    return undefined;
  }
}
