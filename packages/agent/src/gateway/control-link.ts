import type { AgentClock } from '../components.ts';
import type { Conditions } from '../conditions.ts';
import { messageOf } from '../errors.ts';
import { ControlSocket, type ControlSocketInit } from './control-socket.ts';

/** A socket that has failed is opened anew after this; one that could not be opened, after that. */
const REOPEN_MS = 1_000;
const RETRY_MS = 5_000;

export interface ControlLinkInit {
  readonly providerAddress: string;
  readonly clock: AgentClock;
  readonly conditions: Conditions;
  readonly onMessage: ControlSocketInit['onMessage'];
  /** For tests. */
  readonly openSocket?: (init: ControlSocketInit) => Promise<Pick<ControlSocket, 'send' | 'close'>>;
}

/** The way to other machines past NATS, by datagrams between provider addresses: opened when the first group needs it, and again whenever it fails. */
export class ControlLink {
  readonly #init: ControlLinkInit;
  #socket: Pick<ControlSocket, 'send' | 'close'> | undefined;
  #timer: unknown;
  #closed = false;

  constructor(init: ControlLinkInit) {
    this.#init = init;
  }

  /** Opens the socket, if it is not open. What stands in the way is raised as a condition, and tried again. */
  async open(): Promise<void> {
    if (this.#socket !== undefined || this.#closed) return;
    const { providerAddress, conditions, clock, onMessage, openSocket = ControlSocket.open } = this.#init;
    try {
      this.#socket = await openSocket({
        providerAddress,
        onMessage,
        onError: () => {
          this.#socket = undefined;
          this.#timer = clock.setTimeout(() => void this.open(), REOPEN_MS);
        },
      });
      conditions.clear('CONTROL_PORT');
    } catch (error) {
      conditions.raise('CONTROL_PORT', messageOf(error));
      this.#timer = clock.setTimeout(() => void this.open(), RETRY_MS);
    }
  }

  /** @returns Why it could not be sent. */
  async send(address: string, message: Uint8Array): Promise<Error | undefined> {
    return this.#socket === undefined ? new Error('the control socket is not open') : await this.#socket.send(address, message);
  }

  close(): void {
    this.#closed = true;
    this.#init.clock.clearTimeout(this.#timer);
    this.#socket?.close();
  }
}
