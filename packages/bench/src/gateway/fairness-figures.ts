import { sessionsInUse, sessionsShare } from '@weft/forwarding';
import { type DropReason, dropReasonName } from '@weft/model';
import { ipBatch, run, type VmNetns } from '@weft/testkit';
import type { TapDevice } from '@weft/tuntap';
import type { BenchContext } from '../core/context.ts';
import { estimatedRatio, type Figure, plainFigure } from '../core/figure.ts';
import { type Counted, median, pooledQuantile, quantileRatio } from '../core/statistics.ts';
import { gatewayMac } from '../path/addresses.ts';
import { openTapAt, UNDERLAY_MTU_BYTES } from '../path/topology.ts';
import type { BenchHost } from '../path/weft.ts';
import { FLOOD_KINDS, type FloodKind, floodFrames, underFlood } from './flood.ts';
import { readNatEvents } from './nat-events.ts';
import { connect, withServer } from './server-path.ts';
import { createGatewayPath, createInsideVm, EXTERNAL, type GatewayPath, insideVm, SUBNET_GATEWAY, vmDevice } from './topology.ts';
import { type AttachedVm, benchNetwork, type WeftGateway, weftGateway } from './weft.ts';

/*
 *   4 VMs of 4 tenants ─┐                             ┌── server          their connections
 *                       ├ host ═══ underlay ═══ gateway ── external veth
 *   a fifth's TAP ──────┘                             └── sink beside     its flood, to the outside or to the sink
 */

/** Tenants that behave, and connections a second that each begins. */
const OTHERS = 4;
const RATE = 50;
/** Packets that one such connection sends outwards: SYN, ACK, a byte, an ACK, RST. */
const PACKETS_A_CONNECTION = 5;
/** A hundred times one of the others' packets; where each asks for a new flow, that is 500 times their share of flows. */
const FLOOD_RATE = 100 * RATE * PACKETS_A_CONNECTION;
/** A port of a closed connection is used again after 4 minutes and 2 more: RFC 5382, docs/nat.md. */
const PORT_BUSY_S = 360;
const BLOCK_PORTS = 64;
/** A source that begins RATE connections a second for ever. All tenants have the same, and the pool has room for the sum. */
const BLOCKS = Math.ceil((RATE * PORT_BUSY_S * 1.1) / BLOCK_PORTS);
/** But for the blocks what a network has unless its connection says otherwise. */
const QUOTA = { blocks: BLOCKS, blocksPerSource: BLOCKS, sessions: 65_536, newFlowsPerSecond: 10_000 };
const ADDRESSES = 4;
/** An agent's own, for a gateway. */
const SESSIONS = 262_144;
const TAP = 'flood';
const CULPRIT = { mac: '02:00:00:00:02:01', address: '10.0.0.150' };
const SINK = { mac: '02:00:00:00:02:02', address: '10.0.0.200', device: 'sink0' };
const SLICE_MS = 1_000;
const SLICES_A_ROUND = 2;
/** After that a probe gives a connection up. */
const GIVEN_UP_NS = 2e9;
/** As agents do, each second. */
const SWEEP_STEPS = 65_536;

interface Slice {
  readonly began: number;
  readonly failed: number;
  /** Delays of all tenants' connections in ns; one that failed took as long as it was waited for. */
  readonly delays: Counted;
}

/** What was measured under one kind of flood. */
interface Seen {
  readonly outside: Slice[];
  readonly sink: Slice[];
  readonly none: Slice[];
  readonly framesPerSecond: number[];
}

/**
 * One tenant floods. What becomes of the others, beside what becomes of them when the same flood ends in a sink beside the gateway's port mapping. The kinds of flood follow one
 * another, since what one of them has used up (ports, flows) stays used up.
 */
export async function gatewayFairnessFigures(context: BenchContext): Promise<Figure[]> {
  const path = await createGatewayPath('weft', context.name('gw-fair'), 'server');
  let tap: TapDevice | undefined;
  let tending: { stop(): void } | undefined;
  try {
    tap = await openTapAt(path.host, TAP);
    const made = await build(path, context);
    tending = tend(made.gateway);
    const seen = new Map<FloodKind, Seen>();
    await withServer({ path }, 1, async () => {
      await others(made.vms);
      for (const kind of Object.keys(FLOOD_KINDS) as FloodKind[]) seen.set(kind, await measure(kind, made.vms, tap!, context));
    });
    return figuresOf(seen, made.gateway);
  } finally {
    tending?.stop();
    tap?.close();
    await context.closePath(path.net);
  }
}

