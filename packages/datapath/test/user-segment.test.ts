import { ENCAPSULATION_BYTES } from '@weft/forwarding';
import {
  buildTcpFrame,
  buildUdpFrame,
  buildVxlanFrame,
  EthernetHeader,
  foldSum,
  getU16,
  getU32,
  Ipv4Header,
  Ipv6Header,
  internetChecksum,
  partialSum,
  setU16,
} from '@weft/packet';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { GsoType } from '../src/user/offload.ts';
import { SEGMENTS_MAX, segmentFrame } from '../src/user/segment.ts';
import { segmentTunnelFrame } from '../src/user/segment-tunnel.ts';

const MACS = { sourceMac: '02:00:00:00:00:01', destinationMac: '02:00:00:00:00:02' };
const ADDRESSES = {
  4: { source: '10.0.0.1', destination: '10.0.0.2' },
  6: { source: '2001:db8::1', destination: '2001:db8::2' },
} as const;
const FIN = 1;
const PSH = 8;
const ACK = 16;
const CWR = 0x80;

const payloads = fc
  .integer({ min: 1, max: 20_000 })
  .chain((length) =>
    fc.integer({ min: 0, max: 255 }).map((salt) => Uint8Array.from({ length }, (_, i) => (i * 31 + salt + (i >> 8)) & 0xff)),
  );
const families = fc.constantFrom(4 as const, 6 as const);
const sizes = fc.integer({ min: 200, max: 9000 });

/** True if the transport checksum of a whole, unfragmented packet verifies. */
function isTransportSound(frame: Uint8Array): boolean {
  const ip = ipOf(frame);
  const protocol = ip instanceof Ipv4Header ? ip.protocol : ip.nextHeader;
  const length = ip.payloadEnd - ip.payloadOffset;
  return foldSum(partialSum(frame, ip.payloadOffset, length, ip.pseudoHeaderSum(protocol, length))) === 0xffff;
}

function ipOf(frame: Uint8Array): Ipv4Header | Ipv6Header {
  const ethernet = EthernetHeader.read(frame);
  const ip = getU16(frame, 12) === 0x0800 ? Ipv4Header.read(frame, 14) : Ipv6Header.read(frame, 14);
  if (typeof ip === 'string' || typeof ethernet === 'string') throw new Error(`unreadable segment: ${String(ip)}`);
  if (ip.payloadEnd !== frame.length) throw new Error(`${frame.length - ip.payloadEnd} bytes behind the packet`);
  return ip;
}

const join = (parts: readonly Uint8Array[]): Uint8Array => new Uint8Array(Buffer.concat(parts));

