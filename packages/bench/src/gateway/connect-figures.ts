import { BLOCK_PORTS } from '@weft/forwarding';
import type { TcpProbeResult } from '@weft/tuntap';
import type { BenchContext } from '../core/context.ts';
import { type Figure, type Goal, ratioFigure } from '../core/figure.ts';
import { median } from '../core/statistics.ts';
import type { NatEventsRead } from './nat-events.ts';
import { connect, createServerPath, type GatewayKind, type ServerPath, withServer } from './server-path.ts';

const KINDS: readonly GatewayKind[] = ['weft', 'nftables'];
const EXTERNAL_ADDRESSES = 4;

/**
 * How many connections are under way at once. Several: what a gateway can carry shows when its processors have no time to rest. One after the other: beside it, what one client sees;
 * there, nearly half of a connection's time goes into waking the other end's idle processor, three times, whatever the gateway does.
 */
const WAYS = { several: 8, one: 1 } as const;
type Way = keyof typeof WAYS;

/**
 * Connect, one byte there and back, reset, from a VM's own TCP stack to a server's beyond the gateway. Each slice connects from an address of its own, so that every connection is a new
 * mapping as well as a new session; were ports used again, Weft would have the mapping already. What Weft tells its agent of them is read meanwhile, by this process, on the same processors: a
 * gateway has an agent. It goes as far as the signed messages to a standby (`readNatEvents`), which nobody gets, as nobody asks the peer's conntrackd.
 */
export async function gatewayConnectFigures(context: BenchContext): Promise<Figure[]> {
  const ways = Object.keys(WAYS) as Way[];
  const slices = context.slices * 2;
  const sources = Array.from(
    { length: ways.length * (slices + 1) },
    (_, index) => `10.0.${1 + Math.floor(index / 200)}.${1 + (index % 200)}`,
  );
  const rates = new Map<string, number[]>();
  const p99 = new Map<string, number[]>();
  const paths: ServerPath[] = [];
  try {
    const init = { vmCount: 1, moreAddresses: sources, addressCount: EXTERNAL_ADDRESSES, natSessions: 262_144 };
    for (const kind of KINDS) paths.push(await createServerPath(kind, context.name(`gw-conn-${kind}`), init, context));
    for (let slice = -1; slice < slices; slice++) {
      for (const [number, way] of ways.entries()) {
        const source = sources[ways.length * (slice + 1) + number]!;
        for (let turn = 0; turn < KINDS.length; turn++) {
          const index = (turn + Math.max(slice, 0)) % KINDS.length;
          const [kind, path] = [KINDS[index]!, paths[index]!];
          context.progress(`gateway: new connections, slice ${slice + 1}/${slices} ${kind}, ${way}`);
          const allRead = path.watchEvents();
          const results = await withServer(path, 1, () =>
            Promise.all(Array.from({ length: WAYS[way] }, () => connect(path.vms[0]!, { durationMs: context.sliceMs, cpu: 0, source }))),
          );
          checkRead(await allRead(), results);
          for (const result of results) checkWhole(kind, result);
          if (slice < 0) continue;
          const id = `${way} ${kind}`;
          const rate = results.reduce((sum, { transactions, elapsedNs }) => sum + (transactions * 1e9) / elapsedNs, 0);
          rates.set(id, [...(rates.get(id) ?? []), rate]);
          p99.set(id, [...(p99.get(id) ?? []), Math.max(...results.map(({ p99Ns }) => p99Ns)) / 1e3]);
        }
      }
    }
  } finally {
    for (const { path } of paths) await context.closePath(path.net);
  }
  const figure = (way: Way, id: string, what: string, goal?: Goal): Figure =>
    ratioFigure({
      id,
      what: `new connections/s through tunnel and NAT, ${what}: connect, request, close`,
      ours: rates.get(`${way} weft`)!,
      theirs: rates.get(`${way} nftables`)!,
      against: 'VXLAN + bridge + nftables',
      ...(goal === undefined ? {} : { goal }),
      note: KINDS.map(
        (kind) => `${kind} ${median(rates.get(`${way} ${kind}`)!).toFixed(0)}/s, p99 ${median(p99.get(`${way} ${kind}`)!).toFixed(0)} µs`,
      ).join('; '),
    });
  return [
    figure('several', 'gateway-connect', `${WAYS.several} at once`, { atLeast: 1.2 }),
    figure('one', 'gateway-connect-one', 'one after the other', { atLeast: 1.2 }),
  ];
}

/** Every connection was told of, and every port's block: else it is not the work of an agent that is measured. */
function checkRead(read: NatEventsRead | undefined, results: readonly TcpProbeResult[]): void {
  if (read === undefined) return;
  const connections = results.reduce((sum, { transactions }) => sum + transactions, 0);
  if (read.flows < connections || read.changes < 2 * connections || read.blocks < Math.floor(connections / BLOCK_PORTS))
    throw new Error(`of ${connections} connections only so much was read: ${JSON.stringify(read)}`);
}

function checkWhole(kind: GatewayKind, { transactions, failed, errors }: TcpProbeResult): void {
  if (transactions > 0 && failed <= transactions / 1_000) return;
  throw new Error(`${kind}: ${failed} of ${transactions + failed} connections failed: ${JSON.stringify(errors)}`);
}
