import { ETHER_TYPE, getU16, getU24, IP_PROTOCOL, setU16, setU24 } from '@weft/packet';
import type { Rng } from './rng.ts';
import type { World } from './world.ts';

// Small lies at the places where a parser believes something: types, lengths, protocols, addresses. A frame with one lie reaches deeper
// into the checks than random bytes do. Each mutation changes `frame` in place, at the Ethernet header at `base`.

const ETHER_TYPES = [0x0800, 0x0806, 0x86dd, 0x8100, 0x88a8, 0x9100, 0x0000, 0x0026, 0x05ff, 0x0600, 0x88cc, 0x8847];
const PORTS = [0, 53, 67, 68, 546, 547, 4789, 65535];
const VERSION_BYTES = [0x00, 0x40, 0x44, 0x45, 0x46, 0x4f, 0x55, 0x60, 0x65, 0xf5];
const FRAGMENT_FIELDS = [0x2000, 0x4000, 0x8000, 0x0001, 0x0002, 0x1fff, 0x2001, 0x3fff, 0xffff];
const IPV6_FRAGMENT_FIELDS = [0x0001, 0x0008, 0x0010, 0x0009, 0xfff8, 0x0006];
const ND_LENGTHS = [24, 31, 32, 33, 40, 48];
const ICMP_TYPES = [0, 3, 5, 8, 11, 13, 14, 17, 128, 129, 133, 134, 135, 136, 137, 255];
const TTLS = [0, 1, 2, 64, 254, 255];
const HEADERS_BYTES = 110;

/** Changes one thing about the frame whose Ethernet header is at `base`; its name is returned. Frames of any length are fine. */
export function mutate(rng: Rng, world: World, frame: Uint8Array, base: number): string {
  if (frame.length < base + 34) return flipBit(rng, frame, base);
  switch (rng.below(12)) {
    case 0:
    case 1:
      return flipBit(rng, frame, base);
    case 2:
      return mutateByte(rng, frame, base);
    case 3:
      setU16(frame, base + 12, rng.pick(ETHER_TYPES));
      return 'ethernet type';
    case 4:
      frame.set(rng.pick(world.macs), base);
      return 'destination mac';
    case 5:
      if (rng.oneIn(2)) return mutateIp(rng, world, frame, base);
      frame.set(rng.pick(world.macs), base + 6);
      return 'source mac';
    default:
      return mutateIp(rng, world, frame, base);
  }
}

/** Changes one thing about the outer headers of a tunnel frame. */
export function mutateOuter(rng: Rng, world: World, frame: Uint8Array): string {
  if (frame.length < 64) return flipBit(rng, frame, 0);
  switch (rng.below(9)) {
    case 0:
      setU24(frame, 46, rng.pick(world.subnets).vsid);
      return 'vni of another subnet';
    case 1:
      setU24(frame, 46, (getU24(frame, 46) + 0xffffff + rng.below(3)) & 0xffffff);
      return 'vni off by one';
    case 2:
    case 3:
      frame.set(rng.pick(world.peers).subarray(12), 26);
      return 'outer source';
    case 4:
      setU16(frame, 38, (getU16(frame, 38) + rng.pick([1, 0xffff, 0xfff8, 8])) & 0xffff);
      return 'udp length';
    case 5:
      setU16(frame, 16, (getU16(frame, 16) + rng.pick([1, 0xffff, 0xfff8, 8])) & 0xffff);
      return 'outer total length';
    case 6:
      frame[15] = rng.below(256);
      return 'outer tos';
    case 7:
      setU16(frame, 20, rng.pick(FRAGMENT_FIELDS));
      return 'outer fragment field';
    default:
      frame[14 + rng.below(36)] = rng.below(256);
      return 'outer byte';
  }
}

function flipBit(rng: Rng, frame: Uint8Array, base: number): string {
  const length = Math.min(frame.length - base, HEADERS_BYTES);
  if (length <= 0) return 'nothing';
  const at = base + rng.below(length);
  frame[at] = frame[at]! ^ (1 << rng.below(8));
  return `bit of byte ${at - base}`;
}

function mutateByte(rng: Rng, frame: Uint8Array, base: number): string {
  const at = base + rng.below(Math.min(frame.length - base, HEADERS_BYTES));
  frame[at] = rng.pick([0, 1, 0x7f, 0x80, 0xff, rng.below(256)]);
  return `value of byte ${at - base}`;
}

function mutateIp(rng: Rng, world: World, frame: Uint8Array, base: number): string {
  switch (getU16(frame, base + 12)) {
    case ETHER_TYPE.ipv4:
      return mutateIpv4(rng, world, frame, base + 14);
    case ETHER_TYPE.ipv6:
      return frame.length < base + 62 ? flipBit(rng, frame, base) : mutateIpv6(rng, world, frame, base + 14);
    default:
      return frame.length < base + 42 ? flipBit(rng, frame, base) : mutateArp(rng, world, frame, base + 14);
  }
}

