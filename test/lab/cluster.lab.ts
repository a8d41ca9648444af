import { Lab, parseLabFile } from '@weft/lab';
import { ping, startPingStream, uniqueName } from '@weft/testkit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cacheDir, endLab, labText, weft } from './support.ts';

/*
 * The shape that docker-compose.yml shows, as processes: three NATS servers in one JetStream cluster, two controllers, two hosts. NATS is on a network of its
 * own, so that killing servers is not mistaken for losing the underlay.
 */
let lab: Lab;
beforeAll(async () => {
  const text = labText({
    hosts: ['h1', 'h2'],
    subnets: [{ name: 'blue', prefixes: ['10.0.1.0/24'] }],
    underlay: '{ mtu: 1500, managementNetwork: true }',
    ports: [
      { tenant: 'coke', subnet: 'blue', name: 'a', mac: '02:00:00:00:00:0a', addresses: ['10.0.1.10'], host: 'h1' },
      { tenant: 'coke', subnet: 'blue', name: 'b', mac: '02:00:00:00:00:0b', addresses: ['10.0.1.11'], host: 'h2' },
    ],
  }).replace('  hosts:', '  nats: { servers: 3 }\n  controllers: 2\n  hosts:');
  lab = await Lab.up(parseLabFile('cluster', text), { name: uniqueName('t'), weft, keep: false, cacheDir });
});
afterAll(() => endLab(lab));

describe('three NATS servers, two controllers, two hosts', () => {
  it('forward while any one NATS server and one controller are dead, and take changes meanwhile', async () => {
    const stream = await startPingStream(lab.vm('coke-a').netns, '10.0.1.11', { intervalMs: 10, registry: lab.net.registry });
    lab.controller(1).kill('SIGKILL');
    for (const [index, server] of lab.natsServers.entries()) {
      await server.kill();
      await stream.answered(100, 20_000);
      // JetStream may need up to 9 s for a new leader: the command's own patience has to be longer.
      const name = `late${index}`;
      const manifest = `apiVersion: weft/v1\nkind: Tenant\nmetadata: { name: ${name} }\n`;
      await lab.weft(['--timeout', '40', 'apply', '-f', '-'], { input: manifest, timeoutMs: 60_000 });
      expect((await lab.weft(['--timeout', '20', 'get', 'tenants'])).stdout).toContain(name);
      await server.restart();
      for (const host of ['h1', 'h2']) await lab.untilAgentAnswers(host);
    }
    expect((await stream.stop()).lost).toBe(0);
    await lab.untilConsistent();
    expect((await ping(lab.vm('coke-b'), '10.0.1.10', { count: 2 })).received).toBe(2);
  });
});
