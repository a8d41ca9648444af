import {
  ExternalAddressKind,
  ExternalPrefixKind,
  GATEWAY_TABLES,
  type GatewayTableChange,
  type GatewayTableEntry,
  gatewayRowKey,
} from '@weft/forwarding';
import { type Assignment, networkPath, type VirtualNetwork } from '@weft/model';
import { ipKey } from '@weft/packet';
import type { GatewayFacts, NatSetup, NatSetupChange } from './gateway-facts.ts';
import { addressRows, networkGatewayRows, peerRows, type Rows, segmentRows } from './gateway-rows.ts';
import { interfaceHolders } from './interface-holders.ts';

// A gateway member's rows: a function of the facts, whatever the order in which they came. A network's rows are made again only when its own
// document, its assignment or those it peers with are others; then all is compared with what was given before.
//
//   facts ──► compileGateway ──► rows ──► diff against the last ──► changes, in a safe order
//
// `gateway_shard` is not among them: who owns a shard is decided by votes.

export interface GatewayRowChanges {
  /** Additions in the order of `GATEWAY_TABLES`, after deletions in the other. */
  readonly tables: readonly GatewayTableChange[];
  readonly nat: readonly NatSetupChange[];
}

interface Memo {
  readonly inputs: readonly unknown[];
  readonly rows: Rows;
}

/** Folds facts into rows and says what changed. */
export class GatewayView {
  #tables = new Map<string, GatewayTableEntry>();
  #nat = new Map<string, NatSetup>();
  #memo = new Map<string, Memo>();

