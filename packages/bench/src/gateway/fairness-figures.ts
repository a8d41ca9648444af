import { ipBatch, run } from '@weft/testkit';
import type { TapDevice, TcpProbeResult } from '@weft/tuntap';
import type { BenchContext } from '../core/context.ts';
import { type Figure, plainFigure, ratioFigure } from '../core/figure.ts';
import { median } from '../core/statistics.ts';
import { gatewayMac } from '../path/addresses.ts';
import { openTapAt, UNDERLAY_MTU_BYTES } from '../path/topology.ts';
import { floodFrames, underFlood } from './flood.ts';
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
/** A hundred times one of the others' packets; and each of them asks for a new flow, which is 500 times their share of flows. */
const FLOOD_RATE = 100 * RATE * PACKETS_A_CONNECTION;
/** What a network may have unless its connection says otherwise. */
const QUOTA = { blocks: 64, blocksPerSource: 16, sessions: 65_536, newFlowsPerSecond: 10_000 };
const TAP = 'flood';
const CULPRIT = { mac: '02:00:00:00:02:01', address: '10.0.0.150' };
const SINK = { mac: '02:00:00:00:02:02', address: '10.0.0.200', device: 'sink0' };
const SLICES_A_ROUND = 2;
const SLICE_MS = 2_000;
/** As agents do, each second. */
const SWEEP_STEPS = 65_536;

interface Slice {
  readonly began: number;
  readonly failed: number;
  /** Mean over the tenants, in µs. */
  readonly p99Us: number;
}

/** One tenant floods. What becomes of the others, beside what becomes of them when the same flood ends in a sink beside the gateway's port mapping. */
export async function gatewayFairnessFigures(context: BenchContext): Promise<Figure[]> {
  const path = await createGatewayPath('weft', context.name('gw-fair'), 'server');
  let tap: TapDevice | undefined;
  let tending: { stop(): void } | undefined;
  try {
    tap = await openTapAt(path.host, TAP);
    const made = await build(path, context);
    tending = tend(made.gateway);
    const culprit = benchNetwork(OTHERS);
    const flood = { sourceMac: CULPRIT.mac, source: CULPRIT.address };
    const floods = {
      outside: floodFrames({ ...flood, destinationMac: gatewayMac(culprit.vsid), destination: EXTERNAL.server }),
      sink: floodFrames({ ...flood, destinationMac: SINK.mac, destination: SINK.address }),
    };
    const seen = { outside: [] as Slice[], sink: [] as Slice[], none: [] as Slice[] };
    const rates: number[] = [];
    const slices = context.rounds * SLICES_A_ROUND;
    await withServer({ path, vms: made.vms }, 1, async () => {
      for (let slice = -1; slice < slices; slice++) {
        const order = slice % 2 === 0 ? (['outside', 'sink'] as const) : (['sink', 'outside'] as const);
        for (const to of order) {
          context.progress(`gateway fairness: slice ${slice + 1}/${slices}, flood to ${to}`);
          const { result, framesPerSecond } = await underFlood(tap!, floods[to], FLOOD_RATE, () => others(made.vms));
          if (slice < 0) continue;
          seen[to].push(result);
          rates.push(framesPerSecond);
        }
        if (slice >= 0 && slice % 4 === 0) seen.none.push(await others(made.vms));
      }
    });
    return figuresOf(seen, median(rates), made.gateway);
  } finally {
    tending?.stop();
    tap?.close();
    await context.closePath(path.net);
  }
}

async function build(
  path: GatewayPath,
  context: BenchContext,
): Promise<{ readonly vms: Awaited<ReturnType<typeof createInsideVm>>[]; readonly gateway: WeftGateway }> {
  const networks = Array.from({ length: OTHERS + 1 }, (_, index) => benchNetwork(index));
  const culprit = networks[OTHERS]!;
  const vms: Awaited<ReturnType<typeof createInsideVm>>[] = [];
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
  const gateway = await weftGateway(path, { networks, vms: attached, addressCount: 4, natSessions: 2 ** 19, quota: QUOTA }, context);
  for (const [index, vm] of vms.entries()) {
    const mac = gatewayMac(networks[index]!.vsid);
    await ipBatch([['neigh', 'replace', SUBNET_GATEWAY, 'lladdr', mac, 'dev', 'eth0', 'nud', 'permanent']], vm.netns);
  }
  return { vms, gateway };
}

