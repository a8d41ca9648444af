import { mkdirSync } from 'node:fs';
import { Lab, parseLabFile, pinDirectory } from '@weft/lab';
import { DropReason } from '@weft/model';
import {
  createNetns,
  httpGet,
  httpServe,
  ipBatch,
  NatsServer,
  NetnsEndpoint,
  NetnsWorker,
  ping,
  run,
  setSysctls,
  spawnIn,
  tcpMirror,
  tcpMirrorServe,
  uniqueName,
  waitFor,
} from '@weft/testkit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cacheDir, endLab, weft } from './support.ts';

// A gateway that runs in a VM of Weft's own. The outer installation is the lab; the inner one is in its VMs: vh1 is a host (with NATS and a controller),
// vg1 a gateway whose two NICs are ports of the outer network. Its external addresses are a customer route that leads to one of them.
//
//   h1                                                        h2
//   +-- vh1 10.60.0.11 ------------+   +-- srv 10.50.0.10     +-- vg1 ------------------------------+
//   |  inner VM 10.0.1.10 ─ agent ═╪═══╪═══ inner tunnel ═════╪═ eth0 10.60.0.12   eth1 10.50.0.2 ──╪──► srv, as 203.0.113.64
//   +------------------------------+   +----------------------+-------------------------------------+
//                       (all of it in outer tunnels from h1 to h2 and back)

const document = (kind: string, names: string, spec = ''): string =>
  `apiVersion: weft/v1\nkind: ${kind}\nmetadata: { ${names} }\n${spec === '' ? '' : `spec: { ${spec} }\n`}`;
const inNet = (name: string): string => `tenant: infra, network: net, name: ${name}`;
const EXT_MAC = '02:00:00:00:0e:01';
const OUTER = [
  `apiVersion: weft/v1\nkind: Lab\nspec:\n  hosts: [{ name: h1 }, { name: h2 }]\n  vms:\n` +
    `    - { name: vh1, host: h1, port: infra/net/vh1 }\n    - { name: vg1, host: h2, port: infra/net/vg1 }\n    - { name: srv, host: h1, port: infra/net/srv }\n`,
  document('Tenant', 'name: infra'),
  document('VirtualNetwork', 'tenant: infra, name: net'),
  document('VirtualSubnet', inNet('under'), 'prefixes: [10.60.0.0/24]'),
  document('VirtualSubnet', inNet('dmz'), 'prefixes: [10.50.0.0/24]'),
  document('Port', inNet('vh1'), 'subnet: under, addresses: [10.60.0.11]'),
  document('Port', inNet('vg1'), 'subnet: under, addresses: [10.60.0.12]'),
  document('Port', inNet('vg1-ext'), `subnet: dmz, mac: '${EXT_MAC}', addresses: [10.50.0.2]`),
  document('Port', inNet('srv'), 'subnet: dmz, addresses: [10.50.0.10]'),
  document('CustomerRoute', inNet('public'), 'prefix: 203.0.113.64/28, nextHop: 10.50.0.2'),
].join('---\n');
const INNER = [
  document(
    'Gateway',
    'name: edge',
    'members: [{ host: vg1, externalInterface: eth1 }], shards: 1, segments: [{ name: dmz, onLink: [10.50.0.0/24], nextHops: [10.50.0.1] }], ' +
      'pools: [{ name: public, segment: dmz, addresses: [203.0.113.64/28], shared: 1 }]',
  ),
  document('Tenant', 'name: coke'),
  document('VirtualNetwork', 'tenant: coke, name: net'),
  document('VirtualSubnet', 'tenant: coke, network: net, name: web', 'prefixes: [10.0.1.0/24]'),
  document('Port', 'tenant: coke, network: net, name: a', "subnet: web, mac: '02:00:00:00:00:0a', addresses: [10.0.1.10]"),
  document('GatewayConnection', 'tenant: coke, network: net, name: out', 'gateway: edge, mode: nat, pool: public'),
].join('---\n');

let lab: Lab;
let inner: NetnsEndpoint;
let worker: NetnsWorker;

/** The `weft` command in a VM, as its own installation's admin. */
async function inVm(vm: string, args: readonly string[], input?: string): Promise<void> {
  const netns = lab.vm(vm).netns.netns;
  await run(weft[0]!, [...weft.slice(1), ...args], { netns, timeoutMs: 60_000, ...(input === undefined ? {} : { input }) });
}

