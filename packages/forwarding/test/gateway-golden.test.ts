import { DropReason } from '@weft/model';
import { formatIp, getU16, Ipv4Header, Ipv6Header, internetChecksum, parseIp } from '@weft/packet';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  Action,
  decodeProbe,
  ExternalAddressKind,
  encodeProbe,
  fromExternal,
  GatewayMode,
  type Nat,
  nptInward,
  nptOutward,
  type Probe,
  ProbeType,
  toGateway,
  type Verdict,
} from '../src/index.ts';
import {
  address,
  atGateway,
  errorAbout,
  fromOutside,
  gatewayContext,
  hostTables,
  into,
  network,
  OUTSIDE,
  OUTSIDE6,
  out,
  STATIC_ADDRESS,
  VSID,
} from './cases/gateway.ts';
import { BLUE, C, D, GATEWAY, RED } from './fixture.ts';

const prefixes = (inside: string, outside: string, nptBits: number) => ({
  nptInside: parseIp(inside),
  nptOutside: parseIp(outside),
  nptBits,
});

/** RFC 6296, Figure 1 and section 3.1 to 3.5. */
const RFC = prefixes('FD01:0203:0405::', '2001:0DB8:0001::', 48);
const outward = (of: ReturnType<typeof prefixes>, address: string): string | undefined => {
  const translated = nptOutward(of, parseIp(address));
  return translated && formatIp(translated);
};

function sumOf(address: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < 16; i += 2) sum += getU16(address, i);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return sum === 0xffff ? 0 : sum;
}

describe('prefix translation (RFC 6296)', () => {
  it('gives the address of the RFC’s example, and the inside one back', () => {
    expect(outward(RFC, 'FD01:0203:0405:0001::1234')).toBe('2001:db8:1:d550::1234');
    expect(formatIp(nptInward(RFC, parseIp('2001:db8:1:d550::1234'))!)).toBe('fd01:203:405:1::1234');
  });

  it('adjusts the first word of the identifier that is not all ones, with prefixes above 48 bits', () => {
    const long = prefixes('fd01:203:405:1::', '2001:db8:1:2::', 64);
    const first = nptOutward(long, parseIp('fd01:203:405:1::1'))!;
    expect(formatIp(first).startsWith('2001:db8:1:2:')).toBe(true);
    const second = nptOutward(long, parseIp('fd01:203:405:1:ffff::1'))!;
    expect([getU16(second, 8), getU16(second, 10)]).toEqual([0xffff, getU16(first, 8)]);
  });

  it('has no counterpart for all ones, nor outside the prefix', () => {
    expect(outward(RFC, 'fd01:203:405:ffff::1')).toBeUndefined();
    expect(outward(prefixes('fd01::', '2001:db8::', 64), 'fd01::ffff:ffff:ffff:ffff')).toBeUndefined();
    expect(outward(RFC, 'fd01:203:406:1::1')).toBeUndefined();
    for (const bits of [0, 65, 128]) expect(outward(prefixes('fd01::', '2001:db8::', bits), 'fd01::1')).toBeUndefined();
  });

  it('keeps every checksum, and comes back', () => {
    const bytes = fc.uint8Array({ minLength: 16, maxLength: 16 });
    fc.assert(
      fc.property(bytes, bytes, bytes, fc.integer({ min: 1, max: 64 }), (inside, outside, host, nptBits) => {
        const address = host.slice();
        for (let bit = 0; bit < nptBits; bit++) {
          const mask = 0x80 >> (bit & 7);
          address[bit >> 3] = (address[bit >> 3]! & ~mask) | (inside[bit >> 3]! & mask);
        }
        const of = { nptInside: inside, nptOutside: outside, nptBits };
        const translated = nptOutward(of, address);
        if (translated === undefined) return;
        expect(sumOf(translated)).toBe(sumOf(address));
        const back = nptInward(of, translated);
        if (back !== undefined) expect(formatIp(back)).toBe(formatIp(address));
      }),
    );
  });
});

const frameOf = (verdict: Verdict, action: number): Uint8Array => {
  expect(verdict.action).toBe(action);
  return verdict.frame!;
};

