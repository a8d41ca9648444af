import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { BpfMap } from '@weft/bpf';
import { parseIp } from '@weft/packet';
import type { TapDevice } from '@weft/tuntap';
import type { BenchContext } from '../core/context.ts';
import { type Figure, ratioFigure } from '../core/figure.ts';
import { median } from '../core/statistics.ts';
import { gatewayMac, VSID } from '../path/addresses.ts';
import { udpFrame } from '../path/frames.ts';
import { openTapAt } from '../path/topology.ts';
import { FlowMaker, insideFlow } from './new-flows.ts';
import { createGatewayPath, EXTERNAL, type GatewayPath, insideVm, measureGateway } from './topology.ts';
import { benchNetwork, weftGateway } from './weft.ts';

const MANY = 1_000_000;
const FEW = 100;
/** So many flows as nobody's caches hold: printed. */
const SPREAD = 20_000;
const FLOWS_AN_ADDRESS = 448;
const TAP = 'tap0';
const VM = insideVm(0);
const FIRST_PORT = 10_000;

interface MappedPath {
  readonly path: GatewayPath;
  readonly tap: TapDevice;
  readonly megabytes: number;
}

/** Frames a second through NAT alone, over 100 flows, with nothing else mapped and with a million. */
export async function gatewayMappingFigures(context: BenchContext): Promise<Figure[]> {
  const rates = new Map<string, number[]>();
  const paths = new Map<number, MappedPath>();
  const frames = Array.from({ length: SPREAD }, (_, flow) =>
    udpFrame({
      sourceMac: VM.mac,
      destinationMac: gatewayMac(VSID),
      source: VM.address,
      destination: EXTERNAL.server,
      sourcePort: FIRST_PORT + flow,
      destinationPort: 53,
    }),
  );
  const few = frames.slice(0, FEW);
  try {
    for (const count of [FEW, MANY]) paths.set(count, await build(context, count));
    const variants = [
      { key: 'few', of: FEW, frames: few },
      { key: 'many', of: MANY, frames: few },
      { key: 'spread', of: MANY, frames },
    ];
    for (let slice = -1; slice < context.slices; slice++) {
      for (let turn = 0; turn < variants.length; turn++) {
        const variant = variants[(turn + Math.max(slice, 0)) % variants.length]!;
        context.progress(`gateway mappings: slice ${slice + 1}/${context.slices} ${variant.key}`);
        const { path, tap } = paths.get(variant.of)!;
        const run = await measureGateway(path, tap, variant.frames, context.sliceMs);
        if (slice >= 0) rates.set(variant.key, [...(rates.get(variant.key) ?? []), run.framesPerSecond]);
      }
    }
  } finally {
    for (const { path, tap } of paths.values()) {
      tap.close();
      await context.closePath(path.net);
    }
  }
  const kpps = (key: string): string => `${(median(rates.get(key)!) / 1e3).toFixed(0)} kpps`;
  const memory = (count: number): string => `${paths.get(count)!.megabytes.toFixed(0)} MB`;
  return [
    ratioFigure({
      id: 'gateway-mappings',
      what: `frames/s through NAT with ${MANY.toLocaleString('en-US')} mappings, ${FEW} flows`,
      ours: rates.get('many')!,
      theirs: rates.get('few')!,
      against: `the same with ${FEW}`,
      goal: { atLeast: 0.9 },
      note: `${kpps('few')} with ${FEW} (tables ${memory(FEW)}), ${kpps('many')} with ${MANY.toLocaleString('en-US')} (tables ${memory(MANY)}); over ${SPREAD.toLocaleString('en-US')} flows in turn, which no cache holds, ${kpps('spread')}`,
    }),
  ];
}

/** A gateway with `count` mappings, those of the VM's own flows among them. */
async function build(context: BenchContext, count: number): Promise<MappedPath> {
  const path = await createGatewayPath(`${count} mappings`, context.name(`gw-map-${count}`), 'sink');
  const tap = await openTapAt(path.gateway, TAP);
  const network = benchNetwork(0);
  const vm = { at: 'gateway', device: TAP, kind: 'tap', mac: VM.mac, addresses: [VM.address], network } as const;
  const addressCount = Math.ceil(count / 60_000);
  const init = { networks: [network], vms: [vm], addressCount, natSessions: Math.ceil(count * 1.05) + 1_024 };
  const gateway = await weftGateway(path, init, context);
  const maker = new FlowMaker(gateway, network, EXTERNAL.server);
  const ca = new DataView(parseIp(VM.address).buffer).getUint32(12);
  const own = Math.min(count, SPREAD);
  for (let flow = 0; flow < own; flow++) maker.send({ ca, port: FIRST_PORT + flow });
  for (let index = 0; index < count - own; index++) {
    if (index % 50_000 === 0)
      context.progress(`gateway mappings: ${(own + index).toLocaleString('en-US')} of ${count.toLocaleString('en-US')}`);
    maker.send(insideFlow(index, FLOWS_AN_ADDRESS));
  }
  return { path, tap, megabytes: natBytes(gateway.gateway.datapath.pinDirectory) / 1e6 };
}

/** Kernel memory of port mapping's tables, as their descriptors say (kernel 6.4 or later). */
function natBytes(pins: string): number {
  let bytes = 0;
  for (const name of readdirSync(pins)) {
    if (!name.startsWith('map_nat_')) continue;
    const map = BpfMap.fromPin(join(pins, name));
    const text = readFileSync(`/proc/self/fdinfo/${map.fd}`, 'utf8');
    bytes += Number(/memlock:\s+(\d+)/.exec(text)?.[1] ?? 0);
    map.close();
  }
  return bytes;
}
