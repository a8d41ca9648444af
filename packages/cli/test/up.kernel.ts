import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  createLabNet,
  createVmNetns,
  LAB_STATE_DIR,
  type LabNet,
  type ManagedProcess,
  mustPing,
  type RunResult,
  run,
  startPingStream,
  uniqueName,
  type VmNetns,
  waitFor,
} from '@weft/testkit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';

// The real `weft up` on host a, a host b that joins by a bundle, a VM on each:
//
//   vm1 ── a: weft up { nats, controller, agent } ═══ underlay ═══ b: weft agent ── vm2

const bin = fileURLToPath(new URL('../bin/weft.js', import.meta.url));
const name = uniqueName('up');
let lab: LabNet;
let state: string;
let up: ManagedProcess;
let joined: ManagedProcess;
let vm1: VmNetns;

const quiet = { WEFT_LAB: '', WEFT_NATS: '', WEFT_IDENTITY: '', WEFT_TRUST: '', WEFT_CONTEXT: '' };
const instance = (host: string): string => `${name}-${host}`;
const weft = (args: readonly string[]): Promise<RunResult> =>
  run(process.execPath, [bin, ...args], {
    netns: lab.host('a').netns,
    allowFailure: true,
    timeoutMs: 60_000,
    env: { ...quiet, WEFT_CONTEXT: join(state, 'context.yaml') },
  });
const upArguments = (): string[] => [
  'up',
  '--state-dir',
  state,
  '--provider-address',
  '192.0.2.1',
  '--underlay',
  'underlay0',
  '--host-id',
  'a',
  '--instance',
  instance('a'),
];

let starts = 0;
const startUp = async (): Promise<ManagedProcess> => {
  const process_ = await lab.host('a').spawn([process.execPath, bin, ...upArguments()], { logName: `up${++starts}`, env: quiet });
  await process_.waitForLine(/^Weft is up/, 90_000);
  return process_;
};

/** Children of a process by what they run. */
const children = (pid: number): Map<string, number> => {
  const found = new Map<string, number>();
  for (const entry of readdirSync('/proc').filter((one) => /^\d+$/.test(one))) {
    try {
      const stat = readFileSync(`/proc/${entry}/stat`, 'utf8');
      if (Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]) !== pid) continue;
      const command = readFileSync(`/proc/${entry}/cmdline`, 'utf8');
      for (const what of ['nats-server', 'controller', 'agent']) if (command.includes(what)) found.set(what, Number(entry));
    } catch {
      // It ended between the two reads.
    }
  }
  return found;
};
const alive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};
const untilWell = (): Promise<unknown> =>
  waitFor(async () => (await weft(['status', '--timeout', '2'])).code === 0, {
    what: 'weft status to say that all is well',
    deadlineMs: 60_000,
    show: () => up.lastLines(20).join('\n'),
  });

/** Expects that nothing was lost; when something was, says what the hosts counted and wrote. */
const expectNoLoss = async (what: string, read: () => Promise<object>): Promise<void> => {
  let summary: unknown;
  try {
    summary = await read();
    expect(summary).toMatchObject({ lost: 0, lostRuns: [] });
  } catch (error) {
    const counted = (await weft(['drops', '--json'])).stdout;
    const checked = await weft(['check']);
    const logs = [up, joined].map((one) => one.lastLines(30).join('\n')).join('\n--- b ---\n');
    throw new Error(
      `${what}: ${(error as Error).message}\n${JSON.stringify(summary)}\n--- drops ---\n${counted}\n--- check ---\n${checked.stdout}${checked.stderr}\n--- a ---\n${logs}`,
      { cause: error },
    );
  }
};

beforeAll(async () => {
  lab = await createLabNet({ name, hosts: [{ name: 'a' }, { name: 'b' }], controlNodeCount: 0 });
  for (const host of ['a', 'b']) {
    lab.registry.record({ kind: 'pins', path: `/sys/fs/bpf/weft/${instance(host)}` }, { kind: 'dir', path: `/run/weft/${instance(host)}` });
  }
  state = join(lab.host('a').dir, 'state');
  up = await startUp();
});
afterAll(async () => {
  await lab?.close();
});