/** A veth pair as a VM's NIC: `device` where the agent is, `nic` in the VM. */
async function plug(host: string, device: string, vm: string, nic: string, mac: string, address: string, mtu: number): Promise<void> {
  const size = ['mtu', String(mtu)];
  await ipBatch([
    [...['link', 'add', device, ...size, 'netns', host, 'type', 'veth'], ...['peer', 'name', nic, ...size, 'address', mac, 'netns', vm]],
  ]);
  await setSysctls(host, { [`net/ipv6/conf/${device}/disable_ipv6`]: 1 });
  await ipBatch([['link', 'set', device, 'arp', 'off', 'up']], host);
  await ipBatch(
    [
      ['address', 'add', address, 'dev', nic],
      ['link', 'set', nic, 'up'],
    ],
    vm,
  );
}

beforeAll(async () => {
  lab = await Lab.up(parseLabFile('gateway-in-vm', OUTER), { name: uniqueName('t'), weft, keep: false, cacheDir });
  const { registry } = lab.net;
  const [vh1, vg1] = [lab.vm('vh1').netns.netns, lab.vm('vg1').netns.netns];
  await plug(lab.host('h2').netns, 'vg1-ext', vg1, 'eth1', EXT_MAC, '10.50.0.2/24', 1450);
  await lab.weft(['port', 'bind', 'infra/net/vg1-ext', '--netdev', 'vg1-ext', '--host', 'h2']);

  const dir = `${lab.net.dir}/inner`;
  mkdirSync(dir);
  await NatsServer.start({ dir: `${dir}/nats`, host: '10.60.0.11', port: 4222, netns: vh1, registry });
  await inVm('vh1', ['init', '--nats', 'nats://10.60.0.11:4222', '--dir', dir, '--host', 'vh1', '--host', 'vg1']);
  const context = ['--context', `${dir}/context.yaml`];
  const start = (netns: string, what: string, args: readonly string[]) => spawnIn(netns, [...weft, ...args], { what, registry });
  await start(vh1, 'inner controller', [...context, 'controller', '--identity', `${dir}/controller.seed`]);
  for (const [host, netns, role] of [
    ['vh1', vh1, 'host'],
    ['vg1', vg1, 'gateway'],
  ] as const) {
    registry.record({ kind: 'pins', path: pinDirectory(lab.name, host) });
    await start(netns, `inner agent of ${host}`, [
      ...['agent', '--bundle', `${dir}/${host}.bundle.json`, '--underlay', 'eth0', '--role', role, '--engine', 'kernel'],
      ...['--instance', `${lab.name}-${host}`, '--state-dir', `${dir}/${host}`, '--run-directory', `${dir}/${host}-run`],
    ]);
  }
  // Refused until the gateway's host has registered itself.
  await waitFor(async () => (await inVm('vh1', [...context, 'apply', '-f', '-'], INNER)) === undefined, {
    what: 'the inner installation to take its manifests',
    deadlineMs: 60_000,
    intervalMs: 200,
  });
  inner = new NetnsEndpoint('inner VM', `weft-${lab.name}-inner`);
  await createNetns(registry, [inner.netns]);
  await plug(vh1, 'vm-a', inner.netns, 'eth0', '02:00:00:00:00:0a', '10.0.1.10/24', 1400);
  await ipBatch([['route', 'add', 'default', 'via', '10.0.1.1']], inner.netns);
  await inVm('vh1', [...context, 'port', 'bind', 'coke/net/a', '--netdev', 'vm-a', '--host', 'vh1']);
  worker = await NetnsWorker.start(inner.netns, { registry });
  await waitFor(async () => (await ping(inner, '10.50.0.10')).received === 1, {
    what: 'the inner VM to reach the outside through the gateway in a VM',
    deadlineMs: 60_000,
    intervalMs: 200,
  });
});
afterAll(() => endLab(lab));

describe("a gateway in a VM of Weft's own", () => {
  it('takes a tenant of its own out by its external address, and carries bulk both ways', async () => {
    const outside = await lab.vm('srv').worker();
    await tcpMirrorServe(outside, { port: 7000 });
    expect(await tcpMirror(worker, { host: '10.50.0.10', port: 7000 })).toMatchObject({ address: '203.0.113.64' });
    await httpServe(outside, { port: 80 });
    expect(await httpGet(worker, 'http://10.50.0.10/1/5000000', { timeoutMs: 30_000 })).toMatchObject({ ok: true });
  });

  it('may send what the customer route of the outer network leads to, as long as there is one', async () => {
    const spoofed = async (): Promise<number> => {
      const { counters } = await lab.ask('h2', { kind: 'drops', value: {} }, 'drops');
      return counters.reduce((sum, one) => sum + (one.reason === DropReason.SOURCE_ADDRESS_SPOOFED ? Number(one.packets) : 0), 0);
    };
    expect(await spoofed()).toBe(0);
    await lab.weft(['delete', 'route', 'infra/net/public']);
    await waitFor(async () => (await ping(inner, '10.50.0.10', { timeoutMs: 100 })).received === 0, { what: 'the route to be gone' });
    expect(await spoofed()).toBeGreaterThan(0);
  });
});
