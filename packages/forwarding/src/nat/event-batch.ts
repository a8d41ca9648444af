import { type NatEvent, NatEventKind, type SessionEvent } from './events.ts';
import { NAT_KEY_TEXT } from './rows.ts';
import { networkOfEvent } from './state-codec.ts';

/** Events that were read together, in their order. Of what nobody asks for nothing is made. All of it is valid until the reader that it was given to returns; events made of it stay. */
export interface NatEventBatch {
  readonly count: number;
  /** Of event `index`, below `count`. Not one of {@link NatEventKind}: a later version's, whose event can't be made. */
  kindAt(index: number): number;
  /** The network that it is about. */
  networkAt(index: number): number;
  eventAt(index: number): NatEvent;
  /**
   * What somebody needs who only wants to know how all ends: of one session one event, at the place of its first ({@link mergeSessionEvents}); all others as they are.
   *
   * @param isWanted By network id; only of those an event is made.
   */
  forEachChange(isWanted: (networkId: number) => boolean, take: (event: NatEvent) => void): void;
}

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

/** Events that are there already. */
export class NatEventList implements NatEventBatch {
  readonly #events: readonly NatEvent[];

  constructor(events: readonly NatEvent[]) {
    this.#events = events;
  }

  get count(): number {
    return this.#events.length;
  }

  kindAt(index: number): number {
    return this.eventAt(index).kind;
  }

  networkAt(index: number): number {
    return networkOfEvent(this.eventAt(index));
  }

  eventAt(index: number): NatEvent {
    return this.#events[index]!;
  }

  forEachChange(isWanted: (networkId: number) => boolean, take: (event: NatEvent) => void): void {
    const changes: NatEvent[] = [];
    const sessions = new Map<string, number>();
    for (const event of this.#events) {
      const name = 'session' in event ? `${NAT_KEY_TEXT.session(event.key)} ${event.session.ticket}` : undefined;
      const at = name === undefined ? undefined : sessions.get(name);
      if (at === undefined) {
        if (name !== undefined) sessions.set(name, changes.length);
        changes.push(event);
      } else changes[at] = mergeSessionEvents(changes[at] as SessionEvent, event as SessionEvent);
    }
    for (const event of changes) if (isWanted(networkOfEvent(event))) take(event);
  }
}