describe('segmentFrame()', () => {
  test('cuts TCP so that sequence numbers, payload and checksums add up to the whole', () => {
    fc.assert(
      fc.property(families, payloads, sizes, fc.nat(0xffffffff), fc.nat(0xffff), (family, payload, size, sequence, id) => {
        const frame = buildTcpFrame(
          { ...MACS, ...ADDRESSES[family], sourcePort: 40000, destinationPort: 80, sequence, flags: FIN | PSH | ACK | CWR },
          payload,
        );
        if (family === 4) setU16(frame, 18, id);
        // An unfinished checksum, as a VM leaves it.
        const l4 = family === 4 ? 34 : 54;
        setU16(frame, l4 + 16, 0x1234);
        const segments = segmentFrame(frame, { type: family === 4 ? GsoType.TCP4 : GsoType.TCP6, size })!;
        expect(segments).toHaveLength(Math.ceil(payload.length / size));
        const parts = segments.map((segment, i) => {
          const ip = ipOf(segment);
          expect(ip.totalLength).toBeLessThanOrEqual(l4 - 14 + 20 + size);
          expect(isTransportSound(segment)).toBe(true);
          if (ip instanceof Ipv4Header) {
            expect(ip.isChecksumValid).toBe(true);
            expect(ip.identification).toBe((id + i) & 0xffff);
          }
          expect(getU32(segment, l4 + 4)).toBe((sequence + i * size) % 2 ** 32);
          const isLast = i === segments.length - 1;
          expect(segment[l4 + 13]).toBe(ACK | (i === 0 ? CWR : 0) | (isLast ? FIN | PSH : 0));
          expect(segment.subarray(0, 12)).toEqual(frame.subarray(0, 12));
          return segment.subarray(l4 + 20);
        });
        expect(join(parts)).toEqual(payload);
      }),
      { numRuns: 25 },
    );
  });

  test('cuts UDP into datagrams of their own', () => {
    fc.assert(
      fc.property(families, payloads, sizes, (family, payload, size) => {
        const frame = buildUdpFrame({ ...MACS, ...ADDRESSES[family], sourcePort: 5000, destinationPort: 5001 }, payload);
        const l4 = family === 4 ? 34 : 54;
        const segments = segmentFrame(frame, { type: GsoType.UDP_SEGMENTS, size })!;
        const parts = segments.map((segment) => {
          ipOf(segment);
          expect(getU16(segment, l4 + 4)).toBe(segment.length - l4);
          expect(getU16(segment, l4 + 6)).not.toBe(0);
          expect(isTransportSound(segment)).toBe(true);
          return segment.subarray(l4 + 8);
        });
        expect(parts.slice(0, -1).every((part) => part.length === size)).toBe(true);
        expect(join(parts)).toEqual(payload);
      }),
      { numRuns: 25 },
    );
  });

  test('keeps IPv4 and TCP options in every segment', () => {
    const frame = buildTcpFrame({ ...MACS, ...ADDRESSES[4], sourcePort: 1, destinationPort: 2 }, new Uint8Array(3000).fill(7));
    // Four bytes of IPv4 options (NOPs) before the transport header, twelve of TCP options before the payload.
    const withOptions = join([
      frame.subarray(0, 34),
      new Uint8Array(4).fill(1),
      frame.subarray(34, 54),
      new Uint8Array(12).fill(1),
      frame.subarray(54),
    ]);
    withOptions[14] = 0x46;
    setU16(withOptions, 16, withOptions.length - 14);
    withOptions[38 + 12] = 8 << 4;
    const segments = segmentFrame(withOptions, { type: GsoType.TCP4, size: 1400 })!;
    expect(segments.map((segment) => segment.length)).toEqual([70 + 1400, 70 + 1400, 70 + 200]);
    for (const segment of segments) {
      expect(segment.subarray(34, 38)).toEqual(new Uint8Array(4).fill(1));
      expect(segment.subarray(58, 70)).toEqual(new Uint8Array(12).fill(1));
      expect(isTransportSound(segment)).toBe(true);
    }
  });

  test('leaves the original alone', () => {
    const frame = buildTcpFrame({ ...MACS, ...ADDRESSES[4], sourcePort: 1, destinationPort: 2 }, new Uint8Array(3000));
    const before = frame.slice();
    segmentFrame(frame, { type: GsoType.TCP4, size: 1000 });
    expect(frame).toEqual(before);
  });

  test('refuses what is not what the type says, and too many segments', () => {
    const tcp = buildTcpFrame({ ...MACS, ...ADDRESSES[4], sourcePort: 1, destinationPort: 2 }, new Uint8Array(3000));
    const udp6 = buildUdpFrame({ ...MACS, ...ADDRESSES[6], sourcePort: 1, destinationPort: 2 }, new Uint8Array(3000));
    expect(segmentFrame(tcp, { type: GsoType.TCP6, size: 1000 })).toBeUndefined();
    expect(segmentFrame(tcp, { type: GsoType.UDP_SEGMENTS, size: 1000 })).toBeUndefined();
    expect(segmentFrame(tcp, { type: GsoType.UDP_FRAGMENTS, size: 1000 })).toBeUndefined();
    expect(segmentFrame(tcp, { type: GsoType.TCP4, size: 0 })).toBeUndefined();
    expect(segmentFrame(tcp, { type: GsoType.TCP4, size: 1 })).toBeUndefined();
    expect(segmentFrame(tcp, { type: GsoType.TCP4, size: Math.ceil(3000 / SEGMENTS_MAX) })).toHaveLength(1500);
    expect(segmentFrame(udp6, { type: GsoType.TCP6, size: 1000 })).toBeUndefined();
    const fragment = tcp.slice();
    setU16(fragment, 20, 0x2000);
    expect(segmentFrame(fragment, { type: GsoType.TCP4, size: 1000 })).toBeUndefined();
    const cut = tcp.subarray(0, 2000);
    expect(segmentFrame(cut, { type: GsoType.TCP4, size: 1000 })).toBeUndefined();
  });

  test('never throws, whatever the bytes', () => {
    const types = fc.integer({ min: 0, max: 7 });
    const seeds = [4, 6].flatMap((family) => [
      buildTcpFrame({ ...MACS, ...ADDRESSES[family as 4], sourcePort: 1, destinationPort: 2 }, new Uint8Array(300)),
      buildUdpFrame({ ...MACS, ...ADDRESSES[family as 4], sourcePort: 1, destinationPort: 2 }, new Uint8Array(300)),
    ]);
    fc.assert(
      fc.property(
        fc.constantFrom(...seeds),
        fc.nat(400),
        fc.array(fc.tuple(fc.nat(90), fc.nat(255)), { maxLength: 4 }),
        types,
        sizes,
        (seed, length, edits, type, size) => {
          const frame = seed.slice(0, length);
          for (const [at, value] of edits) if (at < frame.length) frame[at] = value;
          const segments = segmentFrame(frame, { type, size });
          // What comes out is readable, whatever went in.
          for (const segment of segments ?? []) expect(segment.length).toBeLessThanOrEqual(frame.length);
        },
      ),
      { numRuns: 500 },
    );
  });
});

describe('segmentTunnelFrame()', () => {
  test('gives each segment the tunnel headers with its own lengths', () => {
    fc.assert(
      fc.property(families, payloads, sizes, (family, payload, size) => {
        const inner = buildTcpFrame({ ...MACS, ...ADDRESSES[family], sourcePort: 1, destinationPort: 2 }, payload);
        const frame = buildVxlanFrame({ ...MACS, source: '192.0.2.1', destination: '192.0.2.2', vni: 0x123456 }, inner);
        const type = family === 4 ? GsoType.TCP4 : GsoType.TCP6;
        const segments = segmentTunnelFrame(frame, { type, size })!;
        expect(segments.map((segment) => segment.subarray(ENCAPSULATION_BYTES))).toEqual(segmentFrame(inner, { type, size }));
        for (const segment of segments) {
          const outer = ipOf(segment) as Ipv4Header;
          expect(internetChecksum(segment, 14, 20)).toBe(0);
          expect(getU16(segment, 38)).toBe(outer.payloadLength);
          expect(segment.subarray(34, 38)).toEqual(frame.subarray(34, 38));
          expect(segment.subarray(40, 50)).toEqual(frame.subarray(40, 50));
        }
      }),
      { numRuns: 10 },
    );
  });
});
