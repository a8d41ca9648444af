import type { TapDevice } from '@weft/tuntap';
import type { BenchContext } from '../core/context.ts';
import { type Figure, type Goal, ratioFigure } from '../core/figure.ts';
import { median } from '../core/statistics.ts';
import { gatewayMac, VSID } from '../path/addresses.ts';
import { tcpFrames } from '../path/frames.ts';
import { openTapAt, TENANT_MTU_BYTES } from '../path/topology.ts';
import { kernelGateway, kernelRouter } from './peers.ts';
import {
  checkTranslated,
  createGatewayPath,
  EXTERNAL,
  type GatewayPath,
  type GatewayRun,
  insideVm,
  measureGateway,
  sendOnce,
} from './topology.ts';
import { benchNetwork, weftGateway } from './weft.ts';

/** IP lengths: a GSO frame of 64 KB, and the smallest Ethernet frame. */
const SIZES = { small: 50, gso: 65_000 } as const;
type Size = keyof typeof SIZES;
type Variant = 'weft' | 'nftables' | 'routing';

const SYN = 0x02;
const TAP = 'tap0';
const VM = insideVm(0);

interface GeneratorPath {
  readonly path: GatewayPath;
  readonly tap: TapDevice;
  readonly frames: ReadonlyMap<Size, readonly Uint8Array[]>;
  readonly translates: boolean;
}

/** NAT through a tunnel, and NAT alone: one TCP flow from a generator to a device that counts. */
export async function gatewayPathFigures(context: BenchContext): Promise<Figure[]> {
  const tunnel = await rounds(context, 'tunnel', ['weft', 'nftables'], ['small', 'gso']);
  const alone = await rounds(context, 'alone', ['weft', 'nftables', 'routing'], ['small', 'gso']);
  const rate = (run: GatewayRun): number => run.framesPerSecond;
  const bits = (run: GatewayRun): number => run.gigabitsPerSecond;
  const figure = (id: string, what: string, runs: Runs, size: Size, against: Variant, label: string, goal?: Goal): Figure => {
    const series = (variant: Variant): number[] => runs.get(`${variant}/${size}`)!.map(size === 'small' ? rate : bits);
    const variants = [...runs.keys()].filter((key) => key.endsWith(`/${size}`)).map((key) => key.split('/')[0] as Variant);
    const show = (variant: Variant): string =>
      size === 'small'
        ? `${variant} ${(median(series(variant)) / 1e3).toFixed(0)} kpps`
        : `${variant} ${median(series(variant)).toFixed(1)} Gb/s in frames of ${(median(runs.get(`${variant}/${size}`)!.map((run) => run.meanFrame)) / 1e3).toFixed(1)} kB`;
    return ratioFigure({
      id,
      what,
      ours: series('weft'),
      theirs: series(against),
      against: label,
      ...(goal === undefined ? {} : { goal }),
      note: variants.map(show).join(', '),
    });
  };
  const kernel = 'VXLAN + bridge + nftables';
  return [
    figure('gateway-nat-small', 'TAP, tunnel, NAT, external veth: 64 B frames/s', tunnel, 'small', 'nftables', kernel, { atLeast: 1.8 }),
    figure('gateway-nat-gso', 'the same, 64 KB GSO frames', tunnel, 'gso', 'nftables', kernel, { atLeast: 1.15 }),
    figure('gateway-alone-nftables', 'TAP, NAT, external veth: 64 B frames/s', alone, 'small', 'nftables', 'nftables masquerade', {
      atLeast: 1.35,
    }),
    figure('gateway-alone-routing', 'TAP, NAT, external veth: 64 B frames/s', alone, 'small', 'routing', 'plain routing, no NAT', {
      atLeast: 1.0,
    }),
    figure('gateway-alone-gso', 'TAP, NAT, external veth: 64 KB GSO frames', alone, 'gso', 'nftables', 'nftables masquerade'),
  ];
}

type Runs = ReadonlyMap<string, readonly GatewayRun[]>;

async function rounds(
  context: BenchContext,
  kind: 'tunnel' | 'alone',
  variants: readonly Variant[],
  sizes: readonly Size[],
): Promise<Runs> {
  const runs = new Map<string, GatewayRun[]>();
  const made = new Map<Variant, GeneratorPath>();
  try {
    for (const variant of variants) made.set(variant, await build(context, kind, variant));
    for (let slice = -1; slice < context.slices; slice++) {
      for (const size of sizes) {
        for (let turn = 0; turn < variants.length; turn++) {
          const variant = variants[(turn + Math.max(slice, 0)) % variants.length]!;
          const { path, tap, frames } = made.get(variant)!;
          context.progress(`gateway ${kind} ${size}: slice ${slice + 1}/${context.slices} ${variant}`);
          const run = await measureGateway(path, tap, frames.get(size)!, context.sliceMs);
          if (slice < 0) continue; // the first warms up
          const key = `${variant}/${size}`;
          runs.set(key, [...(runs.get(key) ?? []), run]);
        }
      }
    }
    for (const { path, translates } of made.values()) if (translates) await checkTranslated(path);
    return runs;
  } finally {
    for (const { path, tap } of made.values()) {
      tap.close();
      await context.closePath(path.net);
    }
  }
}

async function build(context: BenchContext, kind: 'tunnel' | 'alone', variant: Variant): Promise<GeneratorPath> {
  const path = await createGatewayPath(variant, context.name(`gw-${kind}-${variant}`), 'sink');
  const at = kind === 'alone' ? 'gateway' : 'host';
  const tap = await openTapAt(path[at], TAP);
  let destinationMac: string;
  if (variant === 'weft') {
    const network = benchNetwork(0);
    const vm = { at, device: TAP, kind: 'tap', mac: VM.mac, addresses: [VM.address], network } as const;
    await weftGateway(path, { networks: [network], vms: [vm], addressCount: 1, natSessions: 65_536 }, context);
    destinationMac = gatewayMac(VSID);
  } else if (kind === 'tunnel') destinationMac = await kernelGateway(path, [{ vm: VM, device: TAP }]);
  else destinationMac = await kernelRouter(path, TAP, VM, variant === 'nftables');
  const flow = {
    sourceMac: VM.mac,
    destinationMac,
    source: VM.address,
    destination: EXTERNAL.server,
    sourcePort: 40_000,
    destinationPort: 5_001,
  };
  // Weft maps nothing that does not begin; the kernel picks a flow up in the middle, and takes what follows an unanswered SYN for invalid.
  if (variant === 'weft') await sendOnce(tap, tcpFrames({ ...flow, flags: SYN }, SIZES.small, TENANT_MTU_BYTES, 1));
  const frames = new Map((['small', 'gso'] as const).map((size) => [size, tcpFrames(flow, SIZES[size], TENANT_MTU_BYTES, 16)]));
  return { path, tap, frames, translates: variant !== 'routing' };
}
