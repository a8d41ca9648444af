import type { TableEntry, TableName, TableRow } from '@weft/forwarding';
import { ipKey } from '@weft/packet';

/**
 * A string that is equal for rows of the same table and key only. Opaque, and several times cheaper than the readable `rowKey` of
 * `@weft/forwarding`: it is made for each of 100,000 mappings. Fixed-size parts stand last, so that no two keys run into each other.
 */
export function rowIdentity(row: { readonly table: TableName; readonly key: TableRow[TableName]['key'] }): string {
  const { table, key } = row as TableEntry;
  switch (table) {
    case 'lookup':
      return `c${key.networkId}:${ipKey(key.ca)}`;
    case 'l2':
      return `m${key.vsid}:${macKey(key.mac)}`;
    case 'speaker':
      return `s${key.networkId}:${ipKey(key.pa)}`;
    case 'route':
      return `r${key.networkId}/${key.prefixLength}:${ipKey(key.prefix)}`;
    case 'port':
      return `p${key.ifindex}`;
    case 'subnet':
      return `v${key.vsid}`;
    case 'shard':
      return `g${key.id}`;
  }
}

function macKey(mac: Uint8Array): string {
  return String.fromCharCode((mac[0]! << 8) | mac[1]!, (mac[2]! << 8) | mac[3]!, (mac[4]! << 8) | mac[5]!);
}
