// Made from proto/weft/v1/drop_reason.proto by scripts/generate-reasons.mjs.

/** Why a frame was dropped: name to number, as on the wire and in the kernel's counters. */
export const DropReason = {
  /** Nothing was dropped. */
  NONE: 0,
  /** The device has Weft's program but no entry in the port table. */
  NO_PORT: 1,
  /** The port is being set up or torn down. */
  PORT_NOT_READY: 2,
  /** Fewer than 14 bytes. */
  TRUNCATED_ETHERNET: 3,
  /** The frame carries a VLAN tag (also VLAN 0 and stacked tags). */
  VLAN_TAG_NOT_ALLOWED: 4,
  /** An 802.3 frame with LLC/SNAP (type field below 0x0600), for example spanning tree. */
  LLC_NOT_ALLOWED: 5,
  /** The source MAC is not the port's. */
  SOURCE_MAC_SPOOFED: 6,
  /** Not ARP, IPv4 or IPv6. */
  ETHERTYPE_NOT_ALLOWED: 7,
  /** ARP of fewer than 28 bytes. */
  TRUNCATED_ARP: 8,
  /** ARP that is not Ethernet/IPv4. */
  MALFORMED_ARP: 9,
  /** The ARP sender fields are not this port's MAC and address. */
  ARP_SENDER_SPOOFED: 10,
  /** An ARP reply; nobody asks VMs, Weft answers from its tables. */
  ARP_NOT_A_REQUEST: 11,
  /** A gratuitous ARP, taken note of and dropped; Weft knows already. */
  ARP_ANNOUNCEMENT: 12,
  /** ARP for an address that no bound port of the subnet has. */
  ARP_TARGET_UNKNOWN: 13,
  /** The frame is shorter than its IPv4 header or total length says. */
  TRUNCATED_IPV4: 14,
  /** IPv4 version, header length or total length make no sense. */
  MALFORMED_IPV4: 15,
  /** The frame is shorter than its IPv6 header or payload length says. */
  TRUNCATED_IPV6: 16,
  /** IPv6 version or payload length make no sense (also jumbograms). */
  MALFORMED_IPV6: 17,
  /** An IPv6 extension header other than a fragment header. */
  IPV6_EXTENSION_NOT_ALLOWED: 18,
  /** TCP, UDP or ICMP header cut short. */
  TRUNCATED_L4: 19,
  /** TCP data offset makes no sense. */
  MALFORMED_TCP: 20,
  /** A TCP fragment that would overlap the header (RFC 3128). */
  TINY_FRAGMENT: 21,
  /** A DHCP request; this version serves none. */
  DHCP_NOT_SERVED: 22,
  /** The VM answers DHCP. */
  DHCP_SERVER_NOT_ALLOWED: 23,
  /** The source address does not live at this port. */
  SOURCE_ADDRESS_SPOOFED: 24,
  /** Multicast, broadcast, loopback or unspecified destination. */
  NOT_UNICAST: 25,
  /** IPv6 link-local traffic other than neighbour discovery. */
  LINK_LOCAL_NOT_FORWARDED: 26,
  /** Neighbour discovery in a fragment (RFC 6980). */
  ND_FRAGMENTED: 27,
  /** Neighbour discovery that RFC 4861 section 7.1 refuses. */
  MALFORMED_ND: 28,
  /** The neighbour solicitation's source or link-layer option is not this port's. */
  ND_SENDER_SPOOFED: 29,
  /** Solicitation for an address that no bound port of the subnet has. */
  ND_TARGET_UNKNOWN: 30,
  /** Duplicate address detection; left without answer, so it succeeds. */
  ND_DAD_PROBE: 31,
  /** A neighbour advertisement; nobody asks VMs. */
  ND_ADVERTISEMENT: 32,
  /** A router solicitation; this version sends no advertisements. */
  ND_ROUTER_SOLICITATION: 33,
  /** The VM claims to be a router. */
  ROUTER_ADVERTISEMENT_NOT_ALLOWED: 34,
  /** The VM sends ICMPv6 redirects. */
  ND_REDIRECT_NOT_ALLOWED: 35,
  /** No port of the subnet has the destination MAC. */
  UNKNOWN_DESTINATION_MAC: 36,
  /** No customer route of the network covers the destination. */
  NO_ROUTE: 37,
  /** A route of unknown kind: zero means deny. */
  ROUTE_DENIED: 38,
  /** A blackhole customer route. */
  ROUTE_BLACKHOLE: 39,
  /** The destination lies in a subnet of the network, but no bound port has it. */
  UNKNOWN_DESTINATION: 40,
  /** The customer route's next hop is no bound port. */
  NEXT_HOP_UNKNOWN: 41,
  /** TTL or hop limit used up; the sender was told. */
  TTL_EXCEEDED: 42,
  /** Larger than the tenant MTU; the sender was told which size fits. */
  PACKET_TOO_BIG: 43,
  /** A VM sent a frame to itself through the network. */
  DESTINATION_IS_SOURCE: 44,
  /** Something else than a ping sent to the subnet's gateway address. */
  GATEWAY_NO_SERVICE: 45,
  /** The gateway shard has no owner. */
  NO_GATEWAY_OWNER: 46,
  /** The record names no usable provider address. */
  NO_PEER: 47,
  /** Encapsulated, the frame would exceed 65,535 bytes. */
  FRAME_TOO_LARGE: 48,
  /** A tunnel packet in fragments. */
  OUTER_FRAGMENT: 49,
  /** A tunnel packet whose Ethernet destination is another machine. */
  OUTER_NOT_FOR_US: 50,
  /** A tunnel packet with outer IP options. */
  OUTER_OPTIONS: 51,
  /** A tunnel packet shorter than its outer header says. */
  TRUNCATED_OUTER: 52,
  /** A tunnel packet without room for VXLAN and an Ethernet header. */
  TRUNCATED_TUNNEL_HEADER: 53,
  /** VXLAN without the I flag (RFC 7348 section 5). */
  VXLAN_VNI_FLAG_CLEAR: 54,
  /** A tunnel frame that did not come through the underlay check. */
  NOT_FROM_UNDERLAY: 55,
  /** No virtual subnet of this host has that VNI. */
  UNKNOWN_VSID: 56,
  /** The sender's provider address has no part in this network. */
  UNKNOWN_PEER: 57,
  /** The inner source address does not live at the host that sent the frame. */
  SOURCE_NOT_AT_THIS_PEER: 58,
  /** The inner source MAC is neither the gateway's nor that of the address. */
  SOURCE_MAC_NOT_AT_THIS_PEER: 59,
  /** No port of this host has the inner destination MAC in that subnet. */
  NO_LOCAL_PORT: 60,
  /** A frame that was sent on once already. */
  REDIRECT_LOOP: 61,
  /** Neighbour discovery inside the tunnel; it is answered on the sender's host. */
  ND_NOT_TUNNELLED: 62,
  /** Congestion was marked on a packet that can't carry the mark (RFC 6040). */
  ECN_CE_ON_NOT_ECT: 63,
  /** The kernel refused to grow, shrink or redirect the frame. */
  KERNEL_REFUSED: 64,
  /** The sender asks for its checksum to be written over addresses or ports that were checked. */
  CHECKSUM_OFFLOAD_MISPLACED: 65,
  /** The gateway has no such network, or it belongs to another shard. */
  GATEWAY_NETWORK_UNKNOWN: 66,
  /** This gateway does not own the network's shard, or its ownership has run out. */
  GATEWAY_NOT_OWNER: 67,
  /** Sent to the gateway for an address inside the same network. */
  GATEWAY_HAIRPIN_INSIDE: 68,
  /** The network may not reach the outside by this address family. */
  GATEWAY_OUTSIDE_DENIED: 69,
  /** The other network does not peer back, or is in another shard. */
  PEERING_NOT_ACCEPTED: 70,
  /** The source's rule denies the outside, or the address that the packet would leave by is somebody else's (by now). */
  SOURCE_RULE_DENIED: 71,
  /** Prefix translation has no counterpart of this address (RFC 6296 section 3.5). */
  NPT_NOT_TRANSLATABLE: 72,
  /** No external route of the segment covers the destination. */
  EXTERNAL_NO_ROUTE: 73,
  /** Another machine on the segment claims one of our external addresses. */
  EXTERNAL_ADDRESS_CONFLICT: 74,
  /** From the outside with a source that can't be there: a group, loopback, nothing, or one of our own external addresses. */
  EXTERNAL_SOURCE_INVALID: 75,
  /** To an external address that serves nothing. */
  EXTERNAL_ADDRESS_DENIED: 76,
  /** An ICMP error whose quoted packet is cut short, or is not one that the other side can have got. */
  ICMP_QUOTE_INVALID: 77,
  /** Neither TCP, UDP nor a ping; it has no port to map. */
  NAT_PROTOCOL_NOT_SUPPORTED: 78,
  /** A TCP segment of no known flow that does not begin one. */
  NAT_TCP_NOT_SYN: 79,
  /** The network has as many flows as its quota allows, or the gateway's table is nearly full and it has more than its share. */
  NAT_FLOW_QUOTA: 80,
  /** The network has as many port blocks as its quota allows, or the pool is nearly used up and it has more than its share. */
  NAT_BLOCK_QUOTA: 81,
  /** The network sends more new flows a second than its quota allows. */
  NAT_RATE_QUOTA: 82,
  /** No address of the pool has a free block of ports in this member's slice. */
  NAT_PORTS_EXHAUSTED: 83,
  /** The source's pool is not known to this gateway. */
  NAT_POOL_UNKNOWN: 84,
  /** From a remote address or port that the mapping has no session with (RFC 4787 REQ-8). */
  NAT_FILTERED: 85,
  /** To an external port that nothing is mapped to. */
  NAT_NO_MAPPING: 86,
  /** A later fragment whose first one was not seen. */
  NAT_FRAGMENT_UNKNOWN: 87,
  /** A table of the address translation is full. */
  NAT_TABLE_FULL: 88,
  /** A gateway probe from a provider address that is no member of our groups. */
  PROBE_UNKNOWN_PEER: 89,
  /** A gateway probe cut short, or of an unknown kind. */
  PROBE_MALFORMED: 90,
} as const;

