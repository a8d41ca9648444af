/*
 * Every timer of ownership, with its formula. All in ms of the machine's own boot clock, which never steps back and counts sleep.
 *
 *   owner      send renewal ──R──► send renewal ──R──► …          deadline = sent + T(1 - rho), moved by a majority of votes only
 *   voter           receive ├────────────── T ──────────────┤     holds from receipt: longer than the owner's by the journey and by rho
 *   peers      probe ─P─ probe ─P─ probe ─┤ U ├                   silent: three sent, each unanswered for U
 *
 * T (5 s): an agent that is killed has, at worst, just not renewed: T(1 - rho) - R - 2 x lateness = 3.7 s are left to start again and renew
 *   (0.4 s, 0.5 on a machine whose processors are all busy; docs/gateway-figures.md).
 *   A shorter T fails over sooner where nobody can tell death from a cut, and moves ownership at every slow restart.
 * R (1 s): four tries in a lease. Each costs a signed message to each voter and back, on two paths.
 * P (30 ms), U (50 ms): a power cut is silence after P/2 on average until the next probe, 2P more, U, and P/2 until the next tick looks: 140 ms, 170 at worst;
 *   a Node timer late by 103 ms, once, at the candidate or at the voter that decides: 273. The slower of the two counts. Then a round of questions (repeated
 *   after 40 ms if the voter had not noticed yet), a round of votes with an fsync, one certificate. Simulated, 1,000 cuts: median 179 ms, p99 276, worst 356.
 * rho (1 %): how much two clocks' rates may differ. Quartz does 0.02 %, NTP slews 0.05 %; 1 % of T costs 50 ms.
 */
export interface Timing {
  /** T: how long a voter holds a lease, from receipt. */
  readonly leaseMs: number;
  /** R: an owner renews this often, and again after a quarter of it when a majority did not answer. */
  readonly renewMs: number;
  /** rho: bound on the relative rate of two clocks. */
  readonly rho: number;
  /** P: a voter probes each member, and a member each other, this often; all other timers are looked at as often. */
  readonly probeMs: number;
  /** U: a probe is unanswered after this. */
  readonly unansweredMs: number;
  /** How many probes must be unanswered. */
  readonly silentProbes: number;
  /** A peer answers if a probe sent no longer ago than this was answered: 3P + U, and 103 ms of a late timer. */
  readonly answeringMs: number;
  /** Members start a ballot one after the other, this far apart, in the order of the shard: one round of questions and votes. */
  readonly staggerMs: number;
  /** Questions and ballots are repeated this often … */
  readonly resendMs: number;
  /** … and questions given up after this; of ballots a new round is begun. */
  readonly attemptMs: number;
  /** A ballot is given up after `attemptMs`, and after twice as long each time that disks were too slow for that, up to this. */
  readonly attemptMaxMs: number;
  /** A certificate is repeated from `resendMs` on, doubling up to this, until acknowledged. */
  readonly certificateMaxMs: number;
  /** A host that has just started asks the voters this often. */
  readonly askMs: number;
  /** Hand-over: hosts accept frames of both, and the old owner passes late returns on, for this long. */
  readonly handoverMs: number;
  /** Hand-over: the state must be with the new owner by then, else the move is called off. */
  readonly syncMs: number;
  /** A shard that belongs elsewhere by the record waits until its owner has been one, and the next one has answered, for this long. */
  readonly placementMs: number;
  /** Damping: this many moves of a shard in this time, then only a lease that has run out moves it. */
  readonly movesMax: number;
  readonly movesWindowMs: number;
  /** A pair of lists that has not taken effect after this is an alarm. */
  readonly unsettledAlarmMs: number;
}

export const TIMING: Timing = {
  leaseMs: 5_000,
  renewMs: 1_000,
  rho: 0.01,
  probeMs: 30,
  unansweredMs: 50,
  silentProbes: 3,
  answeringMs: 300,
  staggerMs: 120,
  resendMs: 40,
  attemptMs: 1_000,
  attemptMaxMs: 8_000,
  certificateMaxMs: 2_000,
  askMs: 250,
  handoverMs: 30_000,
  syncMs: 10_000,
  placementMs: 3_000,
  movesMax: 3,
  movesWindowMs: 60_000,
  unsettledAlarmMs: 10_000,
};

/** How long an owner may forward after it sent a renewal that a majority then granted: T(1 - rho). */
export function forwardMs(timing: Timing): number {
  return timing.leaseMs * (1 - timing.rho);
}

/**
 * D: a replaced owner's external side is closed at the latest this long after it was replaced, in ms of its own clock (which may have stood still while
 * the machine did). No renewal that was sent after the replacement can find a majority, and one that was sent before it opens for T(1 - rho) from its
 * sending: D = T(1 - rho) = 4.95 s. A verified certificate of a higher epoch closes at once, so this is the case where none gets through.
 */
export function boundD(timing: Timing): number {
  return forwardMs(timing);
}

/**
 * Within this a shard is where the record has placed it, once all is well: moves of the minute before may have used up what damping allows, one target may
 * be left alone for `handoverMs`, then it has to be seen for a while, get the state, and take over; and again if one try fails.
 */
export function placementBoundMs(timing: Timing): number {
  return timing.movesWindowMs + 2 * (timing.handoverMs + timing.placementMs + timing.syncMs + 3 * timing.attemptMs);
}

/** Within this an owner serves again once faults stop: a voter abstains for T, a lease lasts T, then silence, questions, votes and one more try. */
export function recoveryBoundMs(timing: Timing): number {
  return (
    2 * timing.leaseMs + 4 * timing.attemptMs + timing.silentProbes * timing.probeMs + timing.unansweredMs + 2 * timing.certificateMaxMs
  );
}
