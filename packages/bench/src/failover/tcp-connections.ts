import { type NetnsWorker, type Served, startTcpStream, type TcpStream, tcpEchoServe } from '@weft/testkit';
import { type FailoverLab, SERVER, STREAMER } from './failover-lab.ts';

const PORT = 7;
const INTERVAL_MS = 100;
/** Flows younger than a second may be lost with their owner: those that count are older. */
const AGE_MS = 2_000;

/** Long TCP connections through the gateway, with data on each all the time. */
export class TcpConnections {
  readonly count: number;
  readonly #stream: TcpStream;
  readonly #server: Served;

  private constructor(count: number, stream: TcpStream, server: Served) {
    this.count = count;
    this.#stream = stream;
    this.#server = server;
  }

  static async open({ lab }: FailoverLab, count: number): Promise<TcpConnections> {
    const outside = await lab.net.worker(lab.externalNetwork('internet').outside);
    return await TcpConnections.between(await lab.vm(STREAMER.name).worker(), outside, count);
  }

  /** From a worker in a VM to one at {@link SERVER}. */
  static async between(inside: NetnsWorker, outside: NetnsWorker, count: number): Promise<TcpConnections> {
    const server = await tcpEchoServe(outside, { port: PORT });
    const stream = await startTcpStream(inside, { host: SERVER, port: PORT, connections: count, intervalMs: INTERVAL_MS });
    await new Promise((resolve) => setTimeout(resolve, AGE_MS));
    return new TcpConnections(count, stream, server);
  }

  /**
   * Ends them, and says how many were lost: ended by an error, owed an answer for more than 5 s, or with data that was changed.
   */
  async close(): Promise<{ readonly lost: number; readonly note: string }> {
    const { broken, stalled, longestStallMs, corrupt, echoed } = await this.#stream.stop();
    await this.#server.close();
    const why = [...new Set(broken)].join(', ');
    return {
      lost: broken.length + stalled + corrupt,
      note: `${this.count} TCP connections, ${echoed.toLocaleString('en-US')} answers: ${broken.length} broken${why === '' ? '' : ` (${why})`}, ${stalled} without answer for 5 s, longest wait ${(longestStallMs / 1e3).toFixed(1)} s`,
    };
  }
}
