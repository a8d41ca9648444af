import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  createLabNet,
  createVmNetns,
  type LabHost,
  type LabNet,
  type ManagedProcess,
  mustPing,
  NatsCluster,
  type RunResult,
  run,
  startPingStream,
  uniqueName,
  waitFor,
} from '@weft/testkit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';

// The topology of docker-compose.yml as processes, with the very commands that stand there: no Docker engine runs where tests run.
//
//   ctl, ctl2, ctl3: nats-server, one JetStream cluster       ctl, ctl2: weft controller
//   host-a 192.0.2.11: weft agent ═══ underlay ═══ host-b 192.0.2.12: weft agent

interface Service {
  readonly command: readonly string[];
}
const compose = parse(readFileSync(new URL('../../../docker-compose.yml', import.meta.url), 'utf8'), { merge: true }) as {
  readonly services: Readonly<Record<string, Service>>;
};
const hosts = Object.entries(compose.services).flatMap(([host, { command }]) =>
  command[0] === 'agent' ? [{ name: host, address: command[command.indexOf('--provider-address') + 1]! }] : [],
);
const bin = fileURLToPath(new URL('../bin/weft.js', import.meta.url));
const name = uniqueName('cmp');
let lab: LabNet;
let cluster: NatsCluster;
const controllers: ManagedProcess[] = [];
const agents: ManagedProcess[] = [];

/** A service's command line, with the container's paths turned into the lab's and instance names made unique on this kernel. */
const commandOf = (service: string, at: LabHost): string[] => {
  const words = compose.services[service]!.command.map((word) => word.replace(/^\/etc\/weft/, join(lab.dir, 'etc')));
  const instance = words.indexOf('--instance');
  if (instance !== -1) words.splice(instance + 1, 1, `${name}-${service}`);
  return [process.execPath, bin, ...words, ...(words[0] === 'agent' ? ['--state-dir', join(at.dir, 'state'), '--log-level', 'info'] : [])];
};
const environment = (): Record<string, string> => ({
  WEFT_LAB: '',
  WEFT_IDENTITY: '',
  WEFT_TRUST: '',
  WEFT_NATS: cluster.urls.join(','),
  WEFT_CONTEXT: join(lab.dir, 'etc/context.yaml'),
});
const weft = (args: readonly string[]): Promise<RunResult> =>
  run(process.execPath, [bin, ...args], { netns: lab.ctl.netns, allowFailure: true, timeoutMs: 60_000, env: environment() });
const logs = (): string => [...controllers, ...agents].flatMap((one) => one.lastLines(10)).join('\n');

beforeAll(async () => {
  lab = await createLabNet({ name, hosts, controlNodeCount: 3 });
  for (const host of hosts) {
    const instance = `${name}-${host.name}`;
    lab.registry.record({ kind: 'pins', path: `/sys/fs/bpf/weft/${instance}` }, { kind: 'dir', path: `/run/weft/${instance}` });
  }
  cluster = await NatsCluster.start({
    dir: join(lab.dir, 'nats'),
    registry: lab.registry,
    members: lab.controlNodes.map((node) => ({ netns: node.netns, host: node.address, port: 4222 })),
  });
  const [command, ...init] = commandOf('init', lab.ctl);
  // The context file is what this command writes; it can't be there before.
  await run(command!, init, { netns: lab.ctl.netns, env: { ...environment(), WEFT_CONTEXT: '' }, timeoutMs: 60_000 });
  for (const [i, service] of ['controller-1', 'controller-2'].entries()) {
    const at = lab.controlNodes[i]!;
    controllers.push(await at.spawn(commandOf(service, at), { logName: service, env: environment() }));
  }
  for (const { name: host } of hosts)
    agents.push(await lab.host(host).spawn(commandOf(host, lab.host(host)), { logName: 'agent', env: environment() }));
  await waitFor(
    async () =>
      (await weft(['status', '--timeout', '3'])).code === 0 &&
      (JSON.parse((await weft(['get', 'hosts', '--json'])).stdout) as object[]).length === hosts.length,
    {
      what: 'both hosts to join',
      deadlineMs: 90_000,
      show: logs,
    },
  );
});
afterAll(async () => {
  await lab?.close();
});

describe('the topology of docker-compose.yml', () => {
  it('carries packets between its hosts, and goes on when a NATS server and a controller die', async () => {
    const net = join(lab.dir, 'net.yaml');
    const metadata = 'tenant: coke, network: net';
    const ports = hosts.map(
      (_, i) =>
        `apiVersion: weft/v1\nkind: Port\nmetadata: {${metadata}, name: vm${i}}\nspec: {subnet: web, addresses: [10.0.0.1${i}], mac: "02:00:00:00:00:1${i}"}\n`,
    );
    writeFileSync(
      net,
      [
        'apiVersion: weft/v1\nkind: Tenant\nmetadata: {name: coke}\n',
        'apiVersion: weft/v1\nkind: VirtualNetwork\nmetadata: {tenant: coke, name: net}\n',
        `apiVersion: weft/v1\nkind: VirtualSubnet\nmetadata: {${metadata}, name: web}\nspec: {prefixes: [10.0.0.0/24]}\n`,
        ...ports,
      ].join('---\n'),
    );
    expect((await weft(['apply', '-f', net])).stderr).toBe('5 created\n');
    const vms = await Promise.all(
      hosts.map((host, i) =>
        createVmNetns({
          name: `vm${i}`,
          netns: `weft-${name}-vm${i}`,
          hostNetns: lab.host(host.name).netns,
          hostDevice: `vm${i}`,
          mac: `02:00:00:00:00:1${i}`,
          addresses: [`10.0.0.1${i}/24`],
          registry: lab.registry,
        }),
      ),
    );
    for (const [i, host] of hosts.entries())
      expect((await weft(['port', 'bind', `coke/net/vm${i}`, '--netdev', `vm${i}`, '--host', host.name])).stdout).toContain(
        `on ${host.name}`,
      );
    await waitFor(async () => (await weft(['trace', '--from', 'coke/net/vm0', '--dst', '10.0.0.11'])).code === 0, {
      what: 'both hosts to know both ports',
      deadlineMs: 30_000,
    });
    await mustPing(vms[0]!, '10.0.0.11', { count: 2 });

    const stream = await startPingStream(vms[0]!, '10.0.0.11', { intervalMs: 20, registry: lab.registry });
    const leader = await cluster.leader();
    leader.process!.kill('SIGKILL');
    controllers[0]!.kill('SIGKILL');
    await controllers[0]!.exited;
    const one = join(lab.dir, 'one.yaml');
    writeFileSync(one, 'apiVersion: weft/v1\nkind: Tenant\nmetadata: {name: pepsi}\n');
    // An election takes some seconds; until then writes are refused or unknown, and said to be.
    await waitFor(async () => (await weft(['apply', '-f', one, '--timeout', '5'])).code === 0, {
      what: 'the two NATS servers and the controller that are left to take an apply',
      deadlineMs: 60_000,
      intervalMs: 250,
      show: logs,
    });
    await waitFor(async () => (await weft(['status', '--timeout', '5'])).code === 0, {
      what: 'both agents to have moved to a NATS server that runs',
      deadlineMs: 60_000,
    });
    expect((await weft(['get', 'tenants'])).stdout).toMatch(/coke[\s\S]*pepsi/);
    expect(await stream.stop()).toMatchObject({ lost: 0, lostRuns: [] });
  });
});
