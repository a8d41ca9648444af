import { NatEventKind, type SessionEvent } from './events.ts';

/**
 * Two events of one session, of the same ticket, as one that says what both do: as old as the first, since lags count from there. Which is the newer one tells its revision: two processors may
 * tell in the other order.
 */
export function mergeSessionEvents(first: SessionEvent, next: SessionEvent): SessionEvent {
  if (first.kind === NatEventKind.SESSION_RETIRED) return first;
  if (next.kind === NatEventKind.SESSION_RETIRED) return { ...next, timeBootNs: first.timeBootNs };
  return isNewerRevision(next.session.revision, first.session.revision) ? { ...first, session: next.session } : first;
}

/** Whether two events are about one session: of its key, and of that the same one in time. */
export function isSameSession(a: SessionEvent, b: SessionEvent): boolean {
  const [one, other] = [a.key, b.key];
  return (
    a.session.ticket === b.session.ticket &&
    one.externalPort === other.externalPort &&
    one.remotePort === other.remotePort &&
    one.protocol === other.protocol &&
    one.segment === other.segment &&
    isSameAddress(one.address, other.address) &&
    isSameAddress(one.remote, other.remote)
  );
}

function isSameAddress(a: Uint8Array, b: Uint8Array): boolean {
  return a === b || (a.length === b.length && a.every((byte, i) => byte === b[i]));
}

/** Revisions count modulo 2^32. */
export function isNewerRevision(revision: number, known: number): boolean {
  return ((revision - known) | 0) > 0;
}