/** The IP packet of a verdict, its tunnel's headers off; every checksum is computed whole. */
function soundPacket(verdict: Verdict, action: number): { frame: Uint8Array; ip: Ipv4Header | Ipv6Header; l4: number } {
  const frame = frameOf(verdict, action).subarray(action === Action.TUNNEL ? 50 : 0);
  if (frame[12] === 0x86) {
    const ip = Ipv6Header.read(frame, 14) as Ipv6Header;
    expect(internetChecksum(frame, 54, ip.payloadLength, ip.pseudoHeaderSum(ip.nextHeader, ip.payloadLength))).toBe(0);
    return { frame, ip, l4: 54 };
  }
  const ip = Ipv4Header.read(frame, 14) as Ipv4Header;
  expect(ip.isChecksumValid).toBe(true);
  const length = ip.totalLength - ip.headerLength;
  const pseudo = ip.protocol === 1 ? 0 : ip.pseudoHeaderSum(ip.protocol, length);
  expect(internetChecksum(frame, ip.payloadOffset, length, pseudo)).toBe(0);
  return { frame, ip, l4: ip.payloadOffset };
}

const ends = ({ ip }: { ip: Ipv4Header | Ipv6Header }): string => `${formatIp(ip.copySource())} > ${formatIp(ip.copyDestination())}`;

describe('what leaves and enters', () => {
  it('has the addresses it should, one hop less, and right checksums', () => {
    const plain = soundPacket(atGateway(out(C.ip4, OUTSIDE)), Action.EXTERNAL);
    expect([ends(plain), (plain.ip as Ipv4Header).ttl]).toEqual(['10.0.0.20 > 198.51.100.7', 63]);
    expect(ends(soundPacket(atGateway(out(D.ip4, OUTSIDE)), Action.EXTERNAL))).toBe('203.0.113.20 > 198.51.100.7');
    expect(ends(soundPacket(atGateway(out(C.ip6, OUTSIDE6)), Action.EXTERNAL))).toBe('2001:db8:1:fffe::20 > 2a00::7');
    expect(ends(soundPacket(fromOutside(into(STATIC_ADDRESS)), Action.TUNNEL))).toBe('198.51.100.7 > 10.0.1.20');
    expect(ends(soundPacket(atGateway(out(C.ip4, STATIC_ADDRESS)), Action.TUNNEL))).toBe('10.0.0.20 > 10.0.1.20');
  });

  it('goes by the next hop of its route, to the segment’s device', () => {
    const { ifindex, pa, vsid } = atGateway(out(C.ip4, OUTSIDE));
    expect([ifindex, formatIp(pa), vsid]).toEqual([21, '203.0.113.1', 1]);
  });

  it('is translated in what errors quote, too (RFC 5508)', () => {
    const away = soundPacket(
      atGateway(errorAbout({ source: C.ip4, destination: OUTSIDE, isOut: true }, { source: OUTSIDE, destination: D.ip4 })),
      Action.EXTERNAL,
    );
    expect(ends(away)).toBe('203.0.113.20 > 198.51.100.7');
    const quotedAway = Ipv4Header.read(away.frame, away.l4 + 8) as Ipv4Header;
    expect([formatIp(quotedAway.copyDestination()), quotedAway.isChecksumValid]).toEqual(['203.0.113.20', true]);
    expect(internetChecksum(away.frame, quotedAway.payloadOffset, 16, quotedAway.pseudoHeaderSum(17, 16))).toBe(0);
    const home = soundPacket(
      fromOutside(
        errorAbout(
          { source: parseIp('198.18.0.1'), destination: STATIC_ADDRESS, isOut: false },
          { source: STATIC_ADDRESS, destination: OUTSIDE },
        ),
      ),
      Action.TUNNEL,
    );
    expect(ends(home)).toBe('198.18.0.1 > 10.0.1.20');
    const quotedHome = Ipv4Header.read(home.frame, home.l4 + 8) as Ipv4Header;
    expect([formatIp(quotedHome.copySource()), quotedHome.isChecksumValid]).toEqual(['10.0.1.20', true]);
  });

  it('is told of by errors from the gateway’s address inside, and from the address asked for outside', () => {
    const inside = soundPacket(atGateway(out(C.ip4, OUTSIDE, { ttl: 1 })), Action.TUNNEL);
    expect([ends(inside), inside.frame[inside.l4]]).toEqual([`${formatIp(GATEWAY.ip4)} > 10.0.0.20`, 11]);
    const outside = soundPacket(fromOutside(into(STATIC_ADDRESS, { size: 1281 })), Action.EXTERNAL);
    expect([ends(outside), outside.frame[outside.l4], outside.frame[outside.l4 + 1]]).toEqual(['203.0.113.20 > 198.51.100.7', 3, 4]);
    expect(getU16(outside.frame, outside.l4 + 6)).toBe(1280);
  });
});

