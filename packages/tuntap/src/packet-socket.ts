import { guard } from './errors.ts';
import { checkRange, DescriptorSource, type FrameSource } from './frame-source.ts';
import { checkInterfaceName } from './names.ts';
import { native } from './native.ts';

/** Options of {@link openPacketSocket}. */
export interface PacketSocketOptions {
  readonly interfaceName: string;
  /** A virtio-net header of 10 bytes in front of each frame, so that frames larger than the MTU pass uncut. Default false. */
  readonly vnetHdr?: boolean;
  /** What the kernel keeps of unread frames, in bytes of its own counting (about twice the frames'). Default: the system's. */
  readonly receiveBufferBytes?: number;
  /** Classic BPF, as `tcpdump -dd` prints it: frames for which it returns 0 are not received. It sees frames without virtio-net header and
   * without VLAN tag. */
  readonly filter?: readonly PacketFilterInstruction[];
  /** Receives nothing, and costs frames that arrive nothing: for who only writes. Default false. */
  readonly sendOnly?: boolean;
}

/** One instruction of classic BPF: code, jump if true, jump if false, constant. */
export type PacketFilterInstruction = readonly [code: number, jt: number, jf: number, k: number];

/**
 * Opens a raw packet socket (AF_PACKET, SOCK_RAW) on an interface: reads what arrives there, never what was sent from there
 * (PACKET_IGNORE_OUTGOING), and writes as if the host sent it. For ports that are not TAPs. A VLAN tag is read where the wire had it.
 *
 * A packet socket gets copies: the host's stack sees the frames too, unless something in front of it drops them.
 * `close` waits until no processor is in the receive path any more (some 10 ms on a busy machine): who writes often keeps the socket.
 *
 * @throws {TunTapError} `WEFT_ERR_TUNTAP_NOT_FOUND`, `WEFT_ERR_TUNTAP_NOT_PERMITTED` (CAP_NET_RAW), `WEFT_ERR_TUNTAP_BAD_NAME`.
 * @see packet(7)
 */
export function openPacketSocket(options: PacketSocketOptions): FrameSource {
  const { interfaceName, receiveBufferBytes = 0, filter = [], sendOnly = false } = options;
  checkInterfaceName(interfaceName);
  checkRange('receiveBufferBytes', receiveBufferBytes, 0, 1 << 30);
  const vnetHeaderBytes = options.vnetHdr ? 10 : 0;
  const handle = guard(`open a packet socket on "${interfaceName}"`, interfaceName, () =>
    native().openPacket(interfaceName, vnetHeaderBytes, receiveBufferBytes, Uint32Array.from(filter.flat()), sendOnly),
  );
  return new DescriptorSource(handle, vnetHeaderBytes);
}
