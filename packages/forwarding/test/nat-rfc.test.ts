import {
  applyNatEvent,
  type ExternalAddressEntry,
  ExternalAddressKind,
  NatEventKind,
  type NatFlow,
  type NatKey,
  type NatResult,
  NatState,
  natLogRecord,
  poolStart,
} from '@weft/forwarding';
import { DropReason, dropReasonName, natTenures, whoHad } from '@weft/model';
import { formatIp, parseIp } from '@weft/packet';
import { describe, expect, it } from 'vitest';
import { EXTERNAL, NETWORK, SEGMENT, VM, World } from './nat-world.ts';

// What the RFCs ask of a NAT, requirement by requirement; each test names its own. The kernel is compared with this implementation by histories.

const OTHER_VM = parseIp('10.0.0.2');
const OTHER_REMOTE = parseIp('198.51.100.2');
const TCP = 6;
const UDP = 17;
const ICMP = 1;
const [SYN, SYN_ACK, ACK, FIN_ACK, RST] = [0x02, 0x12, 0x10, 0x11, 0x04];

const udp = (nearPort: number, remotePort = 53): Partial<NatFlow> => ({ protocol: UDP, nearPort, remotePort });
const tcp = (tcpFlags: number, nearPort = 1000): Partial<NatFlow> => ({ protocol: TCP, nearPort, remotePort: 443, tcpFlags });
const ping = (id: number): Partial<NatFlow> => ({ protocol: ICMP, icmpType: 8, nearPort: id, remotePort: id });
const place = (result: NatResult): string => `${formatIp(result.address)}:${result.port}`;

/** Sessions live their time and up to one granule more: 2^30 ns, in whole seconds. */
const GRANULE_S = 2;

function expectReason(result: NatResult, reason: DropReason): void {
  expect(dropReasonName(result.reason)).toBe(dropReasonName(reason));
}
const expectPassed = (result: NatResult): void => expectReason(result, DropReason.NONE);

/** A TCP connection that both sides have acknowledged. */
function connect(world: World): NatResult {
  const to = world.out(tcp(SYN));
  expectPassed(world.in(to, { protocol: TCP, remotePort: 443, tcpFlags: SYN_ACK }));
  expectPassed(world.out(tcp(ACK)));
  expectPassed(world.in(to, { protocol: TCP, remotePort: 443, tcpFlags: ACK }));
  return to;
}

describe('an external address that another network has now', () => {
  it('ends the sessions of the former one at the next sweep, whose flows then begin anew elsewhere', () => {
    const world = new World();
    const to = world.out(udp(1000));
    const entry = (networkId: number): ExternalAddressEntry => ({
      shard: 1,
      kind: ExternalAddressKind.POOL,
      networkId,
      ca: new Uint8Array(16),
    });
    world.addresses.set(formatIp(to.address), entry(NETWORK));
    world.sweep();
    expect([...world.state.rows('session')]).toHaveLength(1);
    world.addresses.set(formatIp(to.address), entry(NETWORK + 1));
    world.sweep();
    expect([...world.state.rows('session')]).toHaveLength(0);
    expect([...world.state.rows('mapping')]).toHaveLength(0);
  });
});

describe('a network that is on another shard or segment than its flows', () => {
  const outside = (world: World) => {
    const to = world.out(udp(1000));
    world.addresses.set(formatIp(to.address), { shard: 1, kind: ExternalAddressKind.POOL, networkId: 0, ca: new Uint8Array(16) });
  };
  const left = (world: World): number[] => [[...world.state.rows('session')].length, [...world.state.rows('mapping')].length];

  it.each([
    ['shard', { shard: 2, segment: SEGMENT }],
    ['segment', { shard: 1, segment: SEGMENT + 1 }],
    // Of a network that is gone, and keeps a row until nothing of it is left.
    ['nothing', { shard: 1, segment: 0 }],
  ])('has them ended at the next sweep: answers would come to whoever has that %s', (_, after) => {
    const world = new World();
    outside(world);
    world.sweep();
    expect(left(world)).toEqual([1, 1]);
    world.network = after;
    world.sweep();
    expect(left(world)).toEqual([0, 0]);
  });
});

