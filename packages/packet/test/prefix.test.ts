import { BlockList } from 'node:net';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  compareIp,
  formatIp,
  formatPrefix,
  type IpPrefix,
  isIpv4Mapped,
  PacketError,
  parseIp,
  parsePrefix,
  prefixContains,
  prefixEquals,
  prefixesOverlap,
  prefixFirst,
  prefixLast,
  prefixOf,
} from '../src/index.ts';
import { ip, ipv4, ipv6 } from './arbitraries.ts';

const prefix4: fc.Arbitrary<IpPrefix> = fc
  .tuple(ipv4, fc.integer({ min: 96, max: 128 }))
  .map(([address, length]) => prefixOf(address, length));
const prefix6: fc.Arbitrary<IpPrefix> = fc
  .tuple(ipv6, fc.integer({ min: 0, max: 128 }))
  .map(([address, length]) => prefixOf(address, length));
const prefix = fc.oneof(prefix4, prefix6);

const errorOf = (text: string): PacketError => {
  try {
    parsePrefix(text);
  } catch (error) {
    if (error instanceof PacketError) return error;
    throw error;
  }
  throw new Error(`${text} was taken`);
};

describe('prefixes', () => {
  it('parsePrefix() and formatPrefix() are inverse', () => {
    fc.assert(
      fc.property(prefix, (value) => {
        expect(parsePrefix(formatPrefix(value))).toEqual(value);
      }),
    );
  });

  it('parsePrefix() counts the length in the 16-byte form', () => {
    const shape = (text: string): unknown => {
      const { address, length, family } = parsePrefix(text);
      return [formatIp(address), length, family];
    };
    expect(shape('10.0.0.0/24')).toEqual(['10.0.0.0', 120, 4]);
    expect(shape('0.0.0.0/0')).toEqual(['0.0.0.0', 96, 4]);
    expect(shape('::/0')).toEqual(['::', 0, 6]);
    expect(shape('2001:db8::/32')).toEqual(['2001:db8::', 32, 6]);
    expect(shape('::ffff:10.0.0.0/120')).toEqual(['10.0.0.0', 120, 4]);
  });

  it.each(['10.0.0.0', '10.0.0.0/', '10.0.0.0/33', '10.0.0.0/024', '10.0.0.0/-1', '::/129', '10.0.0.0/24/24', '10.0.0.0/ 24', '/24x'])(
    'parsePrefix() refuses %j',
    (text) => expect(errorOf(text).code).toBe('WEFT_ERR_PACKET_PREFIX_INVALID'),
  );

  it('parsePrefix() tells a bad address from a bad prefix', () => {
    expect(errorOf('10.0.0/24').code).toBe('WEFT_ERR_PACKET_IP_INVALID');
  });

  it.each([
    ['10.0.0.1/24', '10.0.0.0/24'],
    ['10.0.0.128/24', '10.0.0.0/24'],
    ['10.0.0.1/0', '0.0.0.0/0'],
    ['2001:db8::1/64', '2001:db8::/64'],
    ['2001:db8:0:0:8000::/64', '2001:db8::/64'],
  ])('parsePrefix() refuses the host bits of %s and offers %s', (text, meant) => {
    const error = errorOf(text);
    expect(error.code).toBe('WEFT_ERR_PACKET_PREFIX_HOST_BITS');
    expect(error.message).toContain(`write ${meant} `);
  });

  it('prefixContains() agrees with node:net', () => {
    const addressNear = prefix.chain((value) =>
      fc.tuple(
        fc.constant(value),
        fc.oneof(
          ip,
          fc.constant(prefixFirst(value)),
          fc.constant(prefixLast(value)),
          fc.nat(127).map((bit) => flip(prefixLast(value), bit)),
        ),
      ),
    );
    fc.assert(
      fc.property(addressNear, ([value, address]) => {
        const family = isIpv4Mapped(address) ? 4 : 6;
        // BlockList lets IPv6 subnets match mapped addresses; ours keeps the families apart.
        if (family !== value.family) {
          expect(prefixContains(value, address)).toBe(false);
          return;
        }
        const list = new BlockList();
        list.addSubnet(formatIp(value.address), family === 4 ? value.length - 96 : value.length, `ipv${family}`);
        expect(prefixContains(value, address)).toBe(list.check(formatIp(address), `ipv${family}`));
      }),
      { numRuns: 500 },
    );
  });

  it('prefixContains() keeps IPv4 out of ::/0', () => {
    expect(prefixContains(parsePrefix('::/0'), parseIp('10.0.0.1'))).toBe(false);
    expect(prefixContains(parsePrefix('::/0'), parseIp('2001:db8::1'))).toBe(true);
    expect(prefixContains(parsePrefix('0.0.0.0/0'), parseIp('10.0.0.1'))).toBe(true);
    expect(prefixContains(parsePrefix('0.0.0.0/0'), parseIp('::1'))).toBe(false);
  });

  it('prefixesOverlap() is true exactly when a first or last address of one lies in the other', () => {
    const pair = fc.oneof(
      fc.tuple(prefix, prefix),
      prefix.chain((value) =>
        fc.tuple(
          fc.constant(value),
          fc.integer({ min: value.family === 4 ? 96 : 0, max: 128 }).map((length) => prefixOf(prefixLast(value), length)),
        ),
      ),
    );
    fc.assert(
      fc.property(pair, ([a, b]) => {
        const overlap = a.family === b.family && (prefixContains(a, prefixFirst(b)) || prefixContains(b, prefixFirst(a)));
        expect(prefixesOverlap(a, b)).toBe(overlap);
        expect(prefixesOverlap(b, a)).toBe(overlap);
      }),
    );
  });

  it('prefixFirst() and prefixLast() bound what is contained', () => {
    expect(formatIp(prefixLast(parsePrefix('10.0.0.0/23')))).toBe('10.0.1.255');
    expect(formatIp(prefixLast(parsePrefix('2001:db8::/33')))).toBe('2001:db8:7fff:ffff:ffff:ffff:ffff:ffff');
    fc.assert(
      fc.property(prefix, ip, (value, address) => {
        if (isIpv4Mapped(address) !== (value.family === 4)) return;
        const inRange = compareIp(address, prefixFirst(value)) >= 0 && compareIp(address, prefixLast(value)) <= 0;
        expect(prefixContains(value, address)).toBe(inRange);
      }),
    );
  });

  it('prefixOf() clears host bits and refuses a length out of range', () => {
    expect(formatPrefix(prefixOf(parseIp('10.1.2.3'), 112))).toBe('10.1.0.0/16');
    expect(prefixEquals(prefixOf(parseIp('10.1.2.3'), 112), parsePrefix('10.1.0.0/16'))).toBe(true);
    expect(prefixEquals(parsePrefix('10.1.0.0/16'), parsePrefix('10.1.0.0/17'))).toBe(false);
    for (const length of [-1, 129, 1.5]) expect(() => prefixOf(parseIp('10.0.0.1'), length)).toThrow(RangeError);
  });
});

function flip(address: Uint8Array, bit: number): Uint8Array {
  const copy = Uint8Array.from(address);
  copy[bit >> 3]! ^= 0x80 >> (bit & 7);
  return copy;
}
