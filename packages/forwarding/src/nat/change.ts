import type { BackwardWriter } from './backward-writer.ts';
import { writeEvent } from './changes-writer.ts';
import type { NatEvent } from './events.ts';
import { isSameSession, mergeSessionEvents } from './session-events.ts';
import { networkOfEvent } from './state-codec.ts';

/** What one event, or several of one session, have changed: what a standby is to be told. It stays as it is, whatever becomes of the batch that it is from. */
export interface NatChange {
  readonly networkId: number;
  /** When it happened, or the first of what it says, in ms of the boot clock. */
  readonly timeMs: number;
  /** Of the session's ticket what a number can say: those of one session are equal. Undefined: it is about no session. */
  readonly ticket: number | undefined;
  event(): NatEvent;
  /** One change that says what both do ({@link mergeSessionEvents}), in place of both; undefined: they are not of one session. */
  mergedWith(next: NatChange): NatChange | undefined;
  /** Writes it as a `weft.v1.NatChange`, without its length. */
  write(writer: BackwardWriter): void;
}

/** A change by an event that is there already. */
export class EventChange implements NatChange {
  readonly #event: NatEvent;

  constructor(event: NatEvent) {
    this.#event = event;
  }

  get networkId(): number {
    return networkOfEvent(this.#event);
  }

  get timeMs(): number {
    return Number(this.#event.timeBootNs) / 1e6;
  }

  get ticket(): number | undefined {
    return 'session' in this.#event ? Number(this.#event.session.ticket) : undefined;
  }

  event(): NatEvent {
    return this.#event;
  }

  mergedWith(next: NatChange): NatChange | undefined {
    const [first, other] = [this.#event, next.event()];
    if (!('session' in first && 'session' in other) || !isSameSession(first, other)) return undefined;
    return new EventChange(mergeSessionEvents(first, other));
  }

  write(writer: BackwardWriter): void {
    writeEvent(writer, this.#event);
  }
}