async function measure(kind: FloodKind, vms: readonly VmNetns[], tap: TapDevice, context: BenchContext): Promise<Seen> {
  const culprit = benchNetwork(OTHERS);
  const flood = { sourceMac: CULPRIT.mac, source: CULPRIT.address };
  const frames = {
    outside: floodFrames(kind, { ...flood, destinationMac: gatewayMac(culprit.vsid), destination: EXTERNAL.server }),
    sink: floodFrames(kind, { ...flood, destinationMac: SINK.mac, destination: SINK.address }),
  };
  const seen: Seen = { outside: [], sink: [], none: [await others(vms), await others(vms)], framesPerSecond: [] };
  for (let slice = 0; slice < context.rounds * SLICES_A_ROUND; slice++) {
    for (const to of slice % 2 === 0 ? (['outside', 'sink'] as const) : (['sink', 'outside'] as const)) {
      context.progress(`gateway fairness: flood of ${kind}, slice ${slice + 1}/${context.rounds * SLICES_A_ROUND}, to ${to}`);
      const { result, framesPerSecond } = await underFlood(tap, frames[to], FLOOD_RATE, () => others(vms));
      seen[to].push(result);
      seen.framesPerSecond.push(framesPerSecond);
    }
  }
  return seen;
}

async function build(path: GatewayPath, context: BenchContext): Promise<{ readonly vms: VmNetns[]; readonly gateway: WeftGateway }> {
  const networks = Array.from({ length: OTHERS + 1 }, (_, index) => benchNetwork(index));
  const culprit = networks[OTHERS]!;
  const vms: VmNetns[] = [];
  const attached: AttachedVm[] = [];
  for (let index = 0; index < OTHERS; index++) {
    const { mac, address } = insideVm(index);
    vms.push(await createInsideVm(path, index));
    attached.push({ at: 'host', device: vmDevice(index), kind: 'veth', mac, addresses: [address], network: networks[index]! });
  }
  attached.push({ at: 'host', device: TAP, kind: 'tap', mac: CULPRIT.mac, addresses: [CULPRIT.address], network: culprit });
  const size = ['mtu', String(UNDERLAY_MTU_BYTES)];
  await ipBatch([
    [
      ...['link', 'add', SINK.device, ...size, 'netns', path.gateway.netns, 'type', 'veth'],
      ...['peer', 'name', 'sink', ...size, 'netns', path.outside],
    ],
  ]);
  await ipBatch([['link', 'set', SINK.device, 'up']], path.gateway.netns);
  await ipBatch([['link', 'set', 'sink', 'up']], path.outside);
  // Both floods end alike: counted by the device, and dropped at once.
  const drop = (device: string, rule: string): string =>
    `chain ${device} { type filter hook ingress device "${device}" priority 0; ${rule}\n}`;
  const input = `table netdev flood {\n${drop('sink', 'ether type ip drop')}\n${drop('eth0', 'meta l4proto { udp, icmp } drop')}\n}\n`;
  await run('nft', ['-f', '-'], { netns: path.outside, input });
  attached.push({ at: 'gateway', device: SINK.device, kind: 'veth', mac: SINK.mac, addresses: [SINK.address], network: culprit });
  const gateway = await weftGateway(
    path,
    { networks, vms: attached, addressCount: ADDRESSES, natSessions: SESSIONS, quota: QUOTA },
    context,
  );
  for (const [index, vm] of vms.entries()) {
    const mac = gatewayMac(networks[index]!.vsid);
    await ipBatch([['neigh', 'replace', SUBNET_GATEWAY, 'lladdr', mac, 'dev', 'eth0', 'nud', 'permanent']], vm.netns);
  }
  return { vms, gateway };
}

/** The work that an agent does for port mapping: its events are read, what is over is retired. */
function tend({ gateway }: WeftGateway): { stop(): void } {
  const { gateway: tables } = gateway.datapath;
  const reading = readNatEvents(tables);
  const timer = setInterval(() => {
    tables.sweepNat(SWEEP_STEPS);
    const { used, networks } = sessionsInUse(tables.nat);
    tables.shareNatSessions(sessionsShare(used, tables.natSessionsMax(), networks));
  }, 1_000);
  return {
    stop: () => {
      clearInterval(timer);
      reading.stop();
    },
  };
}

async function others(vms: readonly VmNetns[]): Promise<Slice> {
  const results = await Promise.all(vms.map((vm) => connect(vm, { durationMs: SLICE_MS, ratePerSecond: RATE, cpu: 1 })));
  const failed = sum(results, (one) => one.failed);
  return {
    began: sum(results, ({ transactions }) => transactions) + failed,
    failed,
    delays: [...results.flatMap(({ histogram }) => histogram), [GIVEN_UP_NS, failed]],
  };
}