/** The work that an agent does for port mapping: its events are read, what is over is retired. */
function tend({ gateway }: WeftGateway): { stop(): void } {
  const { gateway: tables } = gateway.datapath;
  const unwatch = tables.watchNat(() => {});
  const timer = setInterval(() => tables.sweepNat(SWEEP_STEPS), 1_000);
  return {
    stop: () => {
      clearInterval(timer);
      unwatch();
    },
  };
}

async function others(vms: readonly Parameters<typeof connect>[0][]): Promise<Slice> {
  const results = await Promise.all(vms.map((vm) => connect(vm, { durationMs: SLICE_MS, ratePerSecond: RATE, cpu: 1 })));
  const sum = (pick: (one: TcpProbeResult) => number): number => results.reduce((all, one) => all + pick(one), 0);
  return {
    began: sum(({ transactions, failed }) => transactions + failed),
    failed: sum(({ failed }) => failed),
    p99Us: sum(({ p99Ns }) => p99Ns) / results.length / 1e3,
  };
}

function figuresOf(
  seen: Readonly<Record<'outside' | 'sink' | 'none', readonly Slice[]>>,
  framesPerSecond: number,
  { gateway }: WeftGateway,
): Figure[] {
  const p99 = (slices: readonly Slice[]): number[] => slices.map(({ p99Us }) => p99Us);
  const began = seen.outside.reduce((all, one) => all + one.began, 0);
  const failed = seen.outside.reduce((all, one) => all + one.failed, 0);
  const us = (slices: readonly Slice[]): string => `${median(p99(slices)).toFixed(0)} µs`;
  const flood = `one tenant at ${(framesPerSecond / 1e3).toFixed(0)},000 packets/s, each a new flow`;
  const usage = (index: number): { readonly denied: bigint; readonly blocks: number; readonly sessions: number } => {
    const { networkId } = benchNetwork(index);
    const {
      deniedBlocks = 0n,
      deniedSessions = 0n,
      exhausted = 0n,
      blocks = 0,
      sessions = 0,
    } = gateway.datapath.gateway.nat.get('usage', { networkId }) ?? {};
    return { denied: deniedBlocks + deniedSessions + exhausted, blocks, sessions };
  };
  const culprit = usage(OTHERS);
  const innocent = Array.from({ length: OTHERS }, (_, index) => usage(index)).reduce((all, { denied }) => all + denied, 0n);
  return [
    plainFigure({
      id: 'gateway-fairness-success',
      what: `${flood}: the others' new connections that succeed`,
      values: [(100 * (began - failed)) / began],
      unit: '%',
      goal: { atLeast: 99.9 },
      note: `${failed} of ${began} failed, ${OTHERS} tenants at ${RATE} connections/s each`,
    }),
    ratioFigure({
      id: 'gateway-fairness-delay',
      what: "the same: p99 of the others' delay",
      ours: p99(seen.outside),
      theirs: p99(seen.sink),
      against: 'the same flood to a sink beside the gateway',
      goal: { atMost: 2 },
      note: `${us(seen.outside)} with the flood through NAT, ${us(seen.sink)} with the flood to the sink, ${us(seen.none)} without flood`,
    }),
    plainFigure({
      id: 'gateway-fairness-culprit',
      what: 'the same: refusals by quota that are counted for others than the culprit',
      values: [culprit.denied === 0n ? Number.NaN : Number(innocent)],
      unit: 'flows',
      goal: { atMost: 0 },
      note: `the culprit: ${culprit.denied} refused, holds ${culprit.blocks} blocks of ${QUOTA.blocks} (${QUOTA.blocksPerSource} an address) and ${culprit.sessions} flows of ${QUOTA.sessions}`,
    }),
  ];
}
