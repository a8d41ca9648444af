import { type Registry, run, spawnIn, waitFor } from '@weft/testkit';

/** One TCP stream by iperf3 between two namespaces, client on CPU 0 and server on CPU 1. Returns gigabits per second received. */
export async function iperfStream(init: {
  readonly client: string;
  readonly server: string;
  /** The server's. */
  readonly address: string;
  readonly seconds: number;
  readonly registry: Registry;
}): Promise<number> {
  const server = await spawnIn(init.server, ['taskset', '-c', '1', 'iperf3', '-s', '-1', '-p', '5201'], {
    registry: init.registry,
    what: 'iperf3 server',
  });
  try {
    await waitFor(async () => (await run('ss', ['-ltnH', 'sport', '=', ':5201'], { netns: init.server })).stdout.includes(':5201'), {
      what: 'iperf3 to listen',
      deadlineMs: 5_000,
      intervalMs: 10,
    });
    const { stdout } = await run('taskset', ['-c', '0', 'iperf3', '-c', init.address, '-p', '5201', '-t', String(init.seconds), '-J'], {
      netns: init.client,
      timeoutMs: 30_000,
    });
    await server.exited;
    const report = JSON.parse(stdout) as { end: { sum_received: { bits_per_second: number } } };
    return report.end.sum_received.bits_per_second / 1e9;
  } finally {
    server.kill('SIGKILL');
  }
}
