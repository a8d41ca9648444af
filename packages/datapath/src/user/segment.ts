import {
  ETHER_TYPE,
  foldSum,
  getU16,
  getU32,
  IP_PROTOCOL,
  internetChecksum,
  partialSum,
  pseudoHeaderSum4,
  pseudoHeaderSum6,
  setU16,
  setU32,
} from '@weft/packet';
import { GsoType } from './offload.ts';

// Cuts a frame that stands for several segments (GSO) into these, as the kernel's tcp_gso_segment and udp4/6_ufo_fragment do:
//
//   headers | payload .............................................. |
//   headers | gsoSize |   headers | gsoSize |   ...   headers | rest |
//
//   IPv4     total length; identification counts up; header checksum
//   IPv6     payload length
//   TCP      sequence number; CWR on the first only, FIN and PSH on the last only; checksum
//   UDP      length; checksum

const ETHERNET_BYTES = 14;
const IPV4_BYTES_MIN = 20;
const IPV6_BYTES = 40;
const TCP_BYTES_MIN = 20;
const UDP_BYTES = 8;
const TCP_FIN = 0x01;
const TCP_PSH = 0x08;
const TCP_CWR = 0x80;

/** More segments of one frame are refused: a tenant's size of a few bytes would turn each of its frames into tens of thousands here. */
export const SEGMENTS_MAX = 2048;

/** How a frame is to be cut. */
export interface Segmentation {
  /** One of {@link GsoType}. */
  readonly type: number;
  /** Payload bytes of each segment but the last. */
  readonly size: number;
}

/** Where the headers of a frame end. Offsets from the Ethernet header. */
interface Layout {
  readonly isIpv6: boolean;
  readonly protocol: number;
  readonly l4Offset: number;
  readonly payloadOffset: number;
  readonly end: number;
}

/**
 * Cuts the frame into segments, each with right lengths and checksums, in buffers of their own.
 *
 * @param frame From the Ethernet header on. Its own checksum is not read: it may be unfinished.
 * @returns The segments (one if the payload is no longer than `size`); undefined if the frame is not what `type` says: another protocol,
 *   an IPv6 extension header, a fragment, a header cut short, size 0, or more than {@link SEGMENTS_MAX} segments.
 */
export function segmentFrame(frame: Uint8Array, { type, size }: Segmentation): Uint8Array[] | undefined {
  const layout = readLayout(frame, type);
  if (layout === undefined || size === 0) return undefined;
  const { payloadOffset, end } = layout;
  const count = Math.max(1, Math.ceil((end - payloadOffset) / size));
  if (count > SEGMENTS_MAX) return undefined;
  const segments: Uint8Array[] = [];
  for (let i = 0; i < count; i++) {
    const from = payloadOffset + i * size;
    const to = Math.min(from + size, end);
    const segment = new Uint8Array(payloadOffset + to - from);
    segment.set(frame.subarray(0, payloadOffset));
    segment.set(frame.subarray(from, to), payloadOffset);
    patchNetwork(segment, layout, i);
    patchTransport(segment, layout, i * size, i === 0, i === count - 1);
    segments.push(segment);
  }
  return segments;
}

/** First byte of payload and of the transport header, if the frame is what `type` says. */
export function segmentLayout(frame: Uint8Array, type: number): { readonly l4Offset: number; readonly payloadOffset: number } | undefined {
  return readLayout(frame, type);
}

