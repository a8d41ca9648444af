import type { PacketFilterInstruction } from '@weft/tuntap';

/**
 * Classic BPF that lets IPv4 UDP packets to `udpPort` through, whole or first fragments: all else on the underlay is the host's own and need not
 * be copied here. Loads beyond a frame's end let it fail.
 */
export function tunnelFilter(udpPort: number): PacketFilterInstruction[] {
  return [
    [0x28, 0, 0, 12], //       ldh [12]            EtherType
    [0x15, 0, 8, 0x0800], //   jeq #0x800
    [0x30, 0, 0, 23], //       ldb [23]            protocol
    [0x15, 0, 6, 17], //       jeq #17
    [0x28, 0, 0, 20], //       ldh [20]            fragment offset
    [0x45, 4, 0, 0x1fff], //   jset #0x1fff
    [0xb1, 0, 0, 14], //       ldxb 4*([14]&0xf)   header length
    [0x48, 0, 0, 16], //       ldh [x + 16]        destination port
    [0x15, 0, 1, udpPort], //  jeq
    [0x06, 0, 0, 0x40000], //  ret
    [0x06, 0, 0, 0], //        ret 0
  ];
}
