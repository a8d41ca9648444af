import { ETHER_TYPE, foldSum, getU16, partialSum, setU16 } from '@weft/packet';

// What a frame from the kernel may still lack: its checksum (CHECKSUM_PARTIAL), or that it is cut into segments (GSO). A packet socket says so
// by a virtio-net header of 10 bytes before the frame, in the machine's byte order (linux/virtio_net.h):
//
//   0  flags         1 = the checksum is to be computed
//   1  gso_type      0 none, 1 TCP/IPv4, 3 UDP fragments, 4 TCP/IPv6, 5 UDP segments; 0x80 = TCP with ECN
//   2  hdr_len       bytes of headers, a hint
//   4  gso_size      payload bytes of each segment
//   6  csum_start    where summing starts
//   8  csum_offset   where the sum goes, from there; the field holds the pseudo header's sum

/** Bytes before each frame of a packet socket. */
export const VNET_HEADER_BYTES = 10;

const NEEDS_CHECKSUM = 1;
const ECN_FLAG = 0x80;
const ETHERNET_BYTES = 14;
const IPV6_BYTES = 40;
const FRAGMENT_HEADER_BYTES = 8;
const FRAGMENT_HEADER = 44;
const PORTS_BYTES = 4;
/** The field nearest to a transport header's start that holds a checksum: UDP's. */
const CHECKSUM_FIELD_MIN = PORTS_BYTES + 2;

export const GsoType = { NONE: 0, TCP4: 1, UDP_FRAGMENTS: 3, TCP6: 4, UDP_SEGMENTS: 5 } as const;

/** A virtio-net header. Offsets are in bytes from the start of the frame. */
export interface Offload {
  readonly needsChecksum: boolean;
  /** One of {@link GsoType}, or a number of a newer kernel. */
  readonly gsoType: number;
  readonly hasEcn: boolean;
  readonly gsoSize: number;
  readonly headerBytes: number;
  readonly checksumStart: number;
  readonly checksumOffset: number;
}

const get16 = (bytes: Uint8Array, offset: number): number => bytes[offset]! | (bytes[offset + 1]! << 8);

function set16(bytes: Uint8Array, offset: number, value: number): void {
  bytes[offset] = value;
  bytes[offset + 1] = value >>> 8;
}

/** Reads the header at the start of `bytes`, which has at least {@link VNET_HEADER_BYTES}. Little-endian, as all machines Weft runs on. */
export function readOffload(bytes: Uint8Array): Offload {
  return {
    needsChecksum: (bytes[0]! & NEEDS_CHECKSUM) !== 0,
    gsoType: bytes[1]! & ~ECN_FLAG,
    hasEcn: (bytes[1]! & ECN_FLAG) !== 0,
    headerBytes: get16(bytes, 2),
    gsoSize: get16(bytes, 4),
    checksumStart: get16(bytes, 6),
    checksumOffset: get16(bytes, 8),
  };
}

/** `frame` with a header before it: of `offload`, or one that asks for nothing. */
export function withOffload(frame: Uint8Array, offload: Offload | undefined): Uint8Array {
  const bytes = new Uint8Array(VNET_HEADER_BYTES + frame.length);
  if (offload !== undefined) {
    bytes[0] = offload.needsChecksum ? NEEDS_CHECKSUM : 0;
    bytes[1] = offload.gsoType | (offload.hasEcn ? ECN_FLAG : 0);
    set16(bytes, 2, offload.headerBytes);
    set16(bytes, 4, offload.gsoSize);
    set16(bytes, 6, offload.checksumStart);
    set16(bytes, 8, offload.checksumOffset);
  }
  bytes.set(frame, VNET_HEADER_BYTES);
  return bytes;
}

/** The same for a frame that has lost its first `count` bytes. */
export function shiftOffload(offload: Offload, count: number): Offload {
  return { ...offload, headerBytes: Math.max(0, offload.headerBytes - count), checksumStart: offload.checksumStart - count };
}

/**
 * Whether the unfinished checksum lies in the transport header or behind it. A VM chooses where it will be written: anywhere before, it would
 * undo what the checks of the addresses have found.
 * @param frame From the Ethernet header on; need not be sound.
 */
export function isChecksumPlaceAllowed(frame: Uint8Array, offload: Offload): boolean {
  const { checksumStart: start, checksumOffset } = offload;
  const field = start + checksumOffset;
  const transport = transportOffset(frame);
  return transport !== undefined && start >= transport && field >= transport + CHECKSUM_FIELD_MIN && field + 2 <= frame.length;
}

/** First byte after the IP header (IPv6: and a fragment header), undefined if the frame is not IP. */
export function transportOffset(frame: Uint8Array): number | undefined {
  if (frame.length < ETHERNET_BYTES + 20) return undefined;
  const type = getU16(frame, 12);
  if (type === ETHER_TYPE.ipv4) return ETHERNET_BYTES + (frame[ETHERNET_BYTES]! & 0x0f) * 4;
  if (type !== ETHER_TYPE.ipv6) return undefined;
  const isFragment = frame[ETHERNET_BYTES + 6] === FRAGMENT_HEADER;
  return ETHERNET_BYTES + IPV6_BYTES + (isFragment ? FRAGMENT_HEADER_BYTES : 0);
}

/**
 * Writes the checksum of a frame that has none yet: the sum of all from `checksumStart` on, which includes the pseudo header's sum in the field
 * itself. A result of 0 is written as 0xffff, since 0 means "none" to UDP (as the kernel does for all protocols).
 */
export function completeChecksum(frame: Uint8Array, offload: Offload): void {
  const { checksumStart: start, checksumOffset } = offload;
  const checksum = ~foldSum(partialSum(frame, start, frame.length - start)) & 0xffff;
  setU16(frame, start + checksumOffset, checksum === 0 ? 0xffff : checksum);
}
