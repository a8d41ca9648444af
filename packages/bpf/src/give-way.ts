import { native } from './native.ts';

/** Of the usual turn: longer than that and what a piece of work takes. */
const FACTOR = 2;

/**
 * Lets threads that wake up have the processor at once where this process has it, in place of after its turn (some milliseconds): Linux lets a thread be interrupted by those that ask for shorter turns.
 * For work that nobody waits for to the millisecond, on processors on which somebody is waited for. Its share of a processor stays what it was; among processes that never rest it may wait twice as
 * long for its turn.
 *
 * All threads there are at the call; child processes, and threads that are made later, are as others. A second call changes nothing.
 *
 * @returns False: the kernel knows no such thing (before 6.12) or refuses it, and nothing has changed.
 */
export function giveWay(): boolean {
  return native().lengthenTurns(FACTOR) > 0;
}
