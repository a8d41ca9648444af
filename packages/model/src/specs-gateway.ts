import type { GatewaySpec } from './commands.ts';
import type { ExternalAddress, Gateway, GatewayConnection, GatewayQuota, NatRule, TenantAccess } from './gateway-records.ts';
import { isGatewaySubnet } from './gateway-subnet.ts';
import type { VirtualNetwork } from './records.ts';

// What a manifest's `spec` says of a gateway and of what networks have of it, complete: for diffs and for manifests made from records.

type Access = 'any' | 'none' | readonly string[];

export interface GatewaySpecView {
  readonly members: readonly { readonly host: string; readonly interfaces: Readonly<Record<string, string>>; readonly drain?: true }[];
  readonly witnesses: readonly string[];
  readonly segments: readonly {
    readonly name: string;
    readonly onLink: readonly string[];
    readonly nextHops: readonly string[];
    readonly mtu: number;
    readonly tenants: Access;
  }[];
  readonly pools: readonly {
    readonly name: string;
    readonly segment: string;
    readonly addresses: readonly string[];
    readonly prefixes: readonly string[];
    readonly shared: number;
    readonly tenants: Access;
  }[];
  readonly shards: number;
}
export function gatewaySpecView(gateway: Gateway): GatewaySpecView {
  return {
    members: gateway.members.map(({ host, interfaces, drain }) => ({
      host,
      interfaces: Object.fromEntries(interfaces.map((one) => [one.segment, one.interface])),
      ...(drain ? { drain: true as const } : {}),
    })),
    witnesses: gateway.witnesses,
    segments: gateway.segments.map(({ name, onLink, nextHops, mtu, access }) => ({
      name,
      onLink,
      nextHops,
      mtu,
      tenants: accessView(access),
    })),
    pools: gateway.pools.map(({ name, segment, addresses, prefixes, shared, access }) => ({
      name,
      segment,
      addresses,
      prefixes,
      shared,
      tenants: accessView(access),
    })),
    shards: gateway.shards,
  };
}
/** The resource that stands, as it would be applied again. */
export function gatewaySpecOf(gateway: Gateway): GatewaySpec {
  return {
    name: gateway.name,
    members: gateway.members,
    witnesses: gateway.witnesses,
    segments: gateway.segments.map((segment) => ({ ...segment, id: 0 })),
    pools: gateway.pools.map(({ name, segment, addresses, prefixes, shared, access }) => ({
      name,
      segment,
      addresses,
      prefixes,
      shared,
      access,
    })),
    shards: gateway.shards,
  };
}
function accessView({ mode, tenants }: TenantAccess): Access {
  return mode === 'list' ? tenants : mode === 'any' ? 'any' : 'none';
}

export interface ConnectionSpecView {
  readonly gateway: string;
  readonly mode: string;
  readonly gatewaySubnet: readonly string[];
  readonly routes?: readonly string[];
  readonly pool?: string;
  readonly segment?: string;
  readonly ipv6?: string;
  readonly ipv6Inside?: string;
  readonly ipv6Prefix?: string;
  readonly peer?: string;
  readonly offers?: readonly string[];
  readonly accepts?: readonly string[];
  readonly quota?: GatewayQuota;
}
/** @param network That the connection belongs to: says the gateway and its subnet. */
export function connectionSpecView(network: Pick<VirtualNetwork, 'subnets' | 'gateway'>, one: GatewayConnection): ConnectionSpecView {
  const base = {
    gateway: network.gateway?.gateway ?? '',
    mode: one.mode,
    gatewaySubnet: network.subnets.find(isGatewaySubnet)?.prefixes ?? [],
  };
  switch (one.mode) {
    case 'nat':
      return {
        ...base,
        routes: one.routes,
        pool: one.pool,
        ipv6: one.ipv6,
        ...(one.ipv6Inside === '' ? {} : { ipv6Inside: one.ipv6Inside }),
        ...(one.ipv6Prefix === '' ? {} : { ipv6Prefix: one.ipv6Prefix }),
        quota: one.quota,
      };
    case 'forward':
      return { ...base, routes: one.routes, segment: one.segment };
    case 'peering':
      return { ...base, peer: `${one.peerTenant}/${one.peerNetwork}`, offers: one.offers, accepts: one.accepts };
  }
}

export interface ExternalAddressSpecView {
  readonly pool: string;
  readonly address: string;
  readonly use: string;
}
export function externalAddressSpecView({ pool, address, use }: ExternalAddress): ExternalAddressSpecView {
  return { pool, address, use };
}

export interface NatRuleSpecView {
  readonly snat?: { readonly source: string; readonly externalAddress?: string; readonly pool?: string };
  readonly static?: { readonly externalAddress: string; readonly address: string };
  readonly forward?: {
    readonly externalAddress: string;
    readonly protocol: string;
    readonly ports: number | string;
    readonly address: string;
    readonly port: number;
  };
}
export function natRuleSpecView(rule: NatRule): NatRuleSpecView {
  const { externalAddress, customerAddress: address } = rule;
  switch (rule.kind) {
    case 'snat':
      return { snat: { source: rule.source, ...(rule.pool === '' ? { externalAddress } : { pool: rule.pool }) } };
    case 'static':
      return { static: { externalAddress, address } };
    case 'forward': {
      const ports = rule.firstPort === rule.lastPort ? rule.firstPort : `${rule.firstPort}-${rule.lastPort}`;
      return { forward: { externalAddress, protocol: rule.protocol, ports, address, port: rule.customerPort } };
    }
  }
}
