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
import { ClaimedRows, type RowChange } from './claimed-rows.ts';
import type { GatewayFacts, NatSetup, NatSetupChange } from './gateway-facts.ts';
import { addressRows, networkGatewayRows, peerRows, type Rows, segmentRows } from './gateway-rows.ts';
import { interfaceHolders } from './interface-holders.ts';

// A gateway member's rows: a function of the facts, whatever the order in which they came. A network's rows are made again only when its own
// document, what it needs of its assignment or those it peers with are others; and only keys of such rows are looked at again.
//
//   facts ──► owners: the member itself, each network ──► rows ──► ClaimedRows ──► changes, in a safe order
//
// `gateway_shard` is not among them: who owns a shard is decided by votes.

/** Pools come after what they are made of; quotas last, for without one nothing new begins. */
const NAT_SETUP_ORDER: readonly NatSetup['table'][] = ['nat_slice', 'nat_pool', 'gateway_quota'];

/** Whose the rows are that follow from groups and not from networks. */
const MEMBER = '';

export interface GatewayRowChanges {
  /** Additions in the order of `GATEWAY_TABLES`, after deletions in the other. */
  readonly tables: readonly GatewayTableChange[];
  readonly nat: readonly NatSetupChange[];
}

interface Memo {
  readonly inputs: readonly unknown[];
  readonly rows: Rows;
}

type RowsOfOwner = (owner: string, inputs: readonly unknown[], make: () => Rows) => void;

/** Folds facts into rows and says what changed. */
export class GatewayView {
  readonly #tables = new ClaimedRows<GatewayTableEntry>(gatewayRowKey, settleTable);
  readonly #nat = new ClaimedRows<NatSetup>(natSetupKey, (rows) => rows.at(-1)!.row);
  readonly #memo = new Map<string, Memo>();
  /** What networks need of an assignment, by gateway: the same object as long as it says the same. */
  readonly #placements = new Map<string, { readonly text: string }>();
  /** For tests: how often an owner's rows were made, ever. */
  made = 0;

  /** Takes the facts as they are now. */
  update(facts: GatewayFacts): GatewayRowChanges {
    const steps = this.updating(facts);
    for (;;) {
      const step = steps.next();
      if (step.done === true) return step.value;
    }
  }