describe('RFC 4787 (UDP)', () => {
  it('REQ-1: a mapping does not depend on the remote side', () => {
    const world = new World();
    const first = world.out(udp(1000));
    expect(place(world.out({ ...udp(1000, 99), remote: OTHER_REMOTE }))).toBe(place(first));
  });

  it('REQ-2: one internal address keeps to one external address', () => {
    const world = new World();
    const addresses = new Set(Array.from({ length: 300 }, (_, i) => formatIp(world.out(udp(1000 + i)).address)));
    expect(addresses.size).toBe(1);
  });

  it('REQ-3: no port has two mappings, and none is below 1024', () => {
    const world = new World();
    const places = Array.from({ length: 300 }, (_, i) => world.out({ ...udp(1000 + (i >> 1)), near: i & 1 ? VM : OTHER_VM }));
    expect(new Set(places.map(place)).size).toBe(300);
    expect(Math.min(...places.map(({ port }) => port))).toBeGreaterThanOrEqual(1024);
  });

  it('REQ-5: a mapping lives for 5 minutes, never less than 2', () => {
    const world = new World();
    const to = world.out(udp(1000));
    world.advance(300);
    world.sweep();
    expectPassed(world.in(to, { remotePort: 53 }));
    world.advance(300 + GRANULE_S);
    expectReason(world.in(to, { remotePort: 53 }), DropReason.NAT_FILTERED);
    world.sweep();
    expectReason(world.in(to, { remotePort: 53 }), DropReason.NAT_NO_MAPPING);
  });

  it('REQ-6: outbound packets refresh, and inbound ones, too', () => {
    const world = new World();
    const to = world.out(udp(1000));
    for (let i = 0; i < 4; i++) {
      world.advance(200);
      world.sweep();
      if (i & 1) expect(place(world.out(udp(1000)))).toBe(place(to));
      else expectPassed(world.in(to, { remotePort: 53 }));
    }
  });

  it('REQ-8: filtering depends on the remote address and port', () => {
    const world = new World();
    const to = world.out(udp(1000));
    expectReason(world.in(to, { remotePort: 54 }), DropReason.NAT_FILTERED);
    expectReason(world.in(to, { remote: OTHER_REMOTE, remotePort: 53 }), DropReason.NAT_FILTERED);
    expectReason(world.in({ ...to, port: to.port + 1 }, { remotePort: 53 }), DropReason.NAT_NO_MAPPING);
    expectReason(world.in(to, { protocol: TCP, tcpFlags: SYN, remotePort: 53 }), DropReason.NAT_NO_MAPPING);
  });

  it('REQ-9: a packet to a mapping of the same NAT comes from the external side of its own', () => {
    const world = new World();
    const [a, b] = [world.out(udp(1000)), world.out({ ...udp(2000), near: OTHER_VM })];
    // Both have sent to the other's external side, so both filters are open.
    expectPassed(world.out({ ...udp(2000, a.port), near: OTHER_VM, remote: a.address }));
    const hairpin = world.out({ ...udp(1000, b.port), remote: b.address });
    expect(place(hairpin)).toBe(place(a));
    const inside = world.in(b, { remote: hairpin.address, remotePort: hairpin.port });
    expect([formatIp(inside.address), inside.port]).toEqual(['10.0.0.2', 2000]);
  });

  it('REQ-11: the same packets at the same times get the same answers', () => {
    const run = (): string[] => {
      const world = new World();
      return Array.from({ length: 200 }, (_, i) => {
        if (i % 50 === 49) world.advance(300 + GRANULE_S);
        world.sweep();
        return place(world.out(udp(1000 + (i % 90))));
      });
    };
    expect(run()).toEqual(run());
  });

  it('REQ-12: an ICMP error ends nothing', () => {
    const world = new World();
    const to = world.out(udp(1000));
    expectPassed(world.in(to, { isError: true, icmpType: 3, remotePort: 53 }));
    expectPassed(world.in(to, { remotePort: 53 }));
  });

  it('REQ-14: fragments follow their first one; one that comes before it is dropped by name', () => {
    const world = new World();
    const rest = { isFragment: true, fragmentId: 77 };
    expectReason(world.out({ protocol: UDP, hasL4Header: false, ...rest }), DropReason.NAT_FRAGMENT_UNKNOWN);
    const first = world.out({ ...udp(1000), ...rest });
    expect(formatIp(world.out({ protocol: UDP, hasL4Header: false, ...rest }).address)).toBe(formatIp(first.address));
    world.advance(31);
    expectReason(world.out({ protocol: UDP, hasL4Header: false, ...rest }), DropReason.NAT_FRAGMENT_UNKNOWN);
  });
});

