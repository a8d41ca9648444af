import type { LabNet } from '@weft/testkit';

/** Rounds that the full counts stand for; with fewer of them there are fewer crashes, connections, networks. */
const FULL_ROUNDS = 5;

/** A count, in proportion if fewer rounds are asked for than usual: to try a figure out. */
export function scaled(context: Pick<BenchContext, 'rounds'>, count: number): number {
  return Math.ceil(count * Math.min(1, context.rounds / FULL_ROUNDS));
}

/** What a figure's code gets: how long, how often, and where to say how far it is. */
export interface BenchContext {
  /** Rounds behind each median. */
  readonly rounds: number;
  /** Length of one measured run, in ms. */
  readonly runMs: number;
  /**
   * Runs of the packet path's figures: many and short, the variants in turn, since what disturbs a run (another process, a timer, the hypervisor) mostly outlasts one and
   * so hits the neighbours in the same slice alike; and 20 ratios narrow an interval more than 5 of the same length in all.
   */
  readonly slices: number;
  /** Length of one such run, in ms. */
  readonly sliceMs: number;
  /** Long forms of the figures that have one. */
  readonly full: boolean;
  /** A lab name that no other run has. */
  name(suffix: string): string;
  progress(text: string): void;
  /** To be called when the bench ends, whatever happens. */
  onEnd(cleanup: () => Promise<void> | void): void;
  /** Runs what was registered for this lab, then removes it. */
  closePath(net: LabNet): Promise<void>;
  /** Something to undo before the lab goes. */
  beforeClose(netName: string, undo: () => Promise<void> | void): void;
}
