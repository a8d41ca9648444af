import { PacketError } from './errors.ts';

// Classic pcap (draft-ietf-opsawg-pcap): a 24-byte file header, then per packet a 16-byte header and its bytes. Written
// little-endian, with Ethernet as link type; read in both byte orders.

const FILE_HEADER_BYTES = 24;
const RECORD_HEADER_BYTES = 16;
const MAGIC_MICROSECONDS = 0xa1b2c3d4;
const MAGIC_NANOSECONDS = 0xa1b23c4d;
const LINK_TYPE_ETHERNET = 1;
const SNAP_LENGTH = 262_144;
const NS_PER_SECOND = 1_000_000_000n;

export type PcapResolution = 'microsecond' | 'nanosecond';

export interface PcapPacket {
  /** Since 1970, in nanoseconds. A microsecond file loses the last three digits. */
  readonly timestampNs: bigint;
  /** What was captured. From `readPcap`: a view on the file's bytes. */
  readonly bytes: Uint8Array;
  /** Length on the wire, if more than was captured. */
  readonly originalLength?: number;
}

export interface PcapFile {
  readonly resolution: PcapResolution;
  readonly packets: readonly PcapPacket[];
  /** True if the file ends within a packet, as after a crash of its writer; the whole packets before are there. */
  readonly isTruncated: boolean;
}

/** The header that starts a file, 24 bytes: write it once, then append `pcapRecord`s. */
export function pcapFileHeader(resolution: PcapResolution = 'nanosecond'): Uint8Array {
  const header = new Uint8Array(FILE_HEADER_BYTES);
  const view = new DataView(header.buffer);
  view.setUint32(0, resolution === 'nanosecond' ? MAGIC_NANOSECONDS : MAGIC_MICROSECONDS, true);
  view.setUint16(4, 2, true);
  view.setUint16(6, 4, true);
  view.setUint32(16, SNAP_LENGTH, true);
  view.setUint32(20, LINK_TYPE_ETHERNET, true);
  return header;
}

/**
 * One packet, header and bytes.
 * @throws {RangeError} If the time is negative or beyond 2106 (u32 seconds), the packet exceeds 262144 bytes, or `originalLength`
 *   is less than what was captured.
 */
export function pcapRecord(packet: PcapPacket, resolution: PcapResolution = 'nanosecond'): Uint8Array {
  const { timestampNs, bytes, originalLength = bytes.length } = packet;
  const seconds = timestampNs / NS_PER_SECOND;
  if (timestampNs < 0n || seconds > 0xffffffffn) {
    throw new RangeError(`Cannot write a packet of time ${timestampNs} ns: must be between 1970 and 2106 (u32 seconds)`);
  }
  if (bytes.length > SNAP_LENGTH || originalLength < bytes.length || originalLength > 0xffffffff) {
    throw new RangeError(
      `Cannot write a packet of ${bytes.length} bytes of ${originalLength}: must be at most ${SNAP_LENGTH}, and no more than the original`,
    );
  }
  const record = new Uint8Array(RECORD_HEADER_BYTES + bytes.length);
  const view = new DataView(record.buffer);
  const fraction = Number(timestampNs % NS_PER_SECOND);
  view.setUint32(0, Number(seconds), true);
  view.setUint32(4, resolution === 'nanosecond' ? fraction : Math.floor(fraction / 1000), true);
  view.setUint32(8, bytes.length, true);
  view.setUint32(12, originalLength, true);
  record.set(bytes, RECORD_HEADER_BYTES);
  return record;
}

/** A whole file. */
export function writePcap(packets: readonly PcapPacket[], resolution: PcapResolution = 'nanosecond'): Uint8Array {
  const parts = [pcapFileHeader(resolution), ...packets.map((packet) => pcapRecord(packet, resolution))];
  const file = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    file.set(part, offset);
    offset += part.length;
  }
  return file;
}

/**
 * Reads a whole file. The packets' bytes share memory with `file`.
 * @throws {PacketError} `WEFT_ERR_PACKET_PCAP_INVALID` if the file header or a packet's lengths make no sense. A file that only
 *   ends early is read as far as it goes, see `isTruncated`.
 */
export function readPcap(file: Uint8Array): PcapFile {
  if (file.length < FILE_HEADER_BYTES) throw invalid(`it has ${file.length} bytes: a file header has 24`);
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const isLittleEndian = isMagic(view.getUint32(0, true));
  const magic = view.getUint32(0, isLittleEndian);
  if (!isMagic(magic)) throw invalid(`its magic number is 0x${magic.toString(16)}: must be a1b2c3d4 or a1b23c4d (pcapng is not read)`);
  const linkType = view.getUint32(20, isLittleEndian) & 0x0fffffff;
  if (linkType !== LINK_TYPE_ETHERNET) throw invalid(`its link type is ${linkType}: must be 1 (Ethernet)`);
  const resolution = magic === MAGIC_NANOSECONDS ? 'nanosecond' : 'microsecond';
  const fractionNs = resolution === 'nanosecond' ? 1n : 1000n;
  const packets: PcapPacket[] = [];
  let offset = FILE_HEADER_BYTES;
  while (file.length - offset >= RECORD_HEADER_BYTES) {
    const capturedLength = view.getUint32(offset + 8, isLittleEndian);
    const originalLength = view.getUint32(offset + 12, isLittleEndian);
    if (capturedLength > SNAP_LENGTH || capturedLength > originalLength) {
      throw invalid(`packet ${packets.length} tells ${capturedLength} captured bytes of ${originalLength}: must be at most ${SNAP_LENGTH}`);
    }
    const start = offset + RECORD_HEADER_BYTES;
    if (file.length - start < capturedLength) break;
    const seconds = BigInt(view.getUint32(offset, isLittleEndian));
    const timestampNs = seconds * NS_PER_SECOND + BigInt(view.getUint32(offset + 4, isLittleEndian)) * fractionNs;
    const bytes = file.subarray(start, start + capturedLength);
    packets.push(originalLength === capturedLength ? { timestampNs, bytes } : { timestampNs, bytes, originalLength });
    offset = start + capturedLength;
  }
  return { resolution, packets, isTruncated: offset !== file.length };
}

function isMagic(value: number): boolean {
  return value === MAGIC_MICROSECONDS || value === MAGIC_NANOSECONDS;
}

function invalid(what: string): PacketError {
  return new PacketError('WEFT_ERR_PACKET_PCAP_INVALID', `Cannot read pcap file: ${what}`);
}
