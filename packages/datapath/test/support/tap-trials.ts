import { gatewayMac } from '@weft/forwarding';
import { generateFrame, mutate, type Rng, type World, type WorldPort } from '@weft/forwarding/testing';
import {
  buildEthernet,
  buildIpv4,
  buildIpv6,
  buildTcp,
  buildUdp,
  ETHER_TYPE,
  foldSum,
  IP_PROTOCOL,
  isIpv4Mapped,
  pseudoHeaderSum4,
  pseudoHeaderSum6,
  setU16,
} from '@weft/packet';
import { completeChecksum, GsoType, type Offload, withOffload } from '../../src/user/offload.ts';

// What a hypervisor writes to a TAP: a virtio-net header and a frame, each true or a lie. Everything follows from the generator's state.

/** One write to the TAP of a port. */
export interface TapTrial {
  readonly ifindex: number;
  /** Header and frame, as written; may be shorter than a header. */
  readonly bytes: Uint8Array;
  readonly label: string;
}

const NONE: Offload = { needsChecksum: false, gsoType: 0, hasEcn: false, gsoSize: 0, headerBytes: 0, checksumStart: 0, checksumOffset: 0 };
const GSO_SIZES = [8, 64, 500, 536, 1000, 1100, 1200, 1200, 1240, 1340, 1380, 1400, 1440, 1448, 1460, 8900, 65_534];
/** The kernel takes at most 128 UDP segments; and a TAP's queue holds 1,000 frames. */
const SEGMENTS_MAX = 100;
const PACKET_BYTES_MAX = 65_535;
const LARGE_BYTES_MAX = 9000;
const TCP_TIMESTAMPS = Uint8Array.of(1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0);
const IP_NO_OPERATIONS = Uint8Array.of(1, 1, 1, 0);
const NO_BYTES = new Uint8Array(0);
const PAYLOAD = Uint8Array.from({ length: PACKET_BYTES_MAX }, (_, i) => (i * 7 + (i >> 8)) & 0xff);

/** A frame with the places that its offloads are about. */
interface Built {
  readonly frame: Uint8Array;
  readonly l4Offset: number;
  readonly l4HeaderBytes: number;
  readonly isTcp: boolean;
  readonly isIpv6: boolean;
  readonly label: string;
}

/** The next write. */
export function nextTrial(rng: Rng, world: World): TapTrial {
  const roll = rng.below(100);
  if (roll < 50) return superFrame(rng, world);
  if (roll < 66) return openChecksum(rng, world);
  if (roll < 74) return shortFrame(rng, world);
  if (roll < 84) return largeFrame(rng, world);
  if (roll < 93) return oddHeader(rng, world);
  const { ifindex, frame, label } = portFrame(rng, world);
  return { ifindex, bytes: withOffload(frame, NONE), label };
}

function superFrame(rng: Rng, world: World): TapTrial {
  const port = rng.pick(world.ports);
  const gsoSize = rng.pick(GSO_SIZES);
  const most = Math.min(PACKET_BYTES_MAX - 120, gsoSize * SEGMENTS_MAX);
  const wanted = rng.pick([
    gsoSize - 1,
    gsoSize,
    gsoSize + 1,
    2 * gsoSize,
    3 * gsoSize + 1,
    1 + rng.below(most),
    1 + rng.below(most),
    most,
  ]);
  const built = build(rng, world, port, Math.min(wanted, most));
  const gsoType = built.isTcp ? (built.isIpv6 ? GsoType.TCP6 : GsoType.TCP4) : GsoType.UDP_SEGMENTS;
  const headerBytes = built.l4Offset + built.l4HeaderBytes;
  let offload: Offload = {
    ...NONE,
    needsChecksum: true,
    gsoType,
    gsoSize,
    hasEcn: built.isTcp && rng.oneIn(4),
    headerBytes: rng.oneIn(4) ? rng.pick([0, 14, 34, headerBytes - 2, headerBytes + 100, built.frame.length]) : headerBytes,
    checksumStart: built.l4Offset,
    checksumOffset: built.isTcp ? 16 : 6,
  };
  let label = `GSO ${gsoType} of ${gsoSize}: ${built.label}`;
  if (rng.oneIn(12)) {
    offload = {
      ...offload,
      ...rng.pick<Partial<Offload>>([
        { needsChecksum: false },
        { checksumStart: built.l4Offset - 2 },
        { checksumStart: 20 },
        { checksumStart: built.l4Offset + 8 },
        { gsoType: GsoType.UDP_FRAGMENTS },
        { gsoType: GsoType.TCP4 },
        { gsoType: GsoType.TCP6 },
        { gsoType: GsoType.UDP_SEGMENTS, checksumOffset: 6 },
      ]),
    };
    label += `; header ${JSON.stringify(offload)}`;
  }
  label += lie(rng, world, built.frame);
  return { ifindex: port.ifindex, bytes: withOffload(built.frame, offload), label };
}