/** A drop reason's number. */
export type DropReason = (typeof DropReason)[keyof typeof DropReason];

/** One reason as an operator reads it. */
export interface DropReasonText {
  readonly name: string;
  /** What happened to the frame. */
  readonly what: string;
  /** What an operator does about it. */
  readonly operator: string;
}

/** Number to text, in the order of the numbers. */
export const dropReasonTexts: ReadonlyMap<number, DropReasonText> = new Map([
  [0, { name: 'NONE', what: 'Nothing was dropped.', operator: 'nothing.' }],
  [1, { name: 'NO_PORT', what: 'The device has Weft\'s program but no entry in the port table.', operator: 'bind the port (`weft port bind`), or remove the device.' }],
  [2, { name: 'PORT_NOT_READY', what: 'The port is being set up or torn down.', operator: 'wait; if it lasts, see `weft describe port`.' }],
  [3, { name: 'TRUNCATED_ETHERNET', what: 'Fewer than 14 bytes.', operator: 'the VM sends broken frames; look at its driver.' }],
  [4, { name: 'VLAN_TAG_NOT_ALLOWED', what: 'The frame carries a VLAN tag (also VLAN 0 and stacked tags).', operator: 'configure the VM\'s NIC untagged; the virtual subnet is the VLAN.' }],
  [5, { name: 'LLC_NOT_ALLOWED', what: 'An 802.3 frame with LLC/SNAP (type field below 0x0600), for example spanning tree.', operator: 'nothing, or turn the sender off in the VM.' }],
  [6, { name: 'SOURCE_MAC_SPOOFED', what: 'The source MAC is not the port\'s.', operator: 'the VM bridges, or forges; give it the port\'s MAC.' }],
  [7, { name: 'ETHERTYPE_NOT_ALLOWED', what: 'Not ARP, IPv4 or IPv6.', operator: 'nothing; only IP is carried.' }],
  [8, { name: 'TRUNCATED_ARP', what: 'ARP of fewer than 28 bytes.', operator: 'look at the VM\'s driver.' }],
  [9, { name: 'MALFORMED_ARP', what: 'ARP that is not Ethernet/IPv4.', operator: 'look at what the VM runs.' }],
  [10, { name: 'ARP_SENDER_SPOOFED', what: 'The ARP sender fields are not this port\'s MAC and address.', operator: 'the VM has an address the port lacks, or forges; compare with `weft describe port`.' }],
  [11, { name: 'ARP_NOT_A_REQUEST', what: 'An ARP reply; nobody asks VMs, Weft answers from its tables.', operator: 'nothing.' }],
  [12, { name: 'ARP_ANNOUNCEMENT', what: 'A gratuitous ARP, taken note of and dropped; Weft knows already.', operator: 'nothing.' }],
  [13, { name: 'ARP_TARGET_UNKNOWN', what: 'ARP for an address that no bound port of the subnet has.', operator: 'is the wanted port bound? `weft mappings`.' }],
  [14, { name: 'TRUNCATED_IPV4', what: 'The frame is shorter than its IPv4 header or total length says.', operator: 'look at the sender.' }],
  [15, { name: 'MALFORMED_IPV4', what: 'IPv4 version, header length or total length make no sense.', operator: 'look at the sender.' }],
  [16, { name: 'TRUNCATED_IPV6', what: 'The frame is shorter than its IPv6 header or payload length says.', operator: 'look at the sender.' }],
  [17, { name: 'MALFORMED_IPV6', what: 'IPv6 version or payload length make no sense (also jumbograms).', operator: 'look at the sender.' }],
  [18, { name: 'IPV6_EXTENSION_NOT_ALLOWED', what: 'An IPv6 extension header other than a fragment header.', operator: 'nothing; they are refused.' }],
  [19, { name: 'TRUNCATED_L4', what: 'TCP, UDP or ICMP header cut short.', operator: 'look at the sender.' }],
  [20, { name: 'MALFORMED_TCP', what: 'TCP data offset makes no sense.', operator: 'look at the sender.' }],
  [21, { name: 'TINY_FRAGMENT', what: 'A TCP fragment that would overlap the header (RFC 3128).', operator: 'an attack, or a broken stack.' }],
  [22, { name: 'DHCP_NOT_SERVED', what: 'A DHCP request; this version serves none.', operator: 'configure the VM\'s address statically.' }],
  [23, { name: 'DHCP_SERVER_NOT_ALLOWED', what: 'The VM answers DHCP.', operator: 'turn its DHCP server off.' }],
  [24, { name: 'SOURCE_ADDRESS_SPOOFED', what: 'The source address does not live at this port.', operator: 'give the VM its port\'s address, or the port the address; routers need a customer route.' }],
  [25, { name: 'NOT_UNICAST', what: 'Multicast, broadcast, loopback or unspecified destination.', operator: 'nothing; only unicast is carried.' }],
  [26, { name: 'LINK_LOCAL_NOT_FORWARDED', what: 'IPv6 link-local traffic other than neighbour discovery.', operator: 'nothing; it stays on the link.' }],
  [27, { name: 'ND_FRAGMENTED', what: 'Neighbour discovery in a fragment (RFC 6980).', operator: 'an attack.' }],
  [28, { name: 'MALFORMED_ND', what: 'Neighbour discovery that RFC 4861 section 7.1 refuses.', operator: 'look at the VM.' }],
  [29, { name: 'ND_SENDER_SPOOFED', what: 'The neighbour solicitation\'s source or link-layer option is not this port\'s.', operator: 'the VM has an address the port lacks, or forges.' }],
  [30, { name: 'ND_TARGET_UNKNOWN', what: 'Solicitation for an address that no bound port of the subnet has.', operator: 'is the wanted port bound? `weft mappings`.' }],
  [31, { name: 'ND_DAD_PROBE', what: 'Duplicate address detection; left without answer, so it succeeds.', operator: 'nothing.' }],
  [32, { name: 'ND_ADVERTISEMENT', what: 'A neighbour advertisement; nobody asks VMs.', operator: 'nothing.' }],
  [33, { name: 'ND_ROUTER_SOLICITATION', what: 'A router solicitation; this version sends no advertisements.', operator: 'configure the VM\'s IPv6 statically.' }],
  [34, { name: 'ROUTER_ADVERTISEMENT_NOT_ALLOWED', what: 'The VM claims to be a router.', operator: 'turn its router advertisements off.' }],
  [35, { name: 'ND_REDIRECT_NOT_ALLOWED', what: 'The VM sends ICMPv6 redirects.', operator: 'turn them off in the VM.' }],
  [36, { name: 'UNKNOWN_DESTINATION_MAC', what: 'No port of the subnet has the destination MAC.', operator: 'is the wanted port bound? `weft mappings`.' }],
  [37, { name: 'NO_ROUTE', what: 'No customer route of the network covers the destination.', operator: 'add a route, or a gateway.' }],
  [38, { name: 'ROUTE_DENIED', what: 'A route of unknown kind: zero means deny.', operator: 'report it; agents of different versions?' }],
  [39, { name: 'ROUTE_BLACKHOLE', what: 'A blackhole customer route.', operator: 'intended.' }],
  [40, { name: 'UNKNOWN_DESTINATION', what: 'The destination lies in a subnet of the network, but no bound port has it.', operator: 'is the wanted port bound? `weft mappings`.' }],
  [41, { name: 'NEXT_HOP_UNKNOWN', what: 'The customer route\'s next hop is no bound port.', operator: 'bind the router VM\'s port.' }],
  [42, { name: 'TTL_EXCEEDED', what: 'TTL or hop limit used up; the sender was told.', operator: 'traceroute, or a routing loop in the tenant\'s VMs.' }],
  [43, { name: 'PACKET_TOO_BIG', what: 'Larger than the tenant MTU; the sender was told which size fits.', operator: 'lower the VM\'s MTU, or raise the underlay\'s.' }],
  [44, { name: 'DESTINATION_IS_SOURCE', what: 'A VM sent a frame to itself through the network.', operator: 'nothing.' }],
  [45, { name: 'GATEWAY_NO_SERVICE', what: 'Something else than a ping sent to the subnet\'s gateway address.', operator: 'nothing.' }],
  [46, { name: 'NO_GATEWAY_OWNER', what: 'The gateway shard has no owner.', operator: '`weft gateway status`.' }],
  [47, { name: 'NO_PEER', what: 'The record names no usable provider address.', operator: '`weft mappings`; report it.' }],
  [48, { name: 'FRAME_TOO_LARGE', what: 'Encapsulated, the frame would exceed 65,535 bytes.', operator: 'lower gso_max_size in the VM.' }],
  [49, { name: 'OUTER_FRAGMENT', what: 'A tunnel packet in fragments.', operator: 'raise the underlay\'s MTU; Weft never fragments.' }],
  [50, { name: 'OUTER_NOT_FOR_US', what: 'A tunnel packet whose Ethernet destination is another machine.', operator: 'a flooding switch, or a tap.' }],
  [51, { name: 'OUTER_OPTIONS', what: 'A tunnel packet with outer IP options.', operator: 'no Weft host sends these; find the sender.' }],
  [52, { name: 'TRUNCATED_OUTER', what: 'A tunnel packet shorter than its outer header says.', operator: 'find the sender.' }],
  [53, { name: 'TRUNCATED_TUNNEL_HEADER', what: 'A tunnel packet without room for VXLAN and an Ethernet header.', operator: 'find the sender.' }],
  [54, { name: 'VXLAN_VNI_FLAG_CLEAR', what: 'VXLAN without the I flag (RFC 7348 section 5).', operator: 'find the sender.' }],
  [55, { name: 'NOT_FROM_UNDERLAY', what: 'A tunnel frame that did not come through the underlay check.', operator: 'someone sends to the tunnel port over another interface; find the sender.' }],
  [56, { name: 'UNKNOWN_VSID', what: 'No virtual subnet of this host has that VNI.', operator: 'a host with stale tables, or a stranger.' }],
  [57, { name: 'UNKNOWN_PEER', what: 'The sender\'s provider address has no part in this network.', operator: 'a stranger, or a forger; see the sample\'s outer source.' }],
  [58, { name: 'SOURCE_NOT_AT_THIS_PEER', what: 'The inner source address does not live at the host that sent the frame.', operator: 'a compromised or stale host.' }],
  [59, { name: 'SOURCE_MAC_NOT_AT_THIS_PEER', what: 'The inner source MAC is neither the gateway\'s nor that of the address.', operator: 'a compromised or stale host.' }],
  [60, { name: 'NO_LOCAL_PORT', what: 'No port of this host has the inner destination MAC in that subnet.', operator: 'the sender\'s tables are stale; they heal by themselves within seconds.' }],
  [61, { name: 'REDIRECT_LOOP', what: 'A frame that was sent on once already.', operator: 'a port moves back and forth faster than events travel.' }],
  [62, { name: 'ND_NOT_TUNNELLED', what: 'Neighbour discovery inside the tunnel; it is answered on the sender\'s host.', operator: 'no Weft host sends these; find the sender.' }],
  [63, { name: 'ECN_CE_ON_NOT_ECT', what: 'Congestion was marked on a packet that can\'t carry the mark (RFC 6040).', operator: 'nothing; the underlay is congested.' }],
  [64, { name: 'KERNEL_REFUSED', what: 'The kernel refused to grow, shrink or redirect the frame.', operator: 'report it, with the sample.' }],
  [65, { name: 'CHECKSUM_OFFLOAD_MISPLACED', what: 'The sender asks for its checksum to be written over addresses or ports that were checked.', operator: 'a forger, or a guest\'s broken driver; see the sample.' }],
  [66, { name: 'GATEWAY_NETWORK_UNKNOWN', what: 'The gateway has no such network, or it belongs to another shard.', operator: '`weft gateway status`; a host with stale tables, or the gateway\'s own.' }],
  [67, { name: 'GATEWAY_NOT_OWNER', what: 'This gateway does not own the network\'s shard, or its ownership has run out.', operator: '`weft gateway status`; a few at each change of owner are normal.' }],
  [68, { name: 'GATEWAY_HAIRPIN_INSIDE', what: 'Sent to the gateway for an address inside the same network.', operator: 'the network\'s customer routes send its own addresses to the gateway; correct them.' }],
  [69, { name: 'GATEWAY_OUTSIDE_DENIED', what: 'The network may not reach the outside by this address family.', operator: 'intended, or set the network\'s gateway mode.' }],
  [70, { name: 'PEERING_NOT_ACCEPTED', what: 'The other network does not peer back, or is in another shard.', operator: 'make the peering on both sides.' }],
  [71, { name: 'SOURCE_RULE_DENIED', what: 'The source\'s rule denies the outside, or the address that the packet would leave by is somebody else\'s (by now).', operator: 'intended, or change the source rule; new flows leave by another address.' }],
  [72, { name: 'NPT_NOT_TRANSLATABLE', what: 'Prefix translation has no counterpart of this address (RFC 6296 section 3.5).', operator: 'renumber the subnet or host that is all ones.' }],
  [73, { name: 'EXTERNAL_NO_ROUTE', what: 'No external route of the segment covers the destination.', operator: 'add an external route.' }],
  [74, { name: 'EXTERNAL_ADDRESS_CONFLICT', what: 'Another machine on the segment claims one of our external addresses.', operator: 'find it by the sample\'s MAC address.' }],
  [75, { name: 'EXTERNAL_SOURCE_INVALID', what: 'From the outside with a source that can\'t be there: a group, loopback, nothing, or one of our own external addresses.', operator: 'a forger, or a routing loop outside.' }],
  [76, { name: 'EXTERNAL_ADDRESS_DENIED', what: 'To an external address that serves nothing.', operator: 'intended, or give the address a use.' }],
  [77, { name: 'ICMP_QUOTE_INVALID', what: 'An ICMP error whose quoted packet is cut short, or is not one that the other side can have got.', operator: 'nothing; a forger if many.' }],
  [78, { name: 'NAT_PROTOCOL_NOT_SUPPORTED', what: 'Neither TCP, UDP nor a ping; it has no port to map.', operator: 'give the source a static address.' }],
  [79, { name: 'NAT_TCP_NOT_SYN', what: 'A TCP segment of no known flow that does not begin one.', operator: 'nothing; connections older than their idle time.' }],
  [80, { name: 'NAT_FLOW_QUOTA', what: 'The network has as many flows as its quota allows, or the gateway\'s table is nearly full and it has more than its share.', operator: 'raise the quota (or the agent\'s natSessions), or find the VM that scans.' }],
  [81, { name: 'NAT_BLOCK_QUOTA', what: 'The network has as many port blocks as its quota allows, or the pool is nearly used up and it has more than its share.', operator: 'raise the quota, or give the pool more addresses.' }],
  [82, { name: 'NAT_RATE_QUOTA', what: 'The network sends more new flows a second than its quota allows.', operator: 'raise the quota, or find the VM that floods.' }],
  [83, { name: 'NAT_PORTS_EXHAUSTED', what: 'No address of the pool has a free block of ports in this member\'s slice.', operator: 'add external addresses.' }],
  [84, { name: 'NAT_POOL_UNKNOWN', what: 'The source\'s pool is not known to this gateway.', operator: 'give the network external addresses.' }],
  [85, { name: 'NAT_FILTERED', what: 'From a remote address or port that the mapping has no session with (RFC 4787 REQ-8).', operator: 'nothing; scans, mostly.' }],
  [86, { name: 'NAT_NO_MAPPING', what: 'To an external port that nothing is mapped to.', operator: 'nothing; scans, or late packets.' }],
  [87, { name: 'NAT_FRAGMENT_UNKNOWN', what: 'A later fragment whose first one was not seen.', operator: 'nothing; fragments reordered or lost.' }],
  [88, { name: 'NAT_TABLE_FULL', what: 'A table of the address translation is full.', operator: 'lower the quotas, or raise the agent\'s natSessions.' }],
  [89, { name: 'PROBE_UNKNOWN_PEER', what: 'A gateway probe from a provider address that is no member of our groups.', operator: 'a stranger, or a group\'s list that has not arrived yet.' }],
  [90, { name: 'PROBE_MALFORMED', what: 'A gateway probe cut short, or of an unknown kind.', operator: 'agents of different versions, or a forger.' }],
]);

/** The reason's name, or `UNKNOWN_<number>` when a newer datapath reports one this program does not know. */
export function dropReasonName(reason: number): string {
  return dropReasonTexts.get(reason)?.name ?? `UNKNOWN_${reason}`;
}
