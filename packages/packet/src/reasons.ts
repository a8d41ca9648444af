/**
 * Why a header could not be read. Each value names the layer that failed, so that a caller can count it or map it to a drop
 * reason without parsing text. `TRUNCATED_*` means that bytes are missing; the others that the bytes present contradict the format.
 */
export const PARSE_FAILURES = [
  'TRUNCATED_ETHERNET_HEADER',
  'TRUNCATED_VLAN_TAG',
  'TRUNCATED_ARP',
  'ARP_NOT_ETHERNET_IPV4',
  'TRUNCATED_IPV4_HEADER',
  'TRUNCATED_IPV4_PAYLOAD',
  'IPV4_VERSION_INVALID',
  'IPV4_HEADER_LENGTH_INVALID',
  'IPV4_TOTAL_LENGTH_INVALID',
  'TRUNCATED_IPV6_HEADER',
  'TRUNCATED_IPV6_PAYLOAD',
  'TRUNCATED_IPV6_EXTENSION',
  'IPV6_VERSION_INVALID',
  'IPV6_EXTENSION_CHAIN_TOO_LONG',
  'TRUNCATED_UDP_HEADER',
  'TRUNCATED_UDP_PAYLOAD',
  'UDP_LENGTH_INVALID',
  'TRUNCATED_TCP_HEADER',
  'TCP_DATA_OFFSET_INVALID',
  'TRUNCATED_TRANSPORT_PORTS',
  'TRUNCATED_ICMP_HEADER',
  'TRUNCATED_NEIGHBOR_DISCOVERY',
  'TRUNCATED_NEIGHBOR_DISCOVERY_OPTION',
  'NEIGHBOR_DISCOVERY_TYPE_INVALID',
  'NEIGHBOR_DISCOVERY_CODE_INVALID',
  'NEIGHBOR_DISCOVERY_TARGET_MULTICAST',
  'NEIGHBOR_DISCOVERY_OPTION_LENGTH_ZERO',
  'TRUNCATED_TUNNEL_HEADER',
  'VXLAN_VNI_FLAG_CLEAR',
  'NVGRE_FLAGS_INVALID',
  'NVGRE_PROTOCOL_INVALID',
] as const;

export type ParseFailure = (typeof PARSE_FAILURES)[number];

/** True if a reader returned a reason and not a view. */
export function isParseFailure<T>(result: T | ParseFailure): result is ParseFailure {
  return typeof result === 'string';
}
