import { waitFor } from '@weft/testkit';
import { type BenchContext, scaled } from '../core/context.ts';
import { type Figure, plainFigure } from '../core/figure.ts';
import { quantile } from '../core/statistics.ts';
import { type FailoverLab, GATEWAYS, untilProtected, WITNESS, withFailoverLab } from './failover-lab.ts';
import { type RoundTrips, roundTrips } from './round-trips.ts';
import { TcpConnections } from './tcp-connections.ts';

const RATE = 10_000;
const CONNECTIONS = 200;
const GAP_MS = 20;
/** Moves of one shard in a minute that damping allows. */
const MOVES_A_MINUTE = 3;
const NATS_AWAY_MS = 20_000;

/** A member drained and undrained under load: each time the shard moves by consent. 4 moves, 50 in the long form. */
export async function drainFigures(context: BenchContext): Promise<Figure[]> {
  const count = scaled(context, context.full ? 50 : 4);
  return await withFailoverLab(context, { suffix: 'drain' }, async (made) => {
    const connections = await TcpConnections.open(made, CONNECTIONS);
    const seen: RoundTrips[] = [];
    let drained: string | undefined;
    for (let turn = 0; turn < count; turn++) {
      context.progress(`gateway-drain: ${turn + 1}/${count}`);
      const owner = made.watcher.owner(made.shard)!;
      // The one that is drained loses its shard; once it is undrained, the shard is brought back to it.
      const command = drained === undefined ? ['drain', 'edge', owner] : ['undrain', 'edge', drained];
      const move = drained === undefined ? [] : ['move', 'edge', String(made.shard), '--to', drained];
      drained = drained === undefined ? owner : undefined;
      seen.push(
        await roundTrips(made, RATE, async () => {
          await made.lab.weft(['gateway', ...command]);
          if (move.length > 0) await made.lab.weft(['gateway', ...move]);
          await made.watcher.untilMovedFrom(owner, made.shard, 60_000);
        }),
      );
      await made.watcher.untilAtRest(60_000);
      if (turn % MOVES_A_MINUTE === MOVES_A_MINUTE - 1) await forgetMoves(made);
      if (made.isProtecting) await untilProtected(made);
    }
    const tcp = await connections.close();
    const gaps = seen.map(({ gapMs }) => gapMs);
    const lost = seen.reduce((sum, one) => sum + one.lost, 0);
    const sent = seen.reduce((sum, one) => sum + one.sent, 0);
    const note = `${seen.length} moves: gap p50 ${quantile(gaps, 0.5).toFixed(1)}, max ${Math.max(...gaps).toFixed(1)} ms; ${sent.toLocaleString('en-US')} packets sent at ${RATE.toLocaleString('en-US')}/s`;
    return [
      plainFigure({
        id: 'gateway-drain-gap',
        what: 'drain and undrain of the owner: longest gap',
        values: [Math.max(...gaps)],
        unit: 'ms',
        goal: { atMost: GAP_MS },
        note,
      }),
      plainFigure({
        id: 'gateway-drain-lost',
        what: 'drain and undrain of the owner: packets lost',
        values: [lost],
        unit: 'packets',
        goal: { atMost: 0 },
      }),
      tcpFigure('gateway-drain-tcp-lost', 'drain and undrain of the owner', tcp),
    ];
  });
}

/** Voters remember moves, and hold a shard that has had too many: all of them are started anew. */
async function forgetMoves({ lab, watcher }: FailoverLab): Promise<void> {
  const voters = [...GATEWAYS, WITNESS];
  for (const voter of voters) {
    lab.agent(voter).kill('SIGKILL');
    await lab.agent(voter).exited;
    await lab.startAgent(voter);
  }
  await watcher.untilAtRest();
}

