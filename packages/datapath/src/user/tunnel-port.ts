import { createSocket, type Socket } from 'node:dgram';
import { DatapathError } from '../errors.ts';

/**
 * Takes UDP port `port` of a local address, and throws away what arrives there. The engine reads tunnel frames by a packet socket, which gets
 * copies; without an owner of the port, the host's stack would answer each of them by "port unreachable".
 *
 * To be called in the network namespace that is meant: the socket is made before this returns.
 *
 * @throws {DatapathError} `WEFT_ERR_DATAPATH_BAD_OPTION` if the port is taken (by a VXLAN device, another engine) or the address is not ours.
 */
export function holdTunnelPort(address: string, port: number): Socket {
  // dns.lookup answers in a later turn even for an address, and by then the thread is elsewhere.
  const lookup = (host: string, _: unknown, done: (error: null, address: string, family: number) => void): void => done(null, host, 4);
  const socket = createSocket({ type: 'udp4', lookup: lookup as never, recvBufferSize: 4096 });
  let failure: Error | undefined;
  socket.on('error', (error) => {
    failure ??= error;
  });
  socket.on('message', () => {});
  socket.bind({ address, port, exclusive: true });
  if (failure === undefined) return socket;
  socket.close();
  const { code } = failure as NodeJS.ErrnoException;
  const advice =
    code === 'EADDRINUSE' ? 'it is taken: "ss -ulnp" shows by whom (a VXLAN device has no name there)' : 'is the address on this host?';
  throw new DatapathError('WEFT_ERR_DATAPATH_BAD_OPTION', `Cannot hold UDP ${address}:${port}: ${code ?? failure.message}; ${advice}`, {
    cause: failure,
  });
}
