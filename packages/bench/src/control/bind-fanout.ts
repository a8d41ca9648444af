import { BpfMap } from '@weft/bpf';
import { MAP_LAYOUT, ROW_CODECS } from '@weft/datapath';
import { TargetKind } from '@weft/forwarding';
import { formatIp, parseIp } from '@weft/packet';
import type { BenchContext } from '../core/context.ts';
import { type Figure, plainFigure } from '../core/figure.ts';
import { quantile } from '../core/statistics.ts';
import { type ControlLab, type LabPort, labPort, withControlLab } from './control-lab.ts';

const HOSTS = 20;
const BINDS_PER_ROUND = 100;
const GOAL_MS = 50;
/** Ports that are bound and released by turns. */
const MOVING = 40;
/** Agents that have just started run code that is not compiled yet. */
const WARM_UP_BINDS = 100;
/** One bind at a time is measured: by then the agents have done what the last release left them to do, such as saving it. */
const PAUSE_MS = 30;

/** Times of one bind, in ms from the moment the request left. */
interface Bind {
  readonly ackMs: number;
  /** When the last of the other hosts had the port in its kernel's table. */
  readonly lastMs: number;
}

/**
 * From the request to bind a port until every other host of its network forwards to it. The kernel's tables of 20 hosts are looked at every millisecond:
 * an agent that says it is done is not believed.
 */
export async function bindFanoutFigures(context: BenchContext): Promise<Figure[]> {
  const hosts = Array.from({ length: HOSTS }, (_, index) => `h${index + 1}`);
  const resident = hosts.map((_, index) => labPort(index));
  const moving = Array.from({ length: MOVING }, (_, index) => labPort(HOSTS + index));
  return await withControlLab(context, { suffix: 'fan', hosts, ports: [...resident, ...moving] }, async (control) => {
    await Promise.all(hosts.map((host, index) => control.bind(resident[index]!, host, 'own')));
    await control.lab.untilConsistent(60_000);
    const maps = new Map(hosts.map((host) => [host, BpfMap.fromPin(control.mapPin(host, MAP_LAYOUT.lookup.map))]));
    try {
      const rounds: Bind[][] = [];
      for (let round = -1; round < context.rounds; round++) {
        context.progress(`bind-fanout: round ${round + 1}/${context.rounds}`);
        const binds: Bind[] = [];
        for (let turn = 0; turn < (round < 0 ? WARM_UP_BINDS : BINDS_PER_ROUND); turn++) {
          const port = moving[turn % moving.length]!;
          const host = hosts[turn % hosts.length]!;
          binds.push(await measureBind(control, maps, port, host));
          await control.unbind(port, host);
          await untilGone(control, maps, port);
          await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
        }
        if (round >= 0) rounds.push(binds);
      }
      return figuresOf(rounds);
    } finally {
      for (const map of maps.values()) map.close();
    }
  });
}

async function measureBind(control: ControlLab, maps: ReadonlyMap<string, BpfMap>, port: LabPort, host: string): Promise<Bind> {
  const pa = control.lab.host(host).address;
  const key = lookupKey(control, port);
  const waiting = new Map([...maps].filter(([other]) => other !== host));
  const startedMs = performance.now();
  let ackMs = Number.NaN;
  const bound = control.bind(port, host, `t-${port.name}`).then(() => {
    ackMs = performance.now() - startedMs;
  });
  let failure: unknown;
  bound.catch((error: unknown) => {
    failure = error;
  });
  let lastMs = 0;
  while (waiting.size > 0) {
    await new Promise((resolve) => setTimeout(resolve, 1));
    if (failure !== undefined) throw failure;
    for (const [other, map] of waiting) {
      const value = map.lookup(key);
      if (value === undefined) continue;
      const row = ROW_CODECS.lookup.decode(key, value);
      if (row.value.kind !== TargetKind.PEER || formatIp(row.value.pa) !== pa) continue;
      lastMs = performance.now() - startedMs;
      waiting.delete(other);
    }
    if (performance.now() - startedMs > 20_000) {
      throw new Error(`Port ${port.name}, bound on ${host}, is not in the tables of ${[...waiting.keys()].join(', ')} after 20 s`);
    }
  }
  await bound;
  return { ackMs, lastMs };
}

/** A stale row would make the next bind of the port look done before it began. */
async function untilGone(control: ControlLab, maps: ReadonlyMap<string, BpfMap>, port: LabPort): Promise<void> {
  const key = lookupKey(control, port);
  const startedMs = performance.now();
  while ([...maps.values()].some((map) => map.lookup(key) !== undefined)) {
    if (performance.now() - startedMs > 20_000) throw new Error(`Port ${port.name}, released, is still in a host's table after 20 s`);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

function lookupKey(control: ControlLab, port: LabPort): Uint8Array {
  const key = new Uint8Array(MAP_LAYOUT.lookup.keyBytes);
  ROW_CODECS.lookup.encodeKey(key, 0, { networkId: control.networkId, ca: parseIp(port.address) });
  return key;
}

function figuresOf(rounds: readonly (readonly Bind[])[]): Figure[] {
  const all = rounds.flat();
  const last = all.map((bind) => bind.lastMs);
  const afterAck = all.map((bind) => Math.max(0, bind.lastMs - bind.ackMs));
  const show = (values: readonly number[]): string =>
    `p50 ${quantile(values, 0.5).toFixed(1)}, p99 ${quantile(values, 0.99).toFixed(1)}, max ${Math.max(...values).toFixed(1)} ms`;
  return [
    plainFigure({
      id: 'bind-fanout',
      what: `bind a port -> ${HOSTS - 1} other hosts forward to it, p99 of the last one`,
      values: rounds.map((binds) =>
        quantile(
          binds.map((bind) => bind.lastMs),
          0.99,
        ),
      ),
      unit: 'ms',
      against: 'from the request',
      goal: { atMost: GOAL_MS },
      note: `${all.length} binds: ${show(last)} from the request; acknowledged ${show(all.map((bind) => bind.ackMs))}; after the acknowledgement ${show(afterAck)}`,
    }),
  ];
}