function openChecksum(rng: Rng, world: World): TapTrial {
  const port = rng.pick(world.ports);
  const built = build(rng, world, port, rng.pick([0, 1, 24, 99, 600, 1200, 1400, 1480, 2000, 4000, rng.below(8900)]));
  let [checksumStart, checksumOffset] = [built.l4Offset, built.isTcp ? 16 : 6];
  let label = `open checksum: ${built.label}`;
  if (rng.oneIn(3)) {
    checksumStart = rng.pick([
      0,
      14,
      20,
      26,
      30,
      built.l4Offset - 2,
      built.l4Offset,
      built.l4Offset + 4,
      built.l4Offset + 7,
      rng.below(100),
    ]);
    checksumOffset = rng.pick([0, 2, 4, 5, 6, 7, 8, 16, 30, rng.below(200), 65_000]);
    label += `; at ${checksumStart}+${checksumOffset}`;
  }
  let { frame } = built;
  if (rng.oneIn(10)) {
    const padding = 1 + rng.below(60);
    frame = Uint8Array.from([...frame, ...new Uint8Array(padding).fill(0xee)]);
    label += `; ${padding} bytes more`;
  }
  label += lie(rng, world, frame);
  const headerBytes = rng.oneIn(3) ? rng.pick([14, 34, 54, 90]) : 0;
  return {
    ifindex: port.ifindex,
    bytes: withOffload(frame, { ...NONE, needsChecksum: true, headerBytes, checksumStart, checksumOffset }),
    label,
  };
}

/** Shorter than test runs take. */
function shortFrame(rng: Rng, world: World): TapTrial {
  const from = portFrame(rng, world);
  const most = from.frame[12] === 0x86 ? 54 : 34;
  const length = 13 + rng.below(most - 12);
  return { ifindex: from.ifindex, bytes: withOffload(from.frame.slice(0, length), NONE), label: `${from.label}; first ${length} bytes` };
}

/** Longer than test runs take. */
function largeFrame(rng: Rng, world: World): TapTrial {
  const port = rng.pick(world.ports);
  const built = build(rng, world, port, 3700 + rng.below(LARGE_BYTES_MAX - 3700));
  finishChecksum(built);
  const length = rng.oneIn(8) ? rng.below(built.frame.length) : built.frame.length;
  const label = `large: ${built.label}${length < built.frame.length ? `; first ${length} bytes` : ''}${lie(rng, world, built.frame)}`;
  return { ifindex: port.ifindex, bytes: withOffload(built.frame.slice(0, length), NONE), label };
}

/** A header of random numbers, or less than a header. */
function oddHeader(rng: Rng, world: World): TapTrial {
  const { ifindex, frame, label } = portFrame(rng, world);
  if (rng.oneIn(8)) {
    const length = rng.below(24);
    return { ifindex, bytes: withOffload(frame, NONE).slice(0, length), label: `${length} bytes of header and ${label}` };
  }
  const bytes = withOffload(frame, NONE);
  const near = (): number => rng.pick([0, 14, 20, 34, 38, 54, 58, frame.length - 2, frame.length, rng.below(64), rng.below(65_536)]);
  bytes[0] = rng.pick([0, 1, 1, 1, 2, 3, 4, 8, 0x80, 0xff]);
  bytes[1] = rng.pick([0, 0, 1, 3, 4, 5, 0x81, 0x84, 2, 6, 0x60, 0x80, 0xff]);
  const view = new DataView(bytes.buffer);
  view.setUint16(2, near(), true);
  view.setUint16(4, rng.pick([0, 1, 8, 20, 1000, 65_535]), true);
  view.setUint16(6, near(), true);
  view.setUint16(8, rng.pick([0, 2, 6, 16, near()]), true);
  return { ifindex, bytes, label: `header ${Buffer.from(bytes.subarray(0, 10)).toString('hex')}: ${label}` };
}

function portFrame(rng: Rng, world: World): { readonly ifindex: number; readonly frame: Uint8Array; readonly label: string } {
  for (;;) {
    const generated = generateFrame(rng, world);
    if (generated.program === 'from_port') return generated;
  }
}

