import { createServer } from 'node:net';
import { join } from 'node:path';
import type { Registry } from '../core/registry.ts';
import { waitFor } from '../core/wait.ts';
import { NatsServer } from './nats-server.ts';

export interface NatsClusterInit {
  readonly dir: string;
  readonly name?: string;
  /** Where each member runs. Default: three on 127.0.0.1. All in one namespace need not have addresses of their own. */
  readonly members?: readonly { readonly netns?: string; readonly host: string; readonly port?: number; readonly clusterPort?: number }[];
  readonly registry?: Registry;
  readonly outlive?: boolean;
  readonly deadlineMs?: number;
}

interface JetStreamStatus {
  readonly meta_cluster?: { readonly leader?: string; readonly cluster_size?: number };
}

/** Several nats-servers that form one JetStream cluster. */
export class NatsCluster implements AsyncDisposable {
  readonly servers: readonly NatsServer[];

  private constructor(servers: readonly NatsServer[]) {
    this.servers = servers;
  }

  /**
   * Starts the members and returns once they have elected a leader for JetStream's metadata, so that streams can be made.
   *
   * @throws {DeadlineError} After `deadlineMs` (default 30,000; an election takes 4 to 9 seconds at worst).
   */
  static async start(init: NatsClusterInit): Promise<NatsCluster> {
    const members = await Promise.all(
      (init.members ?? [{ host: '127.0.0.1' }, { host: '127.0.0.1' }, { host: '127.0.0.1' }]).map(async (member) => ({
        ...member,
        // Routes are written before any member runs, so their ports can't be left to the servers.
        clusterPort: member.clusterPort ?? (member.netns === undefined ? await freePort(member.host) : 6222),
      })),
    );
    const name = init.name ?? 'weft';
    const routes = members.map((member) => `${member.host}:${member.clusterPort}`);
    const servers = await Promise.all(
      members.map((member, index) =>
        NatsServer.launch({
          dir: join(init.dir, `${name}-${index + 1}`),
          serverName: `${name}-${index + 1}`,
          host: member.host,
          port: member.port ?? 0,
          cluster: { name, port: member.clusterPort, routes },
          ...(member.netns === undefined ? {} : { netns: member.netns }),
          ...(init.registry === undefined ? {} : { registry: init.registry }),
          ...(init.outlive === undefined ? {} : { outlive: init.outlive }),
        }),
      ),
    );
    const cluster = new NatsCluster(servers);
    try {
      await Promise.all(servers.map((server) => server.ready()));
      await cluster.leader(init.deadlineMs ?? 30_000);
      return cluster;
    } catch (error) {
      await cluster.close();
      throw error;
    }
  }

  /** For clients: the URLs of all members. */
  get urls(): string[] {
    return this.servers.map((server) => server.url);
  }

  /** Waits until a majority agrees on the leader of JetStream's metadata, and returns it. */
  async leader(deadlineMs = 30_000): Promise<NatsServer> {
    return waitFor(
      async () => {
        const running = this.servers.filter((server) => server.running);
        const named = await Promise.all(
          running.map(async (server) => (await server.monitor<JetStreamStatus>('jsz')).meta_cluster?.leader ?? ''),
        );
        return this.servers.find(
          (server) => named.filter((leader) => leader === server.serverName).length * 2 > this.servers.length && server.running,
        );
      },
      { what: `a JetStream leader among ${this.servers.map((server) => server.serverName).join(', ')}`, deadlineMs, intervalMs: 100 },
    );
  }

  async close(): Promise<void> {
    await Promise.all(this.servers.map((server) => server.close()));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/** A TCP port that nothing listens on at this moment, in the caller's own namespace. Another process may take it before it is used. */
export async function freePort(host = '127.0.0.1'): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, host, resolve);
  });
  const address = server.address();
  await new Promise<void>((resolve) => server.close(() => resolve()));
  if (address === null || typeof address === 'string') throw new Error(`Cannot find a free port at ${host}`);
  return address.port;
}