  /** As `update`, in steps of one network, between which others may work. Only one at a time. */
  *updating(facts: GatewayFacts): Generator<void, GatewayRowChanges> {
    const gone = new Set(this.#memo.keys());
    const rowsOf: RowsOfOwner = (owner, inputs, make) => {
      gone.delete(owner);
      const known = this.#memo.get(owner);
      if (known !== undefined && known.inputs.length === inputs.length && known.inputs.every((one, i) => one === inputs[i])) return;
      this.made++;
      const rows = make();
      this.#memo.set(owner, { inputs, rows });
      this.#tables.set(owner, rows.tables);
      this.#nat.set(owner, rows.nat);
    };
    yield* compile(facts, (assignment) => this.#placementOf(assignment), rowsOf);
    for (const owner of gone) {
      this.#memo.delete(owner);
      this.#tables.set(owner, []);
      this.#nat.set(owner, []);
      yield;
    }
    // Of ten thousand networks that come together there are as many changes.
    return {
      tables: yield* changing(this.#tables.taking(), GATEWAY_TABLES),
      nat: yield* changing(this.#nat.taking(), NAT_SETUP_ORDER),
    };
  }

  /** All rows, as the packet path should have them. */
  entries(): IterableIterator<GatewayTableEntry> {
    return this.#tables.rows();
  }

  natSetup(): IterableIterator<NatSetup> {
    return this.#nat.rows();
  }

  #placementOf(assignment: Assignment): unknown {
    const text = placementText(assignment);
    const known = this.#placements.get(assignment.gatewayId);
    if (known?.text === text) return known;
    const placement = { text };
    this.#placements.set(assignment.gatewayId, placement);
    return placement;
  }
}

/** All rows from zero: what `GatewayView` must equal. */
export function compileGateway(facts: GatewayFacts): Rows {
  const owners = new Map<string, Rows>();
  const steps = compile(facts, placementText, (owner, _inputs, make) => owners.set(owner, make()));
  while (steps.next().done !== true);
  const tables = new Map<string, Map<string, GatewayTableEntry>>();
  const nat = new Map<string, NatSetup>();
  for (const [owner, rows] of [...owners].sort(([a], [b]) => (a < b ? -1 : 1))) {
    for (const row of rows.tables) {
      const key = gatewayRowKey(row);
      tables.set(key, (tables.get(key) ?? new Map<string, GatewayTableEntry>()).set(owner, row));
    }
    for (const row of rows.nat) nat.set(natSetupKey(row), row);
  }
  return { tables: [...tables.values()].map((of) => settleTable([...of].map(([owner, row]) => ({ owner, row })))), nat: [...nat.values()] };
}

/** What rows of networks are made of, of an assignment: not who has its blocks, nor in which order its members stand. Those change in every planned move. */
function placementText({ shards, addresses }: Assignment): string {
  return JSON.stringify([
    shards.map(({ id }) => id),
    addresses.map(({ segment, address, pool, natPool, shard }) => [segment, address, pool, natPool, shard]),
  ]);
}

function* compile(facts: GatewayFacts, placementOf: (assignment: Assignment) => unknown, rowsOf: RowsOfOwner): Generator<void> {
  const { hostId, mtuBytes } = facts;
  const groups = facts.groups.filter(({ assignment }) => assignment.members.some((member) => member.hostId === hostId));
  const holders = interfaceHolders(
    facts.groups.map(({ gateway }) => gateway),
    hostId,
  );
  // Always another: few rows, and made of all that there is of groups.
  rowsOf(MEMBER, [facts], () => {
    const rows = groups.map(({ gateway, assignment }) => {
      const devices = new Map([...facts.devices].filter(([name]) => holders.get(name)?.gatewayId === gateway.id));
      const shared = addressRows(assignment, hostId);
      return { tables: [...segmentRows(gateway, hostId, devices), ...peerRows(assignment, facts), ...shared.tables], nat: shared.nat };
    });
    return { tables: rows.flatMap((one) => one.tables), nat: rows.flatMap((one) => one.nat) };
  });
  const serving = new Map(groups.map(({ assignment }) => [assignment.gatewayId, { assignment, placement: placementOf(assignment) }]));
  let byPath: Map<string, VirtualNetwork> | undefined;
  const peerOf = (path: string): VirtualNetwork | undefined => {
    byPath ??= new Map([...facts.networks.values()].map((network) => [networkPath(network.tenant, network.name), network]));
    return byPath.get(path);
  };
  for (const network of facts.networks.values()) {
    const of = serving.get(network.gateway?.gatewayId ?? '');
    if (of === undefined) continue;
    const subnet = network.subnets.find(({ role }) => role === 'gateway');
    const allowed = subnet !== undefined && facts.vsidAllowed(network.id, subnet.vsid);
    const peers = network.gateway!.connections.flatMap((one) =>
      one.mode === 'peering' ? [peerOf(networkPath(one.peerTenant, one.peerNetwork))] : [],
    );
    rowsOf(network.id, [network, of.placement, mtuBytes, allowed, ...peers], () =>
      networkGatewayRows(network, of.assignment, facts, peerOf),
    );
    yield;
  }
}

/** Changes of single rows in a safe order, with a step for each. Nothing equal is touched. */
function* changing<R extends { readonly table: string; readonly key: unknown; readonly value: unknown }>(
  changes: Iterable<RowChange<R>>,
  order: readonly R['table'][],
): Generator<void, Changed<R>[]> {
  const sorted = new ChangesByTable<R>(order);
  for (const { before, after } of changes) {
    if (after !== undefined) {
      if (before === undefined || !equal(before.value, after.value)) sorted.put(after);
    } else if (before !== undefined) sorted.delete(before);
    yield;
  }
  return sorted.all();
}

type Changed<R extends { readonly table: string; readonly key: unknown }> = R extends unknown
  ? ({ readonly op: 'put' } & R) | { readonly op: 'delete'; readonly table: R['table']; readonly key: R['key'] }
  : never;

/** Deletions in one order of tables, then additions in the other: what is pointed at stands before what points at it. */
class ChangesByTable<R extends { readonly table: string; readonly key: unknown }> {
  readonly #puts: Map<string, Changed<R>[]>;
  readonly #deletes: Map<string, Changed<R>[]>;

  constructor(order: readonly string[]) {
    this.#puts = new Map(order.map((table) => [table, []]));
    this.#deletes = new Map([...order].reverse().map((table) => [table, []]));
  }

  put(row: R): void {
    this.#puts.get(row.table)!.push({ op: 'put', ...row } as unknown as Changed<R>);
  }

  delete({ table, key }: Pick<R, 'table' | 'key'>): void {
    this.#deletes.get(table)!.push({ op: 'delete', table, key } as unknown as Changed<R>);
  }

  all(): Changed<R>[] {
    return [...this.#deletes.values(), ...this.#puts.values()].flat();
  }
}

/** Of two networks with one external address or prefix neither has it, until the store says whose it is. What a network says of an address of its own counts before the group's word. */
function settleTable(rows: readonly { readonly owner: string; readonly row: GatewayTableEntry }[]): GatewayTableEntry {
  const last = rows.at(-1)!.row;
  return rows.filter(({ owner }) => owner !== MEMBER).length > 1 ? denied(last) : last;
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
  const steps = diffingGateway(current, wanted);
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
  }
}

/** As `diffGateway`, in steps of one row, between which others may work. */
export function* diffingGateway(
  current: Iterable<GatewayTableEntry>,
  wanted: Iterable<GatewayTableEntry>,
): Generator<void, GatewayTableChange[]> {
  const present = new Map<string, GatewayTableEntry>();
  for (const row of current) {
    present.set(gatewayRowKey(row), row);
    yield;
  }
  const changes = new ChangesByTable<GatewayTableEntry>(GATEWAY_TABLES);
  for (const row of wanted) {
    const key = gatewayRowKey(row);
    const known = present.get(key);
    present.delete(key);
    if (known === undefined || !equal(known.value, row.value)) changes.put(row);
    yield;
  }
  for (const row of present.values()) {
    changes.delete(row);
    yield;
  }
  return changes.all();
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