describe('weft up', () => {
  it('starts NATS, a controller and the host agent, and tells how to go on', async () => {
    const log = up.lastLines(Number.POSITIVE_INFINITY).join('\n');
    expect(log).toMatch(
      /Weft is up: host a, provider address 192\.0\.2\.1 on underlay0\n {2}NATS {6}nats:\/\/192\.0\.2\.1:4222 \(embedded nats-server 2\./,
    );
    expect(log).toMatch(/weft host add NAME --out NAME\.bundle\.json/);
    expect([...children(up.pid).keys()].sort()).toEqual(['agent', 'controller', 'nats-server']);
    const status = JSON.parse((await weft(['status', '--json'])).stdout) as { ok: boolean; hosts: object[] };
    expect(status).toMatchObject({ ok: true, hosts: [{ hostId: 'a', natsState: 'connected' }] });
    for (const seed of ['admin.seed', 'controller.seed', 'host.seed'])
      expect(statSync(join(state, 'identity', seed)).mode & 0o777, seed).toBe(0o600);
  });

  it('does not start twice', async () => {
    const second = await weft(upArguments());
    expect(second.stderr).toMatch(/"weft up" with state directory .* runs already/);
    expect(second.code).toBe(1);
    const other = await weft([...upArguments(), '--state-dir', join(lab.host('a').dir, 'other')]);
    expect(other.stderr).toMatch(/a NATS server listens there already; use it with --nats/);
    expect(other.code).toBe(1);
  });

  it('lets another host join with a bundle', async () => {
    const b = lab.host('b');
    const bundle = join(b.dir, 'b.bundle.json');
    expect((await weft(['host', 'add', 'b', '--out', bundle])).code).toBe(0);
    joined = await b.spawn(
      [
        process.execPath,
        bin,
        'agent',
        '--bundle',
        bundle,
        '--underlay',
        'underlay0',
        '--instance',
        instance('b'),
        '--state-dir',
        join(b.dir, 'state'),
      ],
      { logName: 'agent', env: quiet },
    );
    await waitFor(async () => (await weft(['get', 'hosts'])).stdout.includes('192.0.2.2'), {
      what: 'host b to join',
      deadlineMs: 60_000,
      show: () => joined.lastLines(20).join('\n'),
    });
    await untilWell();
  });

  it('is reached from outside as a lab, by name, inside its network', async () => {
    const labContext = join(LAB_STATE_DIR, `${name}.context.json`);
    lab.registry.record({ kind: 'dir', path: labContext });
    const { nats, identity, trust } = parse(readFileSync(join(state, 'context.yaml'), 'utf8')) as Record<string, string>;
    writeFileSync(labContext, JSON.stringify({ netns: lab.host('a').netns, nats, identity, trust }));
    const outside = (args: readonly string[], env: Record<string, string> = {}): Promise<RunResult> =>
      run(process.execPath, [bin, ...args], { allowFailure: true, env: { ...quiet, ...env } });
    expect((await outside(['--lab', name, 'get', 'hosts'])).stdout).toMatch(/^a +192\.0\.2\.1 /m);
    expect((await outside(['get', 'hosts', '--json'], { WEFT_LAB: name })).stdout).toMatch(/"name": "b"/);
    const missing = await outside(['--lab', name, 'get', 'host', 'z']);
    expect(missing.stderr).toMatch(/There is no Host "z"/);
    expect(missing.code).toBe(1);
    expect((await outside(['--lab', 'no-such-lab', 'get', 'hosts'])).stderr).toMatch(/There is no lab "no-such-lab"/);
  });

  it('carries packets between ports of both', async () => {
    const net = join(lab.host('a').dir, 'net.yaml');
    const metadata = 'tenant: coke, network: net';
    writeFileSync(
      net,
      `apiVersion: weft/v1\nkind: Tenant\nmetadata: {name: coke}\n---\napiVersion: weft/v1\nkind: VirtualNetwork\nmetadata: {tenant: coke, name: net}\n---\napiVersion: weft/v1\nkind: VirtualSubnet\nmetadata: {${metadata}, name: web}\nspec: {prefixes: [10.0.0.0/24]}\n---\n${[
        1, 2,
      ]
        .map(
          (n) =>
            `apiVersion: weft/v1\nkind: Port\nmetadata: {${metadata}, name: vm${n}}\nspec: {subnet: web, addresses: [10.0.0.1${n}], mac: "02:00:00:00:00:1${n}"}\n`,
        )
        .join('---\n')}`,
    );
    expect((await weft(['apply', '-f', net])).stderr).toBe('5 created\n');
    const vm = (n: number, host: string): Promise<VmNetns> =>
      createVmNetns({
        name: `vm${n}`,
        netns: `weft-${name}-vm${n}`,
        hostNetns: lab.host(host).netns,
        hostDevice: `vm${n}`,
        mac: `02:00:00:00:00:1${n}`,
        addresses: [`10.0.0.1${n}/24`],
        registry: lab.registry,
      });
    vm1 = await vm(1, 'a');
    await vm(2, 'b');
    for (const [port, host] of [
      ['vm1', 'a'],
      ['vm2', 'b'],
    ] as const) {
      const bound = await weft(['port', 'bind', `coke/net/${port}`, '--netdev', port, '--host', host]);
      expect(bound.stderr + bound.stdout).toContain(`is bound to ${port} on ${host}`);
    }
    await waitFor(async () => (await weft(['trace', '--from', 'coke/net/vm1', '--dst', '10.0.0.12'])).code === 0, {
      what: 'the trace to arrive',
      deadlineMs: 30_000,
    });
    expect((await weft(['trace', '--from', 'coke/net/vm1', '--dst', '10.0.0.12'])).stdout).toMatch(/delivered to vm2 on b\n$/);
    await mustPing(vm1, '10.0.0.12', { count: 3 });
    expect((await weft(['check'])).stdout).toMatch(/^a +\d+ +consistent\nb +\d+ +consistent$/m);
  });

  it('loses no packet while each part is killed, and itself is killed and started again', async () => {
    const stream = await startPingStream(vm1, '10.0.0.12', { intervalMs: 10, registry: lab.registry });
    for (const part of ['nats-server', 'controller', 'agent']) {
      const pid = children(up.pid).get(part)!;
      process.kill(pid, 'SIGKILL');
      await waitFor(() => (children(up.pid).get(part) ?? pid) !== pid, { what: `${part} to be started again`, deadlineMs: 30_000 });
      await untilWell();
      await expectNoLoss(`${part} killed`, () => stream.takeWindow());
    }
    const orphans = [...children(up.pid).values()];
    up.kill('SIGKILL');
    await waitFor(() => !orphans.some(alive), { what: 'the children to end with their parent', deadlineMs: 30_000 });
    await stream.answered(20, 10_000);
    await expectNoLoss('weft up killed', () => stream.takeWindow());
    up = await startUp();
    await untilWell();
    await expectNoLoss('weft up started again', () => stream.takeWindow());
    const again = [...children(up.pid).values()];
    expect((await up.stop(30_000)).code).toBe(0);
    expect(again.filter(alive)).toEqual([]);
    await stream.answered(20, 10_000);
    await expectNoLoss('weft up stopped', () => stream.stop());
  });

  it('says what is missing when it can not start', async () => {
    const old = join(lab.host('a').dir, 'nats-server');
    writeFileSync(old, '#!/bin/sh\necho "nats-server: v2.8.4"\n', { mode: 0o755 });
    const refused = await weft([...upArguments(), '--nats-server', old]);
    expect(refused.stderr).toMatch(/its version is 2\.8\.4, Weft needs 2\.9\.10 or newer/);
    expect(refused.code).toBe(1);
    const nowhere = await weft([...upArguments(), '--provider-address', '203.0.113.9']);
    expect(nowhere.stderr).toMatch(/203\.0\.113\.9; this machine has: .*underlay0 192\.0\.2\.1/);
    expect(nowhere.code).toBe(2);
  });
});
