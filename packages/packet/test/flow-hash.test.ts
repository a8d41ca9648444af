import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  buildEthernet,
  buildIp,
  buildIpv4,
  buildIpv6,
  buildIpv6Fragment,
  buildTcp,
  buildUdp,
  ETHER_TYPE,
  flowHash,
  flowHashOfFrame,
  IP_PROTOCOL,
  isIpv4Mapped,
  tunnelSourcePort,
} from '../src/index.ts';
import { ip, ipPair, ipv4, ipv6, payload, u8, u16, u32 } from './arbitraries.ts';

/** The specification at the head of flow-hash.ts, in arbitrary-precision arithmetic. */
function reference(source: Uint8Array, destination: Uint8Array, protocol: number, sourcePort: number, destinationPort: number): number {
  const bytes = [...source, ...destination];
  const words = Array.from({ length: 8 }, (_, i) => BigInt(`0x${Buffer.from(bytes.slice(i * 4, i * 4 + 4)).toString('hex')}`));
  words.push((BigInt(sourcePort) << 16n) | BigInt(destinationPort), BigInt(protocol));
  let h = 0x9e3779b9n;
  for (const word of words) {
    h = ((h ^ word) * 0x85ebca6bn) % 0x1_0000_0000n;
    h ^= h >> 13n;
  }
  h = (h * 0xc2b2ae35n) % 0x1_0000_0000n;
  return Number(h ^ (h >> 16n));
}

const frameOf = (source: Uint8Array, packet: Uint8Array): Uint8Array =>
  buildEthernet(
    { source: '02:00:00:00:00:01', destination: '02:00:00:00:00:02', type: isIpv4Mapped(source) ? ETHER_TYPE.ipv4 : ETHER_TYPE.ipv6 },
    packet,
  );

describe('the flow hash', () => {
  it('flowHash() equals its specification', () => {
    fc.assert(
      fc.property(ip, ip, u8, u16, u16, (source, destination, protocol, sourcePort, destinationPort) => {
        expect(flowHash(source, destination, protocol, sourcePort, destinationPort)).toBe(
          reference(source, destination, protocol, sourcePort, destinationPort),
        );
      }),
    );
  });

  it('tunnelSourcePort() stays in 49152..65535 and reaches both ends', () => {
    fc.assert(
      fc.property(u32, (hash) => {
        expect(tunnelSourcePort(hash) >= 49152 && tunnelSourcePort(hash) <= 65535).toBe(true);
      }),
    );
    expect([tunnelSourcePort(0), tunnelSourcePort(0xffffffff)]).toEqual([49152, 65535]);
  });

  it('flowHashOfFrame() hashes TCP and UDP with ports, in both families', () => {
    fc.assert(
      fc.property(ipPair, u16, u16, payload, fc.boolean(), ([source, destination], sourcePort, destinationPort, data, isTcp) => {
        const fields = { source, destination, sourcePort, destinationPort };
        const protocol = isTcp ? IP_PROTOCOL.tcp : IP_PROTOCOL.udp;
        const frame = frameOf(source, buildIp({ source, destination, protocol }, (isTcp ? buildTcp : buildUdp)(fields, data)));
        expect(flowHashOfFrame(frame)).toBe(flowHash(source, destination, protocol, sourcePort, destinationPort));
        const shifted = new Uint8Array(frame.length + 7);
        shifted.set(frame, 7);
        expect(flowHashOfFrame(shifted, 7)).toBe(flowHashOfFrame(frame));
      }),
    );
  });

  it('flowHashOfFrame() leaves the ports out for other protocols', () => {
    const other = u8.filter(
      (protocol) => protocol !== IP_PROTOCOL.tcp && protocol !== IP_PROTOCOL.udp && protocol !== IP_PROTOCOL.fragment,
    );
    fc.assert(
      fc.property(ipPair, other, fc.uint8Array({ minLength: 8, maxLength: 40 }), ([source, destination], protocol, data) => {
        expect(flowHashOfFrame(frameOf(source, buildIp({ source, destination, protocol }, data)))).toBe(
          flowHash(source, destination, protocol, 0, 0),
        );
      }),
    );
  });

  it('flowHashOfFrame() gives all fragments of a packet one hash', () => {
    fc.assert(
      fc.property(ipv4, ipv4, ipv6, ipv6, u16, u16, (source4, destination4, source6, destination6, sourcePort, destinationPort) => {
        const datagram4 = buildUdp(
          { source: source4, destination: destination4, sourcePort, destinationPort },
          new Uint8Array(24).fill(0xab),
        );
        const part4 = (fragmentOffset: number, moreFragments: boolean): number =>
          flowHashOfFrame(
            frameOf(
              source4,
              buildIpv4(
                { source: source4, destination: destination4, protocol: IP_PROTOCOL.udp, fragmentOffset, moreFragments },
                datagram4.subarray(fragmentOffset, fragmentOffset + 16),
              ),
            ),
          );
        const expected4 = flowHash(source4, destination4, IP_PROTOCOL.udp, 0, 0);
        expect([part4(0, true), part4(8, true), part4(16, false)]).toEqual([expected4, expected4, expected4]);

        const datagram6 = buildUdp(
          { source: source6, destination: destination6, sourcePort, destinationPort },
          new Uint8Array(24).fill(0xab),
        );
        const part6 = (fragmentOffset: number, moreFragments: boolean): number => {
          const part = buildIpv6Fragment(
            { nextHeader: IP_PROTOCOL.udp, fragmentOffset, moreFragments, identification: 7 },
            datagram6.subarray(fragmentOffset, fragmentOffset + 16),
          );
          return flowHashOfFrame(
            frameOf(source6, buildIpv6({ source: source6, destination: destination6, nextHeader: IP_PROTOCOL.fragment }, part)),
          );
        };
        const expected6 = flowHash(source6, destination6, IP_PROTOCOL.udp, 0, 0);
        expect([part6(0, true), part6(8, true), part6(16, false)]).toEqual([expected6, expected6, expected6]);
        // RFC 6946: a fragment header on a whole packet hides no ports.
        expect(part6(0, false)).toBe(flowHash(source6, destination6, IP_PROTOCOL.udp, sourcePort, destinationPort));
      }),
    );
  });

  it('flowHashOfFrame() takes no ports from Ethernet padding', () => {
    const source = Uint8Array.from([...new Uint8Array(10), 0xff, 0xff, 10, 0, 0, 1]);
    const padded = new Uint8Array(60).fill(0xee);
    padded.set(frameOf(source, buildIpv4({ source, destination: source, protocol: IP_PROTOCOL.udp }, new Uint8Array(2))));
    expect(flowHashOfFrame(padded)).toBe(flowHash(source, source, IP_PROTOCOL.udp, 0, 0));
  });

  it('flowHashOfFrame() is 0 for what is not readable IP', () => {
    expect(flowHashOfFrame(new Uint8Array(13))).toBe(0);
    expect(flowHashOfFrame(new Uint8Array(60))).toBe(0);
    expect(
      flowHashOfFrame(
        buildEthernet({ source: '02:00:00:00:00:01', destination: '02:00:00:00:00:02', type: ETHER_TYPE.ipv4 }, new Uint8Array(19)),
      ),
    ).toBe(0);
  });
});
