import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PacketError, type PcapPacket, pcapFileHeader, pcapRecord, readPcap, writePcap } from '../src/index.ts';
import { payload, u16 } from './arbitraries.ts';

const packet: fc.Arbitrary<PcapPacket> = fc
  .tuple(fc.bigInt({ min: 0n, max: 0xffffffffn * 1_000_000_000n + 999_999_999n }), payload, fc.option(u16))
  .map(([timestampNs, bytes, more]) => (more ? { timestampNs, bytes, originalLength: bytes.length + more } : { timestampNs, bytes }));

const messageOf = (file: Uint8Array): string => {
  try {
    readPcap(file);
  } catch (error) {
    if (error instanceof PacketError && error.code === 'WEFT_ERR_PACKET_PCAP_INVALID') return error.message;
    throw error;
  }
  throw new Error('the file was taken');
};

describe('pcap', () => {
  it('readPcap() reads what writePcap() writes', () => {
    fc.assert(
      fc.property(fc.array(packet, { maxLength: 8 }), (packets) => {
        expect(readPcap(writePcap(packets))).toEqual({ resolution: 'nanosecond', packets, isTruncated: false });
        const inMicroseconds = packets.map((each) => ({ ...each, timestampNs: each.timestampNs - (each.timestampNs % 1000n) }));
        expect(readPcap(writePcap(packets, 'microsecond'))).toEqual({
          resolution: 'microsecond',
          packets: inMicroseconds,
          isTruncated: false,
        });
      }),
    );
  });

  it('writes the header that the format draws', () => {
    expect(Buffer.from(pcapFileHeader('microsecond')).toString('hex')).toBe('d4c3b2a102000400000000000000000000000400' + '01000000');
    expect(Buffer.from(pcapRecord({ timestampNs: 1_000_002_003n, bytes: Uint8Array.of(0xaa) }, 'microsecond')).toString('hex')).toBe(
      '01000000020000000100000001000000aa',
    );
  });

  it('readPcap() reads the other byte order, from within a larger buffer', () => {
    const file = Buffer.from(
      `a1b2c3d4${'00020004'}${'00000000'.repeat(2)}00040000${'00000001'}${'00000001000000020000000200000003'}beef`,
      'hex',
    );
    expect(readPcap(file).packets).toEqual([{ timestampNs: 1_000_002_000n, bytes: expect.anything(), originalLength: 3 }]);
    expect(Array.from(readPcap(file).packets[0]!.bytes)).toEqual([0xbe, 0xef]);
  });

  it('readPcap() gives the whole packets of a file cut anywhere, and never throws for that', () => {
    const packets = [1, 2, 3].map((n) => ({ timestampNs: BigInt(n), bytes: new Uint8Array(n * 5).fill(n) }));
    const file = writePcap(packets);
    const ends = packets.map((_, i) => writePcap(packets.slice(0, i + 1)).length);
    for (let size = 24; size <= file.length; size++) {
      const read = readPcap(file.subarray(0, size));
      expect(read.packets).toEqual(packets.slice(0, ends.filter((end) => end <= size).length));
      expect(read.isTruncated).toBe(size !== 24 && !ends.includes(size));
    }
    for (let size = 0; size < 24; size++) expect(messageOf(file.subarray(0, size))).toContain(`${size} bytes`);
  });

  it('readPcap() names what is wrong with a file', () => {
    const file = writePcap([{ timestampNs: 0n, bytes: new Uint8Array(4) }]);
    const changed = (offset: number, value: number): Uint8Array => {
      const copy = Uint8Array.from(file);
      new DataView(copy.buffer).setUint32(offset, value, true);
      return copy;
    };
    expect(messageOf(changed(0, 0x0a0d0d0a))).toContain('magic number');
    expect(messageOf(changed(20, 113))).toContain('link type is 113');
    expect(messageOf(changed(32, 0x7fffffff))).toContain('packet 0');
    expect(messageOf(changed(32, 5))).toContain('5 captured bytes of 4');
  });

  it('pcapRecord() refuses what the format cannot hold', () => {
    const bytes = new Uint8Array(4);
    expect(() => pcapRecord({ timestampNs: -1n, bytes })).toThrow(RangeError);
    expect(() => pcapRecord({ timestampNs: 0x1_0000_0000n * 1_000_000_000n, bytes })).toThrow(RangeError);
    expect(() => pcapRecord({ timestampNs: 0n, bytes, originalLength: 3 })).toThrow(RangeError);
    expect(() => pcapRecord({ timestampNs: 0n, bytes: new Uint8Array(262_145) })).toThrow(RangeError);
  });
});
