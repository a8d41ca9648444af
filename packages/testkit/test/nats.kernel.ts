import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import {
  cleanLab,
  createLabNet,
  NatsCluster,
  NatsServer,
  Registry,
  startLabNats,
  startLabNatsCluster,
  tempDir,
  uniqueName,
} from '../src/index.ts';

const dir = tempDir('weft-nats-');
const registry = Registry.create(uniqueName('tk-nats-'));
afterAll(async () => {
  await cleanLab(registry.name);
  dir.remove();
});

interface Varz {
  readonly server_name: string;
  readonly jetstream?: { readonly config?: { readonly store_dir?: string } };
}

describe('NatsServer', () => {
  it('starts with JetStream on a port of its own, survives SIGKILL on the same port and store, and stops', async () => {
    const server = await NatsServer.start({ dir: join(dir.path, 'one'), serverName: 'one', registry });
    expect(server.port).toBeGreaterThan(1024);
    const varz = await server.monitor<Varz>('varz');
    expect(varz.server_name).toBe('one');
    expect(varz.jetstream?.config?.store_dir).toContain(join(dir.path, 'one', 'store'));
    const { url } = server;

    await server.kill();
    expect(server.running).toBe(false);
    await server.restart();
    expect(server.url).toBe(url);
    expect(server.running).toBe(true);
    expect(readdirSync(join(dir.path, 'one', 'store'))).toContain('jetstream');
    await server.close();
    expect(server.running).toBe(false);
  });

  it('says why it did not start', async () => {
    const extraConfig = 'no_such_option: {';
    await expect(NatsServer.start({ dir: join(dir.path, 'bad'), extraConfig, registry })).rejects.toThrow(
      /ended \(1\) before it was ready/s,
    );
  });

  it('runs in a namespace', async () => {
    const lab = await createLabNet({ name: uniqueName('tk-'), hosts: [{ name: 'a' }] });
    const server = await startLabNats(lab);
    expect(server.url).toBe('nats://192.0.2.250:4222');
    await lab.close();
    expect(existsSync(lab.ctl.dir)).toBe(false);
    expect(server.running).toBe(false);
  });
});

describe('NatsCluster', () => {
  it('elects a leader, and another when that one is killed', async () => {
    const cluster = await NatsCluster.start({ dir: dir.path, name: 'trio', registry });
    expect(new Set(cluster.urls).size).toBe(3);
    const first = await cluster.leader();
    await first.kill();
    const second = await cluster.leader();
    expect(second).not.toBe(first);
    await cluster.close();
  });

  it('runs at the control nodes of a lab, and names no leader with two of three gone', async () => {
    const lab = await createLabNet({ name: uniqueName('tk-'), hosts: [{ name: 'a' }], controlNodeCount: 3 });
    const cluster = await startLabNatsCluster(lab);
    expect(cluster.urls).toEqual(['nats://192.0.2.250:4222', 'nats://192.0.2.251:4222', 'nats://192.0.2.252:4222']);
    await Promise.all(cluster.servers.slice(1).map((server) => server.kill()));
    await expect(cluster.leader(300)).rejects.toThrow(/Waited 300 ms in vain/);
    await lab.close();
  });
});
