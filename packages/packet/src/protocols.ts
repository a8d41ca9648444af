// Numbers from the IANA registries, kept as `as const` objects in place of enums.

/** EtherType (IEEE 802 / IANA "IEEE 802 Numbers"). Values below 0x0600 are 802.3 lengths (LLC). */
export const ETHER_TYPE = {
  ipv4: 0x0800,
  arp: 0x0806,
  vlan: 0x8100,
  transparentEthernet: 0x6558,
  ipv6: 0x86dd,
  serviceVlan: 0x88a8,
  oldServiceVlan: 0x9100,
} as const;

/** IP protocol and IPv6 next header numbers. */
export const IP_PROTOCOL = {
  hopByHop: 0,
  icmp: 1,
  ipv4: 4,
  tcp: 6,
  udp: 17,
  ipv6: 41,
  routing: 43,
  fragment: 44,
  gre: 47,
  esp: 50,
  ah: 51,
  icmpv6: 58,
  noNextHeader: 59,
  destinationOptions: 60,
  mobility: 135,
  hostIdentity: 139,
  shim6: 140,
} as const;

/** ICMPv4 types (RFC 792). */
export const ICMP_TYPE = {
  echoReply: 0,
  destinationUnreachable: 3,
  redirect: 5,
  echoRequest: 8,
  timeExceeded: 11,
  parameterProblem: 12,
} as const;

/** ICMPv6 types (RFC 4443, RFC 4861). */
export const ICMPV6_TYPE = {
  destinationUnreachable: 1,
  packetTooBig: 2,
  timeExceeded: 3,
  parameterProblem: 4,
  echoRequest: 128,
  echoReply: 129,
  routerSolicitation: 133,
  routerAdvertisement: 134,
  neighborSolicitation: 135,
  neighborAdvertisement: 136,
  redirect: 137,
} as const;

/** Code of ICMPv4 type 3 that carries the next hop's MTU (RFC 1191). */
export const ICMP_CODE_FRAGMENTATION_NEEDED = 4;

/** UDP port of VXLAN (RFC 7348 section 5). */
export const VXLAN_PORT = 4789;
