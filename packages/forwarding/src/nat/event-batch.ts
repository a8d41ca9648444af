import { EventChange, type NatChange } from './change.ts';
import type { NatEvent, SessionEvent } from './events.ts';
import { NAT_KEY_TEXT } from './rows.ts';
import { mergeSessionEvents } from './session-events.ts';
import { networkOfEvent } from './state-codec.ts';

/** Events that were read together, in their order. Of what nobody asks for nothing is made. All of it is valid until the reader that it was given to returns; events and changes made of it stay. */
export interface NatEventBatch {
  readonly count: number;
  /** Of event `index`, below `count`. Not one of {@link NatEventKind}: a later version's, whose event can't be made. */
  kindAt(index: number): number;
  /** The network that it is about. */
  networkAt(index: number): number;
  eventAt(index: number): NatEvent;
  /**
   * What somebody needs who only wants to know how all ends: of one session one change, at the place of its first ({@link mergeSessionEvents}); of all others one each.
   *
   * @param isWanted By network id; only of those a change is made.
   */
  forEachChange(isWanted: (networkId: number) => boolean, take: (change: NatChange) => void): void;
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

  forEachChange(isWanted: (networkId: number) => boolean, take: (change: NatChange) => void): void {
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
    for (const event of changes) if (isWanted(networkOfEvent(event))) take(new EventChange(event));
  }
}
