import { Lab, OwnershipWatcher, parseLabFile } from '@weft/lab';
import { type PingStream, ping, startPingStream, startTcpStream, type TcpStream, tcpEchoServe, waitFor } from '@weft/testkit';
import { CACHE_DIR, labPort, WEFT_COMMAND } from '../control/control-lab.ts';
import type { PartReport, ProbeReport } from './soak.ts';

/*
 *   h1: two VMs ═══╦═══ g1 ───┐
 *                  ╠═══ g2 ───┴─── internet: router and server          NATS on a network of its own
 *                  ╚═══ w1, the witness
 */

export const GATEWAYS = ['g1', 'g2'] as const;
export const WITNESS = 'w1';
const HOST = 'h1';
const SERVER = '198.18.0.10';
const ECHO_PORT = 7;
/** One network each, so that both gateways have work. */
const NETWORKS = ['net0', 'net1'] as const;

function labText(): string {
  const documents = [
    `apiVersion: weft/v1
kind: Lab
spec:
  underlay: { managementNetwork: true }
  hosts: [${GATEWAYS.map((name) => `{ name: ${name}, roles: [gateway] }`).join(', ')}, { name: ${WITNESS} }, { name: ${HOST} }]
  externalNetworks: [{ name: internet, members: [${GATEWAYS.join(', ')}] }]
  vms: [${NETWORKS.map((network) => `{ name: ${network}, host: ${HOST}, port: acme/${network}/p }`).join(', ')}]
`,
    `apiVersion: weft/v1
kind: Gateway
metadata: { name: edge }
spec:
  members: [${GATEWAYS.map((host) => `{ host: ${host}, externalInterface: ext-internet }`).join(', ')}]
  witnesses: [${WITNESS}]
  shards: 2
  segments: [{ name: internet, onLink: [203.0.113.0/24], nextHops: [203.0.113.1] }]
  pools: [{ name: public, segment: internet, addresses: [203.0.113.16-203.0.113.23], shared: 4 }]
`,
    'apiVersion: weft/v1\nkind: Tenant\nmetadata: { name: acme }\n',
    ...NETWORKS.flatMap((network) => [
      `apiVersion: weft/v1\nkind: VirtualNetwork\nmetadata: { name: ${network}, tenant: acme }\n`,
      `apiVersion: weft/v1\nkind: VirtualSubnet\nmetadata: { name: blue, tenant: acme, network: ${network} }\nspec: { prefixes: ['10.0.0.0/16'] }\n`,
      `apiVersion: weft/v1\nkind: Port\nmetadata: { name: p, tenant: acme, network: ${network} }\nspec: { subnet: blue, mac: '${labPort(0).mac}', addresses: ['${labPort(0).address}'] }\n`,
      `apiVersion: weft/v1\nkind: GatewayConnection\nmetadata: { name: out, tenant: acme, network: ${network} }\nspec: { gateway: edge, mode: nat, pool: public }\n`,
    ]),
  ];
  return documents.join('---\n');
}

export interface GatewaySoakLab {
  readonly lab: Lab;
  readonly watcher: OwnershipWatcher;
}

export async function startGatewaySoakLab(name: string, progress: (text: string) => void): Promise<GatewaySoakLab> {
  const lab = await Lab.up(parseLabFile('soak', labText()), { name, weft: WEFT_COMMAND, keep: false, cacheDir: CACHE_DIR, progress });
  const watcher = OwnershipWatcher.start(lab.net);
  await waitFor(async () => (await Promise.all(NETWORKS.map((vm) => ping(lab.vm(vm), SERVER)))).every(({ received }) => received === 1), {
    what: 'each network to reach the server',
    deadlineMs: 60_000,
    intervalMs: 200,
  });
  await untilPlaced(lab, watcher);
  await watcher.untilAtRest(60_000);
  return { lab, watcher };
}

/** Each shard where the record places it: a planned move that is still to come would look like one that nothing asked for. */
async function untilPlaced(lab: Lab, watcher: OwnershipWatcher): Promise<void> {
  const list = { kinds: ['Assignment'], tenant: '', network: '', name: '' };
  const { records } = await lab.ask('controller', { kind: 'list', value: list }, 'list');
  const [assignment] = records.flatMap(({ record }) => (record?.kind === 'assignment' ? [record.value] : []));
  const hostOf = (member: number | undefined) => assignment!.members.find((one) => one.member === member)?.hostId;
  await waitFor(() => assignment!.shards.every(({ id, order }) => watcher.owner(id) === hostOf(order[0])), {
    what: 'shards to be where they belong',
    deadlineMs: 60_000,
    intervalMs: 50,
  });
}

/** Probes through the gateways, running. */
export class GatewayProbes {
  readonly #pings: readonly { readonly what: string; readonly ping: PingStream }[];
  readonly #tcp: TcpStream;
  readonly #closeServer: () => Promise<void>;

  private constructor(pings: readonly { readonly what: string; readonly ping: PingStream }[], tcp: TcpStream, close: () => Promise<void>) {
    this.#pings = pings;
    this.#tcp = tcp;
    this.#closeServer = close;
  }

  static async start(lab: Lab): Promise<GatewayProbes> {
    const server = await tcpEchoServe(await lab.net.worker(lab.externalNetwork('internet').outside), { host: SERVER, port: ECHO_PORT });
    const pings = await Promise.all(
      NETWORKS.map(async (vm) => ({
        what: `ping ${vm} to the outside`,
        ping: await startPingStream(lab.vm(vm).netns, SERVER, { intervalMs: 10, registry: lab.net.registry }),
      })),
    );
    const init = { host: SERVER, port: ECHO_PORT, connections: 20, intervalMs: 100 };
    const tcp = await startTcpStream(await lab.vm(NETWORKS[0]).worker(), init);
    return new GatewayProbes(pings, tcp, () => server.close());
  }

  lost(): number {
    return this.#pings.reduce((sum, { ping: one }) => sum + one.read().lost, 0);
  }

  async answered(count: number, deadlineMs: number): Promise<void> {
    await Promise.all(this.#pings.map(({ ping: one }) => one.answered(count, deadlineMs)));
  }

  async stop(mayLose: boolean): Promise<Pick<PartReport, 'probes' | 'tcp'>> {
    const probes = await Promise.all(
      this.#pings.map(async ({ what, ping: one }): Promise<ProbeReport> => {
        const { sent, lost, longestGapMs } = await one.stop();
        return { what, sent, lost, longestGapMs, mayLose };
      }),
    );
    const { connections, echoed, broken, corrupt } = await this.#tcp.stop();
    await this.#closeServer();
    return { probes, tcp: { connections, echoed, broken, corrupt } };
  }
}
