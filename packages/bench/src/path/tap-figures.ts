import type { BenchContext } from '../core/context.ts';
import { type Figure, plainFigure, ratioFigure } from '../core/figure.ts';
import { median } from '../core/statistics.ts';
import { VSID, vmA, vmB } from './addresses.ts';
import { tcpFrames } from './frames.ts';
import { measure, type Run } from './measure.ts';
import { bridgeVxlan, localBridge, redirectOnly } from './peers.ts';
import { createPair, gatewayMac, type Path, TENANT_MTU_BYTES } from './topology.ts';
import { joinByWeft } from './weft.ts';

/** Frame sizes measured, as IP lengths: a GSO frame of 64 KB, a full packet, and the smallest Ethernet frame. */
const SIZES = { gso: 65_000, full: 1_400, small: 50 } as const;
type Size = keyof typeof SIZES;

const flow = {
  sourceMac: vmA.mac,
  destinationMac: vmB.mac,
  source: vmA.address,
  destination: vmB.address,
  sourcePort: 40_000,
  destinationPort: 5_001,
};

/** TAP to TAP between two hosts, on both underlays, beside bridge+VXLAN and beside no encapsulation at all. */
export async function tapFigures(context: BenchContext): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const mode of ['veth', 'wire'] as const) {
    const sizes: Size[] = ['gso', 'full', 'small'];
    const runs = await rounds(context, mode, sizes);
    const series = (variant: string, size: Size, pick: (run: Run) => number): number[] => runs.get(`${variant}/${size}`)!.map(pick);
    const rate = (run: Run): number => run.framesPerSecond;
    const bits = (run: Run): number => run.gigabitsPerSecond;
    const gigabits = (variant: string): string => `${variant} ${median(series(variant, 'gso', bits)).toFixed(1)} Gb/s`;
    const variants = [...new Set([...runs.keys()].map((key) => key.split('/')[0]!))];
    figures.push(
      ratioFigure({
        id: `tap-gso-${mode}`,
        what: `TAP to TAP, 64 KB GSO frames, ${mode}`,
        ours: series('weft', 'gso', bits),
        theirs: series('bridge+vxlan', 'gso', bits),
        against: 'bridge+VXLAN',
        goal: { atLeast: mode === 'veth' ? 1.15 : 1.08 },
        note: variants.map(gigabits).join(', '),
      }),
    );
    for (const size of ['full', 'small'] as const) {
      const what = size === 'full' ? '1400 B' : '64 B';
      const note = variants.map((variant) => `${variant} ${(median(series(variant, size, rate)) / 1e3).toFixed(0)} kpps`).join(', ');
      figures.push(
        ratioFigure({
          id: `tap-${size}-${mode}-vxlan`,
          what: `TAP to TAP, ${what} frames/s, ${mode}`,
          ours: series('weft', size, rate),
          theirs: series('bridge+vxlan', size, rate),
          against: 'bridge+VXLAN',
          goal: { atLeast: 1.9 },
          note,
        }),
        ratioFigure({
          id: `tap-${size}-${mode}-bare`,
          what: `TAP to TAP, ${what} frames/s, ${mode}`,
          ours: series('weft', size, rate),
          theirs: series('redirect', size, rate),
          against: 'no encapsulation',
          goal: { atLeast: 0.8 },
        }),
      );
    }
    const sentBytes = SIZES.gso + 14;
    figures.push(
      plainFigure({
        id: `tap-frame-size-${mode}`,
        what: `mean frame handed to the receiving TAP / frame sent, ${mode}`,
        values: series('weft', 'gso', (run) => run.meanFrameRead / sentBytes),
        unit: 'x',
        against: `MSS alone would be ${((TENANT_MTU_BYTES + 14) / sentBytes).toFixed(3)}`,
        goal: { atLeast: mode === 'veth' ? 0.999 : 0.5 },
        note: variants
          .map((variant) => `${variant} ${(median(series(variant, 'gso', (run) => run.meanFrameRead)) / 1e3).toFixed(1)} kB`)
          .join(', '),
      }),
    );
  }
  return figures;
}

