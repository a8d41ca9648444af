import type { Lab } from '@weft/lab';
import { type NetnsWorker, startPingStream, startTcpStream, type TcpStream, tcpEchoServe, waitFor } from '@weft/testkit';
import { tenants, vmName, WEB_SERVER } from './topology.ts';

const ECHO_PORT = 7;
const CONNECTIONS = 200;
/** Each connection says something ten times a second. */
const TALK_MS = 100;
/** Two tenants with five pings each, a request every 10 ms: 1,000 packets a second. A ping of a shorter interval does not sleep, and takes a processor from the agents. */
const PING_MS = 10;
const PINGS = 5;

export interface GatewayLoadResult {
  readonly sent: number;
  readonly packetsPerSecond: number;
  readonly lostPackets: number;
  readonly gapMs: number;
  readonly connections: number;
  /** Broken, or nothing comes over them any more. */
  readonly lostConnections: number;
}

/** Connections opened beside the load. */
export interface Opened {
  stop(): Promise<{ readonly connections: number; readonly lost: number }>;
}

export interface GatewayLoad {
  /** Waits until the probes of each tenant have had so many answers more, and every connection that lives has been answered. */
  answered(count: number): Promise<void>;
  open(connections: number): Promise<Opened>;
  stop(): Promise<GatewayLoadResult>;
}

/** Long connections of one tenant through the gateway, and packets of both. Returns when each connection is older than a second. */
export async function startGatewayLoad(lab: Lab, outside: NetnsWorker): Promise<GatewayLoad> {
  const server = await tcpEchoServe(outside, { host: WEB_SERVER, port: ECHO_PORT });
  const worker = await lab.vm(vmName('coke', 'a')).worker();
  const stream = (connections: number): Promise<TcpStream> =>
    startTcpStream(worker, { host: WEB_SERVER, port: ECHO_PORT, connections, intervalMs: TALK_MS });
  const tcp = await stream(CONNECTIONS);
  const startedMs = performance.now();
  const pings = await Promise.all(
    tenants.flatMap((tenant) =>
      Array.from({ length: PINGS }, () =>
        startPingStream(lab.vm(vmName(tenant, 'a')).netns, WEB_SERVER, { intervalMs: PING_MS, registry: lab.net.registry }),
      ),
    ),
  );
  const lostOf = async (one: TcpStream): Promise<{ connections: number; lost: number }> => {
    const { connections, broken, owed, corrupt } = await one.stop(10_000);
    return { connections, lost: broken.length + owed + corrupt };
  };
  await waitFor(async () => (await tcp.read()).echoed >= CONNECTIONS * (1_500 / TALK_MS), {
    what: 'each connection to have talked for more than a second',
    deadlineMs: 30_000,
  });
  return {
    answered: async (count) => {
      await Promise.all(pings.map((ping) => ping.answered(count / PINGS, 30_000)));
    },
    open: async (connections) => {
      const opened = await stream(connections);
      return { stop: () => lostOf(opened) };
    },
    stop: async () => {
      const elapsedMs = performance.now() - startedMs;
      const results = await Promise.all(pings.map((ping) => ping.stop()));
      const { connections, lost } = await lostOf(tcp);
      await server.close();
      const sent = results.reduce((sum, result) => sum + result.sent, 0);
      return {
        sent,
        packetsPerSecond: Math.round((sent / elapsedMs) * 1_000),
        lostPackets: results.reduce((sum, result) => sum + result.lost, 0),
        gapMs: Math.max(...results.map(({ longestGapMs }) => longestGapMs)),
        connections,
        lostConnections: lost,
      };
    },
  };
}
