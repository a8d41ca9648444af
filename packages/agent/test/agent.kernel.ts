import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  type Bus,
  commitRecord,
  connectBus,
  createIdentity,
  getRecord,
  type Identity,
  putPrincipal,
  type Store,
  saveIdentity,
} from '@weft/bus';
import { type BucketName, type Command, configKey, type Response, type WeftRecord } from '@weft/model';
import {
  createLabNet,
  createVmNetns,
  forwardPort,
  type LabNet,
  type ManagedProcess,
  NatsServer,
  NetnsWorker,
  ping,
  run,
  type VmNetns,
  waitFor,
} from '@weft/testkit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { network, port, portId, RDID } from './harness.ts';

// Two real agents in two network namespaces, a real NATS, eBPF:
//
//   VM1 eth0 ── vm1 [ host a: agent, eBPF ] underlay0 ══ underlay0 [ host b: agent, eBPF ] vm2 ── eth0 VM2
//                                 └───────── NATS at the control node ─────────┘

const MAIN = fileURLToPath(new URL('../dist/main.js', import.meta.url));
const NAME = `ag${process.pid % 100_000}`;

let net: LabNet;
let nats: NatsServer;
let bus: Bus;
let store: Store;
const admin = createIdentity('user');
const controller = createIdentity('controller');
const agents = new Map<string, ManagedProcess>();
const vms = new Map<number, VmNetns>();

beforeAll(async () => {
  net = await createLabNet({ name: NAME, hosts: [{ name: 'a' }, { name: 'b' }] });
  for (const host of net.hosts.values()) net.registry.record({ kind: 'pins', path: `/sys/fs/bpf/weft/${NAME}-${host.name}` });
  nats = await NatsServer.start({
    netns: net.ctl.netns,
    host: net.ctl.address,
    port: 4222,
    dir: join(net.ctl.dir, 'nats'),
    registry: net.registry,
  });
  const worker = await NetnsWorker.start(net.ctl.netns, { registry: net.registry });
  const relay = await forwardPort(worker, net.ctl.address, 4222);
  bus = connectBus({ servers: `nats://127.0.0.1:${relay.port}`, name: 'test' });
  await bus.whenConnected({ signal: AbortSignal.timeout(15_000) });
  store = await bus.open({ replicas: 1 });
  await principal(controller, 'controller', 'controller');
  for (const host of ['a', 'b']) {
    const identity = createIdentity('host');
    saveIdentity(join(net.host(host).dir, 'host.seed'), identity);
    await principal(identity, host, 'host');
  }
  for (const vsid of [5001, 5002]) {
    await commit('config', configKey.vsidClaim(vsid), {
      kind: 'claim',
      value: { owner: RDID, requestId: 'request-1', ownerKey: configKey.network(RDID) },
    });
  }
  await commit('config', configKey.network(RDID), { kind: 'network', value: network() });
  for (const n of [1, 2]) await commit('config', configKey.port(RDID, portId(n)), { kind: 'port', value: port(n) });
});

afterAll(async () => {
  await bus?.close();
  for (const agent of agents.values()) await agent.stop();
  await net?.close();
});

async function principal(identity: Identity, name: string, role: 'controller' | 'host'): Promise<void> {
  await putPrincipal({
    bus,
    store,
    admin,
    adminName: 'test',
    principal: { key: identity.publicKey, name, role, tenants: [] },
    requestId: 'request-1',
    nowMs: Date.now(),
  });
}

async function commit(bucket: BucketName, key: string, after: WeftRecord): Promise<void> {
  const current = await getRecord(store.bucket(bucket), key);
  await commitRecord({
    bus,
    bucket: store.bucket(bucket),
    identity: controller,
    key,
    tenant: '',
    current,
    after,
    authorKey: controller.publicKey,
    authorName: 'test',
    requestId: 'request-1',
    nowMs: Date.now(),
  });
}

async function startAgent(name: string): Promise<void> {
  const host = net.host(name);
  const config = join(host.dir, 'agent.yaml');
  writeFileSync(
    config,
    [
      `nats: [${nats.url}]`,
      `hostId: ${name}`,
      `identity: ${join(host.dir, 'host.seed')}`,
      `trust: [${admin.publicKey}]`,
      `underlay: ${host.underlayDevice}`,
      `instance: ${NAME}-${name}`,
      `stateDirectory: ${join(host.dir, 'state')}`,
      `runDirectory: ${join(host.dir, 'run')}`,
      'logLevel: debug',
      'engine: kernel',
    ].join('\n'),
  );
  await spawnAgent(name);
  await answers(name);
}

async function spawnAgent(name: string): Promise<void> {
  const host = net.host(name);
  const argv = [process.execPath, MAIN, '--config', join(host.dir, 'agent.yaml')];
  agents.set(name, await host.spawn(argv, { what: `agent ${name}` }));
}

