import {
  buildArpFrame,
  buildTcpFrame,
  buildUdpFrame,
  buildVxlanFrame,
  internetChecksum,
  isUnspecifiedIp,
  parseIp,
  parseMac,
  setU16,
} from '@weft/packet';
import { gatewayMac } from '../gateway-mac.ts';
import { TargetKind } from '../tables.ts';
import type { NamedFrame } from './port-frames.ts';
import { SHAPES, type Shape, shapeFrame } from './shapes.ts';
import type { World, WorldMember } from './world.ts';

/** Outer addresses of underlay frames: the MACs mean nothing to the decision. */
const OUTER_SOURCE_MAC = parseMac('02:00:00:00:aa:01');
const OUTER_DESTINATION_MAC = parseMac('02:00:00:00:aa:02');

/** A tunnel frame to this host, as `from` would send it. */
export interface TunnelFields {
  readonly source: Uint8Array;
  readonly destination: Uint8Array;
  readonly vni: number;
  readonly udpPort?: number;
  /** Outer ECN bits; default 0. */
  readonly ecn?: number;
}

/** Encapsulates `inner`: a frame as it arrives at the underlay device. */
export function tunnelFrame(fields: TunnelFields, inner: Uint8Array): Uint8Array {
  const { source, destination, vni, udpPort = 4789, ecn = 0 } = fields;
  const frame = buildVxlanFrame(
    { source, destination, sourceMac: OUTER_SOURCE_MAC, destinationMac: OUTER_DESTINATION_MAC, vni, destinationPort: udpPort },
    inner,
  );
  frame[15] = ecn;
  setU16(frame, 24, 0);
  setU16(frame, 24, internetChecksum(frame, 14, 20));
  return frame;
}

/** Tunnel frames that peers send to this world's ports (first hand, second hand, for ports that moved) and what else an underlay has. */
export function underlayFrames(world: World): NamedFrame[] {
  return [...peerFrames(world), ...strangeFrames(world)];
}

function peerFrames(world: World): NamedFrame[] {
  const frames: NamedFrame[] = [];
  let turn = 0;
  const destinations = world.members.filter(({ target }) => target.kind === TargetKind.LOCAL || target.kind === TargetKind.REDIRECT);
  for (const destination of destinations) {
    for (const origin of originsOf(world, destination.subnet.tenant)) {
      for (const to of [destination.cas4, destination.cas6]) {
        const shape = SHAPES[turn % SHAPES.length]!;
        const frame = fromPeer(world, origin, destination, to[0], shape, turn++ % 4);
        if (frame !== undefined) frames.push(frame);
      }
    }
  }
  return frames;
}

/** Where frames come from: a member's own address, or one that is routed by way of it; from one provider address. */
interface Origin {
  readonly kind: string;
  readonly member: WorldMember;
  readonly sources: readonly Uint8Array[];
  readonly pa: Uint8Array;
}

function originsOf(world: World, tenant: number): Origin[] {
  const origins: Origin[] = [];
  const shards = new Map(
    world.changes.flatMap((change) => (change.table === 'shard' && change.op === 'put' ? [[change.key.id, change.value]] : [])),
  );
  const add = (kind: string, member: WorldMember, sources: readonly Uint8Array[], pa: Uint8Array | undefined): void => {
    if (pa !== undefined && !isUnspecifiedIp(pa)) origins.push({ kind, member, sources, pa });
  };
  for (const member of world.members) {
    if (member.subnet.tenant !== tenant) continue;
    const { target, cas4, cas6 } = member;
    const own = [...cas4, ...cas6];
    if (target.kind === TargetKind.SHARD) {
      const shard = shards.get(target.ifindexOrShard);
      const outside = [parseIp('198.51.100.7'), parseIp('2a00::7')];
      add('from the gateway', member, outside, shard?.pa);
      add('from the gateway before', member, outside, shard?.prevPa);
      add('of the gateway itself', member, own, shard?.pa);
      continue;
    }
    add('first hand', member, own, target.pa);
    add('second hand', member, own, target.prevPa);
    add('from elsewhere', member, own, world.peers[origins.length % world.peers.length]);
    if (cas4[0]?.[15] === 30) add('behind a router', member, [parseIp('172.17.1.1'), parseIp('2001:db8:17::1')], target.pa);
  }
  add('from nobody', world.members[0]!, [parseIp('192.0.2.200'), parseIp('fd00::1')], world.peers[0]);
  return origins;
}

function fromPeer(
  world: World,
  origin: Origin,
  destination: WorldMember,
  to: Uint8Array | undefined,
  shape: Shape,
  ecn: number,
): NamedFrame | undefined {
  if (to === undefined) return undefined;
  const isIpv4 = to === destination.cas4[0];
  const source = origin.sources.find((ca) => (ca[10] === 0xff && ca[0] === 0) === isIpv4);
  if (source === undefined) return undefined;
  const { vsid } = destination.subnet;
  const sourceMac = origin.member.subnet === destination.subnet ? origin.member.mac : gatewayMac(vsid);
  const inner = shapeFrame(shape, { sourceMac, destinationMac: destination.mac, source, destination: to });
  const where = destination.target.kind === TargetKind.LOCAL ? 'to a port' : 'to a port that moved';
  const frame = tunnelFrame({ source: origin.pa, destination: world.pa, vni: vsid, udpPort: world.udpPort, ecn }, inner);
  return { label: `${shape} ${origin.kind} ${where}`, frame };
}

/** What is not a sound tunnel frame: the host's own traffic, and tunnel frames broken on the outside. */
function strangeFrames(world: World): NamedFrame[] {
  const sound = peerFrames(world)[0]?.frame ?? new Uint8Array(64);
  const peer = world.peers[0]!;
  const ends = { sourceMac: OUTER_SOURCE_MAC, destinationMac: OUTER_DESTINATION_MAC, source: peer, destination: world.pa };
  const bent = (label: string, bend: (frame: Uint8Array) => void): NamedFrame => {
    const frame = sound.slice();
    bend(frame);
    return { label, frame };
  };
  const withOptions = new Uint8Array(sound.length + 4);
  withOptions.set(sound.subarray(0, 34));
  withOptions.set(sound.subarray(34), 38);
  withOptions[14] = 0x46;
  setU16(withOptions, 16, sound.length - 14 + 4);
  return [
    { label: 'arp of the host', frame: buildArpFrame({ operation: 1, senderMac: OUTER_SOURCE_MAC, senderIp: peer, targetIp: world.pa }) },
    { label: 'tcp to the host', frame: buildTcpFrame({ ...ends, sourcePort: 50000, destinationPort: 22 }) },
    { label: 'udp to another port', frame: buildUdpFrame({ ...ends, sourcePort: 50000, destinationPort: 53 }, new Uint8Array(8)) },
    {
      label: 'short tunnel packet',
      frame: buildUdpFrame({ ...ends, sourcePort: 50000, destinationPort: world.udpPort }, new Uint8Array(8)),
    },
    {
      label: 'ipv6 to the host',
      frame: buildUdpFrame({ ...ends, source: 'fd00::2', destination: 'fd00::1', sourcePort: 1, destinationPort: 2 }),
    },
    { label: 'outer options', frame: withOptions },
    bent('to another host', (frame) => frame.set([192, 0, 2, 77], 30)),
    bent('outer first fragment', (frame) => frame.set([0x20, 0], 20)),
    bent('outer later fragment', (frame) => frame.set([0, 5], 20)),
    bent('i flag clear', (frame) => frame.set([0], 42)),
    bent('reserved bits set', (frame) => frame.set([0xff, 1, 2, 3], 42)),
  ];
}
