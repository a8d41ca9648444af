import { waitFor } from '@weft/testkit';
import { type BenchContext, scaled } from '../core/context.ts';
import { type Figure, plainFigure } from '../core/figure.ts';
import { quantile } from '../core/statistics.ts';
import { type FailoverLab, GATEWAYS, untilProtected, WITNESS, withFailoverLab } from './failover-lab.ts';
import { type PathSilence, withPathSilence } from './path-silence.ts';
import { moveShard, setDrained } from './planned-moves.ts';
import { type RoundTrips, roundTrips } from './round-trips.ts';
import { TcpConnections } from './tcp-connections.ts';

const RATE = 10_000;
const CONNECTIONS = 200;
const GAP_MS = 20;
/** Moves of one shard in a minute that damping allows. */
const MOVES_A_MINUTE = 3;
const NATS_AWAY_MS = 20_000;

/** What was seen while a shard moved, or while nothing did. */
interface Watched {
  readonly trips: RoundTrips;
  readonly path: PathSilence;
  readonly tookMs: number;
}

/** A member drained and undrained under load: each time the shard moves by consent. 4 moves, 50 in the long form. After each, as long a time in which nothing moves. */
export async function drainFigures(context: BenchContext): Promise<Figure[]> {
  const count = scaled(context, context.full ? 50 : 4);
  return await withFailoverLab(context, { suffix: 'drain' }, async (made) => {
    const connections = await TcpConnections.open(made, CONNECTIONS);
    const moves: Watched[] = [];
    const stills: Watched[] = [];
    // The shard may have been brought to its first place just now: that was a move, too.
    await forgetMoves(made);
    if (made.isProtecting) await untilProtected(made);
    let drained: string | undefined;
    for (let turn = 0; turn < count; turn++) {
      context.progress(`gateway-drain: ${turn + 1}/${count}`);
      const owner = made.watcher.owner(made.shard)!;
      const back = drained;
      drained = back === undefined ? owner : undefined;
      const move = await watched(made, async () => {
        // The one that is drained loses its shard; once it is undrained, the shard is brought back to it.
        await setDrained(made.lab, back ?? owner, back === undefined);
        if (back !== undefined) await moveShard(made.lab, made.shard, back);
        await made.watcher.untilMovedFrom(owner, made.shard, 60_000);
      });
      moves.push(move);
      context.progress(
        `gateway-drain: ${turn + 1}/${count}: ${silences([move])}, ${(move.tookMs / 1e3).toFixed(1)} s, ${move.trips.lost} of ${move.trips.sent} lost`,
      );
      await made.watcher.untilAtRest(60_000);
      if (turn % MOVES_A_MINUTE === MOVES_A_MINUTE - 1) await forgetMoves(made);
      if (made.isProtecting) await untilProtected(made);
      const still = await watched(made, async () => await new Promise((resolve) => setTimeout(resolve, move.tookMs)));
      stills.push(still);
      context.progress(`gateway-drain: ${turn + 1}/${count}: nothing moves: ${silences([still])}`);
    }
    const tcp = await connections.close();
    const lost = [...moves, ...stills].reduce((sum, { trips }) => sum + trips.lost, 0);
    const sent = [...moves, ...stills].reduce((sum, { trips }) => sum + trips.sent, 0);
    return [
      plainFigure({
        id: 'gateway-drain-gap',
        what: 'drain and undrain of the owner: longest time in which frames were on their way and none arrived',
        values: [longest(moves.map(heldUpMs))],
        unit: 'ms',
        goal: { atMost: GAP_MS },
        note: `${moves.length} moves: ${silences(moves)}; as often and as long, while nothing moves: ${silences(stills)}`,
      }),
      plainFigure({
        id: 'gateway-drain-silence',
        what: 'the same: longest silence at the VM, sender’s and echo’s own waits for a processor included',
        values: [longest(moves.map(silenceMs))],
        unit: 'ms',
        against: `${longest(stills.map(silenceMs)).toFixed(1)} ms while nothing moves`,
      }),
      plainFigure({
        id: 'gateway-drain-lost',
        what: 'drain and undrain of the owner: packets lost',
        values: [lost],
        unit: 'packets',
        goal: { atMost: 0 },
        note: `${sent.toLocaleString('en-US')} packets sent at ${RATE.toLocaleString('en-US')}/s`,
      }),
      tcpFigure('gateway-drain-tcp-lost', 'drain and undrain of the owner', tcp),
    ];
  });
}

async function watched(made: FailoverLab, work: () => Promise<void>): Promise<Watched> {
  let tookMs = 0;
  const timed = async (): Promise<void> => {
    const begun = performance.now();
    await work();
    tookMs = performance.now() - begun;
  };
  const [trips, path] = await withPathSilence(made, async () => await roundTrips(made, RATE, timed));
  return { trips, path, tookMs };
}

/** Longest time in which frames were on their way, one way or the other, and none arrived. */
function heldUpMs({ path }: Watched): number {
  return Math.max(path.outbound.owedMs, path.inbound.owedMs);
}

/** Longest silence of answers at the VM's TAP. */
function silenceMs({ path }: Watched): number {
  return path.inbound.longestMs;
}

function longest(values: readonly number[]): number {
  return Math.max(...values);
}

/** What was held up on its way, and the silences at the VM: at its TAP, and as its reader saw them. */
function silences(seen: readonly Watched[]): string {
  const ms = (values: readonly number[]): string => {
    const [middle, most] = [quantile(values, 0.5), longest(values)].map((value) => value.toFixed(values === held ? 2 : 1));
    return seen.length === 1 ? most! : `p50 ${middle}, max ${most}`;
  };
  const held = seen.map(heldUpMs);
  const reader = seen.map(({ trips }) => trips.gapMs);
  return `held up ${ms(held)} ms, silence ${ms(seen.map(silenceMs))} ms (reader ${ms(reader)})`;
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
