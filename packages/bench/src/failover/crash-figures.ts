import { cutPower, type Lab, restorePower } from '@weft/lab';
import { type BenchContext, scaled } from '../core/context.ts';
import { type Figure, plainFigure } from '../core/figure.ts';
import { quantile } from '../core/statistics.ts';
import { cpuAtRest } from './cpu-at-rest.ts';
import { type FailoverLab, type FailoverLabInit, untilProtected, WITNESS, withFailoverLab } from './failover-lab.ts';
import { JetStreamLeader } from './jetstream-leader.ts';
import { makeNetworks, untilServed } from './many-networks.ts';
import { type RoundTrips, roundTrips } from './round-trips.ts';
import { TcpConnections } from './tcp-connections.ts';

const RATE = 1_000;
const CONNECTIONS = 200;
const P50_MS = 250;
const P99_MS = 500;

/** The owner's machine loses power, again and again: 6 times, 100 in the long form. */
export async function crashFigures(context: BenchContext): Promise<Figure[]> {
  return await crashes(
    context,
    { suffix: 'crash' },
    { id: 'gateway-crash', what: 'power cut of the owner', count: scaled(context, context.full ? 100 : 6) },
  );
}

/** The same, while the server that leads JetStream dies in the same moment. Long form only. */
export async function jetStreamCrashFigures(context: BenchContext): Promise<Figure[]> {
  if (!context.full) return [];
  const what = 'power cut of the owner and death of the JetStream leader at once';
  return await crashes(
    context,
    { suffix: 'crash-js', natsServers: 3 },
    { id: 'gateway-crash-jetstream', what, count: scaled(context, 25) },
  );
}

/** The same with 10,000 networks on the gateway group. Long form only. */
export async function manyNetworksCrashFigures(context: BenchContext): Promise<Figure[]> {
  if (!context.full) return [];
  const networks = scaled(context, 10_000);
  const what = `power cut of the owner of ${networks.toLocaleString('en-US')} networks`;
  return await crashes(context, { suffix: 'crash-many', networks }, { id: 'gateway-crash-many', what, count: scaled(context, 10) });
}

async function crashes(
  context: BenchContext,
  init: FailoverLabInit,
  figure: { readonly id: string; readonly what: string; readonly count: number },
): Promise<Figure[]> {
  const prepare = async (lab: Lab): Promise<void> => {
    if (init.networks === undefined) return;
    await makeNetworks(lab, 'acme/net', init.networks, (done) => context.progress(`${figure.id}: ${done} networks`));
    await untilServed(lab, init.networks);
  };
  return await withFailoverLab(
    context,
    init,
    async (made) => {
      const leader = init.natsServers === 3 ? new JetStreamLeader(made.lab) : undefined;
      const rest = init.networks === undefined ? undefined : await cpuAtRest(made.lab);
      const connections = await TcpConnections.open(made, CONNECTIONS);
      const seen: Crash[] = [];
      const startedMs = performance.now();
      for (let turn = 0; turn < figure.count; turn++) {
        context.progress(`${figure.id}: ${turn + 1}/${figure.count}`);
        seen.push(await crash(made, leader));
      }
      const seconds = (performance.now() - startedMs) / 1e3;
      const tcp = await connections.close();
      const load =
        rest === undefined
          ? ''
          : `; at rest agents take ${[...rest].map(([host, percent]) => `${host} ${percent.toFixed(0)} %`).join(', ')} of a processor`;
      return figuresOf(figure, seen, { ...tcp, note: `${tcp.note}${load}` }, made, seconds);
    },
    prepare,
  );
}

interface Crash extends RoundTrips {
  /** From the cut until the first host obeys the new owner. */
  readonly obeyedMs: number;
}

/**
 * Cuts the owner's power, waits until answers flow by the other, brings the machine back, and waits until it is a standby that could take over in turn.
 *
 * Damping holds a shard that has moved three times in a minute, by what voters remember: the witness is started anew each time, and of the members one always is. What is measured is
 * a failure, not the fourth of a minute.
 */
async function crash(made: FailoverLab, leader: JetStreamLeader | undefined): Promise<Crash> {
  const { lab, watcher, shard } = made;
  const owner = watcher.owner(shard)!;
  const movesBefore = watcher.moves.length;
  let cutMs = 0;
  const seen = await roundTrips(made, RATE, async () => {
    cutMs = watcher.now();
    await Promise.all([cutPower(lab, owner), leader?.kill()]);
    await watcher.untilMovedFrom(owner, shard);
  });
  const obeyedMs = watcher.moves[movesBefore]!.atMs - cutMs;
  await leader?.restore();
  await restorePower(lab, owner);
  // Not before the other two are there: what is cut next must find a majority.
  await watcher.untilAtRest();
  const witness = lab.agent(WITNESS);
  witness.kill('SIGKILL');
  await witness.exited;
  await lab.startAgent(WITNESS);
  await watcher.untilAtRest();
  if (made.isProtecting) await untilProtected(made);
  return { ...seen, obeyedMs };
}

function figuresOf(
  { id, what }: { readonly id: string; readonly what: string },
  seen: readonly Crash[],
  tcp: { readonly lost: number; readonly note: string },
  { watcher, isProtecting }: FailoverLab,
  seconds: number,
): Figure[] {
  const gaps = seen.map(({ gapMs }) => gapMs);
  const obeyed = seen.map(({ obeyedMs }) => obeyedMs);
  const ms = (value: number): string => `${value.toFixed(0)} ms`;
  const { faults } = watcher;
  return [
    plainFigure({
      id: `${id}-p50`,
      what: `${what}: gap, median`,
      values: gaps,
      unit: 'ms',
      against: `round trips at ${RATE}/s`,
      goal: { atMost: P50_MS },
      note: `${seen.length} crashes in ${seconds.toFixed(0)} s: gap p50 ${ms(quantile(gaps, 0.5))}, p90 ${ms(quantile(gaps, 0.9))}, p99 ${ms(quantile(gaps, 0.99))}, max ${ms(Math.max(...gaps))}; first host obeys after p50 ${ms(quantile(obeyed, 0.5))}, max ${ms(Math.max(...obeyed))}`,
    }),
    plainFigure({ id: `${id}-p99`, what: `${what}: gap, p99`, values: [quantile(gaps, 0.99)], unit: 'ms', goal: { atMost: P99_MS } }),
    plainFigure({
      id: `${id}-tcp-lost`,
      what: `${what}: TCP connections lost`,
      values: [tcp.lost],
      unit: 'connections',
      goal: { atMost: 0 },
      note: `${tcp.note}${isProtecting ? '' : '; the owner told no standby of its flows'}`,
    }),
    plainFigure({
      id: `${id}-two-owners`,
      what: `${what}: promises of ownership broken, such as two owners accepted`,
      values: [faults.length],
      unit: '',
      goal: { atMost: 0 },
      note: faults.slice(0, 3).join('; '),
    }),
  ];
}
