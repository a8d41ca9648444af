/*
 * Epoch: u64 = incarnation (32) ‖ ballot (32). The incarnation comes from the group's configuration and is raised by `weft gateway recover` only; the
 * ballot is chosen by whoever wants to own.
 */
export const NO_EPOCH = 0n;
const BALLOT = 0xffff_ffffn;

export function makeEpoch(incarnation: number, ballot: number): bigint {
  return (BigInt(incarnation) << 32n) | BigInt(ballot);
}
export function incarnationOf(epoch: bigint): number {
  return Number(epoch >> 32n);
}
/** `1.17`: how people read an epoch. */
export function epochText(epoch: bigint): string {
  return `${epoch >> 32n}.${epoch & BALLOT}`;
}

/**
 * The epoch for a new grant: above everything heard of.
 * @returns Undefined when none is left: something of a higher incarnation was heard, or 2^32 - 1 ballots are used up. Both need `weft gateway recover`.
 */
export function chooseEpoch(incarnation: number, heard: bigint): bigint | undefined {
  const first = makeEpoch(incarnation, 1);
  if (heard < first) return first;
  const next = heard + 1n;
  return incarnationOf(next) === incarnation ? next : undefined;
}
