import type { GatewayTableEntry, GatewayTableName, GatewayTableRow } from '@weft/forwarding';
import { DatapathError } from '../errors.ts';
import { type Field, type FieldKind, GATEWAY_MAPS } from './gateway-layout.ts';

// Rows of the gateway's tables as bytes of the kernel's maps, and back, by the shapes of gateway-layout.ts: there are few of them, so that a field may
// be looked up by its name.

const NUMBER_BITS = 32;
const ADDRESS_BITS = 128;
const MAX: Partial<Record<FieldKind, number>> = { u8: 0xff, be16: 0xffff, u32: 0xffff_ffff, be32: 0xffff_ffff, prefix: ADDRESS_BITS };
const BYTES: Partial<Record<FieldKind, number>> = { mac: 6, address: 16 };
const MAX_U64 = 0xffff_ffff_ffff_ffffn;

type Fields = Readonly<Record<string, unknown>>;

/** Offsets are where the key begins; the bytes there must be zero. @throws {DatapathError} `WEFT_ERR_DATAPATH_BAD_ROW`. */
export function encodeGatewayKey<N extends GatewayTableName>(
  table: N,
  bytes: Uint8Array,
  offset: number,
  key: GatewayTableRow[N]['key'],
): void {
  encode(table, bytes, offset, GATEWAY_MAPS[table].key, key as unknown as Fields);
}

/** As {@link encodeGatewayKey}, for the value. */
export function encodeGatewayValue<N extends GatewayTableName>(
  table: N,
  bytes: Uint8Array,
  offset: number,
  value: GatewayTableRow[N]['value'],
): void {
  const fields = typeof value === 'number' ? { '': value } : (value as unknown as Fields);
  encode(table, bytes, offset, GATEWAY_MAPS[table].value, fields);
}

export function decodeGatewayRow(table: GatewayTableName, key: Uint8Array, value: Uint8Array): GatewayTableEntry {
  const shape = GATEWAY_MAPS[table];
  const values = decode(value, shape.value);
  return { table, key: decode(key, shape.key), value: '' in values ? values[''] : values } as unknown as GatewayTableEntry;
}

function encode(table: string, bytes: Uint8Array, start: number, fields: readonly Field[], row: Fields): void {
  for (const [name, kind, offset] of fields) {
    const value = row[name];
    const refuse = (rule: string): never => {
      throw new DatapathError('WEFT_ERR_DATAPATH_BAD_ROW', `Cannot write ${table} ${name || 'value'} ${String(value)}: must be ${rule}`);
    };
    const at = start + offset;
    const length = BYTES[kind];
    if (length !== undefined) {
      if (!(value instanceof Uint8Array) || value.length !== length) refuse(`${length} bytes`);
      bytes.set(value as Uint8Array, at);
      continue;
    }
    const view = new DataView(bytes.buffer, bytes.byteOffset + at);
    if (kind === 'u64') {
      if (typeof value !== 'bigint' || value < 0n || value > MAX_U64) refuse('a bigint from 0 to 2^64 - 1');
      view.setBigUint64(0, value as bigint, true);
      continue;
    }
    const max = MAX[kind] ?? 0;
    if (!Number.isInteger(value) || (value as number) < 0 || (value as number) > max) refuse(`an integer from 0 to ${max}`);
    const number = value as number;
    if (kind === 'u8') view.setUint8(0, number);
    else if (kind === 'be16') view.setUint16(0, number);
    else if (kind === 'prefix') view.setUint32(0, NUMBER_BITS + number, true);
    else view.setUint32(0, number, kind === 'u32');
  }
}

function decode(bytes: Uint8Array, fields: readonly Field[]): Record<string, unknown> {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const row: Record<string, unknown> = {};
  for (const [name, kind, offset] of fields) {
    const length = BYTES[kind];
    if (length !== undefined) row[name] = bytes.slice(offset, offset + length);
    else if (kind === 'u64') row[name] = view.getBigUint64(offset, true);
    else if (kind === 'u8') row[name] = view.getUint8(offset);
    else if (kind === 'be16') row[name] = view.getUint16(offset);
    else if (kind === 'prefix') row[name] = view.getUint32(offset, true) - NUMBER_BITS;
    else row[name] = view.getUint32(offset, kind === 'u32');
  }
  return row;
}
