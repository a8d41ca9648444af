import { getU16, getU32, ipKey } from '@weft/packet';
import { LongestPrefixes, maskPrefix } from './longest-prefix.ts';
import {
  type ForwardingTables,
  type PortEntry,
  type RouteEntry,
  rowKey,
  type ShardEntry,
  type SubnetEntry,
  type TableChange,
  type TableEntry,
  type Target,
} from './tables.ts';

// Each table is a map of maps, number first: the network (or VSID) is a number, which costs no hashing of text, and only the address
// becomes a string. `rows` holds the same values by identity for `entries`; it is not read per packet.
//
//   lookup   network id -> ipKey(ca)  -> Target
//   l2       VSID       -> MAC as a number below 2^48 -> Target
//   route    longest prefixes by network id
//   speaker  network id -> ipKey(pa)  -> flags

/** Forwarding tables in memory. Values are kept, not copied: whoever hands them over leaves them alone afterwards. */
export class MemoryTables implements ForwardingTables {
  readonly #rows = new Map<string, TableEntry>();
  readonly #ports = new Map<number, PortEntry>();
  readonly #subnets = new Map<number, SubnetEntry>();
  readonly #lookup = new Map<number, Map<string, Target>>();
  readonly #l2 = new Map<number, Map<number, Target>>();
  readonly #routes = new LongestPrefixes<RouteEntry>();
  readonly #speakers = new Map<number, Map<string, number>>();
  readonly #shards = new Map<number, ShardEntry>();

  constructor(changes: readonly TableChange[] = []) {
    this.apply(changes);
  }

  /** Applies changes in their order. `put` adds or replaces, `delete` of an absent row does nothing. */
  apply(changes: readonly TableChange[]): void {
    for (const change of changes) {
      const identity = rowKey(canonicalRow(change));
      if (change.op === 'put') {
        const { op: _, ...entry } = change;
        this.#rows.set(identity, entry as TableEntry);
      } else {
        this.#rows.delete(identity);
      }
      this.#index(change);
    }
  }

  /** All rows, in the order in which they were first put. */
  entries(): IterableIterator<TableEntry> {
    return this.#rows.values();
  }

  /** How many rows there are in all tables. */
  get size(): number {
    return this.#rows.size;
  }

  port(ifindex: number): PortEntry | undefined {
    return this.#ports.get(ifindex);
  }
  subnet(vsid: number): SubnetEntry | undefined {
    return this.#subnets.get(vsid);
  }
  lookup(networkId: number, ca: Uint8Array): Target | undefined {
    return this.#lookup.get(networkId)?.get(ipKey(ca));
  }
  l2(vsid: number, mac: Uint8Array): Target | undefined {
    return this.#l2.get(vsid)?.get(macNumber(mac));
  }
  route(networkId: number, address: Uint8Array): RouteEntry | undefined {
    return this.#routes.find(networkId, address);
  }
  speaker(pa: Uint8Array, networkId: number): number | undefined {
    return this.#speakers.get(networkId)?.get(ipKey(pa));
  }
  shard(id: number): ShardEntry | undefined {
    return this.#shards.get(id);
  }

  #index(change: TableChange): void {
    switch (change.table) {
      case 'port':
        setOrDelete(this.#ports, change.key.ifindex, valuePut(change));
        break;
      case 'subnet':
        setOrDelete(this.#subnets, change.key.vsid, valuePut(change));
        break;
      case 'shard':
        setOrDelete(this.#shards, change.key.id, valuePut(change));
        break;
      case 'lookup':
        setNested(this.#lookup, change.key.networkId, ipKey(change.key.ca), valuePut(change));
        break;
      case 'l2':
        setNested(this.#l2, change.key.vsid, macNumber(change.key.mac), valuePut(change));
        break;
      case 'speaker':
        setNested(this.#speakers, change.key.networkId, ipKey(change.key.pa), valuePut(change));
        break;
      case 'route':
        this.#routes.set(change.key.networkId, change.key.prefix, change.key.prefixLength, valuePut(change));
        break;
    }
  }
}

/** The new value, or undefined for a deletion. */
function valuePut<V>(change: { readonly op: 'put'; readonly value: V } | { readonly op: 'delete' }): V | undefined {
  return change.op === 'put' ? change.value : undefined;
}

function setOrDelete<K, V>(map: Map<K, V>, key: K, value: V | undefined): void {
  if (value === undefined) map.delete(key);
  else map.set(key, value);
}

function setNested<K, V>(outer: Map<number, Map<K, V>>, first: number, second: K, value: V | undefined): void {
  let inner = outer.get(first);
  if (value === undefined) {
    if (inner?.delete(second) && inner.size === 0) outer.delete(first);
    return;
  }
  if (inner === undefined) {
    inner = new Map();
    outer.set(first, inner);
  }
  inner.set(second, value);
}

function macNumber(mac: Uint8Array): number {
  return getU16(mac, 0) * 0x1_0000_0000 + getU32(mac, 2);
}

/** Bits beyond the prefix length take no part in a route's identity, as in the kernel's trie. */
function canonicalRow(change: TableChange): TableChange {
  if (change.table !== 'route') return change;
  return { ...change, key: { ...change.key, prefix: maskPrefix(change.key.prefix, change.key.prefixLength) } };
}
