import type { Lab } from '@weft/lab';
import {
  httpGet,
  httpGetFromGuest,
  httpServe,
  type PingStream,
  ping,
  startPingStream,
  startTcpStream,
  tcpEchoServe,
  waitFor,
} from '@weft/testkit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { endLab, type Plan, startLab, twinTenants } from './support.ts';

/*
 *   coke-a  pepsi-a          coke-b,c  pepsi-b,c        coke-d  pepsi-d  coke-guest (QEMU on a TAP)
 *      └─ h1 ─┘                   └─ h2 ─┘                └──── h3 ────┘
 * Every test has a continuous probe that must not miss one answer beyond what the test allows.
 */
const plan: Plan = {
  ...twinTenants,
  ports: [
    ...twinTenants.ports,
    { tenant: 'coke', subnet: 'green', name: 'guest', mac: '02:00:00:00:00:0e', addresses: ['10.0.2.12'], host: 'h3', kind: 'qemu' },
  ],
};

let lab: Lab;
beforeAll(async () => {
  lab = await startLab(plan);
  await lab.untilConsistent();
});
afterAll(() => endLab(lab));

const streams = (...pairs: readonly (readonly [string, string])[]): Promise<PingStream[]> =>
  Promise.all(pairs.map(([from, to]) => startPingStream(lab.vm(from).netns, to, { intervalMs: 10, registry: lab.net.registry })));
const all = (pings: readonly PingStream[], count: number): Promise<unknown> =>
  Promise.all(pings.map((ping) => ping.answered(count, 30_000)));

describe('a QEMU guest on a TAP that the agent made', () => {
  it('pings and is pinged, routed and in its subnet', async () => {
    expect((await ping(lab.vm('coke-guest'), '10.0.1.10', { count: 3 })).received).toBe(3);
    expect((await ping(lab.vm('coke-guest'), '10.0.2.11', { count: 3 })).received).toBe(3);
    expect((await ping(lab.vm('coke-a'), '10.0.2.12', { count: 3, timeoutMs: 10_000 })).received).toBe(3);
  });

  it('carries TCP both ways', async () => {
    const server = await httpServe(await lab.vm('coke-a').worker(), { port: 80 });
    const fetched = await httpGetFromGuest(lab.vm('coke-guest').guest!, 'http://10.0.1.10/guest/3000000');
    expect(fetched).toMatchObject({ ok: true, size: 3_000_000 });
    await server.close();
    const guest = lab.vm('coke-guest');
    await guest.exec(['sh', '-c', 'mkdir -p /tmp/www && head -c 500000 /dev/urandom > /tmp/www/file && httpd -p 8080 -h /tmp/www']);
    const expected = (await guest.exec(['sha256sum', '/tmp/www/file'])).stdout.split(' ')[0];
    const result = await httpGet(await lab.vm('coke-a').worker(), 'http://10.0.2.12:8080/file', { timeoutMs: 30_000 });
    expect(result).toMatchObject({ status: 200, size: 500_000, sha256: expected });
  });
});

describe('a port that moves to another host', () => {
  it('is lost to nobody for long, and nothing is lost once the new host has it', async () => {
    const [own, routed, other] = await streams(['coke-a', '10.0.1.11'], ['coke-d', '10.0.1.11'], ['pepsi-a', '10.0.1.11']);
    await all([own!, routed!], 50);
    const binding = await lab.migrate('coke-b', 'h3');
    expect(binding.hostId).toBe('h3');
    expect(binding.previousHostId).toBe('h2');
    const gap = await own!.takeWindow();
    const routedGap = await routed!.takeWindow();
    expect(gap.longestGapMs).toBeLessThan(1_000);
    expect(routedGap.longestGapMs).toBeLessThan(1_000);
    await all([own!, routed!], 200);
    expect((await own!.stop()).lost).toBe(0);
    expect((await routed!.stop()).lost).toBe(0);
    expect((await other!.stop()).lost).toBe(0);
    await lab.untilConsistent();
  });

  it('and back again, at once', async () => {
    const [stream] = await streams(['coke-a', '10.0.1.11']);
    await lab.migrate('coke-b', 'h2');
    await lab.migrate('coke-b', 'h1');
    await lab.migrate('coke-b', 'h2');
    await stream!.takeWindow(5_000);
    await all([stream!], 100);
    expect((await stream!.stop()).lost).toBe(0);
    await lab.untilConsistent();
  });
});