describe('RFC 5382 (TCP)', () => {
  it('REQ-1: mappings do not depend on the remote side', () => {
    const world = new World();
    expect(place(world.out({ ...tcp(SYN), remote: OTHER_REMOTE }))).toBe(place(world.out(tcp(SYN))));
  });

  it('REQ-2: three-way handshake and simultaneous open', () => {
    connect(new World());
    const world = new World();
    const to = world.out(tcp(SYN));
    expectPassed(world.in(to, { protocol: TCP, remotePort: 443, tcpFlags: SYN }));
    expectPassed(world.out(tcp(SYN_ACK)));
    expectPassed(world.in(to, { protocol: TCP, remotePort: 443, tcpFlags: SYN_ACK }));
    world.advance(7000);
    expectPassed(world.in(to, { protocol: TCP, remotePort: 443, tcpFlags: ACK }));
  });

  it('REQ-3: filtering depends on the remote address and port; REQ-4: an unsolicited SYN is met with silence', () => {
    const world = new World();
    const to = connect(world);
    expectReason(world.in(to, { protocol: TCP, remote: OTHER_REMOTE, remotePort: 443, tcpFlags: SYN }), DropReason.NAT_FILTERED);
  });

  it('REQ-5: established 2 hours and 4 minutes, else 4 minutes', () => {
    const world = new World();
    const to = connect(world);
    world.advance(7440);
    world.sweep();
    expectPassed(world.in(to, { protocol: TCP, remotePort: 443, tcpFlags: ACK }));
    world.advance(7440 + GRANULE_S);
    expectReason(world.in(to, { protocol: TCP, remotePort: 443, tcpFlags: ACK }), DropReason.NAT_FILTERED);

    const half = world.out(tcp(SYN, 2000));
    world.advance(240);
    expectPassed(world.in(half, { protocol: TCP, remotePort: 443, tcpFlags: SYN_ACK }));
    world.advance(240 + GRANULE_S);
    expectReason(world.in(half, { protocol: TCP, remotePort: 443, tcpFlags: ACK }), DropReason.NAT_FILTERED);
  });

  it('REQ-5: both FINs make it transitory', () => {
    const world = new World();
    const to = connect(world);
    expectPassed(world.out(tcp(FIN_ACK)));
    world.advance(1000);
    expectPassed(world.in(to, { protocol: TCP, remotePort: 443, tcpFlags: FIN_ACK }));
    world.advance(240 + GRANULE_S);
    expectReason(world.in(to, { protocol: TCP, remotePort: 443, tcpFlags: ACK }), DropReason.NAT_FILTERED);
  });

  it('a flow that nobody has begun needs a SYN; one whose session was lost goes on', () => {
    const world = new World();
    expectReason(world.out(tcp(ACK)), DropReason.NAT_TCP_NOT_SYN);
    expectReason(world.out(tcp(SYN_ACK)), DropReason.NAT_TCP_NOT_SYN);
    const to = connect(world);
    for (const { key } of [...world.state.rows('session')]) world.state.delete('session', key);
    expect(place(world.out(tcp(ACK)))).toBe(place(to));
    expectPassed(world.in(to, { protocol: TCP, remotePort: 443, tcpFlags: ACK }));
    world.advance(7000);
    expectPassed(world.in(to, { protocol: TCP, remotePort: 443, tcpFlags: ACK }));
  });

  it('REQ-7 and RFC 6146 3.5.2.2: an RST makes it transitory, until another segment passes', () => {
    const world = new World();
    const to = connect(world);
    expectPassed(world.in(to, { protocol: TCP, remotePort: 443, tcpFlags: RST }));
    world.advance(200);
    expectPassed(world.out(tcp(ACK)));
    world.advance(7000);
    expectPassed(world.in(to, { protocol: TCP, remotePort: 443, tcpFlags: RST }));
    world.advance(240 + GRANULE_S);
    expectReason(world.in(to, { protocol: TCP, remotePort: 443, tcpFlags: ACK }), DropReason.NAT_FILTERED);
  });

  it('a SYN begins anew in a connection that is over', () => {
    const world = new World();
    const to = connect(world);
    expectPassed(world.out(tcp(RST)));
    expect(place(world.out(tcp(SYN)))).toBe(place(to));
    world.advance(240 + GRANULE_S);
    expectReason(world.in(to, { protocol: TCP, remotePort: 443, tcpFlags: SYN_ACK }), DropReason.NAT_FILTERED);
  });
});

