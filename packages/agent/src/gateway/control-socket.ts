import { createSocket, type Socket } from 'node:dgram';
import { AgentError, messageOf } from '../errors.ts';
import { CONTROL_PORT } from './control-port.ts';

/** Least MTU of an IPv4 path without fragments that Weft asks of an underlay, less IPv4 and UDP headers. */
export const MAX_CONTROL_BYTES = 1_400;

export interface ControlSocketInit {
  /** This host's provider address, IPv4 text: the socket hears nothing that is sent to another address. */
  readonly providerAddress: string;
  /** Default {@link CONTROL_PORT}. */
  readonly port?: number;
  /** @param from Provider address the datagram says it is from. Anybody on the underlay can write one there: only signatures count. */
  readonly onMessage: (message: Uint8Array, from: string) => void;
  /** The socket failed; it is closed, and the caller opens another. */
  readonly onError: (error: Error) => void;
}

/**
 * Datagrams between agents on the underlay, the second of the two paths that ownership messages take (the other is NATS): each may be lost, doubled
 * and late.
 */
export class ControlSocket {
  readonly #socket: Socket;
  readonly #port: number;
  #closed = false;

  private constructor(socket: Socket, port: number) {
    this.#socket = socket;
    this.#port = port;
  }

  /** @throws {AgentError} `WEFT_ERR_AGENT_CONTROL_PORT` if the address isn't this host's, or another process has the port. */
  static async open(init: ControlSocketInit): Promise<ControlSocket> {
    const { providerAddress, port = CONTROL_PORT } = init;
    const socket = createSocket('udp4');
    await new Promise<void>((resolve, reject) => {
      socket.once('error', (error) =>
        reject(
          new AgentError(
            'WEFT_ERR_AGENT_CONTROL_PORT',
            `Cannot listen on UDP ${providerAddress}:${port}: ${messageOf(error)}; gateway groups need it for votes and grants: free the port ("ss -ulpn" names who has it), or correct the provider address`,
          ),
        ),
      );
      socket.bind(port, providerAddress, () => resolve());
    });
    socket.removeAllListeners('error');
    const control = new ControlSocket(socket, port);
    socket.on('message', (message, { address }) => init.onMessage(message, address));
    socket.on('error', (error) => {
      control.close();
      init.onError(error);
    });
    return control;
  }

  /**
   * Sends a datagram to another agent. Resolves once the kernel has it; whether it arrives nobody says.
   *
   * @returns Undefined, or why it could not be sent (no route, no buffer).
   * @throws {RangeError} If it is larger than {@link MAX_CONTROL_BYTES}.
   */
  async send(to: string, message: Uint8Array): Promise<Error | undefined> {
    if (message.byteLength > MAX_CONTROL_BYTES)
      throw new RangeError(`Cannot send a control message of ${message.byteLength} bytes: must be at most ${MAX_CONTROL_BYTES}`);
    if (this.#closed) return new Error('closed');
    return new Promise((resolve) => this.#socket.send(message, this.#port, to, (error) => resolve(error ?? undefined)));
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#socket.close();
  }
}
