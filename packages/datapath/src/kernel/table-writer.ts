import { BpfError, type BpfMap } from '@weft/bpf';
import type { TableChange, TableEntry, TableName } from '@weft/forwarding';
import { rowKey } from '@weft/forwarding';
import { DatapathError } from '../errors.ts';
import { ROW_CODECS, type RowCodec } from './codec.ts';
import { MAP_LAYOUT } from './layout.ts';
import type { TableGeneration } from './table-generation.ts';

// A change list becomes at most two batches a table: deletes and puts. The order of the batches keeps tenants apart while they are written:
//
//   deletes   port, l2, lookup, route, speaker, shard, subnet      what must not be reached any more is cut off first
//   puts      subnet, shard, speaker, lookup, l2, route, port      nothing can be sent before all that judges it is there
//
// Deletes before puts, so that a VSID which changes hands can't show rows of the old network to the new one.

const DELETE_ORDER: readonly TableName[] = ['port', 'l2', 'lookup', 'route', 'speaker', 'shard', 'subnet'];
const PUT_ORDER: readonly TableName[] = ['subnet', 'shard', 'speaker', 'lookup', 'l2', 'route', 'port'];

/** Rows a batch: buffers of some 350 kB, within reach of the caches. */
const BATCH_ROWS = 4096;

type Rows = { readonly puts: (TableChange & { op: 'put' })[]; readonly deletes: (TableChange & { op: 'delete' })[] };

interface Batch {
  readonly keys: Uint8Array;
  readonly values: Uint8Array | undefined;
  readonly count: number;
}

/** Writes changes to the maps of the tables, and reads them back. */
export class TableWriter {
  readonly #maps: Readonly<Record<TableName, BpfMap>>;

  readonly #generation: TableGeneration;

  constructor(maps: Readonly<Record<TableName, BpfMap>>, generation: TableGeneration) {
    this.#maps = maps;
    this.#generation = generation;
  }

  /** @see Datapath.apply */
  apply(changes: readonly TableChange[]): void {
    const byTable = sortByTable(changes);
    // All is encoded before anything is written, so that a bad row changes nothing.
    const deletes = DELETE_ORDER.map((table) => encode(table, byTable[table].deletes));
    const puts = PUT_ORDER.map((table) => encode(table, byTable[table].puts));
    this.#generation.end();
    try {
      DELETE_ORDER.forEach((table, i) => {
        for (const { keys, count } of deletes[i]!) this.#maps[table].deleteBatch(keys, count);
      });
      PUT_ORDER.forEach((table, i) => {
        for (const batch of puts[i]!) this.#write(table, batch);
      });
    } finally {
      // Also when a table is full: the rows that were written stand.
      this.#generation.begin();
    }
  }

  entries(table: TableName): TableEntry[] {
    return [...this.rows(table)];
  }

  *rows(table: TableName): Generator<TableEntry> {
    const codec: RowCodec<TableName> = ROW_CODECS[table];
    for (const [key, value] of this.#maps[table].entries()) yield codec.decode(key, value);
  }

  #write(table: TableName, { keys, values, count }: Batch): void {
    try {
      this.#maps[table].updateBatch(keys, values!, count);
    } catch (error) {
      if (!(error instanceof BpfError) || error.code !== 'WEFT_ERR_BPF_MAP_FULL') throw error;
      const { maxEntries } = this.#maps[table];
      throw new DatapathError(
        'WEFT_ERR_DATAPATH_TABLE_FULL',
        `Cannot write ${count} rows to table ${table}: it holds at most ${maxEntries}; raise maxEntries.${table} and start the datapath anew`,
        { cause: error },
      );
    }
  }
}

function sortByTable(changes: readonly TableChange[]): Record<TableName, Rows> {
  const sorted = Object.fromEntries(PUT_ORDER.map((table) => [table, { puts: [], deletes: [] }])) as unknown as Record<TableName, Rows>;
  for (const change of changes) {
    const rows = sorted[change.table];
    if (rows === undefined)
      throw new DatapathError(
        'WEFT_ERR_DATAPATH_BAD_ROW',
        `Cannot write to table ${String(change.table)}: there are ${PUT_ORDER.join(', ')}`,
      );
    if (change.op === 'put') rows.puts.push(change);
    else rows.deletes.push(change);
  }
  for (const table of PUT_ORDER) {
    // Puts alone keep their order within a batch, and so do deletes; only a mixture needs the last change of each row.
    if (sorted[table].puts.length > 0 && sorted[table].deletes.length > 0) sorted[table] = lastOfEach(changes, table);
  }
  return sorted;
}

function lastOfEach(changes: readonly TableChange[], table: TableName): Rows {
  const last = new Map<string, TableChange>();
  for (const change of changes) if (change.table === table) last.set(rowKey(change), change);
  const rows: Rows = { puts: [], deletes: [] };
  for (const change of last.values()) {
    if (change.op === 'put') rows.puts.push(change);
    else rows.deletes.push(change);
  }
  return rows;
}

function encode(table: TableName, changes: readonly TableChange[]): Batch[] {
  const { keyBytes, valueBytes } = MAP_LAYOUT[table];
  const codec: RowCodec<TableName> = ROW_CODECS[table];
  const batches: Batch[] = [];
  for (let start = 0; start < changes.length; start += BATCH_ROWS) {
    const count = Math.min(BATCH_ROWS, changes.length - start);
    const isPut = changes[start]!.op === 'put';
    const keys = new Uint8Array(count * keyBytes);
    const values = isPut ? new Uint8Array(count * valueBytes) : undefined;
    for (let i = 0; i < count; i++) {
      const change = changes[start + i]!;
      codec.encodeKey(keys, i * keyBytes, change.key);
      if (values !== undefined && change.op === 'put') codec.encodeValue(values, i * valueBytes, change.value);
    }
    batches.push({ keys, values, count });
  }
  return batches;
}
