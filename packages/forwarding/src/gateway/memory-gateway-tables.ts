import { ipKey } from '@weft/packet';
import { LongestPrefixes, maskPrefix } from '../longest-prefix.ts';
import {
  type ExternalAddressEntry,
  type ExternalEntry,
  type ExternalPrefixEntry,
  type ExternalRouteEntry,
  type GatewayNetworkEntry,
  type GatewayShardEntry,
  type GatewayTableChange,
  type GatewayTableEntry,
  type GatewayTables,
  gatewayRowKey,
  type PeeringEntry,
  type PortForwardEntry,
  type SegmentEntry,
  type SourceRuleEntry,
} from './gateway-tables.ts';

/** A gateway's tables in memory. Values are kept, not copied: whoever hands them over leaves them alone afterwards. */
export class MemoryGatewayTables implements GatewayTables {
  readonly #rows = new Map<string, GatewayTableEntry>();
  readonly #prefixes = {
    external_route: new LongestPrefixes<ExternalRouteEntry>(),
    external_prefix: new LongestPrefixes<ExternalPrefixEntry>(),
    peering: new LongestPrefixes<PeeringEntry>(),
    source_rule: new LongestPrefixes<SourceRuleEntry>(),
  };
  readonly #exact = new Map<string, unknown>();

  constructor(changes: readonly GatewayTableChange[] = []) {
    this.apply(changes);
  }

  /** Applies changes in their order. `put` adds or replaces, `delete` of an absent row does nothing. */
  apply(changes: readonly GatewayTableChange[]): void {
    for (const change of changes) {
      const row = canonicalGatewayRow(change);
      const identity = gatewayRowKey(row);
      const value = row.op === 'put' ? row.value : undefined;
      if (row.op === 'put') {
        const { op: _, ...entry } = row;
        this.#rows.set(identity, entry as GatewayTableEntry);
      } else {
        this.#rows.delete(identity);
      }
      this.#index(row, value);
    }
  }

  /** All rows, in the order in which they were first put. */
  entries(): IterableIterator<GatewayTableEntry> {
    return this.#rows.values();
  }

  external(ifindex: number): ExternalEntry | undefined {
    return this.#get(`external/${ifindex}`);
  }
  segment(segment: number): SegmentEntry | undefined {
    return this.#get(`segment/${segment}`);
  }
  externalRoute(segment: number, address: Uint8Array): ExternalRouteEntry | undefined {
    return this.#prefixes.external_route.find(segment, address);
  }
  gatewayShard(shard: number): GatewayShardEntry | undefined {
    return this.#get(`gateway_shard/${shard}`);
  }
  gatewayNetwork(networkId: number): GatewayNetworkEntry | undefined {
    return this.#get(`gateway_network/${networkId}`);
  }
  externalAddress(segment: number, address: Uint8Array): ExternalAddressEntry | undefined {
    return this.#get(`external_address/${segment}/${ipKey(address)}`);
  }
  externalPrefix(segment: number, address: Uint8Array): ExternalPrefixEntry | undefined {
    return this.#prefixes.external_prefix.find(segment, address);
  }
  portForward(segment: number, address: Uint8Array, port: number, protocol: number): PortForwardEntry | undefined {
    return this.#get(`port_forward/${segment}/${ipKey(address)}/${port}/${protocol}`);
  }
  peering(networkId: number, address: Uint8Array): PeeringEntry | undefined {
    return this.#prefixes.peering.find(networkId, address);
  }
  sourceRule(networkId: number, address: Uint8Array): SourceRuleEntry | undefined {
    return this.#prefixes.source_rule.find(networkId, address);
  }
  peerGateway(pa: Uint8Array): boolean {
    return this.#get(`peer_gateway/${ipKey(pa)}`) !== undefined;
  }

  #get<V>(key: string): V | undefined {
    return this.#exact.get(key) as V | undefined;
  }

  #index(row: GatewayTableChange, value: unknown): void {
    switch (row.table) {
      case 'external_route':
      case 'external_prefix':
        this.#prefixes[row.table].set(row.key.segment, row.key.prefix, row.key.prefixLength, value as never);
        return;
      case 'peering':
      case 'source_rule':
        this.#prefixes[row.table].set(row.key.networkId, row.key.prefix, row.key.prefixLength, value as never);
        return;
      default: {
        const key = exactKey(row);
        if (value === undefined) this.#exact.delete(key);
        else this.#exact.set(key, value);
      }
    }
  }
}

function exactKey(row: GatewayTableChange): string {
  switch (row.table) {
    case 'external':
      return `external/${row.key.ifindex}`;
    case 'segment':
      return `segment/${row.key.segment}`;
    case 'gateway_shard':
      return `gateway_shard/${row.key.shard}`;
    case 'gateway_network':
      return `gateway_network/${row.key.networkId}`;
    case 'external_address':
      return `external_address/${row.key.segment}/${ipKey(row.key.address)}`;
    case 'port_forward':
      return `port_forward/${row.key.segment}/${ipKey(row.key.address)}/${row.key.port}/${row.key.protocol}`;
    case 'peer_gateway':
      return `peer_gateway/${ipKey(row.key.pa)}`;
    default:
      return gatewayRowKey(row);
  }
}

/** Bits beyond a prefix length take no part in a row's identity. */
export function canonicalGatewayRow(change: GatewayTableChange): GatewayTableChange {
  if (!('prefix' in change.key)) return change;
  const { prefix, prefixLength } = change.key;
  return { ...change, key: { ...change.key, prefix: maskPrefix(prefix, prefixLength) } } as GatewayTableChange;
}
