import type { NetnsWorker } from '../net/netns-worker.ts';

/** A datagram with its sender, or the error that ICMP told a connected socket of. */
export type UdpHeard = { readonly address: string; readonly port: number; readonly payload: Buffer } | { readonly error: string };

export interface UdpSocketInit {
  /** Address to be bound to. Default: all of IPv4, or of the family of `connect`. */
  readonly host?: string;
  /** Default: a free one. */
  readonly port?: number;
  /** Take datagrams from there only, and hear of ICMP errors. */
  readonly connect?: { readonly host: string; readonly port: number };
  /** Send back what comes, and keep nothing. Default false. */
  readonly echo?: boolean;
}

/** A UDP socket in a worker's namespace. */
export class UdpSocket {
  readonly port: number;
  readonly #worker: NetnsWorker;
  readonly #handle: number;

  private constructor(worker: NetnsWorker, handle: number, port: number) {
    this.#worker = worker;
    this.#handle = handle;
    this.port = port;
  }

  /** @throws {WorkerError} When the address or port can't be had. */
  static async open(worker: NetnsWorker, init: UdpSocketInit = {}): Promise<UdpSocket> {
    const { handle, port } = await worker.request<{ handle: number; port: number }>('udpOpen', { ...init, port: init.port ?? 0 });
    return new UdpSocket(worker, handle, port);
  }

  /** @param to Left out by a connected socket. @returns The error by which the kernel refused to send: `EMSGSIZE`, or one that ICMP told of before. */
  async send(payload: string | Uint8Array, to?: { readonly host: string; readonly port: number }): Promise<string | undefined> {
    const parameters = { handle: this.#handle, payload: Buffer.from(payload as string).toString('base64'), ...to };
    return (await this.#worker.request<{ error?: string }>('udpWrite', parameters)).error;
  }

  /** The next datagram or error that has come or comes within `timeoutMs`; undefined if none does. */
  async next(timeoutMs = 5_000): Promise<UdpHeard | undefined> {
    type Raw = { address: string; port: number; payload: string } | { error: string } | null;
    const heard = await this.#worker.request<Raw>('udpRead', { handle: this.#handle, timeoutMs });
    if (heard === null) return undefined;
    return 'error' in heard ? heard : { ...heard, payload: Buffer.from(heard.payload, 'base64') };
  }

  async close(): Promise<void> {
    await this.#worker.request('udpClose', { handle: this.#handle });
  }
}