function readLayout(frame: Uint8Array, type: number): Layout | undefined {
  if (frame.length < ETHERNET_BYTES + IPV4_BYTES_MIN) return undefined;
  const isIpv6 = getU16(frame, 12) === ETHER_TYPE.ipv6;
  if (!isIpv6 && getU16(frame, 12) !== ETHER_TYPE.ipv4) return undefined;
  const isTcp = type === (isIpv6 ? GsoType.TCP6 : GsoType.TCP4);
  if (!isTcp && type !== GsoType.UDP_SEGMENTS) return undefined;
  const network = isIpv6 ? readIpv6(frame) : readIpv4(frame);
  if (network === undefined) return undefined;
  const { protocol, l4Offset, end } = network;
  if (end > frame.length || protocol !== (isTcp ? IP_PROTOCOL.tcp : IP_PROTOCOL.udp)) return undefined;
  if (end - l4Offset < (isTcp ? TCP_BYTES_MIN : UDP_BYTES)) return undefined;
  const headerBytes = isTcp ? (frame[l4Offset + 12]! >> 4) * 4 : UDP_BYTES;
  if ((isTcp && headerBytes < TCP_BYTES_MIN) || l4Offset + headerBytes > end) return undefined;
  return { isIpv6, protocol, l4Offset, payloadOffset: l4Offset + headerBytes, end };
}

type Network = Pick<Layout, 'protocol' | 'l4Offset' | 'end'>;

function readIpv4(frame: Uint8Array): Network | undefined {
  const headerBytes = (frame[ETHERNET_BYTES]! & 0x0f) * 4;
  const isFragment = (getU16(frame, ETHERNET_BYTES + 6) & 0x3fff) !== 0;
  if (frame[ETHERNET_BYTES]! >> 4 !== 4 || headerBytes < IPV4_BYTES_MIN || isFragment) return undefined;
  const end = ETHERNET_BYTES + getU16(frame, ETHERNET_BYTES + 2);
  return { protocol: frame[ETHERNET_BYTES + 9]!, l4Offset: ETHERNET_BYTES + headerBytes, end };
}

function readIpv6(frame: Uint8Array): Network | undefined {
  if (frame.length < ETHERNET_BYTES + IPV6_BYTES || frame[ETHERNET_BYTES]! >> 4 !== 6) return undefined;
  const l4Offset = ETHERNET_BYTES + IPV6_BYTES;
  return { protocol: frame[ETHERNET_BYTES + 6]!, l4Offset, end: l4Offset + getU16(frame, ETHERNET_BYTES + 4) };
}

function patchNetwork(segment: Uint8Array, { isIpv6, l4Offset }: Layout, index: number): void {
  if (isIpv6) {
    setU16(segment, ETHERNET_BYTES + 4, segment.length - l4Offset);
    return;
  }
  setU16(segment, ETHERNET_BYTES + 2, segment.length - ETHERNET_BYTES);
  setU16(segment, ETHERNET_BYTES + 4, (getU16(segment, ETHERNET_BYTES + 4) + index) & 0xffff);
  setU16(segment, ETHERNET_BYTES + 10, 0);
  setU16(segment, ETHERNET_BYTES + 10, internetChecksum(segment, ETHERNET_BYTES, l4Offset - ETHERNET_BYTES));
}

function patchTransport(segment: Uint8Array, layout: Layout, payloadBefore: number, isFirst: boolean, isLast: boolean): void {
  const { l4Offset, protocol } = layout;
  const length = segment.length - l4Offset;
  const isTcp = protocol === IP_PROTOCOL.tcp;
  if (isTcp) {
    setU32(segment, l4Offset + 4, (getU32(segment, l4Offset + 4) + payloadBefore) >>> 0);
    const cleared = (isFirst ? 0 : TCP_CWR) | (isLast ? 0 : TCP_FIN | TCP_PSH);
    segment[l4Offset + 13] = segment[l4Offset + 13]! & ~cleared;
  } else {
    setU16(segment, l4Offset + 4, length);
  }
  const field = l4Offset + (isTcp ? 16 : 6);
  setU16(segment, field, 0);
  const pseudo = layout.isIpv6
    ? pseudoHeaderSum6(segment, ETHERNET_BYTES + 8, segment, ETHERNET_BYTES + 24, protocol, length)
    : pseudoHeaderSum4(segment, ETHERNET_BYTES + 12, segment, ETHERNET_BYTES + 16, protocol, length);
  const checksum = ~foldSum(partialSum(segment, l4Offset, length, pseudo)) & 0xffff;
  setU16(segment, field, checksum === 0 && !isTcp ? 0xffff : checksum);
}
