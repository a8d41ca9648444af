import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  checksumReplace16,
  checksumReplace32,
  internetChecksum,
  partialSum,
  pseudoHeaderSum4,
  pseudoHeaderSum6,
  setU16,
  setU32,
} from '../src/index.ts';
import { ipv4, ipv6, u8, u16, u32 } from './arbitraries.ts';

/** RFC 1071 by its definition: a sum without bound, modulo 2^16 - 1, where a sum that isn't 0 never becomes 0. */
function reference(bytes: Uint8Array): number {
  let sum = 0n;
  for (let i = 0; i < bytes.length; i += 2) sum += BigInt((bytes[i]! << 8) | (bytes[i + 1] ?? 0));
  const folded = sum === 0n ? 0n : ((sum - 1n) % 0xffffn) + 1n;
  return Number(folded ^ 0xffffn);
}

const data = fc.uint8Array({ minLength: 20, maxLength: 120 }).map((bytes) => bytes.subarray(0, bytes.length & ~3));

describe('checksums', () => {
  it('internetChecksum() equals the definition, for odd lengths and offsets too', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.nat(20), (bytes, offset) => {
        const shifted = new Uint8Array(offset + bytes.length);
        shifted.set(bytes, offset);
        expect(internetChecksum(shifted, offset, bytes.length)).toBe(reference(bytes));
      }),
    );
  });

  it('internetChecksum() does not overflow on the longest packets', () => {
    const bytes = new Uint8Array(0x20001).fill(0xff);
    expect(internetChecksum(bytes, 0, bytes.length, 0x7fffffff)).toBe(
      reference(Uint8Array.from([...bytes.subarray(0, 0x20000), 0xff, 0x00, 0x7f, 0xff, 0xff, 0xff])),
    );
  });

  it('partialSum() may be taken in parts of even length', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 2, maxLength: 200 }), fc.nat(99), (bytes, cut) => {
        const at = Math.min(cut * 2, bytes.length & ~1);
        const first = partialSum(bytes, 0, at);
        expect(internetChecksum(bytes, at, bytes.length - at, first)).toBe(internetChecksum(bytes, 0, bytes.length));
      }),
    );
  });

  it('internetChecksum() is 0 over data that carries its checksum', () => {
    fc.assert(
      fc.property(data, (bytes) => {
        setU16(bytes, 4, 0);
        setU16(bytes, 4, internetChecksum(bytes, 0, bytes.length));
        expect(internetChecksum(bytes, 0, bytes.length)).toBe(0);
      }),
    );
  });

  it('checksumReplace16() and checksumReplace32() equal a recomputation', () => {
    const edge16 = fc.oneof(u16, fc.constantFrom(0, 0xffff, 1, 0xfffe));
    const edge32 = fc.oneof(u32, fc.constantFrom(0, 0xffffffff, 0xffff, 0xffff0000));
    fc.assert(
      fc.property(data, edge16, edge16, edge32, edge32, (bytes, before16, after16, before32, after32) => {
        bytes[0] = 0x45; // RFC 1624: only data that is all zero has two answers, and no header is.
        setU16(bytes, 4, before16);
        setU32(bytes, 8, before32);
        const checksum = internetChecksum(bytes, 0, bytes.length);
        setU16(bytes, 4, after16);
        const checksum16 = internetChecksum(bytes, 0, bytes.length);
        expect(checksumReplace16(checksum, before16, after16)).toBe(checksum16);
        setU32(bytes, 8, after32);
        expect(checksumReplace32(checksum16, before32, after32)).toBe(internetChecksum(bytes, 0, bytes.length));
      }),
    );
  });

  it('checksumReplace16() passes the example of RFC 1624 section 4', () => {
    expect(checksumReplace16(0xdd2f, 0x5555, 0x3285)).toBe(0x0000);
  });

  it('pseudoHeaderSum4() and pseudoHeaderSum6() sum the header that the RFCs draw', () => {
    fc.assert(
      fc.property(ipv4, ipv4, u8, u16, (source, destination, protocol, length) => {
        const drawn = Uint8Array.from([...source.subarray(12), ...destination.subarray(12), 0, protocol, length >> 8, length & 0xff]);
        const sum = pseudoHeaderSum4(source, 12, destination, 12, protocol, length);
        expect(internetChecksum(drawn, 0, 0, sum)).toBe(reference(drawn));
      }),
    );
    fc.assert(
      fc.property(ipv6, ipv6, u8, u32, (source, destination, nextHeader, length) => {
        const drawn = new Uint8Array(40);
        drawn.set(source, 0);
        drawn.set(destination, 16);
        setU32(drawn, 32, length);
        drawn[39] = nextHeader;
        expect(internetChecksum(drawn, 0, 0, pseudoHeaderSum6(source, 0, destination, 0, nextHeader, length))).toBe(reference(drawn));
      }),
    );
  });
});
