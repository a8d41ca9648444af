import {
  GatewayMode,
  type GatewayNetworkEntry,
  type GatewayTableChange,
  type GatewayTableEntry,
  type GatewayTableName,
} from '@weft/forwarding';
import type { ShardNetworks } from './shard-networks.ts';

type Row = GatewayTableEntry & { readonly table: 'gateway_network' };

const NO_ADDRESS: Uint8Array = new Uint8Array(16);
/** One that comes back by then has its flows still: records of it may have been missing for a moment only. */
export const LEAVING_MS = 10_000;

export interface LeavingNetworksInit {
  readonly nat: {
    /** Whether a network has sessions or blocks here. */
    holds(networkId: number): boolean;
    /** Takes away what is counted of a network that is gone, and holds nothing. */
    forget(networkId: number): void;
  };
  /** The packet path's rows. */
  readonly tables: {
    rows(table: GatewayTableName): Iterable<GatewayTableEntry>;
    apply(changes: readonly GatewayTableChange[]): void;
  };
  readonly clock: { now(): number };
  /** Is told of networks that stay, and of those that are gone for good. */
  readonly networks: Pick<ShardNetworks, 'set' | 'delete'>;
}

/**
 * Networks that records say nothing of any more, and that still hold sessions or blocks of ports. Without a row nobody would know whose they are to retire, and they would stay
 * for ever, while tenants come and go. So such a network keeps one, which names its shard and denies everything:
 *
 *   gone ──► as it was, but for DENY ──LEAVING_MS──► on no segment: the shard's owner ends its flows, tells its standby, and gives the blocks back ──holds nothing──► no row
 */
export class LeavingNetworks {
  readonly #init: LeavingNetworksInit;
  readonly #rows = new Map<number, { row: Row; readonly sinceMs: number }>();

  constructor(init: LeavingNetworksInit) {
    this.#init = init;
  }

  has(networkId: number): boolean {
    return this.#rows.has(networkId);
  }

  /** It is back, and has a row of its own. */
  isBack(networkId: number): void {
    this.#rows.delete(networkId);
  }

  *rows(): Generator<Row> {
    for (const { row } of this.#rows.values()) yield row;
  }

  /**
   * Networks that go and hold something stay, with a row that lets nothing pass.
   * @param shards Those that this member may own: what networks leave behind there is retired.
   * @returns The changes, with such rows in the place of deletions.
   */
  keep(changes: readonly GatewayTableChange[], shards: ReadonlySet<number>): readonly GatewayTableChange[] {
    const { nat, tables, networks, clock } = this.#init;
    const going = new Set<number>();
    for (const { op, table, key } of changes) {
      if (table !== 'gateway_network' || op === 'put') continue;
      if (nat.holds(key.networkId)) going.add(key.networkId);
      else nat.forget(key.networkId);
    }
    if (going.size === 0) return changes;
    let sought = going.size;
    const stay = new Map<number, Row>();
    for (const row of tables.rows('gateway_network')) {
      if (sought === 0) break;
      if (row.table !== 'gateway_network' || !going.has(row.key.networkId)) continue;
      sought--;
      if (!shards.has(row.value.shard)) continue;
      stay.set(row.key.networkId, this.#add(row.key.networkId, row.value, clock.now()));
      networks.set(row.key.networkId, row.value.shard);
    }
    return changes.map((change) => {
      const row = change.table === 'gateway_network' && change.op === 'delete' ? stay.get(change.key.networkId) : undefined;
      return row === undefined ? change : { op: 'put', ...row };
    });
  }

  /** Ends the flows of networks that are gone for good, and takes the rows of those away that hold nothing any more. */
  dismiss(): void {
    const { nat, tables, networks, clock } = this.#init;
    const over = this.#end(clock.now());
    if (over.length > 0) tables.apply(over.map((row) => ({ op: 'put', ...row })));
    const left = [...this.rows()].filter(({ key }) => !nat.holds(key.networkId));
    if (left.length === 0) return;
    tables.apply(left.map(({ table, key }) => ({ op: 'delete', table, key })));
    for (const { key } of left) {
      this.#rows.delete(key.networkId);
      networks.delete(key.networkId);
      nat.forget(key.networkId);
    }
  }

  /** @param was Its row until now. @returns The row that it keeps. */
  #add(networkId: number, was: GatewayNetworkEntry, nowMs: number): Row {
    const value = {
      ...was,
      ...{ mode: GatewayMode.DENY, flags: 0, pool: 0, gateway4: NO_ADDRESS, gateway6: NO_ADDRESS },
      ...{ nptInside: NO_ADDRESS, nptOutside: NO_ADDRESS, nptBits: 0 },
    };
    const row: Row = { table: 'gateway_network', key: { networkId }, value };
    this.#rows.set(networkId, { row, sinceMs: nowMs });
    return row;
  }

  /** @returns Rows that are to say from now on that the network's flows are over. */
  #end(nowMs: number): Row[] {
    return [...this.#rows.values()].flatMap((one) => {
      if (one.row.value.segment === 0 || nowMs - one.sinceMs < LEAVING_MS) return [];
      one.row = { ...one.row, value: { ...one.row.value, segment: 0 } };
      return [one.row];
    });
  }
}
