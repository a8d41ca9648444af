import type { TcpProbeResult } from '@weft/tuntap';
import type { BenchContext } from '../core/context.ts';
import { type Figure, ratioFigure } from '../core/figure.ts';
import { median } from '../core/statistics.ts';
import { connect, createServerPath, type GatewayKind, type ServerPath, withServer } from './server-path.ts';

const KINDS: readonly GatewayKind[] = ['weft', 'nftables'];
const EXTERNAL_ADDRESSES = 4;

/**
 * Connect, one byte there and back, reset: one after the other, from a VM's own TCP stack to a server's beyond the gateway. Each slice connects from an address of its own, so that
 * every connection is a new mapping as well as a new session; were ports used again, Weft would have the mapping already.
 */
export async function gatewayConnectFigures(context: BenchContext): Promise<Figure[]> {
  const sources = Array.from({ length: context.slices + 1 }, (_, index) => `10.0.1.${1 + index}`);
  const rates = new Map<GatewayKind, number[]>();
  const p99 = new Map<GatewayKind, number[]>();
  const paths: ServerPath[] = [];
  try {
    const init = { vmCount: 1, moreAddresses: sources, addressCount: EXTERNAL_ADDRESSES, natSessions: 262_144 };
    for (const kind of KINDS) paths.push(await createServerPath(kind, context.name(`gw-conn-${kind}`), init, context));
    for (let slice = -1; slice < context.slices; slice++) {
      for (let turn = 0; turn < KINDS.length; turn++) {
        const index = (turn + Math.max(slice, 0)) % KINDS.length;
        const [kind, path] = [KINDS[index]!, paths[index]!];
        context.progress(`gateway: new connections, slice ${slice + 1}/${context.slices} ${kind}`);
        const source = sources[slice + 1]!;
        const result = await withServer(path, 1, () => connect(path.vms[0]!, { durationMs: context.sliceMs * 1.5, cpu: 0, source }));
        checkWhole(kind, result);
        if (slice < 0) continue;
        rates.set(kind, [...(rates.get(kind) ?? []), (result.transactions * 1e9) / result.elapsedNs]);
        p99.set(kind, [...(p99.get(kind) ?? []), result.p99Ns / 1e3]);
      }
    }
  } finally {
    for (const { path } of paths) await context.closePath(path.net);
  }
  return [
    ratioFigure({
      id: 'gateway-connect',
      what: 'new connections/s through tunnel and NAT: connect, request, close',
      ours: rates.get('weft')!,
      theirs: rates.get('nftables')!,
      against: 'VXLAN + bridge + nftables',
      goal: { atLeast: 1.2 },
      note: KINDS.map((kind) => `${kind} ${median(rates.get(kind)!).toFixed(0)}/s, p99 ${median(p99.get(kind)!).toFixed(0)} µs`).join('; '),
    }),
  ];
}

function checkWhole(kind: GatewayKind, { transactions, failed, errors }: TcpProbeResult): void {
  if (transactions > 0 && failed <= transactions / 1_000) return;
  throw new Error(`${kind}: ${failed} of ${transactions + failed} connections failed: ${JSON.stringify(errors)}`);
}