/** The owner's agent killed and started again within its deadline, under load. */
export async function restartFigures(context: BenchContext): Promise<Figure[]> {
  return await withFailoverLab(context, { suffix: 'restart' }, async (made) => {
    const { lab, watcher, shard } = made;
    const movesBefore = watcher.moves.length;
    const connections = await TcpConnections.open(made, CONNECTIONS);
    const seen: RoundTrips[] = [];
    const count = scaled(context, context.full ? 20 : 3);
    for (let turn = 0; turn < count; turn++) {
      const owner = watcher.owner(shard)!;
      context.progress(`gateway-restart: ${turn + 1}/${count}`);
      seen.push(
        await roundTrips(made, RATE, async () => {
          lab.agent(owner).kill('SIGKILL');
          await lab.agent(owner).exited;
          await lab.startAgent(owner);
          await settled(made, owner);
        }),
      );
    }
    const tcp = await connections.close();
    return [
      ...stillFigures('gateway-restart', 'owner’s agent killed and started again', seen, watcher.moves.length - movesBefore),
      tcpFigure('gateway-restart-tcp-lost', 'owner’s agent killed and started again', tcp),
    ];
  });
}

/** NATS away, the owner's and the host's agents killed and started meanwhile. The long absence is part of the soak. */
export async function natsFigures(context: BenchContext): Promise<Figure[]> {
  return await withFailoverLab(context, { suffix: 'nats' }, async (made) => {
    const { lab, watcher, shard } = made;
    const movesBefore = watcher.moves.length;
    const owner = watcher.owner(shard)!;
    const connections = await TcpConnections.open(made, CONNECTIONS);
    context.progress('gateway-nats: NATS is down');
    const seen = await roundTrips(made, RATE, async () => {
      const begun = performance.now();
      await lab.nats.stop();
      for (const host of [owner, 'h1']) {
        await new Promise((resolve) => setTimeout(resolve, NATS_AWAY_MS / 4));
        lab.agent(host).kill('SIGKILL');
        await lab.agent(host).exited;
        await lab.startAgent(host, { wait: false });
        await lab.agent(host).waitForLine(/agent started/, 30_000);
      }
      await settled(made, owner);
      await new Promise((resolve) => setTimeout(resolve, Math.max(0, NATS_AWAY_MS - (performance.now() - begun))));
      await lab.nats.restart();
      for (const host of lab.net.hosts.keys()) await lab.untilAgentAnswers(host);
    });
    const tcp = await connections.close();
    const what = `NATS stopped for ${NATS_AWAY_MS / 1e3} s, owner’s and host’s agents started anew meanwhile`;
    return [
      ...stillFigures('gateway-nats', what, [seen], watcher.moves.length - movesBefore),
      tcpFigure('gateway-nats-tcp-lost', what, tcp),
    ];
  });
}

/** Waits until a member that was started anew has had its lease renewed twice, or the shard has an owner elsewhere, which is then counted as a move. */
async function settled({ watcher, shard }: FailoverLab, member: string): Promise<void> {
  const deadline = (): number => watcher.sample().fences.find((fence) => fence.host === member && fence.shard === shard)?.deadlineMs ?? 0;
  for (let turn = 0; turn < 2; turn++) {
    const before = deadline();
    await waitFor(() => deadline() > before || watcher.owner(shard) !== member, {
      what: `${member} to renew its lease of shard ${shard}`,
      deadlineMs: 15_000,
      intervalMs: 20,
    });
  }
}

function stillFigures(id: string, what: string, seen: readonly RoundTrips[], moves: number): Figure[] {
  const lost = seen.reduce((sum, one) => sum + one.lost, 0);
  const sent = seen.reduce((sum, one) => sum + one.sent, 0);
  const note = `${sent.toLocaleString('en-US')} packets sent at ${RATE.toLocaleString('en-US')}/s; longest gap ${Math.max(...seen.map((one) => one.gapMs)).toFixed(1)} ms`;
  return [
    plainFigure({ id: `${id}-lost`, what: `${what}: packets lost`, values: [lost], unit: 'packets', goal: { atMost: 0 }, note }),
    plainFigure({ id: `${id}-moves`, what: `${what}: shards moved`, values: [moves], unit: 'moves', goal: { atMost: 0 } }),
  ];
}

function tcpFigure(id: string, what: string, tcp: { readonly lost: number; readonly note: string }): Figure {
  return plainFigure({
    id,
    what: `${what}: TCP connections lost`,
    values: [tcp.lost],
    unit: 'connections',
    goal: { atMost: 0 },
    note: tcp.note,
  });
}