/** Connected, and everything read from the store. */
async function answers(name: string): Promise<void> {
  await waitFor(
    async () => {
      const answer = await ask(name, { kind: 'status', value: {} }).catch(() => undefined);
      return answer?.result?.kind === 'status' && answer.result.value.natsState === 'connected';
    },
    { what: `agent ${name} to answer`, deadlineMs: 20_000 },
  );
  await agents.get(name)!.waitForLine(/tables complete/, 20_000);
}

async function ask(host: string, command: Command): Promise<Response> {
  return (await bus.request(host, command, { identity: admin, timeoutMs: 5_000 })).response;
}

async function bind(host: string, n: number, device: string, deviceKind: 'tap' | 'netdev', move = false): Promise<Response> {
  return await ask(host, {
    kind: 'bindPort',
    value: { routingDomainId: RDID, portId: portId(n), device, deviceKind, expectedGeneration: 0, move },
  });
}

async function vm(n: number, host: string): Promise<VmNetns> {
  const one = await createVmNetns({
    name: `vm${n}`,
    netns: `weft-${NAME}-vm-${n}`,
    hostNetns: net.host(host).netns,
    hostDevice: `vm${n}`,
    registry: net.registry,
    mac: port(n).mac,
    addresses: [`${port(n).addresses[0]}/26`],
    gateways: ['192.0.2.1'],
  });
  vms.set(n, one);
  return one;
}

async function lost(from: number, to: number, count = 1): Promise<number> {
  return (await ping(vms.get(from)!, port(to).addresses[0]!, { count, intervalMs: 50, timeoutMs: 2_000 })).lost;
}

async function consistent(): Promise<void> {
  for (const host of ['a', 'b']) {
    const { result, problems } = await ask(host, { kind: 'consistency', value: {} });
    expect(problems).toEqual([]);
    expect(result?.value).toMatchObject({ consistent: true, differences: [] });
  }
}

describe('two agents with the kernel engine', () => {
  it('bind ports on veths, see each other, and forward', async () => {
    await Promise.all([startAgent('a'), startAgent('b')]);
    await vm(1, 'a');
    await vm(2, 'b');
    expect((await bind('a', 1, 'vm1', 'netdev')).problems).toEqual([]);
    expect((await bind('b', 2, 'vm2', 'netdev')).problems).toEqual([]);
    await waitFor(async () => (await lost(1, 2)) === 0, { what: 'VM 1 to reach VM 2', deadlineMs: 10_000 });
    expect(await lost(2, 1, 5)).toBe(0);
    await consistent();
  });

  it('lose no packet while an agent is killed and restarted, with NATS there', async () => {
    const stream = ping(vms.get(1)!, port(2).addresses[0]!, { count: 500, intervalMs: 10, timeoutMs: 2_000 });
    for (let i = 0; i < 2; i++) {
      agents.get('a')!.kill();
      await agents.get('a')!.exited;
      await startAgent('a');
    }
    expect((await stream).lost).toBe(0);
    await consistent();
  });

  it('lose no packet while NATS is stopped, an agent restarts meanwhile, and NATS comes back', async () => {
    agents.get('a')!.kill();
    await agents.get('a')!.exited;
    await nats.stop();
    const stream = ping(vms.get(1)!, port(2).addresses[0]!, { count: 500, intervalMs: 10, timeoutMs: 2_000 });
    await spawnAgent('a');
    await agents
      .get('a')!
      .waitForLine(/NATS is not reachable/, 15_000)
      .catch(() => undefined);
    await nats.restart();
    for (const host of ['a', 'b']) await answers(host);
    expect((await stream).lost).toBe(0);
    await consistent();
  });

  it("refuse the host's own devices", async () => {
    await commit('config', configKey.port(RDID, portId(4)), { kind: 'port', value: port(4) });
    for (const device of ['underlay0', 'lo', 'weft-tun0']) {
      expect((await bind('a', 4, device, 'netdev')).problems[0]?.code).toBe('WEFT_ERR_AGENT_DEVICE_RESERVED');
    }
    expect(await lost(1, 2)).toBe(0);
  });

  it('make and remove a TAP', async () => {
    await commit('config', configKey.port(RDID, portId(3)), { kind: 'port', value: port(3) });
    expect((await bind('a', 3, 'tap-weft3', 'tap')).problems).toEqual([]);
    const { stdout } = await run('ip', ['-json', '-details', 'link', 'show', 'dev', 'tap-weft3'], { netns: net.host('a').netns });
    expect(JSON.parse(stdout)[0]).toMatchObject({
      group: '22342',
      linkinfo: { info_kind: 'tun', info_data: { type: 'tap', persist: true, vnet_hdr: true } },
    });
    await consistent();
    expect((await ask('a', { kind: 'unbindPort', value: { routingDomainId: RDID, portId: portId(3) } })).problems).toEqual([]);
    expect((await run('ip', ['link', 'show', 'dev', 'tap-weft3'], { netns: net.host('a').netns, allowFailure: true })).code).not.toBe(0);
    await consistent();
  });
});