describe('RFC 5508 (ICMP)', () => {
  it('REQ-1: pings by their identifier; REQ-2: for 60 seconds', () => {
    const world = new World();
    const to = world.out(ping(4711));
    expect(place(world.out({ ...ping(4711), remote: OTHER_REMOTE }))).toBe(place(to));
    const back = world.in(to, { protocol: ICMP, icmpType: 0, remotePort: to.port });
    expect([formatIp(back.address), back.port]).toEqual(['10.0.0.1', 4711]);
    world.advance(60);
    expectPassed(world.in(to, { protocol: ICMP, icmpType: 0, remotePort: to.port }));
    world.advance(60 + GRANULE_S);
    expectReason(world.in(to, { protocol: ICMP, icmpType: 0, remotePort: to.port }), DropReason.NAT_FILTERED);
  });

  it('REQ-4: an error from outside about a packet from inside comes in, whoever sends it; without a session it does not', () => {
    const world = new World();
    const to = world.out(udp(1000));
    const inside = world.in(to, { isError: true, icmpType: 3, remotePort: 53 });
    expect([formatIp(inside.address), inside.port, inside.networkId]).toEqual(['10.0.0.1', 1000, NETWORK]);
    expectReason(world.in(to, { isError: true, icmpType: 3, remotePort: 54 }), DropReason.NAT_NO_MAPPING);
    world.advance(300 + GRANULE_S);
    expectReason(world.in(to, { isError: true, icmpType: 3, remotePort: 53 }), DropReason.NAT_NO_MAPPING);
  });

  it('REQ-5: an error from inside about a packet from outside goes out; it makes no session', () => {
    const world = new World();
    const to = world.out(udp(1000));
    expect(place(world.out({ ...udp(1000), isError: true, icmpType: 3 }))).toBe(place(to));
    expectReason(world.out({ ...udp(1000, 54), isError: true, icmpType: 3 }), DropReason.NAT_NO_MAPPING);
    expect(world.state.size('session')).toBe(1);
  });

  it('REQ-6: an error prolongs nothing', () => {
    const world = new World();
    const to = world.out(udp(1000));
    world.advance(300);
    expectPassed(world.in(to, { isError: true, icmpType: 3, remotePort: 53 }));
    expectPassed(world.out({ ...udp(1000), isError: true, icmpType: 3 }));
    world.advance(GRANULE_S);
    expectReason(world.in(to, { remotePort: 53 }), DropReason.NAT_FILTERED);
  });

  it('REQ-10: other ICMP is not translated, nor a ping from outside answered', () => {
    const world = new World();
    expectReason(world.out({ protocol: ICMP, icmpType: 13 }), DropReason.NAT_PROTOCOL_NOT_SUPPORTED);
    const to = world.out(ping(4711));
    expectReason(world.in(to, { protocol: ICMP, icmpType: 8, remotePort: to.port }), DropReason.NAT_NO_MAPPING);
  });
});

