import { isIP } from 'node:net';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  broadcastMac,
  compareIp,
  formatIp,
  formatMac,
  ipEquals,
  ipKey,
  isBroadcastIp,
  isBroadcastMac,
  isCanonicalIp,
  isIpv4Mapped,
  isLinkLocalIp,
  isMulticastIp,
  isMulticastMac,
  isUnspecifiedIp,
  isZeroMac,
  macEquals,
  PacketError,
  parseIp,
  parseMac,
  solicitedNodeAddress,
} from '../src/index.ts';
import { ip, ipv4, ipv6, mac } from './arbitraries.ts';

const codeOf = (act: () => unknown): string => {
  try {
    act();
  } catch (error) {
    if (error instanceof PacketError) return error.code;
    throw error;
  }
  return 'no error';
};

describe('MAC addresses', () => {
  it('parseMac() and formatMac() are inverse', () => {
    fc.assert(
      fc.property(mac, (bytes) => {
        expect(parseMac(formatMac(bytes))).toEqual(bytes);
      }),
    );
  });

  it.each([
    '02:00:00:00:00:0A',
    '02-00-00-00-00-01',
    '2:0:0:0:0:1',
    '020000000001',
    '02:00:00:00:00',
    '02:00:00:00:00:01:02',
    '',
    ' 02:00:00:00:00:01',
    '02:00:00:00:00:01\n',
  ])('parseMac() refuses %j, which is not canonical', (text) => expect(codeOf(() => parseMac(text))).toBe('WEFT_ERR_PACKET_MAC_INVALID'));

  it('formatMac() reads at its offset and refuses a short buffer', () => {
    expect(formatMac(Uint8Array.of(9, 2, 0, 0, 0, 0, 0xab), 1)).toBe('02:00:00:00:00:ab');
    expect(() => formatMac(new Uint8Array(6), 1)).toThrow(RangeError);
    expect(() => formatMac(new Uint8Array(6), -1)).toThrow(RangeError);
  });

  it('predicates tell group, broadcast and zero addresses apart', () => {
    const rows = ['ff:ff:ff:ff:ff:ff', '33:33:00:00:00:01', '02:00:00:00:00:01', '00:00:00:00:00:00'].map((text) => {
      const bytes = parseMac(text);
      return [isMulticastMac(bytes), isBroadcastMac(bytes), isZeroMac(bytes)];
    });
    expect(rows).toEqual([
      [true, true, false],
      [true, false, false],
      [false, false, false],
      [false, false, true],
    ]);
    expect(broadcastMac()).not.toBe(broadcastMac());
  });

  it('macEquals() compares at offsets', () => {
    fc.assert(
      fc.property(mac, mac, (a, b) => {
        const joined = Uint8Array.from([...a, ...b]);
        expect(macEquals(joined, b, 6)).toBe(true);
        expect(macEquals(joined, joined, 0, 6)).toBe(formatMac(a) === formatMac(b));
      }),
    );
  });
});

// A second opinion on RFC 5952: the URL standard's serializer, which writes mapped addresses in hexadecimal (we don't).
const serialize = (text: string): string => new URL(`http://[${text}]/`).hostname.slice(1, -1);

