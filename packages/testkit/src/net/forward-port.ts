import { rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { tempDir } from '../core/temp.ts';
import type { NetnsWorker } from './netns-worker.ts';

export interface ForwardedPort {
  /** On 127.0.0.1 of the caller's own namespace. */
  readonly port: number;
  close(): Promise<void>;
}

/**
 * Makes a TCP port inside a namespace reachable from the caller's own, at 127.0.0.1: for a bus client in the test process and a
 * nats-server in a lab. Nothing is routed: the worker listens on a Unix socket, which knows no network namespaces.
 */
export async function forwardPort(worker: NetnsWorker, host: string, port: number): Promise<ForwardedPort> {
  const dir = tempDir('weft-fwd-');
  const path = join(dir.path, 's');
  const { handle } = await worker.request<{ handle: number }>('relay', { path, host, port });
  const sockets = new Set<{ destroy(): void }>();
  const server = createServer((outer) => {
    const inner = connect({ path });
    outer.setNoDelay(true);
    for (const [from, to] of [
      [outer, inner],
      [inner, outer],
    ] as const) {
      sockets.add(from);
      from.pipe(to);
      from.on('error', () => to.destroy());
      from.on('close', () => {
        sockets.delete(from);
        to.destroy();
      });
    }
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
  const address = server.address() as { port: number };
  return {
    port: address.port,
    close: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => server.close(() => resolve()));
      // The worker may have ended before; then so has its end of the relay.
      await worker.request('close', { handle }).catch(() => {});
      rmSync(path, { force: true });
      dir.remove();
    },
  };
}
