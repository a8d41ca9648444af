import type { Lab } from '@weft/lab';
import { type NatsServer, waitFor } from '@weft/testkit';

interface StreamsReport {
  readonly meta_cluster?: { readonly leader?: string };
  readonly account_details?: readonly {
    readonly stream_detail?: readonly {
      readonly name: string;
      readonly cluster?: { readonly leader?: string; readonly replicas?: readonly { readonly current?: boolean }[] };
    }[];
  }[];
}

/** The gateways' bucket: what a takeover would have to write to, if it had to write. */
const STREAM = 'KV_gateways';

/** The NATS server that leads the gateways' bucket, killed and brought back. */
export class JetStreamLeader {
  readonly #lab: Lab;
  #killed: NatsServer | undefined;

  constructor(lab: Lab) {
    this.#lab = lab;
  }

  async kill(): Promise<void> {
    const leader = await this.#find();
    this.#killed = leader;
    await leader.kill('SIGKILL');
  }

  /** Returns when it is back and has caught up. */
  async restore(): Promise<void> {
    await this.#killed?.restart();
    this.#killed = undefined;
    await this.#find();
  }

  /** Waits until there is one, with all replicas up to date. */
  async #find(): Promise<NatsServer> {
    return await waitFor(
      async () => {
        const reports = await Promise.all(
          this.#lab.natsServers
            .filter(({ running }) => running)
            .map((server) => server.monitor<StreamsReport>('jsz?accounts=true&streams=true')),
        );
        const streams = reports.flatMap(({ account_details = [] }) => account_details.flatMap(({ stream_detail = [] }) => stream_detail));
        const led = streams.find(
          ({ name, cluster }) =>
            name === STREAM &&
            cluster?.leader !== undefined &&
            cluster.replicas?.length === 2 &&
            cluster.replicas.every(({ current }) => current === true),
        );
        return this.#lab.natsServers.find(({ serverName, running }) => running && serverName === led?.cluster?.leader);
      },
      { what: `a leader of ${STREAM} whose replicas are up to date`, deadlineMs: 60_000, intervalMs: 200 },
    );
  }
}
