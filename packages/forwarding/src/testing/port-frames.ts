import {
  ARP_OPERATION,
  buildArpFrame,
  buildEthernet,
  buildIcmpv6,
  buildIpv6,
  buildIpv6Fragment,
  buildNeighborAdvertisementFrame,
  buildNeighborSolicitation,
  buildNeighborSolicitationFrame,
  buildUdpFrame,
  ETHER_TYPE,
  IP_PROTOCOL,
  multicastMacOf,
  parseIp,
  solicitedNodeAddress,
} from '@weft/packet';
import { gatewayMac } from '../gateway-mac.ts';
import { SHAPES, type ShapeEnds, shapeFrame } from './shapes.ts';
import type { World, WorldPort, WorldSubnet } from './world.ts';

/** A frame and what it is meant to be, e.g. `udp to a peer`. */
export interface NamedFrame {
  readonly frame: Uint8Array;
  readonly label: string;
}

const UNSPECIFIED4 = parseIp('0.0.0.0');
const UNSPECIFIED6 = parseIp('::');
const LINK_LOCAL = parseIp('fe80::10');
const ALL_NODES = parseIp('ff02::1');
const ALL_ROUTERS = parseIp('ff02::2');
const BROADCAST = parseIp('255.255.255.255');
const UNUSED4 = parseIp('10.0.0.251');
const UNUSED6 = parseIp('2001:db8::251');
const SHAPES_PER_DESTINATION = 3;

/** Every kind of frame that a sound VM may send from `port`, to everywhere in its world. */
export function portFrames(world: World, port: WorldPort): NamedFrame[] {
  return [...arpFrames(world, port), ...neighborFrames(world, port), ...dhcpFrames(port), ...ipFrames(world, port)];
}

function arpFrames(world: World, port: WorldPort): NamedFrame[] {
  const senderIp = port.cas4[0]!;
  const request = (label: string, targetIp: Uint8Array, sender: Uint8Array = senderIp): NamedFrame => ({
    label: `arp ${label}`,
    frame: buildArpFrame({ operation: ARP_OPERATION.request, senderMac: port.mac, senderIp: sender, targetIp }),
  });
  const neighbors = world.members.filter((member) => member.subnet === port.subnet);
  const padded = new Uint8Array(60);
  padded.set(request('', neighbors[0]!.cas4[0]!).frame);
  return [
    ...neighbors.flatMap(({ cas4 }) => cas4.map((ca) => request('request', ca))),
    ...gatewaysOf(port.subnet).map((gateway) => request('request for the gateway', gateway)),
    request('request for nobody', UNUSED4),
    request('probe', neighbors[0]!.cas4[0]!, UNSPECIFIED4),
    request('probe of the own address', senderIp, UNSPECIFIED4),
    request('announcement', senderIp),
    { label: 'arp padded', frame: padded },
    {
      label: 'arp reply',
      frame: buildArpFrame({
        operation: ARP_OPERATION.reply,
        senderMac: port.mac,
        senderIp,
        targetMac: neighbors[0]!.mac,
        targetIp: neighbors[0]!.cas4[0]!,
      }),
    },
  ];
}

function neighborFrames(world: World, port: WorldPort): NamedFrame[] {
  const { mac } = port;
  const source = port.cas6[0] ?? LINK_LOCAL;
  const targets = world.members.filter((member) => member.subnet === port.subnet).flatMap(({ cas6 }) => cas6);
  const { gateway6 } = port.subnet;
  const some = gateway6 ?? UNUSED6;
  const ask = (label: string, from: Uint8Array, target: Uint8Array, hasOption: boolean): NamedFrame => ({
    label: `ns ${label}`,
    frame: buildNeighborSolicitationFrame({ sourceMac: mac, source: from, target, ...(hasOption ? { sourceLinkLayerAddress: mac } : {}) }),
  });
  const icmp = (label: string, type: number, body: Uint8Array, destination = ALL_NODES): NamedFrame => {
    const message = buildIcmpv6({ type, code: 0, source, destination }, body);
    return { label, frame: icmpFrame(mac, source, destination, message) };
  };
  return [
    ...targets.map((target) => ask('request', source, target, true)),
    ask('for the gateway', source, some, true),
    ask('for nobody', source, UNUSED6, true),
    ask('without option', source, some, false),
    ask('from the link-local address', LINK_LOCAL, some, true),
    ask('probe', UNSPECIFIED6, some, false),
    solicitation('ns with nonce', mac, source, some, [nonceOption()]),
    solicitation('ns with both options', mac, source, some, [macOption(mac), nonceOption()]),
    solicitation('ns with two addresses', mac, source, some, [macOption(mac), macOption(mac)]),
    { label: 'ns in a fragment', frame: fragmentedSolicitation(mac, source, some) },
    icmp('rs', 133, new Uint8Array(0), ALL_ROUTERS),
    icmp('ra', 134, new Uint8Array(8)),
    icmp('nd redirect', 137, new Uint8Array(32)),
    {
      label: 'na',
      frame: buildNeighborAdvertisementFrame({
        sourceMac: mac,
        destinationMac: multicastMacOf(ALL_NODES),
        source,
        destination: ALL_NODES,
        target: source,
        targetLinkLayerAddress: mac,
        isOverride: true,
      }),
    },
  ];
}

