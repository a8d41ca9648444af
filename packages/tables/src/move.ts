import type { PortBinding } from '@weft/model';
import { type MoveWindow, NO_MOVE } from './rows.ts';

/**
 * The move window after `next` has replaced `known` on host `self`.
 *
 * A move (higher generation, another host, previous host named) makes the former host's address a second home until `untilMs`, and lets
 * this host, if it was the former, send late frames on for as long. A host that had the port before the former one goes on sending to the
 * newest. A re-statement of the same generation changes nothing.
 */
export function movedBy(
  known: { readonly binding: PortBinding | undefined; readonly move: MoveWindow },
  next: PortBinding,
  self: string,
  untilMs: number,
): MoveWindow {
  const { binding, move } = known;
  if (binding !== undefined && binding.generation === next.generation && binding.state === next.state) return move;
  if (next.state !== 'bound') return { ...NO_MOVE, redirectUntilMs: move.redirectUntilMs };
  const moved = next.previousHostId !== '' && next.previousHostId !== next.hostId && next.previousProviderAddress !== '';
  const wasHere =
    next.hostId !== self && ((moved && next.previousHostId === self) || (binding?.state === 'bound' && binding.hostId === self));
  return {
    previousProviderAddress: moved ? next.previousProviderAddress : '',
    previousUntilMs: moved ? untilMs : 0,
    redirectUntilMs: next.hostId === self ? 0 : wasHere ? untilMs : move.redirectUntilMs,
  };
}

/** The next moment at which a window ends. */
export function nextExpiryMs(move: MoveWindow, nowMs: number): number | undefined {
  const ends = [move.previousUntilMs, move.redirectUntilMs].filter((end) => end > nowMs);
  return ends.length === 0 ? undefined : Math.min(...ends);
}
