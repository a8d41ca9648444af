import { buildTcpFrame, buildUdpFrame, foldSum, getU16, Ipv4Header, Ipv6Header, setU16 } from '@weft/packet';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  completeChecksum,
  GsoType,
  isChecksumPlaceAllowed,
  type Offload,
  readOffload,
  shiftOffload,
  withOffload,
} from '../src/user/offload.ts';

const MACS = { sourceMac: '02:00:00:00:00:01', destinationMac: '02:00:00:00:00:02' };
const ADDRESSES = {
  4: { source: '10.0.0.1', destination: '10.0.0.2' },
  6: { source: '2001:db8::1', destination: '2001:db8::2' },
} as const;

const offloadAt = (checksumStart: number, checksumOffset: number): Offload => ({
  needsChecksum: true,
  gsoType: GsoType.NONE,
  hasEcn: false,
  gsoSize: 0,
  headerBytes: 0,
  checksumStart,
  checksumOffset,
});

describe('the virtio-net header', () => {
  test('reads back what was written', () => {
    const u16 = fc.nat(0xffff);
    fc.assert(
      fc.property(
        fc.boolean(),
        fc.constantFrom(0, 1, 3, 4, 5),
        fc.boolean(),
        u16,
        u16,
        u16,
        u16,
        (needsChecksum, gsoType, hasEcn, a, b, c, d) => {
          const offload = { needsChecksum, gsoType, hasEcn, headerBytes: a, gsoSize: b, checksumStart: c, checksumOffset: d };
          const bytes = withOffload(Uint8Array.of(1, 2, 3), offload);
          expect(readOffload(bytes)).toEqual(offload);
          expect(bytes.subarray(10)).toEqual(Uint8Array.of(1, 2, 3));
        },
      ),
    );
  });

  test('asks for nothing by default', () => {
    expect(withOffload(Uint8Array.of(9), undefined)).toEqual(Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9));
  });

  test('moves with its frame', () => {
    expect(shiftOffload({ ...offloadAt(84, 16), headerBytes: 104 }, 50)).toEqual({ ...offloadAt(34, 16), headerBytes: 54 });
  });
});

describe('completeChecksum()', () => {
  test('makes of a pseudo header sum what the builder writes', () => {
    const payload = fc.uint8Array({ maxLength: 1400 });
    fc.assert(
      fc.property(fc.constantFrom(4 as const, 6 as const), fc.boolean(), payload, (family, isTcp, data) => {
        const fields = { ...MACS, ...ADDRESSES[family], sourcePort: 1000, destinationPort: 2000 };
        const whole = isTcp ? buildTcpFrame(fields, data) : buildUdpFrame(fields, data);
        const ip = family === 4 ? (Ipv4Header.read(whole, 14) as Ipv4Header) : (Ipv6Header.read(whole, 14) as Ipv6Header);
        const field = isTcp ? 16 : 6;
        const open = whole.slice();
        const length = ip.payloadEnd - ip.payloadOffset;
        setU16(open, ip.payloadOffset + field, foldSum(ip.pseudoHeaderSum(isTcp ? 6 : 17, length)));
        completeChecksum(open, offloadAt(ip.payloadOffset, field));
        // 0 and 0xffff are the same sum; TCP may have either.
        if (isTcp && getU16(whole, ip.payloadOffset + field) === 0) return;
        expect(open).toEqual(whole);
      }),
    );
  });
});

describe('isChecksumPlaceAllowed()', () => {
  const tcp4 = buildTcpFrame({ ...MACS, ...ADDRESSES[4], sourcePort: 1, destinationPort: 2 }, new Uint8Array(10));
  const tcp6 = buildTcpFrame({ ...MACS, ...ADDRESSES[6], sourcePort: 1, destinationPort: 2 }, new Uint8Array(10));

  test('allows the transport header and what follows', () => {
    expect(isChecksumPlaceAllowed(tcp4, offloadAt(34, 16))).toBe(true);
    expect(isChecksumPlaceAllowed(tcp4, offloadAt(34, 6))).toBe(true);
    expect(isChecksumPlaceAllowed(tcp4, offloadAt(54, 6))).toBe(true);
    expect(isChecksumPlaceAllowed(tcp6, offloadAt(54, 16))).toBe(true);
  });

  test.each([
    ['the source address', tcp4, 14, 12],
    ['the ports', tcp4, 34, 2],
    ['the IP header, summed from far before', tcp4, 0, 50],
    ['the IPv6 source', tcp6, 14, 8],
    ['beyond the frame', tcp4, 34, tcp4.length - 35],
    ['far beyond the frame', tcp4, 60_000, 60_000],
  ])('refuses %s', (_, frame, start, offset) => {
    expect(isChecksumPlaceAllowed(frame, offloadAt(start, offset))).toBe(false);
  });

  test('refuses every place in a frame that is not IP or is cut short', () => {
    const arp = tcp4.slice();
    setU16(arp, 12, 0x0806);
    expect(isChecksumPlaceAllowed(arp, offloadAt(34, 16))).toBe(false);
    expect(isChecksumPlaceAllowed(tcp4.subarray(0, 20), offloadAt(14, 2))).toBe(false);
  });
});
