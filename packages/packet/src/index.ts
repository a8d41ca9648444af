/**
 * Packet codecs as views: pure, without I/O and without copying.
 *
 * A view (`Ipv4Header`, `VxlanHeader`, …) is a buffer and an offset with named getters and setters; its static `read(bytes, offset,
 * end)` gives the view or a `ParseFailure`, never an exception for what a packet contains. Builders (`build…`) make packets with
 * right lengths and checksums. Addresses are 16 bytes everywhere, IPv4 mapped.
 *
 * @module
 */
export * from './announcement.ts';
export * from './arp.ts';
export * from './build-frame.ts';
export * from './build-icmp.ts';
export * from './build-ip.ts';
export {
  type ArpFields,
  buildArp,
  buildArpFrame,
  buildEthernet,
  type EthernetFields,
  type IpLike,
  type MacLike,
} from './build-link.ts';
export * from './build-neighbor-discovery.ts';
export * from './build-transport.ts';
export * from './build-tunnel.ts';
export { getU16, getU24, getU32, setU16, setU24, setU32 } from './bytes.ts';
export * from './checksum.ts';
export * from './describe.ts';
export * from './errors.ts';
export * from './ethernet.ts';
export * from './flow-hash.ts';
export * from './icmp.ts';
export * from './ip.ts';
export * from './ipv4.ts';
export * from './ipv6.ts';
export * from './ipv6-extensions.ts';
export * from './mac.ts';
export * from './neighbor-discovery.ts';
export * from './nvgre.ts';
export * from './pcap.ts';
export * from './prefix.ts';
export * from './protocols.ts';
export * from './reasons.ts';
export * from './tcp.ts';
export * from './udp.ts';
export * from './vxlan.ts';