function figuresOf(seen: ReadonlyMap<FloodKind, Seen>, { gateway }: WeftGateway): Figure[] {
  const kinds = [...seen.keys()];
  const lost = new Map(kinds.map((kind) => [kind, successOf(seen.get(kind)!.outside)]));
  const began = sum([...lost.values()], ({ began: one }) => one);
  const failed = sum([...lost.values()], ({ failed: one }) => one);
  const flood = `one tenant at ${(median(kinds.flatMap((kind) => seen.get(kind)!.framesPerSecond)) / 1e3).toFixed(0)},000 packets/s`;
  const refused = refusals(gateway);
  return [
    plainFigure({
      id: 'gateway-fairness-success',
      what: `${flood}: the others' new connections that succeed`,
      values: [Math.min(...[...lost.values()].map(({ percent }) => percent))],
      unit: '%',
      goal: { atLeast: 99.9 },
      note: `the worst of ${kinds.length} kinds of flood; ${failed} of ${began} failed in all (${kinds.map((kind) => `${kind} ${lost.get(kind)!.failed}`).join(', ')}); ${OTHERS} tenants at ${RATE} connections/s each`,
    }),
    ...kinds.map((kind) => delayFigure(kind, flood, seen.get(kind)!)),
    culpritFigure(refused),
  ];
}

function successOf(slices: readonly Slice[]): { readonly began: number; readonly failed: number; readonly percent: number } {
  const began = sum(slices, (one) => one.began);
  const failed = sum(slices, (one) => one.failed);
  return { began, failed, percent: (100 * (began - failed)) / began };
}

function delayFigure(kind: FloodKind, flood: string, seen: Seen): Figure {
  const delays = (slices: readonly Slice[]): Counted[] => slices.map((one) => one.delays);
  const us = (slices: readonly Slice[]): string => `${(pooledQuantile(delays(slices), 0.99) / 1e3).toFixed(0)} µs`;
  const p50 = (slices: readonly Slice[]): string => (pooledQuantile(delays(slices), 0.5) / 1e3).toFixed(0);
  const { began, failed } = successOf(seen.sink);
  return estimatedRatio(quantileRatio(delays(seen.outside), delays(seen.sink), 0.99), {
    id: `gateway-fairness-delay-${kind}`,
    what: `${flood}, ${FLOOD_KINDS[kind]}: p99 of the others' delay`,
    against: 'the same flood to a sink beside the gateway',
    goal: { atMost: 2 },
    note: `${us(seen.outside)} with the flood to the outside, ${us(seen.sink)} with it to the sink (${failed} of ${began} failed there), ${us(seen.none)} without; p50 ${p50(seen.outside)}, ${p50(seen.sink)} and ${p50(seen.none)} µs`,
  });
}

interface Refusals {
  readonly culprit: { readonly denied: bigint; readonly blocks: number; readonly sessions: number };
  /** Counted for the others. */
  readonly innocent: number;
  /** Packets dropped of the others' networks, with their reasons. */
  readonly drops: string;
  /** For which the ring had no room: a standby would have got a snapshot instead. */
  readonly eventsLost: bigint;
}

function refusals({ datapath }: BenchHost): Refusals {
  const { nat } = datapath.gateway;
  const usage = (index: number): Refusals['culprit'] => {
    const { networkId } = benchNetwork(index);
    const { deniedBlocks = 0n, deniedSessions = 0n, exhausted = 0n, blocks = 0, sessions = 0 } = nat.get('usage', { networkId }) ?? {};
    const { denied = 0n } = nat.get('rate', { networkId }) ?? {};
    return { denied: denied + deniedBlocks + deniedSessions + exhausted, blocks, sessions };
  };
  const innocents = Array.from({ length: OTHERS }, (_, index) => index);
  const vsids = new Set(innocents.map((index) => benchNetwork(index).gatewayVsid));
  const drops = new Map<DropReason, bigint>();
  for (const { vsid, reason, packets } of datapath.drops()) {
    if (vsids.has(vsid)) drops.set(reason, (drops.get(reason) ?? 0n) + packets);
  }
  return {
    culprit: usage(OTHERS),
    innocent: sum(innocents, (index) => Number(usage(index).denied)),
    drops: [...drops].map(([reason, packets]) => `${dropReasonName(reason)} ${packets}`).join(', '),
    eventsLost: datapath.gateway.natEventsLost(),
  };
}

function culpritFigure({ culprit, innocent, drops, eventsLost }: Refusals): Figure {
  const figure = plainFigure({
    id: 'gateway-fairness-culprit',
    what: 'the same: refusals by quota that are counted for others than the culprit',
    values: [innocent],
    unit: 'flows',
    goal: { atMost: 0 },
    note: `the culprit: ${culprit.denied} refused, holds ${culprit.blocks} blocks of ${QUOTA.blocks} and ${culprit.sessions} flows of ${QUOTA.sessions}; packets of the others dropped at the gateway: ${drops || 'none'}; events lost: ${eventsLost}`,
  });
  // A flood that is refused nothing was none: the other figures say nothing then.
  return culprit.denied === 0n ? { ...figure, ok: false, note: `no flow of the flood was refused; ${figure.note}` } : figure;
}

function sum<T>(of: readonly T[], pick: (one: T) => number): number {
  return of.reduce((all, one) => all + pick(one), 0);
}
