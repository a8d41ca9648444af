import { GatewayMode, type GatewayNetworkEntry, type GatewayTableEntry } from '@weft/forwarding';

type Row = GatewayTableEntry & { readonly table: 'gateway_network' };

const NO_ADDRESS: Uint8Array = new Uint8Array(16);
/** One that comes back by then has its flows still: records of it may have been missing for a moment only. */
export const LEAVING_MS = 10_000;

/**
 * Networks that records say nothing of any more, and that still hold sessions or blocks of ports. Without a row nobody would know whose they are to retire, and they would stay
 * for ever, while tenants come and go. So such a network keeps one, which names its shard and denies everything:
 *
 *   gone ──► as it was, but for DENY ──LEAVING_MS──► on no segment: the shard's owner ends its flows, tells its standby, and gives the blocks back ──holds nothing──► no row
 */
export class LeavingNetworks {
  readonly #rows = new Map<number, { row: Row; readonly sinceMs: number }>();

  /** @param was Its row until now. @returns The row that it keeps. */
  add(networkId: number, was: GatewayNetworkEntry, nowMs: number): Row {
    const value = {
      ...was,
      ...{ mode: GatewayMode.DENY, flags: 0, pool: 0, gateway4: NO_ADDRESS, gateway6: NO_ADDRESS },
      ...{ nptInside: NO_ADDRESS, nptOutside: NO_ADDRESS, nptBits: 0 },
    };
    const row: Row = { table: 'gateway_network', key: { networkId }, value };
    this.#rows.set(networkId, { row, sinceMs: nowMs });
    return row;
  }

  delete(networkId: number): void {
    this.#rows.delete(networkId);
  }

  /** @returns Rows that are to say from now on that the network's flows are over. */
  end(nowMs: number): Row[] {
    return [...this.#rows.values()].flatMap((one) => {
      if (one.row.value.segment === 0 || nowMs - one.sinceMs < LEAVING_MS) return [];
      one.row = { ...one.row, value: { ...one.row.value, segment: 0 } };
      return [one.row];
    });
  }

  *rows(): Generator<Row> {
    for (const { row } of this.#rows.values()) yield row;
  }
}
