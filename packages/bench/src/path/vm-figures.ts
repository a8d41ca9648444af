import { createLabNet, createVmNetns, type LabNet, type OffloadMode, run, type VmNetns } from '@weft/testkit';
import { inNetns, startTcpEcho, startTcpProbe, type TcpProbeResult } from '@weft/tuntap';
import type { BenchContext } from '../core/context.ts';
import { type Figure, ratioFigure } from '../core/figure.ts';
import { median } from '../core/statistics.ts';
import { vmA, vmB } from './addresses.ts';
import { iperfStream } from './iperf.ts';
import { bridgeVxlan, redirectOnly } from './peers.ts';
import { type PathEnd, TENANT_MTU_BYTES, UNDERLAY_MTU_BYTES } from './topology.ts';
import { joinByWeft } from './weft.ts';

/*
 *   VM a (namespace) ─ veth ─ host A ═══ underlay veth ═══ host B ─ veth ─ VM b (namespace)
 *
 * The VMs' own TCP stacks speak: iperf3 for one stream, native threads for request and response.
 */

interface VmPath {
  readonly id: string;
  readonly net: LabNet;
  readonly a: VmNetns;
  readonly b: VmNetns;
}

const DEVICES = { a: 'vm-a', b: 'vm-b' } as const;

async function createVmPath(id: string, mode: OffloadMode, context: BenchContext): Promise<VmPath> {
  const short = id.replace(/[^a-z]/g, '');
  const net = await createLabNet({
    name: context.name(`vm-${short}-${mode}`),
    hosts: [{ name: 'a' }, { name: 'b' }],
    mtu: UNDERLAY_MTU_BYTES,
    mode,
    direct: true,
  });
  const vm = async (side: 'a' | 'b'): Promise<VmNetns> => {
    const own = side === 'a' ? vmA : vmB;
    const other = side === 'a' ? vmB : vmA;
    const made = await createVmNetns({
      name: `vm-${side}`,
      netns: `${net.host(side).netns}-vm`,
      hostNetns: net.host(side).netns,
      hostDevice: DEVICES[side],
      mac: own.mac,
      addresses: [`${own.address}/24`],
      mtu: TENANT_MTU_BYTES,
      registry: net.registry,
    });
    // Nobody answers ARP in the bare variant; the same entry everywhere keeps the variants alike.
    await run('ip', ['-n', made.netns, 'neigh', 'replace', other.address, 'lladdr', other.mac, 'dev', 'eth0', 'nud', 'permanent']);
    return made;
  };
  const path = { id, net, a: await vm('a'), b: await vm('b') };
  const ends: PathEnd[] = (['a', 'b'] as const).map((side) => ({ host: net.host(side), taps: [] }));
  if (id === 'weft') await joinByWeft(ends[0]!, ends[1]!, DEVICES, context, 'veth');
  else if (id === 'bridge+vxlan') await bridgeVxlan(ends[0]!, ends[1]!, DEVICES);
  else await redirectOnly(ends[0]!, ends[1]!, DEVICES, context);
  return path;
}

const VARIANTS = ['weft', 'bridge+vxlan', 'redirect'] as const;

/** One TCP stream, connections a second and round trips between VMs that are namespaces. */
export async function vmFigures(context: BenchContext): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const mode of ['veth', 'wire'] as const) {
    const paths: VmPath[] = [];
    const stream = new Map<string, number[]>();
    const connect = new Map<string, TcpProbeResult[]>();
    const roundTrip = new Map<string, TcpProbeResult[]>();
    try {
      for (const id of VARIANTS) paths.push(await createVmPath(id, mode, context));
      const streams = Math.ceil(context.slices / 2);
      for (let round = -1; round < streams; round++) {
        for (const path of rotated(paths, round)) {
          context.progress(`VMs ${mode}: one stream, slice ${round + 1}/${streams} ${path.id}`);
          const gigabits = await iperfStream({
            client: path.a.netns,
            server: path.b.netns,
            address: vmB.address,
            seconds: 1,
            registry: path.net.registry,
          });
          if (round >= 0) stream.set(path.id, [...(stream.get(path.id) ?? []), gigabits]);
        }
      }
      for (let round = -1; round < context.slices; round++) {
        for (const [series, kind] of [
          [connect, 'connect'],
          [roundTrip, 'round-trip'],
        ] as const) {
          for (const path of rotated(paths, round)) {
            context.progress(`VMs ${mode}: ${kind}, slice ${round + 1}/${context.slices} ${path.id}`);
            const result = await probe(path, kind, context);
            if (round >= 0) series.set(path.id, [...(series.get(path.id) ?? []), result]);
          }
        }
      }
    } finally {
      for (const path of paths) await context.closePath(path.net);
    }
    const rate = (results: readonly TcpProbeResult[]): number[] => results.map((result) => (result.transactions * 1e9) / result.elapsedNs);
    const ratio = (
      id: string,
      what: string,
      of: (variant: string) => number[],
      goal: { atLeast: number } | { atMost: number } | undefined,
      show: (value: number) => string,
    ): Figure =>
      ratioFigure({
        id: `${id}-${mode}`,
        what: `${what}, ${mode}`,
        ours: of('weft'),
        theirs: of('bridge+vxlan'),
        against: 'bridge+VXLAN',
        ...(goal === undefined ? {} : { goal }),
        note: VARIANTS.map((variant) => `${variant} ${show(median(of(variant)))}`).join(', '),
      });
    figures.push(
      ratio(
        'vm-stream',
        'veth VMs: one TCP stream',
        (variant) => stream.get(variant)!,
        { atLeast: mode === 'veth' ? 1.2 : 0.95 },
        (value) => `${value.toFixed(1)} Gb/s`,
      ),
      ratio(
        'vm-connect',
        'veth VMs: connect, request, close per second',
        (variant) => rate(connect.get(variant)!),
        { atLeast: 1.2 },
        (value) => `${value.toFixed(0)}/s`,
      ),
      ratio(
        'vm-rtt-p50',
        'veth VMs: 1-byte round trip, p50',
        (variant) => roundTrip.get(variant)!.map((result) => result.p50Ns),
        { atMost: 0.9 },
        (value) => `${(value / 1e3).toFixed(1)} µs`,
      ),
      ratio(
        'vm-rtt-p99',
        'veth VMs: 1-byte round trip, p99',
        (variant) => roundTrip.get(variant)!.map((result) => result.p99Ns),
        { atMost: 1.0 },
        (value) => `${(value / 1e3).toFixed(1)} µs`,
      ),
    );
  }
  return figures;
}

/** Another one first in each slice, so that whatever else the machine does hits each alike. */
function rotated<T>(items: readonly T[], slice: number): T[] {
  const first = Math.max(0, slice) % items.length;
  return [...items.slice(first), ...items.slice(0, first)];
}

async function probe(path: VmPath, mode: 'connect' | 'round-trip', context: BenchContext): Promise<TcpProbeResult> {
  const port = 6_000;
  const echo = inNetns(`/run/netns/${path.b.netns}`, () => startTcpEcho({ address: vmB.address, port, cpu: 1 }));
  try {
    const result = await inNetns(`/run/netns/${path.a.netns}`, () =>
      startTcpProbe({ address: vmB.address, port, durationMs: context.sliceMs * 1.5, mode, cpu: 0 }),
    ).result();
    if (result.transactions === 0 || result.failed > result.transactions / 1_000) {
      throw new Error(
        `${path.id}: ${result.failed} of ${result.transactions + result.failed} transactions failed: ${JSON.stringify(result.errors)}`,
      );
    }
    return result;
  } finally {
    await echo.stop();
  }
}