async function rounds(context: BenchContext, mode: 'veth' | 'wire', sizes: readonly Size[]): Promise<Map<string, Run[]>> {
  const runs = new Map<string, Run[]>();
  const paths: Path[] = [];
  try {
    const builders = [
      { id: 'weft', join: joinByWeft },
      { id: 'bridge+vxlan', join: bridgeVxlan },
      { id: 'redirect', join: redirectOnly },
    ];
    for (const { id, join } of builders) {
      const pair = await createPair(context.name(`${id.replace(/[^a-z]/g, '')}-${mode}`), mode, [1, 1]);
      paths.push({ id, ...pair, destinationMac: vmB.mac });
      await join(pair.a, pair.b, { a: 'tap0', b: 'tap0' }, context);
    }
    const frames = new Map(sizes.map((size) => [size, tcpFrames(flow, SIZES[size], TENANT_MTU_BYTES, 16)]));
    // Rotated within each round, so that whatever else the machine does hits each variant alike.
    for (let round = -1; round < context.slices; round++) {
      for (const size of sizes) {
        for (let turn = 0; turn < paths.length; turn++) {
          const path = paths[(turn + Math.max(round, 0)) % paths.length]!;
          context.progress(`tap ${mode} ${size}: slice ${round + 1}/${context.slices} ${path.id}`);
          const run = await measure(path.a.taps[0]!, path.b.taps[0]!, frames.get(size)!, context.sliceMs).catch((cause: Error) => {
            throw new Error(`${path.id}, ${mode}, ${size}: ${cause.message}`, { cause });
          });
          if (round < 0) continue; // the first warms up
          const key = `${path.id}/${size}`;
          runs.set(key, [...(runs.get(key) ?? []), run]);
        }
      }
    }
    return runs;
  } finally {
    for (const path of paths) {
      for (const tap of [...path.a.taps, ...path.b.taps]) tap.close();
      await context.closePath(path.net);
    }
  }
}

/** TAP to TAP on one host, beside the kernel's bridge. */
export async function sameHostFigures(context: BenchContext): Promise<Figure[]> {
  const runs = new Map<string, number[]>();
  const pairs: Awaited<ReturnType<typeof createPair>>[] = [];
  try {
    for (const id of ['weft', 'bridge'] as const) {
      const pair = await createPair(context.name(`local-${id}`), 'veth', [2, 0]);
      pairs.push(pair);
      if (id === 'weft') await joinByWeft(pair.a, pair.a, { a: 'tap0', b: 'tap1' }, context);
      else await localBridge(pair.a, ['tap0', 'tap1']);
    }
    const frames = tcpFrames(flow, SIZES.full, TENANT_MTU_BYTES, 16);
    // Two variants only, so there is time for more slices.
    for (let round = -1; round < context.slices * 2; round++) {
      for (const [index, id] of (round % 2 === 0 ? ['weft', 'bridge'] : ['bridge', 'weft']).entries()) {
        context.progress(`same host: slice ${round + 1}/${context.slices * 2} ${id}${index}`);
        const pair = pairs[id === 'weft' ? 0 : 1]!;
        const run = await measure(pair.a.taps[0]!, pair.a.taps[1]!, frames, context.sliceMs);
        if (round >= 0) runs.set(id, [...(runs.get(id) ?? []), run.framesPerSecond]);
      }
    }
  } finally {
    for (const pair of pairs) {
      for (const tap of pair.a.taps) tap.close();
      await context.closePath(pair.net);
    }
  }
  return [
    ratioFigure({
      id: 'same-host',
      what: 'same host TAP to TAP, 1400 B frames/s',
      ours: runs.get('weft')!,
      theirs: runs.get('bridge')!,
      against: 'kernel bridge',
      goal: { atLeast: 1.5 },
      note: `weft ${(median(runs.get('weft')!) / 1e3).toFixed(0)} kpps, bridge ${(median(runs.get('bridge')!) / 1e3).toFixed(0)} kpps`,
    }),
  ];
}

export { gatewayMac, VSID };
