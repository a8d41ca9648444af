import type { Bus } from '@weft/bus';
import type { AgentClock } from './components.ts';
import type { Conditions } from './conditions.ts';
import { codeOf, messageOf } from './errors.ts';
import { backoffMs } from './limiter.ts';

export interface ConnectionComponents {
  readonly bus: Bus;
  readonly clock: AgentClock;
  readonly random: () => number;
  readonly conditions: Conditions;
  /** The work after each connection. What it throws is tried again. @param first Of this process. */
  readonly settleIn: (first: boolean) => Promise<void>;
}

/** Sees to it that after each connection to NATS its work is done, however often that takes; one at a time. */
export class Connection {
  readonly #on: ConnectionComponents;
  #stopState: (() => void) | undefined;
  #connecting: Promise<void> | undefined;
  #connections = 0;
  #retryTimer: unknown;
  #openAttempt = 0;
  #stopping = false;

  constructor(components: ConnectionComponents) {
    this.#on = components;
  }

  /** The work after a connection is under way. */
  get isSettling(): boolean {
    return this.#connecting !== undefined;
  }

  start(): void {
    const { bus, conditions } = this.#on;
    this.#stopState = bus.onState(({ state, reason }) => {
      if (state === 'connected') {
        conditions.clear('NATS_DISCONNECTED');
        this.#connected();
      } else {
        conditions.raise(
          'NATS_DISCONNECTED',
          `NATS is not reachable (${reason || 'not tried yet'}); what forwards keeps forwarding, the agent waits`,
        );
      }
    });
  }

  stop(): void {
    this.#stopping = true;
    this.#on.clock.clearTimeout(this.#retryTimer);
    this.#stopState?.();
  }

  #connected(): void {
    this.#connections++;
    if (this.#connecting !== undefined) return;
    this.#on.clock.clearTimeout(this.#retryTimer);
    const connection = this.#connections;
    this.#connecting = this.#on
      .settleIn(connection === 1)
      .then(() => {
        this.#openAttempt = 0;
      })
      .catch((error: unknown) => {
        if (this.#stopping) return;
        if (this.#on.bus.state.state === 'connected') {
          this.#on.conditions.raise(
            'STORE_NOT_OPEN',
            `Cannot use the store: ${messageOf(error)}; tried again${codeOf(error) === 'WEFT_ERR_BUS_BUCKET_MISSING' ? ' until a controller has made it' : ''}`,
          );
        }
        this.#retry();
      })
      .finally(() => {
        this.#connecting = undefined;
        if (connection !== this.#connections && !this.#stopping) this.#connected();
      });
  }

  #retry(): void {
    const { clock, random, bus } = this.#on;
    clock.clearTimeout(this.#retryTimer);
    this.#retryTimer = clock.setTimeout(
      () => {
        if (bus.state.state === 'connected') this.#connected();
      },
      backoffMs(this.#openAttempt++, 200, 5_000, random),
    );
  }
}