describe('IP addresses', () => {
  it('parseIp() and formatIp() are inverse, and what formatIp() writes is canonical', () => {
    fc.assert(
      fc.property(ip, (bytes) => {
        const text = formatIp(bytes);
        expect(parseIp(text)).toEqual(bytes);
        expect(isCanonicalIp(text)).toBe(true);
        expect(isIP(text)).toBe(isIpv4Mapped(bytes) ? 4 : 6);
      }),
    );
  });

  it('formatIp() writes IPv6 as the URL standard does', () => {
    fc.assert(
      fc.property(ipv6, (bytes) => {
        expect(formatIp(bytes)).toBe(serialize(formatIp(bytes)));
      }),
    );
    fc.assert(
      fc.property(fc.ipV6(), (text) => {
        const bytes = parseIp(text);
        if (!isIpv4Mapped(bytes)) expect(formatIp(bytes)).toBe(serialize(text));
      }),
    );
  });

  it('parseIp() takes what node:net takes, zones apart', () => {
    const mutated = fc
      .tuple(
        fc.oneof(fc.ipV4(), fc.ipV6()),
        fc.nat(),
        fc.constantFrom('', ':', '::', '.', '0', 'f', 'g', '1', '00', ' ', '/'),
        fc.integer({ min: 0, max: 2 }),
      )
      .map(([text, position, insert, remove]) => {
        const at = position % (text.length + 1);
        return text.slice(0, at) + insert + text.slice(at + remove);
      });
    const scattered = fc.string({ unit: fc.constantFrom(...'0123456789abcdefABF:.'.split(''), '::', '1.2.3.4'), maxLength: 20 });
    fc.assert(
      fc.property(fc.oneof(fc.ipV4(), fc.ipV6(), mutated, scattered), (text) => {
        const outcome = codeOf(() => parseIp(text));
        expect(outcome === 'no error').toBe(isIP(text) !== 0);
        if (outcome !== 'no error') expect(outcome).toBe('WEFT_ERR_PACKET_IP_INVALID');
      }),
      { numRuns: 2000 },
    );
  });

  it.each([
    '01.2.3.4',
    '1.2.3',
    '1.2.3.4.5',
    '256.0.0.1',
    '1.2.3.4 ',
    '0x1.2.3.4',
    'fe80::1%eth0',
    '[::1]',
    ':::',
    '1::2::3',
    '::1.2.3',
    '1.2.3.4::',
    '12345::',
    '1:2:3:4:5:6:7:8::',
    '1:2:3:4:5:6:7',
    '::/0',
    '',
  ])('parseIp() refuses %j', (text) => expect(codeOf(() => parseIp(text))).toBe('WEFT_ERR_PACKET_IP_INVALID'));

  it.each([
    ['2001:0db8::1', '2001:db8::1'],
    ['2001:DB8::1', '2001:db8::1'],
    ['2001:db8:0:0:0:0:0:1', '2001:db8::1'],
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['2001:db8::1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['2001:0:0:1:0:0:0:1', '2001:0:0:1::1'],
    ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
    ['0:0:0:0:0:0:0:0', '::'],
    ['1:0:0:0:0:0:0:0', '1::'],
    ['1:2:3:4:5:6:7:0', '1:2:3:4:5:6:7:0'],
    ['::ffff:192.0.2.1', '192.0.2.1'],
    ['::FFFF:c000:201', '192.0.2.1'],
    ['::192.0.2.1', '::c000:201'],
    ['64:ff9b::192.0.2.1', '64:ff9b::c000:201'],
  ])('formatIp() writes %s as %s (RFC 5952)', (text, canonical) => {
    expect(formatIp(parseIp(text))).toBe(canonical);
    expect(isCanonicalIp(text)).toBe(text === canonical);
  });

  it('isCanonicalIp() says no to what is no address', () => {
    expect([isCanonicalIp('10.0.0'), isCanonicalIp('nothing')]).toEqual([false, false]);
  });

  it('formatIp() refuses a short buffer', () => {
    expect(() => formatIp(new Uint8Array(4))).toThrow(RangeError);
    expect(() => formatIp(new Uint8Array(16), 1)).toThrow(RangeError);
  });

  it('ipKey(), ipEquals() and compareIp() agree on equality', () => {
    const near = fc
      .tuple(ip, fc.nat(15), fc.nat(255))
      .map(([bytes, at, value]) => [bytes, Uint8Array.from(bytes, (byte, i) => (i === at ? value : byte))] as const);
    fc.assert(
      fc.property(fc.oneof(near, fc.tuple(ip, ip)), ([a, b]) => {
        const equal = formatIp(a) === formatIp(b);
        expect([ipEquals(a, b), ipKey(a) === ipKey(b), compareIp(a, b) === 0]).toEqual([equal, equal, equal]);
      }),
    );
  });

  it('compareIp() orders as 128-bit numbers', () => {
    const number = (bytes: Uint8Array): bigint => BigInt(`0x${Buffer.from(bytes).toString('hex')}`);
    fc.assert(
      fc.property(ip, ip, (a, b) => {
        const difference = number(a) - number(b);
        expect(Math.sign(compareIp(a, b))).toBe(difference === 0n ? 0 : difference > 0n ? 1 : -1);
      }),
    );
  });

  it('isIpv4Mapped() is true for IPv4 and for no neighbour of its range', () => {
    fc.assert(
      fc.property(ipv4, (bytes) => {
        expect(isIpv4Mapped(bytes)).toBe(true);
      }),
    );
    for (const text of ['::', '::1', '::fffe:a00:1', '::1:0:a00:1', '1::ffff:a00:1', '::fffe:ffff:ffff'])
      expect(isIpv4Mapped(parseIp(text))).toBe(false);
  });

  it('predicates tell special addresses of both families', () => {
    const kinds = (text: string): string => {
      const bytes = parseIp(text);
      const names = [
        isUnspecifiedIp(bytes) && 'unspecified',
        isMulticastIp(bytes) && 'multicast',
        isBroadcastIp(bytes) && 'broadcast',
        isLinkLocalIp(bytes) && 'link-local',
      ];
      return names.filter(Boolean).join(' ');
    };
    const expected = {
      '0.0.0.0': 'unspecified',
      '::': 'unspecified',
      '0.0.0.1': '',
      '::1': '',
      '1::': '',
      '223.255.255.255': '',
      '224.0.0.1': 'multicast',
      '239.255.255.255': 'multicast',
      '240.0.0.1': '',
      '255.255.255.255': 'broadcast',
      'ff02::1': 'multicast',
      '169.254.1.1': 'link-local',
      '169.253.1.1': '',
      'fe80::1': 'link-local',
      'febf::1': 'link-local',
      'fec0::1': '',
      '2001:db8::1': '',
    };
    expect(Object.fromEntries(Object.keys(expected).map((text) => [text, kinds(text)]))).toEqual(expected);
  });

  it('solicitedNodeAddress() keeps the last three bytes (RFC 4291 section 2.7.1)', () => {
    expect(formatIp(solicitedNodeAddress(parseIp('4037::1:800:200e:8c6c')))).toBe('ff02::1:ff0e:8c6c');
  });
});