describe('an external address that another network has now', () => {
  const EXTERNAL = parseIp('203.0.113.10');
  // A mapping from before: it stands until it is swept.
  const mapped: Nat = {
    outbound: () => ({ reason: DropReason.NONE, address: EXTERNAL, port: 1024, networkId: 0 }),
    inbound: () => ({ reason: DropReason.NONE, address: C.ip4, port: 40_000, networkId: RED }),
  };
  const decide = (kind: ExternalAddressKind, networkId: number): readonly DropReason[] => {
    const base = gatewayContext(network(RED, { mode: GatewayMode.NAT }), address('203.0.113.10', kind, { networkId, ca: D.ip4 }));
    const context = { ...base, gateway: { ...base.gateway!, nat: mapped } };
    const input = { frame: out(C.ip4, OUTSIDE), networkId: RED, shard: 1, vsid: VSID, isSecondHand: false };
    return [toGateway(hostTables, input, context).reason, fromExternal(hostTables, { ifindex: 21, frame: into(EXTERNAL) }, context).reason];
  };
  const { NONE, SOURCE_RULE_DENIED, NAT_NO_MAPPING } = DropReason;

  it('is no source of the former one any more, and what comes to it is not the former one’s', () => {
    for (const kind of [ExternalAddressKind.POOL, ExternalAddressKind.RESERVED]) {
      expect(decide(kind, BLUE)).toEqual([SOURCE_RULE_DENIED, NAT_NO_MAPPING]);
      // Shared, or its own.
      expect(decide(kind, 0)).toEqual([NONE, NONE]);
      expect(decide(kind, RED)).toEqual([NONE, NONE]);
    }
    expect(decide(ExternalAddressKind.STATIC, BLUE)[0]).toBe(SOURCE_RULE_DENIED);
    expect(decide(ExternalAddressKind.DENY, 0)[0]).toBe(SOURCE_RULE_DENIED);
  });
});

describe('probes', () => {
  it('are read back as they were written', () => {
    const shard = fc.record({
      shard: fc.nat(0xffff_ffff),
      epoch: fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
      isForwarding: fc.boolean(),
    });
    const probe: fc.Arbitrary<Probe> = fc.record({
      type: fc.constantFrom(ProbeType.REQUEST, ProbeType.REPLY),
      nonce: fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
      shards: fc.array(shard, { maxLength: 8 }),
    });
    fc.assert(
      fc.property(probe, (value) => {
        expect(decodeProbe(encodeProbe(value))).toEqual(value);
      }),
    );
  });

  it('are none when anything about them is wrong', () => {
    const sound = encodeProbe({ type: ProbeType.REQUEST, nonce: 1n, shards: [{ shard: 1, epoch: 0n, isForwarding: false }] });
    for (let length = 0; length < sound.length; length++) expect(decodeProbe(sound.slice(0, length))).toBeUndefined();
    for (const [at, value] of [
      [0, 0],
      [4, 2],
      [5, 0],
      [5, 3],
      [6, 0],
      [6, 2],
      [6, 9],
      [7, 1],
    ] as const) {
      const bent = sound.slice();
      bent[at] = value;
      expect(decodeProbe(bent)).toBeUndefined();
    }
  });
});
