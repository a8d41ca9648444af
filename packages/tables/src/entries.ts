import { type RouteEntry, rowKey, type ShardEntry, type TableChange, type TableEntry, type TableName, type Target } from '@weft/forwarding';
import { rowIdentity } from './row-identity.ts';

/** True if two rows have the same table, key and value. */
export function entryEquals(a: TableEntry, b: TableEntry): boolean {
  return a.table === b.table && fieldsEqual(a.key, b.key) && fieldsEqual(a.value, b.value);
}

/** The change that stores a row. */
export function putOf(entry: TableEntry): TableChange {
  return { op: 'put', ...entry };
}

/** The change that removes a row. */
export function deleteOf(entry: TableEntry): TableChange {
  return { op: 'delete', table: entry.table, key: entry.key } as TableChange;
}

/**
 * The changes that turn `current` into `wanted`, in a safe order (see `orderChanges`). Rows that are equal are left alone: nothing is
 * flushed.
 */
export function diff(current: Iterable<TableEntry>, wanted: Iterable<TableEntry>): TableChange[] {
  return all(diffing(current, wanted));
}

/**
 * As `diff`, for an agent that has not yet seen everything (NATS absent): nothing is removed, and no target gives way to one of a lower
 * generation or to none.
 */
export function diffAdditive(current: Iterable<TableEntry>, wanted: Iterable<TableEntry>): TableChange[] {
  return all(diffing(current, wanted, true));
}

/** As `diff` and `diffAdditive`, in steps of one row, between which others may work. */
export function* diffing(current: Iterable<TableEntry>, wanted: Iterable<TableEntry>, isAdditive = false): Generator<void, TableChange[]> {
  const present = new Map<string, TableEntry>();
  for (const row of current) {
    present.set(rowIdentity(row), row);
    yield;
  }
  const changes: TableChange[] = [];
  for (const entry of wanted) {
    const key = rowIdentity(entry);
    const found = present.get(key);
    present.delete(key);
    const isOlder =
      isAdditive && found !== undefined && isTarget(found) && isTarget(entry) && entry.value.generation < found.value.generation;
    if (!isOlder && (found === undefined || !entryEquals(found, entry))) changes.push(putOf(entry));
    yield;
  }
  if (!isAdditive) for (const stale of present.values()) changes.push(deleteOf(stale));
  return orderChanges(changes);
}

function all<R>(steps: Generator<void, R>): R {
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
  }
}

// Fail closed: a device stops before what it needs goes, and starts after all is there. A replaced value never passes through "absent".
const STEP: Record<TableChange['op'], Record<TableName, number>> = {
  delete: { port: 0, route: 6, lookup: 7, l2: 7, speaker: 8, shard: 8, subnet: 9 },
  put: { subnet: 1, shard: 2, speaker: 3, lookup: 4, l2: 4, route: 5, port: 10 },
};

/**
 * Orders changes so that every state in between is right or denies: port rows leave first and come last; a subnet comes before what lies in
 * it and leaves after. Stable within a step. A `port` row that loses READY counts as leaving.
 */
export function orderChanges(changes: readonly TableChange[]): TableChange[] {
  const step = (change: TableChange): number =>
    change.op === 'put' && change.table === 'port' && (change.value.flags & 1) === 0 ? 0 : STEP[change.op][change.table];
  return [...changes].sort((a, b) => step(a) - step(b));
}

/** The rows in which two tables differ, as text for people; empty when equal. At most `limit` lines. */
export function describeDifferences(
  a: Iterable<TableEntry>,
  b: Iterable<TableEntry>,
  names: readonly [string, string],
  limit = 20,
): string[] {
  const left = byKey(a);
  const right = byKey(b);
  const lines: string[] = [];
  for (const [key, entry] of left) {
    const other = right.get(key);
    if (other === undefined) lines.push(`${rowKey(entry)}: in ${names[0]}, not in ${names[1]}`);
    else if (!entryEquals(entry, other))
      lines.push(`${rowKey(entry)}: ${names[0]} has ${valueText(entry)}, ${names[1]} has ${valueText(other)}`);
  }
  for (const [key, entry] of right) if (!left.has(key)) lines.push(`${rowKey(entry)}: in ${names[1]}, not in ${names[0]}`);
  return lines.length > limit ? [...lines.slice(0, limit), `… and ${lines.length - limit} more`] : lines;
}

export type TargetRow = Extract<TableEntry, { table: 'lookup' | 'l2' }>;

export function isTarget<R extends { readonly table: TableName }>(row: R): row is R & { readonly value: Target } {
  return row.table === 'lookup' || row.table === 'l2';
}

function byKey(entries: Iterable<TableEntry>): Map<string, TableEntry> {
  const map = new Map<string, TableEntry>();
  for (const entry of entries) map.set(rowIdentity(entry), entry);
  return map;
}

function valueText(entry: TableEntry): string {
  return JSON.stringify(entry.value, (_, value: unknown) => {
    if (typeof value === 'bigint') return value.toString();
    return value instanceof Uint8Array ? hexOf(value) : value;
  });
}

function hexOf(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

type Fields = RouteEntry | ShardEntry | object | number;

function fieldsEqual(a: Fields, b: Fields): boolean {
  if (typeof a === 'number' || typeof b === 'number') return a === b;
  const other = b as Record<string, unknown>;
  for (const [name, value] of Object.entries(a)) {
    const against = other[name];
    if (value instanceof Uint8Array ? !(against instanceof Uint8Array && bytesEqual(value, against)) : value !== against) return false;
  }
  return true;
}

function bytesEqual(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}