  /** Takes the facts as they are now. */
  update(facts: GatewayFacts): GatewayRowChanges {
    const memo = new Map<string, Memo>();
    const { tables, nat } = compile(facts, (network, assignment, peers, make) => {
      const subnet = network.subnets.find(({ role }) => role === 'gateway');
      const allowed = subnet !== undefined && facts.vsidAllowed(network.id, subnet.vsid);
      const inputs = [network, assignment, facts.mtuBytes, allowed, ...peers];
      const known = this.#memo.get(network.id);
      const same = known !== undefined && known.inputs.length === inputs.length && known.inputs.every((one, i) => one === inputs[i]);
      const rows = same ? known.rows : make();
      memo.set(network.id, { inputs, rows });
      return rows;
    });
    this.#memo = memo;
    const changes = { tables: diffGateway(this.#tables.values(), tables), nat: diffNatSetup(this.#nat.values(), nat) };
    this.#tables = new Map(tables.map((row) => [gatewayRowKey(row), row]));
    this.#nat = new Map(nat.map((row) => [natSetupKey(row), row]));
    return changes;
  }

  /** All rows, as the packet path should have them. */
  entries(): IterableIterator<GatewayTableEntry> {
    return this.#tables.values();
  }

  natSetup(): IterableIterator<NatSetup> {
    return this.#nat.values();
  }
}

/** All rows from zero: what `GatewayView` must equal. */
export function compileGateway(facts: GatewayFacts): Rows {
  return compile(facts, (_network, _assignment, _peers, make) => make());
}

type RowsOfNetwork = (
  network: VirtualNetwork,
  assignment: Assignment,
  peers: readonly (VirtualNetwork | undefined)[],
  make: () => Rows,
) => Rows;

function compile(facts: GatewayFacts, rowsOf: RowsOfNetwork): Rows {
  const tables = new Map<string, GatewayTableEntry>();
  const nat = new Map<string, NatSetup>();
  const owners = new Map<string, string>();
  const put = (rows: Rows, owner: string): void => {
    for (const row of rows.tables) {
      const key = gatewayRowKey(row);
      const before = tables.get(key);
      const stranger = owners.get(key);
      // Of two networks with one external address or prefix neither has it, until the store says whose it is.
      const contested = before !== undefined && stranger !== '' && owner !== '' && stranger !== owner;
      tables.set(key, contested ? denied(row) : row);
      owners.set(key, owner);
    }
    for (const row of rows.nat) nat.set(natSetupKey(row), row);
  };
  const byPath = new Map([...facts.networks.values()].map((network) => [networkPath(network.tenant, network.name), network]));
  const holders = interfaceHolders(
    facts.groups.map(({ gateway }) => gateway),
    facts.hostId,
  );
  for (const { gateway, assignment } of facts.groups) {
    if (!assignment.members.some(({ hostId }) => hostId === facts.hostId)) continue;
    const devices = new Map([...facts.devices].filter(([name]) => holders.get(name)?.gatewayId === gateway.id));
    put({ tables: [...segmentRows(gateway, facts.hostId, devices), ...peerRows(assignment, facts)], nat: [] }, '');
    put(addressRows(assignment, facts.hostId), '');
    const served = [...facts.networks.values()].filter((network) => network.gateway?.gatewayId === assignment.gatewayId);
    for (const network of served.sort((a, b) => (a.id < b.id ? -1 : 1))) {
      const paths = network.gateway!.connections.flatMap((one) =>
        one.mode === 'peering' ? [networkPath(one.peerTenant, one.peerNetwork)] : [],
      );
      const peers = paths.map((path) => byPath.get(path));
      put(
        rowsOf(network, assignment, peers, () => networkGatewayRows(network, assignment, facts, (path) => byPath.get(path))),
        network.id,
      );
    }
  }
  return { tables: [...tables.values()], nat: [...nat.values()] };
}

function denied(row: GatewayTableEntry): GatewayTableEntry {
  if (row.table === 'external_address')
    return { ...row, value: { ...row.value, kind: ExternalAddressKind.DENY, networkId: 0, ca: new Uint8Array(16) } };
  if (row.table === 'external_prefix') return { ...row, value: { networkId: 0, kind: ExternalPrefixKind.DENY } };
  if (row.table === 'port_forward') return { ...row, value: { networkId: 0, port: 0, ca: new Uint8Array(16) } };
  return row;
}

/** The changes that turn one table into another: what stands in the way goes first, and nothing equal is touched. */
export function diffGateway(current: Iterable<GatewayTableEntry>, wanted: Iterable<GatewayTableEntry>): GatewayTableChange[] {
  const present = new Map([...current].map((row) => [gatewayRowKey(row), row]));
  const puts: GatewayTableChange[] = [];
  for (const row of wanted) {
    const key = gatewayRowKey(row);
    const known = present.get(key);
    present.delete(key);
    if (known === undefined || !equal(known.value, row.value)) puts.push({ op: 'put', ...row });
  }
  const deletes = [...present.values()].map(({ table, key }) => ({ op: 'delete', table, key }) as GatewayTableChange);
  const rank = ({ table }: GatewayTableChange): number => GATEWAY_TABLES.indexOf(table);
  return [...deletes.sort((a, b) => rank(b) - rank(a)), ...puts.sort((a, b) => rank(a) - rank(b))];
}

/** As `diffGateway`. Pools come after what they are made of; quotas last, for without one nothing new begins. */
export function diffNatSetup(current: Iterable<NatSetup>, wanted: Iterable<NatSetup>): NatSetupChange[] {
  const order = ['nat_slice', 'nat_pool', 'gateway_quota'];
  const present = new Map([...current].map((row) => [natSetupKey(row), row]));
  const puts: NatSetupChange[] = [];
  for (const row of wanted) {
    const key = natSetupKey(row);
    const known = present.get(key);
    present.delete(key);
    if (known === undefined || !equal(known.value, row.value)) puts.push({ op: 'put', ...row });
  }
  const deletes = [...present.values()].map(({ table, key }): NatSetupChange => ({ op: 'delete', table, key }));
  const rank = ({ table }: NatSetupChange): number => order.indexOf(table);
  return [...deletes.sort((a, b) => rank(b) - rank(a)), ...puts.sort((a, b) => rank(a) - rank(b))];
}

/** Unique among all rows of `NatSetup`. */
export function natSetupKey(row: Pick<NatSetup, 'table' | 'key'>): string {
  const { table, key } = row as NatSetup;
  switch (table) {
    case 'nat_pool':
      return `p${key.pool}`;
    case 'nat_slice':
      return `s${key.segment}:${ipKey(key.address)}`;
    case 'gateway_quota':
      return `q${key.networkId}`;
  }
}

function equal(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (a instanceof Uint8Array && b instanceof Uint8Array) return a.length === b.length && a.every((byte, i) => byte === b[i]);
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false;
  const [left, right] = [Object.entries(a), b as Record<string, unknown>];
  return left.length === Object.keys(right).length && left.every(([name, value]) => equal(value, right[name]));
}