describe('what forwards keeps forwarding', () => {
  it('with an agent killed, restarted, stopped and started: no packet, no connection lost', async () => {
    const server = await tcpEchoServe(await lab.vm('coke-d').worker(), { port: 7 });
    const tcp = await startTcpStream(await lab.vm('coke-a').worker(), { host: '10.0.2.11', port: 7, connections: 4, intervalMs: 5 });
    const pings = await streams(['coke-a', '10.0.2.11'], ['pepsi-b', '10.0.1.10'], ['coke-c', '10.0.2.12']);
    await all(pings, 100);
    for (const [host, signal] of [
      ['h1', 'SIGKILL'],
      ['h2', 'SIGTERM'],
      ['h3', 'SIGKILL'],
    ] as const) {
      const before = lab.agent(host);
      before.kill(signal);
      await before.exited;
      await all(pings, 100);
      await lab.startAgent(host);
      await all(pings, 50);
    }
    for (const stream of pings) expect((await stream.stop()).lost).toBe(0);
    const result = await tcp.stop();
    expect(result.broken).toEqual([]);
    expect(result.corrupt).toBe(0);
    await server.close();
    await lab.untilConsistent();
  });

  it('with NATS stopped, an agent restarted meanwhile, and NATS back', async () => {
    const pings = await streams(['coke-a', '10.0.2.11'], ['pepsi-a', '10.0.2.11'], ['pepsi-c', '10.0.1.10']);
    await all(pings, 50);
    await lab.nats.stop();
    await all(pings, 200);
    lab.agent('h1').kill('SIGKILL');
    await lab.agent('h1').exited;
    await lab.startAgent('h1', { wait: false });
    await all(pings, 300);
    await lab.nats.restart();
    for (const host of plan.hosts) await lab.untilAgentAnswers(host);
    await all(pings, 50);
    for (const stream of pings) expect((await stream.stop()).lost).toBe(0);
    await lab.untilConsistent();
    // And the control plane works again: a move is heard everywhere.
    await lab.migrate('pepsi-b', 'h3');
    await lab.untilConsistent();
    expect((await ping(lab.vm('pepsi-a'), '10.0.1.11', { count: 2 })).received).toBe(2);
  });

  it('removes what was deleted while its agent was away: no stale entry', async () => {
    lab.agent('h1').kill('SIGKILL');
    await lab.agent('h1').exited;
    await lab.weft(['port', 'unbind', 'pepsi/net/c']);
    await lab.startAgent('h1');
    await waitFor(
      async () => {
        const { mappings } = await lab.ask(
          'h1',
          { kind: 'mappings', value: { routingDomainId: '', from: '', limit: 0 } as never },
          'mappings',
        );
        return mappings.filter((mapping) => mapping.customerAddress === '10.0.2.10').length === 1;
      },
      { what: 'h1 to know 10.0.2.10 of coke only', deadlineMs: 15_000, intervalMs: 100 },
    );
    await lab.untilConsistent();
    expect((await ping(lab.vm('pepsi-a'), '10.0.2.10', { count: 1, timeoutMs: 1_500 })).received).toBe(0);
    expect((await ping(lab.vm('coke-a'), '10.0.2.10', { count: 1 })).received).toBe(1);
  });
});

describe('the command line against the lab', () => {
  it('shows status, mappings, drops, the audit, and finds every table consistent', async () => {
    const status = await lab.weftJson<{ ok: boolean; hosts: unknown[] }>(['status']);
    expect(status.hosts).toHaveLength(3);
    expect((await lab.weft(['mappings'])).stdout).toContain('10.0.1.10');
    expect((await lab.weft(['audit', 'list'])).stdout).toMatch(/coke/);
    expect((await lab.weft(['check'], { allowFailure: true })).code).toBe(0);
    await lab.weft(['drops', '--json']);
  });

  it('refuses to delete what is used, naming it', async () => {
    const result = await lab.weft(['delete', 'tenant', 'coke'], { allowFailure: true });
    expect(result.code).toBe(1);
    expect(result.stderr).toMatch(/net/);
    const port = await lab.weft(['delete', 'port', 'coke/net/a'], { allowFailure: true });
    expect(port.code).toBe(1);
    expect(port.stderr).toMatch(/h1/);
  });
});