describe('RFC 6888 (carrier-grade)', () => {
  it('REQ-2: pairing by default, other addresses when the paired one has no block left', () => {
    const world = new World(1);
    const places = Array.from({ length: 128 }, (_, i) => world.out(udp(1000 + i)));
    expect(new Set(places.slice(0, 64).map(({ address }) => formatIp(address))).size).toBe(1);
    expect(new Set(places.map(({ address }) => formatIp(address))).size).toBe(2);
    expectReason(world.out(udp(2000)), DropReason.NAT_PORTS_EXHAUSTED);
  });

  it.each([2, 3, 4, 8, 48, 64])(
    'sources of one subnet, of many subnets and of many networks begin evenly at all of %i addresses',
    (count) => {
      const families: readonly ((i: number) => readonly [number, string])[] = [
        (i) => [7, `10.0.1.${i}`],
        (i) => [7, `10.0.${i}.1`],
        (i) => [7, `fd00::1:${i.toString(16)}`],
        (i) => [7 + i, '10.0.1.10'],
      ];
      for (const sourceOf of families) {
        const begun = Array.from({ length: count }, () => 0);
        for (let i = 1; i <= 254; i++) {
          const [network, address] = sourceOf(i);
          begun[poolStart(network, parseIp(address), count)]!++;
        }
        const even = 254 / count;
        expect(Math.max(...begun), sourceOf(1).join(' ')).toBeLessThanOrEqual(2 * even + 1);
        expect(Math.min(...begun), sourceOf(1).join(' ')).toBeGreaterThanOrEqual(Math.floor(even / 3));
      }
    },
  );

  it('new flows keep to a limit by the second, which may come at once; those that are known are not counted', () => {
    const world = new World();
    world.quota({ newFlowsPerSecond: 10 });
    for (let i = 0; i < 10; i++) expectPassed(world.out(udp(1000 + i)));
    expectReason(world.out(udp(1010)), DropReason.NAT_RATE_QUOTA);
    expectPassed(world.out(udp(1000)));
    expect(world.state.usage(NETWORK)).toMatchObject({ sessions: 10, deniedSessions: 0n });
    expect(world.state.get('rate', { networkId: NETWORK })!.denied).toBe(1n);
    world.now += 100_000_000n; // room for one
    expectPassed(world.out(udp(1010)));
    expectReason(world.out(udp(1011)), DropReason.NAT_RATE_QUOTA);
    world.advance(3600); // and no more than one second's after an hour
    const passed = Array.from({ length: 30 }, (_, i) => world.out(udp(3000 + i))).filter(({ reason }) => reason === DropReason.NONE);
    expect(passed).toHaveLength(10);
  });

  it('REQ-3, REQ-4: limits of ports and flows deny what is new, and take nothing from anyone', () => {
    const world = new World();
    world.quota({ blocksPerSource: 1 });
    const places = Array.from({ length: 64 }, (_, i) => place(world.out(udp(1000 + i))));
    expectReason(world.out(udp(2000)), DropReason.NAT_BLOCK_QUOTA);
    expectPassed(world.out({ ...udp(2000), near: OTHER_VM }));
    world.quota({ sessions: 65 });
    expectReason(world.out(udp(1000, 54)), DropReason.NAT_FLOW_QUOTA);
    expect(Array.from({ length: 64 }, (_, i) => place(world.out(udp(1000 + i))))).toEqual(places);
    expect(world.state.usage(NETWORK)).toMatchObject({ deniedBlocks: 1n, deniedSessions: 1n, sessions: 65 });
  });

  it('REQ-8: a port is not used again for 120 seconds', () => {
    const world = new World(1);
    world.quota({ blocksPerSource: 1 });
    const first = Array.from({ length: 64 }, (_, i) => place(world.out(udp(1000 + i))));
    world.advance(300 + GRANULE_S);
    world.sweep();
    world.advance(119);
    expectReason(world.out(udp(2000)), DropReason.NAT_BLOCK_QUOTA);
    world.advance(1);
    expect(place(world.out(udp(2000)))).toBe(first[0]);
  });

  it('a source that begins anew while its blocks are about to be given back keeps them, each port once; else they all go in one run', () => {
    const world = new World(64);
    const ports = (from: number, count: number): number[] =>
      Array.from({ length: count }, (_, i) => {
        const { reason, port } = world.out({ nearPort: from + i, protocol: UDP });
        expect(reason).toBe(DropReason.NONE);
        return port;
      });
    const first = ports(1000, 20 * 64);
    const sweepAfter = (...seconds: number[]): void => {
      for (const one of seconds) {
        world.advance(one);
        world.sweep();
      }
    };
    // All flows are over, all holds, and the blocks are marked.
    sweepAfter(302, 121);
    expect(world.isReleasing(NETWORK, VM)).toBe(true);
    world.state.takeEvents();
    const again = ports(5000, 20 * 64);
    expect(new Set(again)).toEqual(new Set(first));
    expect(
      world.state.takeEvents().filter(({ kind }) => kind === NatEventKind.BLOCK_GRANTED || kind === NatEventKind.BLOCK_RELEASED),
    ).toEqual([]);
    sweepAfter(1, 1);
    expect(world.state.usage(NETWORK).blocks).toBe(20);
    // Nobody comes: marked, and then all twenty blocks at once, though a step gives eight.
    sweepAfter(302, 121);
    expect(world.isReleasing(NETWORK, VM)).toBe(true);
    expect(world.state.usage(NETWORK).blocks).toBe(20);
    sweepAfter(1);
    expect(world.state.usage(NETWORK).blocks).toBe(0);
    expect(ports(1000, 1)).toHaveLength(1);
  });

  it('a source gives no block back in a run of the sweep that can not give all of them back: it would be refused until the next', () => {
    const world = new World(64);
    world.out({ near: parseIp('10.0.0.77'), protocol: UDP });
    for (let i = 0; i < 20 * 64; i++) world.out({ nearPort: 1000 + i, protocol: UDP });
    for (const seconds of [302, 121]) {
      world.advance(seconds);
      world.sweep();
    }
    // The other source is the next to be looked at.
    const head = (): string => formatIp((world.state.queue[0]!.key as NatKey<'source'>).ca);
    expect(world.state.queue).toHaveLength(2);
    if (head() === '10.0.0.1') world.sweep(1);
    expect(head()).toBe('10.0.0.77');
    world.advance(1);
    // A step for the other source's block, and one for eight of its twenty.
    world.sweep(2);
    expect(world.state.usage(NETWORK).blocks).toBe(20);
    expect(world.out({ nearPort: 5000, protocol: UDP }).reason).toBe(DropReason.NONE);
  });

  it('gives no blocks back within a quarter of a second of the mark, however often it sweeps', () => {
    const world = new World();
    world.out({ protocol: UDP });
    for (const seconds of [302, 121]) {
      world.advance(seconds);
      world.sweep();
    }
    const blocks = [0n, 1n, 249_999_999n, 250_000_000n].map((ns, i, all) => {
      world.now += ns - (all[i - 1] ?? 0n);
      world.sweep();
      return world.state.usage(NETWORK).blocks;
    });
    expect(blocks).toEqual([1, 1, 1, 0]);
  });

  it('gives no blocks back that it has marked before it lost the shard', () => {
    const world = new World();
    world.out({ protocol: UDP });
    for (const seconds of [302, 121]) {
      world.advance(seconds);
      world.sweep();
    }
    expect(world.isReleasing(NETWORK, VM)).toBe(true);
    world.isOwner = false;
    world.advance(1);
    world.sweep();
    expect(world.state.usage(NETWORK).blocks).toBe(1);
    world.isOwner = true;
    world.advance(1);
    world.sweep();
    expect(world.state.usage(NETWORK).blocks).toBe(0);
  });

  it('RFC 7422: who had a port is told by few records: one for each 64 ports', () => {
    const world = new World();
    const places = Array.from({ length: 128 }, (_, i) => world.out(udp(1000 + i)));
    const records = world.state.takeEvents().flatMap((event) => natLogRecord(event, { group: 'edge', member: 'gw1', bootUnixMs: 0 }) ?? []);
    expect(records).toHaveLength(2);
    const { address, port } = places[100]!;
    const question = { address: formatIp(address), port, timeMs: 1_000_000 };
    expect(whoHad(natTenures(records), question).holder).toMatchObject({ networkId: NETWORK, ca: '10.0.0.1' });
  });
});