/** One frame in six: something changed after all was right. */
function lie(rng: Rng, world: World, frame: Uint8Array): string {
  return rng.oneIn(6) ? `; ${mutate(rng, world, frame, 0)}` : '';
}

/** TCP or UDP from the port to somewhere in its network, mostly where it may go; the transport checksum holds the pseudo header's sum. */
function build(rng: Rng, world: World, port: WorldPort, payloadBytes: number): Built {
  const isIpv6 = port.cas6.length > 0 && rng.oneIn(2);
  const others = world.members.filter(
    ({ subnet, cas6, mac }) => subnet.tenant === port.subnet.tenant && mac !== port.mac && (!isIpv6 || cas6.length > 0),
  );
  const member = rng.pick(others);
  const routed = isIpv6 ? world.routed6 : world.routed4;
  const isElsewhere = rng.oneIn(8);
  const destination = isElsewhere ? rng.pick(routed) : rng.pick(isIpv6 ? member.cas6 : member.cas4);
  const isSwitched = !isElsewhere && member.subnet === port.subnet && !rng.oneIn(3);
  const destinationMac = isSwitched ? member.mac : gatewayMac(port.subnet.vsid);
  const isSpoofed = rng.oneIn(20);
  const source = isSpoofed ? rng.pick(isIpv6 ? world.addresses6 : world.addresses4) : rng.pick(isIpv6 ? port.cas6 : port.cas4);
  const isSame = isIpv4Mapped(source) === !isIpv6;
  const ends = { source: isSame ? source : destination, destination };
  const isTcp = rng.oneIn(2);
  const options = isTcp && rng.oneIn(2) ? TCP_TIMESTAMPS : NO_BYTES;
  const ttl = rng.oneIn(12) ? rng.pick([0, 1, 2]) : 64;
  const ecn = rng.below(4);
  const ipOptions = !isIpv6 && rng.oneIn(12) ? IP_NO_OPERATIONS : NO_BYTES;
  const data = PAYLOAD.subarray(0, payloadBytes);
  const ports = { sourcePort: 1024 + rng.below(60_000), destinationPort: 1024 + rng.below(60_000) };
  const flags = rng.pick([0x10, 0x18, 0x19, 0x90, 0x98, 0x11]);
  const l4 = isTcp
    ? buildTcp({ ...ends, ...ports, flags, options, sequence: rng.next(), acknowledgment: 1 }, data)
    : buildUdp({ ...ends, ...ports }, data);
  const protocol = isTcp ? IP_PROTOCOL.tcp : IP_PROTOCOL.udp;
  const packet = isIpv6
    ? buildIpv6({ ...ends, nextHeader: protocol, hopLimit: ttl, trafficClass: ecn }, l4)
    : buildIpv4({ ...ends, protocol, ttl, ecn, identification: rng.below(65_536), dontFragment: true, options: ipOptions }, l4);
  const type = isIpv6 ? ETHER_TYPE.ipv6 : ETHER_TYPE.ipv4;
  const frame = buildEthernet({ destination: destinationMac, source: port.mac, type }, packet);
  const l4Offset = frame.length - l4.length;
  const built = {
    frame,
    l4Offset,
    l4HeaderBytes: l4.length - data.length,
    isTcp,
    isIpv6,
    label: `${isTcp ? 'TCP' : 'UDP'} of ${payloadBytes} over IPv${isIpv6 ? 6 : 4}, ${isSwitched ? 'switched' : 'routed'}${isSpoofed ? ', spoofed' : ''}`,
  };
  setU16(frame, l4Offset + (isTcp ? 16 : 6), foldSum(pseudoSum(built)));
  return built;
}

function pseudoSum({ frame, l4Offset, isTcp, isIpv6 }: Pick<Built, 'frame' | 'l4Offset' | 'isTcp' | 'isIpv6'>): number {
  const protocol = isTcp ? IP_PROTOCOL.tcp : IP_PROTOCOL.udp;
  const length = frame.length - l4Offset;
  return isIpv6 ? pseudoHeaderSum6(frame, 22, frame, 38, protocol, length) : pseudoHeaderSum4(frame, 26, frame, 30, protocol, length);
}

function finishChecksum(built: Built): void {
  const { frame, l4Offset, isTcp } = built;
  const offload = { checksumStart: l4Offset, checksumOffset: isTcp ? 16 : 6 };
  completeChecksum(frame, { ...NONE, ...offload });
}
