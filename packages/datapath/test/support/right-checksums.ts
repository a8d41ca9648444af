import { getU16, IP_PROTOCOL, internetChecksum, partialSum, pseudoHeaderSum4, pseudoHeaderSum6 } from '@weft/packet';

/** True if the frame is a whole TCP, UDP or ICMP packet, and each checksum is what the whole packet gives. */
export function hasRightChecksums(frame: Uint8Array): boolean {
  const type = getU16(frame, 12);
  if (frame.length < 34 || (type !== 0x0800 && type !== 0x86dd)) return false;
  const { isIpv6, l4, protocol, hasL4, isFragment, end } = layers(frame);
  if (!hasL4 || isFragment || end > frame.length || end - l4 < 8) return false;
  if (!isIpv6 && internetChecksum(frame, 14, l4 - 14) !== 0) return false;
  const length = end - l4;
  if (protocol === IP_PROTOCOL.icmp && !isIpv6) return internetChecksum(frame, l4, length) === 0;
  if (protocol !== IP_PROTOCOL.tcp && protocol !== IP_PROTOCOL.udp && !(protocol === IP_PROTOCOL.icmpv6 && isIpv6)) return false;
  if (protocol === IP_PROTOCOL.udp && getU16(frame, l4 + 6) === 0) return !isIpv6;
  const [source, destination] = [frame.subarray(isIpv6 ? 22 : 26), frame.subarray(isIpv6 ? 38 : 30)];
  const pseudo = isIpv6 ? pseudoHeaderSum6 : pseudoHeaderSum4;
  return (~partialSum(frame, l4, length, pseudo(source, 0, destination, 0, protocol, length)) & 0xffff) === 0;
}

function layers(frame: Uint8Array): {
  readonly isIpv6: boolean;
  readonly l4: number;
  readonly protocol: number;
  readonly hasL4: boolean;
  readonly isFragment: boolean;
  readonly end: number;
} {
  if (getU16(frame, 12) === 0x0800) {
    const fragment = getU16(frame, 20);
    return {
      isIpv6: false,
      l4: 14 + (frame[14]! & 15) * 4,
      protocol: frame[23]!,
      hasL4: (fragment & 0x1fff) === 0,
      isFragment: (fragment & 0x3fff) !== 0,
      end: 14 + getU16(frame, 16),
    };
  }
  const isFragment = frame[20] === IP_PROTOCOL.fragment;
  return {
    isIpv6: true,
    l4: isFragment ? 62 : 54,
    protocol: isFragment ? frame[54]! : frame[20]!,
    hasL4: !isFragment || (getU16(frame, 56) & 0xfff8) === 0,
    isFragment,
    end: 54 + getU16(frame, 18),
  };
}