describe('applyNatEvent()', () => {
  it('comes to the same tables when any part of the events comes again', () => {
    const world = new World(1);
    // A holder with both addresses, and then, of the same key, one with a single address.
    for (let i = 0; i < 65; i++) world.out(udp(1000 + i));
    for (const seconds of [300 + GRANULE_S, 120, 1, 1]) {
      world.advance(seconds);
      world.sweep();
    }
    expect(world.state.size('block')).toBe(0);
    world.advance(120);
    for (let i = 0; i < 3; i++) world.out(udp(2000 + i));
    const events = world.state.takeEvents();
    const tables = (store: NatState): unknown =>
      ['block', 'source', 'mapping', 'session'].map((table) => [...store.rows(table as 'block')]);
    for (let from = 0; from <= events.length; from++) {
      const standby = new NatState();
      for (const event of [...events, ...events.slice(from)]) applyNatEvent(standby, event, 0n);
      expect(tables(standby), `again from ${from}`).toEqual(tables(world.state));
    }
  });
});

describe('port forwards', () => {
  const web = { networkId: NETWORK, port: 80, ca: VM };
  const to: NatResult = { reason: DropReason.NONE, address: EXTERNAL[0]!, port: 8080, networkId: 0 };
  const name = '203.0.113.1/8080/6';

  it('make sessions; answers leave from where the question came to', () => {
    const world = new World();
    world.forwards.set(name, web);
    const inside = world.in(to, { protocol: TCP, remotePort: 50_000, tcpFlags: SYN });
    expect([formatIp(inside.address), inside.port]).toEqual(['10.0.0.1', 80]);
    expect(place(world.out({ protocol: TCP, nearPort: 80, remotePort: 50_000, tcpFlags: SYN_ACK }))).toBe(place(to));
    // The server's own connections have their own mapping.
    const own = world.out({ protocol: TCP, nearPort: 80, remotePort: 443, tcpFlags: SYN });
    expect(place(own)).not.toBe(place(to));
    expect(place(world.out({ protocol: TCP, nearPort: 80, remotePort: 50_000, tcpFlags: ACK }))).toBe(place(to));
  });

  it('end with the forward', () => {
    const world = new World();
    world.forwards.set(name, web);
    expectPassed(world.in(to, { protocol: TCP, remotePort: 50_000, tcpFlags: SYN }));
    world.forwards.delete(name);
    expectReason(world.in(to, { protocol: TCP, remotePort: 50_000, tcpFlags: ACK }), DropReason.NAT_NO_MAPPING);
    world.sweep();
    expect(world.state.size('session') + world.state.size('reverse')).toBe(0);
  });
});
