import { getU16 } from './bytes.ts';
import type { Ipv6Header } from './ipv6.ts';
import { IP_PROTOCOL } from './protocols.ts';
import type { ParseFailure } from './reasons.ts';

/** Longest chain walked. Longer ones are refused: RFC 8504 section 5.3 lets a node limit them, and filters must see past all. */
export const IPV6_EXTENSIONS_MAX = 8;

/** Where the extension headers end, and what they say about fragments. */
export interface Ipv6UpperLayer {
  /** First header that is no extension: a transport, ESP, "no next header" or something unknown. */
  readonly protocol: number;
  readonly offset: number;
  /** True if there is a fragment header, be it one of a whole packet (RFC 6946 "atomic fragment"). */
  readonly hasFragmentHeader: boolean;
  /** In bytes. If above 0, `offset` is inside the payload of another fragment's header: read no transport header there. */
  readonly fragmentOffset: number;
  readonly moreFragments: boolean;
}

/**
 * Walks all of IANA's IPv6 extension headers but ESP, which hides what follows: hop-by-hop, routing, destination options, fragment
 * (RFC 8200 section 4), authentication (RFC 4302), mobility, host identity, shim6.
 * @param end First byte after the packet: `payloadEnd`, or less for a quoted packet.
 * @returns Where the chain ends, or `TRUNCATED_IPV6_EXTENSION`, `IPV6_EXTENSION_CHAIN_TOO_LONG` (more than 8 headers).
 */
export function findIpv6UpperLayer(header: Ipv6Header, end: number = header.payloadEnd): Ipv6UpperLayer | ParseFailure {
  const { bytes } = header;
  let protocol = header.nextHeader;
  let offset = header.payloadOffset;
  let hasFragmentHeader = false;
  let fragmentOffset = 0;
  let moreFragments = false;
  for (let walked = 0; isExtension(protocol) && fragmentOffset === 0; walked++) {
    if (walked === IPV6_EXTENSIONS_MAX) return 'IPV6_EXTENSION_CHAIN_TOO_LONG';
    if (end - offset < 8) return 'TRUNCATED_IPV6_EXTENSION';
    const length = extensionLength(protocol, bytes[offset + 1]!);
    if (end - offset < length) return 'TRUNCATED_IPV6_EXTENSION';
    if (protocol === IP_PROTOCOL.fragment) {
      hasFragmentHeader = true;
      fragmentOffset = getU16(bytes, offset + 2) & 0xfff8;
      moreFragments = (bytes[offset + 3]! & 1) === 1;
    }
    protocol = bytes[offset]!;
    offset += length;
  }
  return { protocol, offset, hasFragmentHeader, fragmentOffset, moreFragments };
}

function isExtension(protocol: number): boolean {
  return (
    protocol === IP_PROTOCOL.hopByHop ||
    protocol === IP_PROTOCOL.routing ||
    protocol === IP_PROTOCOL.fragment ||
    protocol === IP_PROTOCOL.ah ||
    protocol === IP_PROTOCOL.destinationOptions ||
    protocol === IP_PROTOCOL.mobility ||
    protocol === IP_PROTOCOL.hostIdentity ||
    protocol === IP_PROTOCOL.shim6
  );
}

function extensionLength(protocol: number, lengthField: number): number {
  if (protocol === IP_PROTOCOL.fragment) return 8;
  // The authentication header alone counts in units of 4, minus 2 (RFC 4302 section 2.2).
  return protocol === IP_PROTOCOL.ah ? (lengthField + 2) * 4 : (lengthField + 1) * 8;
}
