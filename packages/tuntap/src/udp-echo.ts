import { guard } from './errors.ts';
import { native } from './native.ts';

/**
 * Sends datagrams back to where they came from, from a native thread that runs in the network namespace of the caller (see `inNetns`).
 *
 * @throws {TunTapError} `WEFT_ERR_TUNTAP_SYSCALL` when the address can't be bound.
 */
export function startUdpEcho(options: { readonly address: string; readonly port: number; readonly cpu?: number }): {
  /** Ends it. @returns How many datagrams it sent back. */
  stop(): Promise<number>;
} {
  let finish: (echoed: number) => void;
  const done = new Promise<number>((resolve) => {
    finish = resolve;
  });
  const thread = guard('start a UDP echo', `${options.address}:${options.port}`, () => {
    return new (native().UdpEcho)({ address: options.address, port: options.port, cpu: options.cpu ?? -1 }, (echoed) =>
      finish(echoed as number),
    );
  });
  return {
    stop: () => {
      thread.stop();
      return done;
    },
  };
}
