import { SpeakerFlag, type TableChange, TargetKind } from '@weft/forwarding';
import { parseIp, parseMac } from '@weft/packet';
import type { BenchContext } from '../core/context.ts';
import { type Figure, plainFigure, ratioFigure } from '../core/figure.ts';
import { median } from '../core/statistics.ts';
import { NETWORK_ID, VSID, vmA } from './addresses.ts';
import { tcpFrames } from './frames.ts';
import { measure } from './measure.ts';
import { createPair, TENANT_MTU_BYTES } from './topology.ts';
import { joinByWeft, vmRows } from './weft.ts';

const MANY = 100_000;
const FEW = 10;
const FLOWS = 256;
const nothing = new Uint8Array(16);

const macOf = (index: number): string =>
  `02:01:${[24, 16, 8, 0].map((shift) => ((index >>> shift) & 255).toString(16).padStart(2, '0')).join(':')}`;
const addressOf = (index: number): string => `10.${1 + (index >>> 16)}.${(index >>> 8) & 255}.${index & 255}`;

/** The rows of `count` VMs at a peer, as the agent's tables give them to the datapath. */
function mappings(count: number, pa: string): TableChange[] {
  const provider = parseIp(pa);
  const changes: TableChange[] = [];
  for (let index = 0; index < count; index++) {
    const mac = parseMac(macOf(index));
    const value = {
      mac,
      kind: TargetKind.PEER,
      flags: 0,
      vsid: VSID,
      ifindexOrShard: 0,
      pa: provider,
      prevPa: nothing,
      prevUntilBootNs: 0n,
      generation: 1n,
    };
    changes.push({ op: 'put', table: 'lookup', key: { networkId: NETWORK_ID, ca: parseIp(addressOf(index)) }, value });
    changes.push({ op: 'put', table: 'l2', key: { vsid: VSID, mac }, value });
  }
  changes.push({ op: 'put', table: 'speaker', key: { pa: provider, networkId: NETWORK_ID }, value: SpeakerFlag.HOST });
  return changes;
}

/** Frames a second with 10 and with 100,000 mappings, and how fast the latter are loaded from TypeScript. */
export async function scaleFigures(context: BenchContext): Promise<Figure[]> {
  const pair = await createPair(context.name('scale'), 'veth', [1, 1]);
  try {
    const engines = await joinByWeft(pair.a, pair.b, { a: 'tap0', b: 'tap0' }, context);
    // The receiving VM has the addresses of all mappings a flow goes to, so that every frame passes both hosts' checks and arrives.
    const [receiver] = engines.b.datapath.entries('port');
    const receiverIndex = (receiver!.key as { ifindex: number }).ifindex;
    const flowsOver = (count: number): Uint8Array[] =>
      Array.from({ length: FLOWS }, (_, flow) => {
        const index = Math.floor((flow * count) / FLOWS);
        const [frame] = tcpFrames(
          {
            sourceMac: vmA.mac,
            destinationMac: macOf(index),
            source: vmA.address,
            destination: addressOf(index),
            sourcePort: 10_000 + flow,
            destinationPort: 80,
          },
          1_400,
          TENANT_MTU_BYTES,
          1,
        );
        return frame!;
      });
    const local = (count: number): TableChange[] =>
      Array.from({ length: FLOWS }, (_, flow) => Math.floor((flow * count) / FLOWS)).flatMap((index) =>
        vmRows({ mac: macOf(index), address: addressOf(index) }, { ifindex: receiverIndex, veth: false, pa: pair.b.host.address }),
      );
    const setTo = (count: number): void => {
      const rows = mappings(count, pair.b.host.address);
      engines.a.datapath.apply(rows);
      // Host B: all at itself would be unreal; the flows' own are local, the others at host A.
      engines.b.datapath.apply([...mappings(count, pair.a.host.address), ...local(count)]);
    };
    const clear = (count: number): void => {
      for (const engine of [engines.a, engines.b]) {
        engine.datapath.apply(
          mappings(count, pair.b.host.address).flatMap((change): TableChange[] =>
            change.table === 'lookup' || change.table === 'l2'
              ? [{ op: 'delete', table: change.table, key: change.key } as TableChange]
              : [],
          ),
        );
      }
    };
    const rates = new Map<number, number[]>();
    const loads: number[] = [];
    const frames = new Map([FEW, MANY].map((count) => [count, flowsOver(count)]));
    for (let round = -1; round < context.rounds; round++) {
      for (const count of round % 2 === 0 ? [FEW, MANY] : [MANY, FEW]) {
        context.progress(`mappings: round ${round + 1}/${context.rounds} ${count}`);
        setTo(count);
        const run = await measure(pair.a.taps[0]!, pair.b.taps[0]!, frames.get(count)!, round < 0 ? 100 : context.runMs);
        if (round >= 0) rates.set(count, [...(rates.get(count) ?? []), run.framesPerSecond]);
        clear(count);
      }
      // A mapping is a CA and a MAC: two rows. Made from values, encoded, written in batches.
      const rows = mappings(MANY, pair.b.host.address);
      const started = performance.now();
      engines.a.datapath.apply(rows);
      const seconds = (performance.now() - started) / 1e3;
      if (round >= 0) loads.push(MANY / seconds);
      clear(MANY);
    }
    const kpps = (count: number): string => `${(median(rates.get(count)!) / 1e3).toFixed(0)} kpps with ${count.toLocaleString('en-US')}`;
    return [
      ratioFigure({
        id: 'scale-rate',
        what: `frames/s with 100,000 mappings, ${FLOWS} flows spread over them`,
        ours: rates.get(MANY)!,
        theirs: rates.get(FEW)!,
        against: 'the same with 10 mappings',
        goal: { atLeast: 0.9 },
        note: `${kpps(FEW)}, ${kpps(MANY)}`,
      }),
      plainFigure({
        id: 'scale-load',
        what: 'loading 100,000 mappings (a CA and a MAC row each) from TypeScript',
        values: loads,
        unit: 'mappings/s',
        goal: { atLeast: 300_000 },
      }),
    ];
  } finally {
    for (const tap of [...pair.a.taps, ...pair.b.taps]) tap.close();
    await context.closePath(pair.net);
  }
}
