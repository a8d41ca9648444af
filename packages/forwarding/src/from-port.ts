import { DropReason } from '@weft/model';
import {
  describeFrame,
  ETHER_TYPE,
  ETHERNET_HEADER_BYTES,
  formatIp,
  getU16,
  IP_PROTOCOL,
  isIpv4Mapped,
  isUnspecifiedIp,
  macEquals,
} from '@weft/packet';
import { judgeArp } from './arp.ts';
import type { ForwardingContext } from './context.ts';
import { checkEtherType } from './ether-type.ts';
import { forward } from './forward.ts';
import { home, isNotUnicast, livesAt, usesLinkLocal } from './home.ts';
import { type InnerPacket, readInnerPacket } from './inner-packet.ts';
import { isNeighborDiscovery, judgeNeighborDiscovery } from './neighbor-discovery.ts';
import { dropFor, type PortFrame } from './port-frame.ts';
import { type ForwardingTables, PortFlag } from './tables.ts';
import { TracedTables } from './trace.ts';
import { drop, effectiveGso, type Gso, type Verdict } from './verdict.ts';

/** A frame that a VM sent. */
export interface PortInput {
  /** Device it came in by. */
  readonly ifindex: number;
  /** From the destination MAC on; not changed, and not kept after the call unless the verdict says so. */
  readonly frame: Uint8Array;
  readonly gso?: Gso | undefined;
  /** True if the kernel took a VLAN tag off and keeps it as metadata. */
  readonly tagged?: boolean;
}

const DHCP4_SERVER = 67;
const DHCP4_CLIENT = 68;
const DHCP6_SERVER = 547;
const DHCP6_CLIENT = 546;

/**
 * Decides about a frame from a VM: who sent it, whether it may, and where it goes. Pure: equal input, tables and time give an equal
 * verdict. Never throws on a frame's contents.
 * @see docs/datapath-contract.md section 4, whose order of checks this is
 */
export function fromPort(tables: ForwardingTables, input: PortInput, context: ForwardingContext): Verdict {
  const { trace } = context;
  if (trace === undefined) return judge(tables, input, context);
  trace.note('frame', `from device ${input.ifindex}`, describeFrame(input.frame));
  const verdict = judge(new TracedTables(tables, trace), input, context);
  trace.conclude(verdict);
  return verdict;
}

function judge(tables: ForwardingTables, input: PortInput, context: ForwardingContext): Verdict {
  const { ifindex, frame } = input;
  const port = tables.port(ifindex);
  if (port === undefined) return drop(DropReason.NO_PORT, 0);
  if ((port.flags & PortFlag.READY) === 0) return drop(DropReason.PORT_NOT_READY, port.vsid);
  if (port.networkId === 0) return drop(DropReason.NO_PORT, port.vsid);
  const gso = effectiveGso(input.gso);
  const from: PortFrame = { tables, context, ifindex, port, frame, gso };

  if (frame.length < ETHERNET_HEADER_BYTES) return dropFor(from, DropReason.TRUNCATED_ETHERNET);
  const type = getU16(frame, 12);
  const fault = checkEtherType(type, input.tagged === true);
  if (fault !== DropReason.NONE) return dropFor(from, fault);
  if (!macEquals(frame, port.mac, 6)) return dropFor(from, DropReason.SOURCE_MAC_SPOOFED);
  if (type === ETHER_TYPE.arp) return judgeArp(from);
  if (type !== ETHER_TYPE.ipv4 && type !== ETHER_TYPE.ipv6) return dropFor(from, DropReason.ETHERTYPE_NOT_ALLOWED);

  const packet = readInnerPacket(frame, 0, frame.length, gso !== undefined);
  if (typeof packet === 'number') return dropFor(from, packet);
  if (isNeighborDiscovery(frame, packet)) return judgeNeighborDiscovery(from, packet);
  const reason = packet.isIpv6 ? checkSource6(packet) : checkSource4(packet);
  if (reason !== DropReason.NONE) return dropFor(from, reason);
  const isHere = livesAt(home(tables, port.networkId, packet.source), ifindex);
  context.trace?.note('identity', formatIp(packet.source), isHere ? 'lives at this port' : 'does not live at this port');
  if (!isHere) return dropFor(from, DropReason.SOURCE_ADDRESS_SPOOFED);
  if (isNotUnicast(frame, 0, packet)) return dropFor(from, DropReason.NOT_UNICAST);
  return forward(from, packet);
}

/** What no look-up is needed for: DHCP and an unspecified source. Ports are 0 in fragments. */
function checkSource4(packet: InnerPacket): DropReason {
  const isUdp = packet.protocol === IP_PROTOCOL.udp;
  if (isUnspecifiedIp(packet.source)) {
    const isDhcp = isUdp && packet.sourcePort === DHCP4_CLIENT && packet.destinationPort === DHCP4_SERVER;
    return isDhcp ? DropReason.DHCP_NOT_SERVED : DropReason.SOURCE_ADDRESS_SPOOFED;
  }
  const isServer = isUdp && packet.sourcePort === DHCP4_SERVER && packet.destinationPort === DHCP4_CLIENT;
  return isServer ? DropReason.DHCP_SERVER_NOT_ALLOWED : DropReason.NONE;
}

/** An IPv4-mapped source would pass for the IPv4 address of that record. */
function checkSource6(packet: InnerPacket): DropReason {
  if (isUnspecifiedIp(packet.source) || isIpv4Mapped(packet.source)) return DropReason.SOURCE_ADDRESS_SPOOFED;
  if (usesLinkLocal(packet)) return DropReason.LINK_LOCAL_NOT_FORWARDED;
  const isServer = packet.protocol === IP_PROTOCOL.udp && packet.sourcePort === DHCP6_SERVER && packet.destinationPort === DHCP6_CLIENT;
  return isServer ? DropReason.DHCP_SERVER_NOT_ALLOWED : DropReason.NONE;
}
