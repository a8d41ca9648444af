import { DropReason } from '@weft/model';
import { ipEquals } from '@weft/packet';
import type { Verdict } from '../verdict.ts';
import { deliverInside, type InwardTranslation } from './deliver-inside.ts';
import { natFlow } from './flow.ts';
import { dropAt, type GatewayFrame } from './gateway-frame.ts';
import {
  type ExternalAddressEntry,
  ExternalAddressKind,
  ExternalPrefixKind,
  GatewayMode,
  type GatewayNetworkEntry,
  mayMap,
} from './gateway-tables.ts';
import { nptInward } from './npt.ts';
import { isTranslatedError, readQuote } from './quote.ts';
import { isFamily, type Teller } from './tell.ts';

// What has come to one of our external addresses or prefixes and passed the checks of its sender and of our ownership: docs/gateway-contract.md
// section 6, steps 4 and 5. From the outside, or from a virtual network behind the same gateway (hairpin).

const NO_ADDRESS = new Uint8Array(16);

/** @param isHairpin Then nobody is told of errors: the sender would be one of our own external addresses. */
export function enterByAddress(from: GatewayFrame, segment: number, address: ExternalAddressEntry, isHairpin: boolean): Verdict {
  const { frame, packet } = from;
  const isError = isTranslatedError(frame, packet);
  const quote = isError ? readQuote(frame, packet) : undefined;
  let networkId: number;
  let ca: Uint8Array;
  let port: number | undefined;
  switch (address.kind) {
    case ExternalAddressKind.STATIC:
      if (!isFamily(address.ca, packet.isIpv6)) return dropAt(from, DropReason.EXTERNAL_ADDRESS_DENIED);
      if (isError && (quote === undefined || !ipEquals(quote.source, packet.destination))) {
        return dropAt(from, DropReason.ICMP_QUOTE_INVALID);
      }
      ({ networkId, ca } = address);
      break;
    case ExternalAddressKind.POOL:
    case ExternalAddressKind.RESERVED: {
      if (isError && (quote === undefined || !ipEquals(quote.source, packet.destination))) {
        return dropAt(from, DropReason.ICMP_QUOTE_INVALID);
      }
      const flow = natFlow(frame, packet, 'destination', quote, 0, segment);
      const result = from.nat.inbound(flow, address, from.context.nowBootNs);
      if (result.reason !== DropReason.NONE) return dropAt(from, result.reason);
      if (!isFamily(result.address, packet.isIpv6) || !mayMap(address, result.networkId, address.shard))
        return dropAt(from, DropReason.NAT_NO_MAPPING);
      networkId = result.networkId;
      ca = result.address;
      port = result.port;
      break;
    }
    default:
      return dropAt(from, DropReason.EXTERNAL_ADDRESS_DENIED);
  }
  const network = servedNetwork(from, networkId);
  if (network === undefined || network.shard !== address.shard) return dropAt(from, DropReason.GATEWAY_NETWORK_UNKNOWN);
  // An error's own header has no port; its quote's has.
  const translation: InwardTranslation = quote
    ? { to: { address: ca }, quote: { quote, to: { address: ca, port } } }
    : { to: { address: ca, port } };
  const teller: Teller = isHairpin ? undefined : { side: 'outside', segment, source: packet.destination };
  return deliverInside({ ...from, countedVsid: network.vsid }, networkId, network, translation, teller);
}

/** A packet to an address that the outside knows by its prefix: as it is, or translated by RFC 6296. */
export function enterByPrefix(
  from: GatewayFrame,
  segment: number,
  prefix: { readonly networkId: number; readonly kind: number },
  network: GatewayNetworkEntry,
): Verdict {
  const { frame, packet, gateway } = from;
  const own = gateway.segment(segment);
  const source = own === undefined ? NO_ADDRESS : packet.isIpv6 ? own.address6 : own.address4;
  const teller: Teller = { side: 'outside', segment, source };
  if (prefix.kind === ExternalPrefixKind.FORWARD) return deliverInside(from, prefix.networkId, network, undefined, teller);
  if (prefix.kind !== ExternalPrefixKind.NPT || !packet.isIpv6) return dropAt(from, DropReason.EXTERNAL_ADDRESS_DENIED);
  const ca = nptInward(network, packet.destination);
  if (ca === undefined) return dropAt(from, DropReason.NPT_NOT_TRANSLATABLE);
  const isError = isTranslatedError(frame, packet);
  const quote = isError ? readQuote(frame, packet) : undefined;
  if (isError && quote === undefined) return dropAt(from, DropReason.ICMP_QUOTE_INVALID);
  const quoted = quote === undefined ? undefined : nptInward(network, quote.source);
  const translation: InwardTranslation = {
    to: { address: ca },
    quote: quote !== undefined && quoted !== undefined ? { quote, to: { address: quoted } } : undefined,
  };
  return deliverInside(from, prefix.networkId, network, translation, teller);
}

/** The network's row, unless it is denied. */
export function servedNetwork({ gateway }: Pick<GatewayFrame, 'gateway'>, networkId: number): GatewayNetworkEntry | undefined {
  const network = networkId === 0 ? undefined : gateway.gatewayNetwork(networkId);
  return network === undefined || network.mode === GatewayMode.DENY ? undefined : network;
}
