import { setImmediate as turn } from 'node:timers/promises';
import { type BenchContext, scaled } from '../core/context.ts';
import { type Figure, plainFigure } from '../core/figure.ts';
import { median } from '../core/statistics.ts';
import { FlowMaker, insideFlow } from './new-flows.ts';
import { connect, createServerPath, type GatewayKind, withServer } from './server-path.ts';
import { createGatewayPath, EXTERNAL } from './topology.ts';
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
const SAMPLES = 1_792;
/** Packets between two looks at the queue of events, which an agent reads, too. */
const BATCH = 512;

/** What a new flow costs more than a packet of a known one, as the kernel measures a run: with a tenth of all ports taken, and with the last hundredth. */
async function allocationFigure(context: BenchContext): Promise<Figure> {
  const path = await createGatewayPath('weft', context.name('gw-alloc'), 'sink');
  try {
    const network = benchNetwork(0);
    const gateway = await weftGateway(
      path,
      { networks: [network], vms: [], addressCount: EXTERNAL_ADDRESSES, natSessions: 2 ** 19 },
      context,
    );
    const stop = gateway.gateway.datapath.gateway.watchNat(() => {});
    const maker = new FlowMaker(gateway, network, EXTERNAL.server);
    const flow = (index: number): ReturnType<typeof insideFlow> => insideFlow(index, FLOWS_AN_ADDRESS);
    let made = 0;
    const fillTo = async (share: number): Promise<number[]> => {
      const costs: number[] = [];
      for (const target = Math.floor(PORTS * share); made < target; made++) {
        if (made % BATCH === 0) await turn();
        costs.push(maker.send(flow(made)));
      }
      return costs;
    };
    const around = async (share: number): Promise<{ fresh: number; known: number }> => {
      context.progress(`gateway: a new port with ${share * 100} % in use`);
      await fillTo(share - SAMPLES / PORTS);
      const fresh = median(await fillTo(share));
      // The same flows again.
      const known = median(Array.from({ length: SAMPLES }, (_, index) => maker.send(flow(made - SAMPLES + index))));
      return { fresh, known };
    };
    const ratios: number[] = [];
    const low = [await around(0.09), await around(0.1), await around(0.11)];
    const high = [await around(0.975), await around(0.985), await around(0.995)];
    for (const [index, at10] of low.entries()) {
      const at99 = high[index]!;
      ratios.push((at99.fresh - at99.known) / (at10.fresh - at10.known));
    }
    stop();
    const show = (runs: readonly { fresh: number; known: number }[]): string =>
      `${median(runs.map((run) => run.fresh - run.known)).toFixed(0)} ns (a packet of a new flow ${median(runs.map((run) => run.fresh)).toFixed(0)}, of a known one ${median(runs.map((run) => run.known)).toFixed(0)})`;
    return plainFigure({
      id: 'gateway-ports-allocation',
      what: 'time to begin a flow with 99 % of all ports in use',
      values: ratios,
      unit: 'x',
      against: 'with 10 % in use',
      goal: { atMost: 2 },
      note: `at 10 %: ${show(low)}; at 99 %: ${show(high)}; ${PORTS.toLocaleString('en-US')} ports`,
    });
  } finally {
    await context.closePath(path.net);
  }
}
