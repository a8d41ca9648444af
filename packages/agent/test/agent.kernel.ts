import { type Command, configKey, type Response } from '@weft/model';
import { createVmNetns, NetnsEndpoint, ping, run, startPingStream, type VmNetns, waitFor } from '@weft/testkit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { port, portId, RDID } from './harness.ts';
import { AgentLab } from './support/agent-lab.ts';

// Two real agents in two network namespaces, a real NATS, eBPF:
//
//   VM1 eth0 ── vm1 [ host a: agent, eBPF ] underlay0 ══ underlay0 [ host b: agent, eBPF ] vm2 ── eth0 VM2
//                                 └───────── NATS at the control node ─────────┘

let lab: AgentLab;
const vms = new Map<number, VmNetns>();

beforeAll(async () => {
  lab = await AgentLab.create();
});
afterAll(async () => {
  await lab?.close();
});

const ask = (host: string, command: Command): Promise<Response> => lab.ask(host, command);
const bind = (host: string, n: number, device: string, deviceKind: 'tap' | 'netdev'): Promise<Response> =>
  lab.bind(host, n, device, deviceKind);

async function vm(n: number, host: string): Promise<VmNetns> {
  const one = await createVmNetns({
    name: `vm${n}`,
    netns: `weft-${lab.name}-vm-${n}`,
    hostNetns: lab.net.host(host).netns,
    hostDevice: `vm${n}`,
    registry: lab.net.registry,
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

const pings = () =>
  startPingStream(new NetnsEndpoint('VM 1', vms.get(1)!.netns), port(2).addresses[0]!, { intervalMs: 10, registry: lab.net.registry });

async function consistent(): Promise<void> {
  for (const host of ['a', 'b']) {
    const { result, problems } = await ask(host, { kind: 'consistency', value: {} });
    expect(problems).toEqual([]);
    expect(result?.value).toMatchObject({ consistent: true, differences: [] });
  }
}

describe('two agents with the kernel engine', () => {
  it('bind ports on veths, see each other, and forward', async () => {
    await Promise.all([lab.start('a'), lab.start('b')]);
    await vm(1, 'a');
    await vm(2, 'b');
    expect((await bind('a', 1, 'vm1', 'netdev')).problems).toEqual([]);
    expect((await bind('b', 2, 'vm2', 'netdev')).problems).toEqual([]);
    await waitFor(async () => (await lost(1, 2)) === 0, { what: 'VM 1 to reach VM 2', deadlineMs: 10_000 });
    expect(await lost(2, 1, 5)).toBe(0);
    await consistent();
  });

  it('lose no packet while an agent is killed and restarted, with NATS there', async () => {
    const stream = await pings();
    for (let i = 0; i < 2; i++) {
      lab.agents.get('a')!.kill();
      await lab.agents.get('a')!.exited;
      await stream.answered(50);
      await lab.start('a');
      await stream.answered(50);
    }
    expect(await stream.stop()).toMatchObject({ lost: 0 });
    await consistent();
  });

  it('lose no packet while NATS is stopped, an agent restarts meanwhile, and NATS comes back', async () => {
    lab.agents.get('a')!.kill();
    await lab.agents.get('a')!.exited;
    await lab.nats.stop();
    const stream = await pings();
    await lab.spawn('a');
    await lab.agents.get('a')!.waitForLine(/NATS is not reachable/, 15_000);
    await stream.answered(50);
    await lab.nats.restart();
    for (const host of ['a', 'b']) await lab.answers(host);
    await stream.answered(50);
    expect(await stream.stop()).toMatchObject({ lost: 0 });
    await consistent();
  });

  it("refuse the host's own devices", async () => {
    await lab.commit('config', configKey.port(RDID, portId(4)), { kind: 'port', value: port(4) });
    for (const device of ['underlay0', 'lo', 'weft-tun0']) {
      expect((await bind('a', 4, device, 'netdev')).problems[0]?.code).toBe('WEFT_ERR_AGENT_DEVICE_RESERVED');
    }
    expect(await lost(1, 2)).toBe(0);
  });

  it('make and remove a TAP', async () => {
    await lab.commit('config', configKey.port(RDID, portId(3)), { kind: 'port', value: port(3) });
    expect((await bind('a', 3, 'tap-weft3', 'tap')).problems).toEqual([]);
    const { stdout } = await run('ip', ['-json', '-details', 'link', 'show', 'dev', 'tap-weft3'], { netns: lab.net.host('a').netns });
    expect(JSON.parse(stdout)[0]).toMatchObject({
      group: '22342',
      linkinfo: { info_kind: 'tun', info_data: { type: 'tap', persist: true, vnet_hdr: true } },
    });
    await consistent();
    expect((await ask('a', { kind: 'unbindPort', value: { routingDomainId: RDID, portId: portId(3) } })).problems).toEqual([]);
    expect((await run('ip', ['link', 'show', 'dev', 'tap-weft3'], { netns: lab.net.host('a').netns, allowFailure: true })).code).not.toBe(
      0,
    );
    await consistent();
  });
});
