import { MemoryTables, rowKey, type TableChange, type TableEntry, type TableName } from '@weft/forwarding';
import { DatapathError } from '../errors.ts';
import { ROW_CODECS, type RowCodec } from '../kernel/codec.ts';
import { MAP_LAYOUT } from '../kernel/layout.ts';

/** Rows that each table holds: as many as the kernel engine's. */
export const TABLE_CAPACITY: Readonly<Record<TableName, number>> = {
  port: 4096,
  subnet: 65_536,
  lookup: 1_048_576,
  l2: 1_048_576,
  route: 262_144,
  speaker: 262_144,
  shard: 16_384,
};

/** The tables of this process: what `apply` of the contract says, on {@link MemoryTables}. */
export class TableStore {
  readonly tables: MemoryTables = new MemoryTables();
  readonly #counts = new Map<TableName, number>();

  /** @see Datapath.apply */
  apply(changes: readonly TableChange[]): void {
    const last = new Map<string, TableChange>();
    for (const change of changes) {
      const own = ownCopy(change);
      last.set(rowKey(own), own);
    }
    // What goes makes room for what comes.
    for (const change of last.values()) if (change.op === 'delete') this.#applyOne(change);
    for (const change of last.values()) if (change.op === 'put') this.#applyOne(change);
  }

  entries(table?: TableName): TableEntry[] {
    const rows = [...this.tables.entries()];
    return table === undefined ? rows : rows.filter((row) => row.table === table);
  }

  #applyOne(change: TableChange): void {
    const { table } = change;
    const before = this.tables.size;
    this.tables.apply([change]);
    const count = (this.#counts.get(table) ?? 0) + this.tables.size - before;
    if (count > TABLE_CAPACITY[table]) {
      this.tables.apply([{ ...change, op: 'delete' }]);
      throw new DatapathError(
        'WEFT_ERR_DATAPATH_TABLE_FULL',
        `Cannot write a row to table ${table}: it holds at most ${TABLE_CAPACITY[table]}; spread the ports over more hosts`,
      );
    }
    this.#counts.set(table, count);
  }
}

/** Checks a change by writing it as the kernel engine would, and reads it back: a copy that the caller's buffers have no part in. */
function ownCopy(change: TableChange): TableChange {
  const codec: RowCodec<TableName> | undefined = ROW_CODECS[change.table];
  if (codec === undefined) {
    const known = Object.keys(ROW_CODECS).join(', ');
    throw new DatapathError('WEFT_ERR_DATAPATH_BAD_ROW', `Cannot write to table ${String(change.table)}: there are ${known}`);
  }
  const { keyBytes, valueBytes } = MAP_LAYOUT[change.table];
  const key = new Uint8Array(keyBytes);
  const value = new Uint8Array(valueBytes);
  codec.encodeKey(key, 0, change.key);
  if (change.op === 'put') codec.encodeValue(value, 0, change.value);
  const row = codec.decode(key, value);
  return change.op === 'put' ? { op: 'put', ...row } : ({ op: 'delete', table: row.table, key: row.key } as TableChange);
}
