import { BLOCK_PORTS, ExternalAddressKind, type GatewayTableEntry, type NatStore, SessionKind } from '@weft/forwarding';
import type { NatFlow, NatMappingRow, NatQuery } from '@weft/model';
import { formatIp, parseIp } from '@weft/packet';
import { AgentError } from '../errors.ts';
import { inSlices, type SliceClock } from './in-slices.ts';

// Rows of port mapping for people: a member may have a million, an answer has room for some thousand. So they are chosen here, and what finds no room is counted.

/** Rows of one answer: at 155 bytes for the longest it stays well within NATS's 1 MB. */
export const NAT_ROWS_MAX = 4_000;

export interface NatRowsParts {
  readonly store: Pick<NatStore, 'get' | 'rows'>;
  readonly entries: (table: 'external_address' | 'port_forward') => readonly GatewayTableEntry[];
  /** Boot clock, ms. */
  readonly now: () => number;
  readonly slices?: SliceClock | undefined;
}

interface Chosen<T> {
  readonly rows: T[];
  readonly leftOut: number;
}

/** Rules first, then mappings as they come. @param networks Numbers of those whose rows may be told. */
export async function natMappings(parts: NatRowsParts, query: NatQuery, networks: ReadonlySet<number>): Promise<Chosen<NatMappingRow>> {
  const { store } = parts;
  const wants = matcher(query);
  const chosen = new Choice<NatMappingRow>(query.limit);
  for (const row of ruleRows(parts.entries)) {
    if (networks.has(row.networkId) && wants.inside(row.networkId, parseIp(row.customerAddress)) && wants.rule(row)) chosen.add(() => row);
  }
  await inSlices(
    store.rows('mapping'),
    ({ key, value }) => {
      if (!networks.has(key.networkId) || !wants.inside(key.networkId, key.ca)) return;
      if (!wants.outside(value.address, value.externalPort) || !wants.protocol(key.protocol)) return;
      chosen.add(() => {
        const block = store.get('block', {
          segment: value.segment,
          address: value.address,
          block: Math.floor(value.externalPort / BLOCK_PORTS),
        });
        return {
          kind: 'mapping',
          networkId: key.networkId,
          customerAddress: formatIp(key.ca),
          customerPort: key.port,
          protocol: key.protocol,
          segment: value.segment,
          externalAddress: formatIp(value.address),
          externalPort: value.externalPort,
          sessions: sessionsOf(block?.ports[value.externalPort % BLOCK_PORTS]?.sessions ?? 0),
        };
      });
    },
    parts.slices,
  );
  return chosen;
}

/** Sessions, of mappings and of port forwards. */
export async function natFlows(parts: NatRowsParts, query: NatQuery, networks: ReadonlySet<number>): Promise<Chosen<NatFlow>> {
  const wants = matcher(query);
  const chosen = new Choice<NatFlow>(query.limit);
  const nowNs = BigInt(Math.round(parts.now() * 1e6));
  await inSlices(
    parts.store.rows('session'),
    ({ key, value }) => {
      if (!networks.has(value.networkId) || !wants.inside(value.networkId, value.ca)) return;
      if (!wants.outside(key.address, key.externalPort) || !wants.protocol(key.protocol)) return;
      if (!wants.remote(key.remote, key.remotePort)) return;
      chosen.add(() => ({
        networkId: value.networkId,
        customerAddress: formatIp(value.ca),
        customerPort: value.insidePort,
        protocol: key.protocol,
        segment: key.segment,
        externalAddress: formatIp(key.address),
        externalPort: key.externalPort,
        remoteAddress: formatIp(key.remote),
        remotePort: key.remotePort,
        isForward: value.kind === SessionKind.FORWARD,
        tcpSeen: value.flags,
        remainingMs: value.expiresBootNs > nowNs ? Number((value.expiresBootNs - nowNs) / 1_000_000n) : 0,
      }));
    },
    parts.slices,
  );
  return chosen;
}

/** A mapping whose last session is being retired has a mark in place of their number. */
function sessionsOf(counted: number): number {
  return counted < 0x8000_0000 ? counted : 0;
}

/** What rules map for good: 1:1 addresses, and port forwards. */
function* ruleRows(entries: NatRowsParts['entries']): Generator<NatMappingRow> {
  for (const row of entries('external_address')) {
    if (row.table !== 'external_address' || row.value.kind !== ExternalAddressKind.STATIC) continue;
    const { segment, address } = row.key;
    yield {
      kind: 'static',
      networkId: row.value.networkId,
      customerAddress: formatIp(row.value.ca),
      customerPort: 0,
      protocol: 0,
      segment,
      externalAddress: formatIp(address),
      externalPort: 0,
      sessions: 0,
    };
  }
  for (const row of entries('port_forward')) {
    if (row.table !== 'port_forward') continue;
    const { segment, address, port, protocol } = row.key;
    yield {
      kind: 'forward',
      networkId: row.value.networkId,
      customerAddress: formatIp(row.value.ca),
      customerPort: row.value.port,
      protocol,
      segment,
      externalAddress: formatIp(address),
      externalPort: port,
      sessions: 0,
    };
  }
}

/** The first rows up to a limit; the others are counted, and not made. */
class Choice<T> {
  readonly rows: T[] = [];
  leftOut = 0;
  readonly #limit: number;

  constructor(limit: number) {
    this.#limit = Math.max(1, Math.min(limit, NAT_ROWS_MAX));
  }

  add(make: () => T): void {
    if (this.rows.length < this.#limit) this.rows.push(make());
    else this.leftOut++;
  }
}

function matcher(query: NatQuery) {
  const networks = new Set(query.networkIds);
  const [ca, external, remote] = [
    address('customerAddress', query.customerAddress),
    address('externalAddress', query.externalAddress),
    address('remoteAddress', query.remoteAddress),
  ];
  const isPort = (wanted: number, port: number): boolean => wanted === 0 || wanted === port;
  const protocol = (value: number): boolean => query.protocol === 0 || query.protocol === value;
  return {
    inside: (networkId: number, at: Uint8Array): boolean => (networks.size === 0 || networks.has(networkId)) && isAddress(ca, at),
    outside: (at: Uint8Array, port: number): boolean => isAddress(external, at) && isPort(query.externalPort, port),
    remote: (at: Uint8Array, port: number): boolean => isAddress(remote, at) && isPort(query.remotePort, port),
    protocol,
    /** A rule for all ports and protocols is one for the one that is asked for. */
    rule: (row: NatMappingRow): boolean =>
      isAddress(external, parseIp(row.externalAddress)) &&
      (row.externalPort === 0 || isPort(query.externalPort, row.externalPort)) &&
      (row.protocol === 0 || protocol(row.protocol)),
  };
}

function isAddress(wanted: Uint8Array | undefined, at: Uint8Array): boolean {
  return wanted === undefined || Buffer.compare(wanted, at) === 0;
}

function address(path: string, text: string): Uint8Array | undefined {
  if (text === '') return undefined;
  try {
    return parseIp(text);
  } catch (error) {
    throw new AgentError(
      'WEFT_ERR_AGENT_COMMAND',
      `Cannot look for "${text}": must be an IP address`,
      { path, value: text },
      { cause: error },
    );
  }
}
