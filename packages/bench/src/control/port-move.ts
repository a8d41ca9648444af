import { waitFor } from '@weft/testkit';
import { startGenerator, type TapDevice } from '@weft/tuntap';
import type { BenchContext } from '../core/context.ts';
import { type Figure, plainFigure } from '../core/figure.ts';
import { median } from '../core/statistics.ts';
import { VNET_HEADER_BYTES } from '../path/frames.ts';
import { type ControlLab, labPort, withControlLab } from './control-lab.ts';
import { Arrivals, holdTap, SEQUENCE_OFFSET, sequenceFrame } from './held-tap.ts';

/*
 *   generator, 1,000 frames/s ─ TAP ─ h1 ═══╦═══ h2 ─ TAP ─┐ reader
 *                                           ╚═══ h3 ─ TAP ─┘       the port moves between h2 and h3
 */

const RATE = 1_000;
const MOVES_PER_ROUND = 4;
const GOAL_GAP_MS = 100;
const SETTLE_MS = 250;

interface Move {
  /** Longest silence over both TAPs, around the move. */
  readonly gapMs: number;
  /** Sent after the claim was acknowledged and never read. */
  readonly lostAfter: number;
  /** Sent during the move and never read. */
  readonly lostInAll: number;
  /** The claim, from its request to its acknowledgement. */
  readonly claimMs: number;
}

/** A port moved between hosts under load, as a live migration moves it: made ready at the new host first, then claimed. */
export async function portMoveFigures(context: BenchContext): Promise<Figure[]> {
  const sender = labPort(0);
  const mover = labPort(1);
  return await withControlLab(context, { suffix: 'move', hosts: ['h1', 'h2', 'h3'], ports: [sender, mover] }, async (control) => {
    await control.bind(sender, 'h1', 'sender');
    await control.bind(mover, 'h2', 'mv0');
    await control.lab.untilConsistent();
    const from = holdTap(control.lab.host('h1'), 'sender');
    const arrivals = new Arrivals();
    const state: MoveState = { control, arrivals, at: 'h2', tap: holdTap(control.lab.host('h2'), 'mv0'), count: 0 };
    arrivals.watch(state.tap);
    const generator = startGenerator({
      fd: from.fd,
      frames: [sequenceFrame(sender, mover, 5_000)],
      ratePerSecond: RATE,
      vnetHeaderBytes: VNET_HEADER_BYTES,
      sequenceOffset: SEQUENCE_OFFSET,
    });
    const sent = (): number => generator.sent;
    try {
      await waitFor(() => arrivals.has(sent() - 2) || arrivals.has(sent() - 1), {
        what: 'frames to arrive before the first move',
        intervalMs: 1,
      });
      const heard: Move[][] = [];
      const missed: Move[][] = [];
      for (let round = -1; round < context.rounds; round++) {
        context.progress(`port-move: round ${round + 1}/${context.rounds}`);
        const [plain, deaf]: [Move[], Move[]] = [[], []];
        for (let turn = 0; turn < MOVES_PER_ROUND; turn++) plain.push(await move(state, sent, false));
        for (let turn = 0; turn < 2; turn++) deaf.push(await move(state, sent, true));
        if (round < 0) continue;
        heard.push(plain);
        missed.push(deaf);
      }
      return [
        ...figuresOf('port-move', 'port moved under 1,000 frames/s', heard),
        ...figuresOf('port-move-missed', 'the same while the sending host’s agent stands still (redirect)', missed),
      ];
    } finally {
      generator.stop();
      await generator.result();
      from.close();
      state.tap.close();
    }
  });
}

interface MoveState {
  readonly control: ControlLab;
  readonly arrivals: Arrivals;
  at: 'h2' | 'h3';
  tap: TapDevice;
  count: number;
}

/** @param deaf The sending host's agent is stopped, so that it can't hear of the move: frames go to the old host, which sends them on. */
async function move(state: MoveState, sent: () => number, deaf: boolean): Promise<Move> {
  const { control, arrivals } = state;
  const mover = labPort(1);
  const to = state.at === 'h2' ? 'h3' : 'h2';
  const device = `mv${++state.count}`;
  const before = state.tap;
  await control.prepare(mover, to, device);
  const tap = holdTap(control.lab.host(to), device);
  arrivals.watch(tap);
  const agent = control.lab.agent('h1');
  if (deaf) agent.kill('SIGSTOP');
  const firstSent = sent();
  const startedMs = performance.now();
  await control.bind(mover, to, device, true);
  const ackMs = performance.now();
  const ackSent = sent();
  await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
  const endMs = performance.now();
  const lastSent = sent() - 20;
  if (deaf) agent.kill('SIGCONT');
  // The tap of the old host goes when its VM, this process, lets go of it.
  before.close();
  state.at = to;
  state.tap = tap;
  const result = {
    gapMs: arrivals.longestGapMs(startedMs, endMs),
    lostAfter: arrivals.missing(ackSent + 1, lastSent),
    lostInAll: arrivals.missing(firstSent, lastSent),
    claimMs: ackMs - startedMs,
  };
  await control.lab.untilConsistent();
  return result;
}

function figuresOf(id: string, what: string, rounds: readonly (readonly Move[])[]): Figure[] {
  const all = rounds.flat();
  const gaps = all.map((move) => move.gapMs);
  const inAll = all.reduce((sum, move) => sum + move.lostInAll, 0);
  return [
    plainFigure({
      id: `${id}-gap`,
      what: `${what}: longest gap of a round`,
      values: rounds.map((moves) => Math.max(...moves.map((move) => move.gapMs))),
      unit: 'ms',
      against: 'between arrivals',
      goal: { atMost: GOAL_GAP_MS },
      note: `${all.length} moves: gap p50 ${median(gaps).toFixed(1)}, max ${Math.max(...gaps).toFixed(1)} ms; claim acknowledged after p50 ${median(all.map((move) => move.claimMs)).toFixed(1)} ms; ${inAll} frames lost in all`,
    }),
    plainFigure({
      id: `${id}-lost`,
      what: `${what}: lost once the new host has it`,
      values: rounds.map((moves) => moves.reduce((sum, move) => sum + move.lostAfter, 0)),
      unit: 'frames',
      against: '',
      goal: { atMost: 0 },
    }),
  ];
}