function mutateIpv4(rng: Rng, world: World, frame: Uint8Array, ip: number): string {
  switch (rng.below(10)) {
    case 0:
      frame[ip] = rng.pick(VERSION_BYTES);
      return 'version and header length';
    case 1:
      setU16(frame, ip + 2, lengthNear(rng, getU16(frame, ip + 2)));
      return 'total length';
    case 2:
      setU16(frame, ip + 6, rng.pick(FRAGMENT_FIELDS));
      return 'fragment field';
    case 3:
      frame[ip + 8] = rng.pick(TTLS);
      return 'ttl';
    case 4:
      frame[ip + 9] = rng.below(256);
      return 'protocol';
    case 5:
      frame.set(rng.pick(world.addresses4).subarray(12), ip + 12);
      return 'source address';
    case 6:
      frame.set(rng.pick(world.addresses4).subarray(12), ip + 16);
      return 'destination address';
    case 7:
      frame[ip + 1] = rng.below(256);
      return 'tos';
    default:
      return mutateTransport(rng, frame, ip + (frame[ip]! & 0x0f) * 4, frame[ip + 9]!);
  }
}

function mutateIpv6(rng: Rng, world: World, frame: Uint8Array, ip: number): string {
  switch (rng.below(10)) {
    case 0:
      setU16(frame, ip + 4, lengthNear(rng, getU16(frame, ip + 4)));
      return 'payload length';
    case 1:
      frame[ip + 6] = rng.below(256);
      return 'next header';
    case 2:
      frame[ip + 7] = rng.pick(TTLS);
      return 'hop limit';
    case 3:
      frame.set(rng.pick(rng.oneIn(8) ? world.addresses4 : world.addresses6), ip + 8);
      return 'source address';
    case 4:
      frame.set(rng.pick(rng.oneIn(8) ? world.addresses4 : world.addresses6), ip + 24);
      return 'destination address';
    case 5:
      frame[ip + rng.below(2)] = rng.below(256);
      return 'version or class';
    case 6:
      frame[ip + 6] = IP_PROTOCOL.fragment;
      frame[ip + 40] = rng.pick([6, 17, 58, 44, 0, 60, 47]);
      setU16(frame, ip + 42, rng.pick([0, ...IPV6_FRAGMENT_FIELDS]));
      return 'fragment header';
    case 7:
      if (frame[ip + 6] !== IP_PROTOCOL.icmpv6) return mutateTransport(rng, frame, ip + 40, frame[ip + 6]!);
      setU16(frame, ip + 4, rng.pick(ND_LENGTHS));
      return 'payload length of nd';
    default: {
      const hasFragment = frame[ip + 6] === IP_PROTOCOL.fragment;
      return mutateTransport(rng, frame, ip + (hasFragment ? 48 : 40), frame[hasFragment ? ip + 40 : ip + 6]!);
    }
  }
}

function mutateTransport(rng: Rng, frame: Uint8Array, l4: number, protocol: number): string {
  if (frame.length < l4 + 20) return flipBit(rng, frame, 0);
  if (protocol === IP_PROTOCOL.icmp || protocol === IP_PROTOCOL.icmpv6) {
    if (frame.length < l4 + 40 || rng.oneIn(2)) {
      frame[l4] = rng.pick(ICMP_TYPES);
      return 'icmp type';
    }
    frame[l4 + rng.pick([1, 8, 24, 25, 26, 32, 33])] = rng.pick([0, 1, 2, 14, 0xff]);
    return 'icmp field';
  }
  if (protocol === IP_PROTOCOL.tcp && rng.oneIn(2)) {
    frame[l4 + 12] = rng.below(16) << 4;
    return 'tcp data offset';
  }
  setU16(frame, l4, rng.pick(PORTS));
  setU16(frame, l4 + 2, rng.pick(PORTS));
  return 'ports';
}

function mutateArp(rng: Rng, world: World, frame: Uint8Array, arp: number): string {
  switch (rng.below(6)) {
    case 0:
      frame[arp + rng.below(8)] = rng.pick([0, 1, 2, 4, 6, 8, 0xff]);
      return 'arp header';
    case 1:
      frame[arp + 7] = rng.below(4);
      return 'arp operation';
    case 2:
      frame.set(rng.pick(world.macs), arp + 8);
      return 'arp sender mac';
    case 3:
      frame.set(rng.pick(world.addresses4).subarray(12), arp + 14);
      return 'arp sender address';
    default:
      frame.set(rng.pick(world.addresses4).subarray(12), arp + 24);
      return 'arp target address';
  }
}

function lengthNear(rng: Rng, length: number): number {
  return rng.pick([0, 1, 19, 20, 27, 28, 0xffff, length - 1, length + 1, length - 8, length + 8, length >> 1]) & 0xffff;
}
