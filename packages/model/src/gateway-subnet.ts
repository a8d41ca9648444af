import { formatIp, parsePrefix, prefixFirst } from '@weft/packet';
import type { GatewayConnection, NetworkGateway } from './gateway-records.ts';
import type { VirtualNetwork, VirtualSubnet } from './records.ts';
import { isFamily4, lies } from './rules-gateway.ts';

// The gateway's own virtual subnet in a network, as HNV has it: no port may be put there, and the network's routes to the outside lead to the
// one address in it, the gateway CA. The lowest usable address is the subnet's default gateway on every host, as in any other subnet; the next
// one is the gateway's.

export const GATEWAY_SUBNET_NAME = 'weft-gateway';
/** The last block of the shared address space (RFC 6598), and a unique local prefix (RFC 4193): neither is what tenants take for themselves. */
export const DEFAULT_GATEWAY_SUBNET: readonly string[] = ['100.127.255.248/30', 'fd57:4546:5447::/126'];

/** The gateway CA of a prefix: its second usable address. */
export function gatewayAddressOf(prefix: string): string {
  const address = prefixFirst(parsePrefix(prefix));
  address[15]! += 2;
  return formatIp(address);
}

export function isGatewaySubnet(subnet: Pick<VirtualSubnet, 'role'>): boolean {
  return subnet.role === 'gateway';
}

/** Subnets that people made. */
export function ownSubnets(network: Pick<VirtualNetwork, 'subnets'>): VirtualSubnet[] {
  return network.subnets.filter((subnet) => !isGatewaySubnet(subnet));
}

/** The gateway CA of a family; undefined when the network has none. */
export function gatewayAddress(gateway: Pick<NetworkGateway, 'addresses'> | undefined, family: 4 | 6): string | undefined {
  return gateway?.addresses.find((address) => isFamily4(address) === (family === 4));
}

/** Prefixes that lead to the gateway: of all connections, each once. */
export function gatewayRoutes(gateway: Pick<NetworkGateway, 'connections'>): string[] {
  return [...new Set(gateway.connections.flatMap((one) => (one.mode === 'peering' ? one.accepts : one.routes)))];
}

/** The other side's connection back, if both name each other. */
export function peeringBack(
  own: Pick<VirtualNetwork, 'tenant' | 'name'>,
  connection: GatewayConnection,
  peer: VirtualNetwork | undefined,
): GatewayConnection | undefined {
  if (connection.mode !== 'peering' || peer?.tenant !== connection.peerTenant || peer.name !== connection.peerNetwork) return undefined;
  return peer.gateway?.connections.find(
    (other) => other.mode === 'peering' && other.peerTenant === own.tenant && other.peerNetwork === own.name,
  );
}

/** The other side's prefixes that it offers and this side accepts. None while the other side has not named this network: pending. */
export function peeringPrefixes(
  own: Pick<VirtualNetwork, 'tenant' | 'name'>,
  connection: GatewayConnection,
  peer: VirtualNetwork | undefined,
): string[] {
  const back = peeringBack(own, connection, peer);
  if (back === undefined) return [];
  const both = connection.accepts.flatMap((accepted) =>
    back.offers.flatMap((offered) => (lies(accepted, offered) ? [offered] : lies(offered, accepted) ? [accepted] : [])),
  );
  return [...new Set(both)];
}