function dhcpFrames(port: WorldPort): NamedFrame[] {
  const udp = (label: string, source: Uint8Array, destination: Uint8Array, sourcePort: number, destinationPort: number): NamedFrame => ({
    label,
    frame: buildUdpFrame(
      { sourceMac: port.mac, destinationMac: new Uint8Array(6).fill(0xff), source, destination, sourcePort, destinationPort },
      new Uint8Array(16),
    ),
  });
  return [
    udp('dhcp client', UNSPECIFIED4, BROADCAST, 68, 67),
    udp('dhcp server', port.cas4[0]!, BROADCAST, 67, 68),
    ...port.cas6.map((source) => udp('dhcpv6 server', source, ALL_NODES, 547, 546)),
  ];
}

/** To each address there is, by its MAC address where it is in the subnet and by the gateway always; shapes take turns. */
function ipFrames(world: World, port: WorldPort): NamedFrame[] {
  const frames: NamedFrame[] = [];
  const gateway = gatewayMac(port.subnet.vsid);
  let turn = 0;
  const add = (kind: string, source: Uint8Array | undefined, destination: Uint8Array, destinationMac: Uint8Array): void => {
    if (source === undefined) return;
    for (let i = 0; i < SHAPES_PER_DESTINATION; i++) {
      const shape = SHAPES[turn++ % SHAPES.length]!;
      const ends: ShapeEnds = { sourceMac: port.mac, destinationMac, source, destination };
      frames.push({ label: `${shape} ${kind}`, frame: shapeFrame(shape, ends) });
    }
  };
  const sources4 = [...port.cas4, ...(isRouter(world, port) ? [parseIp('172.16.1.1')] : [])];
  const sources6 = [...port.cas6, ...(isRouter(world, port) ? [parseIp('2001:db8:16::1')] : [])];
  const next = (from: readonly Uint8Array[]): Uint8Array | undefined => from[turn % Math.max(1, from.length)];
  for (const member of world.members) {
    if (member.subnet.tenant !== port.subnet.tenant) continue;
    const isSwitched = member.subnet === port.subnet;
    for (const ca of member.cas4) {
      if (isSwitched) add('switched', next(sources4), ca, member.mac);
      add('routed', next(sources4), ca, gateway);
    }
    for (const ca of member.cas6) {
      if (isSwitched) add('switched', next(sources6), ca, member.mac);
      add('routed', next(sources6), ca, gateway);
    }
  }
  for (const destination of world.routed4) add('routed', next(sources4), destination, gateway);
  for (const destination of world.routed6) add('routed', next(sources6), destination, gateway);
  for (const subnet of world.subnets) {
    if (subnet.tenant !== port.subnet.tenant) continue;
    for (const address of gatewaysOf(subnet)) add('to a gateway', next(sources4), address, gateway);
    if (subnet.gateway6 !== undefined) add('to a gateway', next(sources6), subnet.gateway6, gateway);
  }
  const ping = (source: Uint8Array | undefined, destination: Uint8Array | undefined): void => {
    if (source === undefined || destination === undefined) return;
    const ends = { sourceMac: port.mac, destinationMac: gateway, source, destination };
    frames.push({ label: 'echo to the own gateway', frame: shapeFrame('echo', ends) });
  };
  ping(port.cas4[0], port.subnet.gateway4);
  ping(port.cas6[0], port.subnet.gateway6);
  return frames;
}

function isRouter(world: World, port: WorldPort): boolean {
  return port.subnet.index === 0 && world.ports.find(({ subnet }) => subnet === port.subnet) === port;
}

function gatewaysOf(subnet: WorldSubnet): Uint8Array[] {
  return subnet.gateway4 === undefined ? [] : [subnet.gateway4];
}

function macOption(mac: Uint8Array): Uint8Array {
  return Uint8Array.of(1, 1, ...mac);
}

function nonceOption(): Uint8Array {
  return Uint8Array.of(14, 1, 1, 2, 3, 4, 5, 6);
}

function solicitation(label: string, mac: Uint8Array, source: Uint8Array, target: Uint8Array, options: readonly Uint8Array[]): NamedFrame {
  const body = Uint8Array.of(...target, ...options.flatMap((option) => [...option]));
  const destination = solicitedNodeAddress(target);
  return { label, frame: icmpFrame(mac, source, destination, buildIcmpv6({ type: 135, code: 0, source, destination }, body)) };
}

function fragmentedSolicitation(mac: Uint8Array, source: Uint8Array, target: Uint8Array): Uint8Array {
  const destination = solicitedNodeAddress(target);
  const message = buildNeighborSolicitation({ source, target, sourceLinkLayerAddress: mac });
  const fragment = buildIpv6Fragment(
    { nextHeader: IP_PROTOCOL.icmpv6, fragmentOffset: 0, moreFragments: true, identification: 1 },
    message,
  );
  const packet = buildIpv6({ source, destination, nextHeader: IP_PROTOCOL.fragment, hopLimit: 255 }, fragment);
  return buildEthernet({ destination: multicastMacOf(destination), source: mac, type: ETHER_TYPE.ipv6 }, packet);
}

function icmpFrame(mac: Uint8Array, source: Uint8Array, destination: Uint8Array, message: Uint8Array): Uint8Array {
  const packet = buildIpv6({ source, destination, nextHeader: IP_PROTOCOL.icmpv6, hopLimit: 255 }, message);
  return buildEthernet({ destination: multicastMacOf(destination), source: mac, type: ETHER_TYPE.ipv6 }, packet);
}
