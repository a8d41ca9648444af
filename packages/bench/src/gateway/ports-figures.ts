import { setImmediate as turn } from 'node:timers/promises';
import { type BenchContext, scaled } from '../core/context.ts';
import { type Figure, plainFigure } from '../core/figure.ts';
import { median } from '../core/statistics.ts';
import { readNatEvents } from './nat-events.ts';
import { FlowMaker, insideFlow } from './new-flows.ts';
import { connect, createServerPath, type GatewayKind, withServer } from './server-path.ts';
import { createGatewayPath, EXTERNAL, type GatewayPath } from './topology.ts';
import { benchNetwork, weftGateway } from './weft.ts';

const VMS = 4;
const EXTERNAL_ADDRESSES = 4;
const CONNECTIONS = 84_000;
const RATE = 3_300;

/** Connections that must not fail, and what a port costs as they run out. */
export async function gatewayPortsFigures(context: BenchContext): Promise<Figure[]> {
  return [...(await connectionFigures(context)), await allocationFigure(context)];
}

/**
 * Short connections to one address and port at a steady rate. None ends within the run as far as NAT is concerned: a closed connection is held for 4 minutes and its port for 2 more
 * (for nftables: TIME_WAIT, 2 minutes), so 84,000 ports are in use at the end.
 */
async function connectionFigures(context: BenchContext): Promise<Figure[]> {
  const count = scaled(context, CONNECTIONS / VMS);
  const failures = new Map<GatewayKind, number>();
  const notes: string[] = [];
  for (const kind of ['weft', 'nftables'] as const) {
    const init = { vmCount: VMS, addressCount: EXTERNAL_ADDRESSES, natSessions: 262_144 };
    const path = await createServerPath(kind, context.name(`gw-ports-${kind}`), init, context);
    try {
      context.progress(`gateway: ${count * VMS} connections at ${RATE}/s, ${kind}`);
      const results = await withServer(path, undefined, () =>
        Promise.all(path.vms.map((vm) => connect(vm, { count, ratePerSecond: RATE / VMS, orderly: true }))),
      );
      const sum = (pick: (result: (typeof results)[number]) => number): number => results.reduce((all, one) => all + pick(one), 0);
      const seconds = Math.max(...results.map((one) => one.elapsedNs)) / 1e9;
      failures.set(
        kind,
        sum((one) => one.failed),
      );
      const errors = results.map((one) => JSON.stringify(one.errors)).filter((one) => one !== '{}');
      notes.push(
        `${kind}: ${sum((one) => one.failed)} of ${sum((one) => one.transactions + one.failed)} failed in ${seconds.toFixed(1)} s, p50 ${(median(results.map((one) => one.p50Ns)) / 1e3).toFixed(0)} µs, p99 ${(Math.max(...results.map((one) => one.p99Ns)) / 1e3).toFixed(0)} µs${errors.join(' ')}`,
      );
    } finally {
      await context.closePath(path.path.net);
    }
  }
  return [
    plainFigure({
      id: 'gateway-ports-failed',
      what: `${(count * VMS).toLocaleString('en-US')} short connections at ${RATE}/s to one destination, ${VMS} VMs, ${EXTERNAL_ADDRESSES} addresses: failed`,
      values: [failures.get('weft')!],
      unit: 'connections',
      against: `nftables: ${failures.get('nftables')}`,
      goal: { atMost: 0 },
      note: notes.join('; '),
    }),
  ];
}

/** Flows of each customer address: 7 whole blocks. */
const FLOWS_AN_ADDRESS = 448;
const PORTS = EXTERNAL_ADDRESSES * 1_008 * 64;
/** Rounds, and new flows of each: 2 % of all ports in all. */
const ROUNDS = 40;
const ROUND_FLOWS = 128;
/** Packets between two looks at the queue of events, which an agent reads, too. */
const BATCH = 512;

/** Flows that begin at one gateway, and what the packets cost. */
class Filling {
  readonly #maker: FlowMaker;
  #made = 0;

  constructor(maker: FlowMaker) {
    this.#maker = maker;
  }

  async fillTo(count: number): Promise<void> {
    for (; this.#made < count; this.#made++) {
      if (this.#made % BATCH === 0) await turn();
      this.#send(this.#made);
    }
  }

  /** Begins some flows more, and sends a packet of each again. @returns Medians, in ns. */
  async round(): Promise<{ readonly fresh: number; readonly known: number }> {
    await turn();
    const indexes = Array.from({ length: ROUND_FLOWS }, () => this.#made++);
    const fresh = median(indexes.map((index) => this.#send(index)));
    return { fresh, known: median(indexes.map((index) => this.#send(index))) };
  }

  #send(index: number): number {
    return this.#maker.send(insideFlow(index, FLOWS_AN_ADDRESS));
  }
}

/**
 * What a new flow costs more than a packet of a known one, as the kernel measures a run: at a gateway with a tenth of all ports taken, and at one whose last 2 % are being taken. The two
 * in turn, in short rounds, so that what disturbs the machine for a while disturbs both.
 */
async function allocationFigure(context: BenchContext): Promise<Figure> {
  const network = benchNetwork(0);
  const paths: GatewayPath[] = [];
  const stops: (() => void)[] = [];
  const start = async (name: string, taken: number): Promise<Filling> => {
    const path = await createGatewayPath('weft', context.name(name), 'sink');
    paths.push(path);
    const init = { networks: [network], vms: [], addressCount: EXTERNAL_ADDRESSES, natSessions: 2 ** 19 };
    const gateway = await weftGateway(path, init, context);
    stops.push(readNatEvents(gateway.gateway.datapath.gateway).stop);
    const filling = new Filling(new FlowMaker(gateway, network, EXTERNAL.server));
    await filling.fillTo(taken);
    return filling;
  };
  try {
    context.progress('gateway: a new port with 10 % and with 99 % in use');
    const all = ROUNDS * ROUND_FLOWS;
    const gateways = [await start('gw-alloc-10', Math.floor(PORTS / 10) - all / 2), await start('gw-alloc-99', PORTS - all)];
    const costs: { fresh: number; known: number }[][] = [[], []];
    for (let round = 0; round < ROUNDS; round++)
      for (const index of round % 2 === 0 ? [0, 1] : [1, 0]) costs[index]!.push(await gateways[index]!.round());
    const [low, high] = costs.map((runs) => runs.map(({ fresh, known }) => fresh - known)) as [number[], number[]];
    const show = (index: 0 | 1): string =>
      `${median([low, high][index]!).toFixed(0)} ns (a packet of a new flow ${median(costs[index]!.map(({ fresh }) => fresh)).toFixed(0)}, of a known one ${median(costs[index]!.map(({ known }) => known)).toFixed(0)})`;
    return plainFigure({
      id: 'gateway-ports-allocation',
      what: 'time to begin a flow with the last 2 % of all ports being taken',
      values: high.map((cost, round) => cost / low[round]!),
      unit: 'x',
      against: 'with 10 % in use',
      goal: { atMost: 2 },
      note: `at 10 %: ${show(0)}; at 98 to 100 %: ${show(1)}; ${PORTS.toLocaleString('en-US')} ports`,
    });
  } finally {
    for (const stop of stops) stop();
    for (const path of paths) await context.closePath(path.net);
  }
}
