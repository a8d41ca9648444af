import type { TapDevice } from '@weft/tuntap';
import { type BenchContext, scaled } from '../core/context.ts';
import { type Figure, plainFigure } from '../core/figure.ts';
import { quantile } from '../core/statistics.ts';
import { isInstalled, KeepalivedPair } from './keepalived-pair.ts';
import { type RoundTrips, roundTrips } from './round-trips.ts';
import { TcpConnections } from './tcp-connections.ts';

const RATE = 1_000;
const CONNECTIONS = 200;
const PROGRAMS = ['keepalived', 'conntrackd', 'conntrack', 'nft'];

/**
 * The same crash of what others build of the kernel's own parts: VXLAN and bridges, nftables, keepalived for the address, conntrackd for the connections. Printed beside Weft's;
 * nothing is measured where they are not installed.
 */
export async function keepalivedFigures(context: BenchContext): Promise<Figure[]> {
  for (const program of PROGRAMS) {
    if (await isInstalled(program)) continue;
    context.progress(`gateway-crash-keepalived: ${program} is not installed`);
    return [];
  }
  const count = scaled(context, context.full ? 20 : 4);
  const pair = await KeepalivedPair.start(context.name('keepalived'));
  let tap: TapDevice | undefined;
  try {
    tap = pair.tap;
    const gateway = pair.gateway;
    const connections = await TcpConnections.between(await pair.inside(), await pair.outside(), CONNECTIONS);
    const seen: RoundTrips[] = [];
    for (let turn = 0; turn < count; turn++) {
      context.progress(`gateway-crash-keepalived: ${turn + 1}/${count}`);
      const owner = await pair.owner();
      seen.push(await roundTrips({ tap, gateway }, RATE, () => pair.cutPower(owner)));
      await pair.restorePower(owner);
    }
    const tcp = await connections.close();
    const gaps = seen.map(({ gapMs }) => gapMs);
    const ms = (value: number): string => `${value.toFixed(0)} ms`;
    return [
      plainFigure({
        id: 'gateway-crash-keepalived',
        what: 'power cut of the owner, keepalived + conntrackd: gap, median',
        values: gaps,
        unit: 'ms',
        against: `round trips at ${RATE}/s`,
        note: `${count} crashes: max ${ms(Math.max(...gaps))}, p50 ${ms(quantile(gaps, 0.5))}; ${tcp.note}`,
      }),
    ];
  } finally {
    await pair.close();
  }
}
