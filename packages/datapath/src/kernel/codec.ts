import type { RouteKind, TableEntry, TableName, TableRow, Target, TargetKind } from '@weft/forwarding';
import { DatapathError } from '../errors.ts';
import { ADDRESS_BYTES, L2_KEY, LOOKUP_KEY, MAC_BYTES, PORT, ROUTE, ROUTE_KEY, SHARD, SPEAKER_KEY, SUBNET, TARGET } from './layout.ts';

// Rows as bytes of the kernel's maps, and back. Encoding writes into buffers that hold many rows, since a million of them go to the kernel at
// once; so the integers are written byte by byte at known offsets, which V8 compiles well, and nothing is allocated but for 64-bit numbers.

/** Encoders and decoders of one table. Offsets are where the key or the value begins; the bytes there must be zero. */
export interface RowCodec<N extends TableName> {
  encodeKey(bytes: Uint8Array, offset: number, key: TableRow[N]['key']): void;
  encodeValue(bytes: Uint8Array, offset: number, value: TableRow[N]['value']): void;
  decode(key: Uint8Array, value: Uint8Array): TableEntry & { readonly table: N };
}

const PREFIX_BITS_MAX = 128;
const NETWORK_ID_BITS = 32;

function refuse(field: string, value: unknown, rule: string): never {
  throw new DatapathError('WEFT_ERR_DATAPATH_BAD_ROW', `Cannot write ${field} ${String(value)}: must be ${rule}`);
}

function setU32(bytes: Uint8Array, offset: number, value: number, field: string): void {
  if (value >>> 0 !== value) refuse(field, value, 'an integer from 0 to 4294967295');
  bytes[offset] = value;
  bytes[offset + 1] = value >>> 8;
  bytes[offset + 2] = value >>> 16;
  bytes[offset + 3] = value >>> 24;
}

function setU8(bytes: Uint8Array, offset: number, value: number, field: string): void {
  if ((value & 0xff) !== value) refuse(field, value, 'an integer from 0 to 255');
  bytes[offset] = value;
}

function setU64(bytes: Uint8Array, offset: number, value: bigint, field: string): void {
  if (value === 0n) return;
  if (typeof value !== 'bigint' || value < 0n || value >> 64n !== 0n) refuse(field, value, 'a bigint from 0 to 2^64 - 1');
  const low = Number(value & 0xffff_ffffn);
  const high = Number(value >> 32n);
  setU32(bytes, offset, low, field);
  setU32(bytes, offset + 4, high, field);
}

function setBytes(bytes: Uint8Array, offset: number, value: Uint8Array, length: number, field: string): void {
  if (value.length !== length) refuse(field, `of ${value.length} bytes`, `${length} bytes`);
  // Short copies: a loop beats Uint8Array.set here.
  for (let i = 0; i < length; i++) bytes[offset + i] = value[i]!;
}

const setAddress = (bytes: Uint8Array, offset: number, value: Uint8Array, field: string): void =>
  setBytes(bytes, offset, value, ADDRESS_BYTES, field);

function getU32(bytes: Uint8Array, offset: number): number {
  return (bytes[offset]! | (bytes[offset + 1]! << 8) | (bytes[offset + 2]! << 16) | (bytes[offset + 3]! << 24)) >>> 0;
}

function getU32BigEndian(bytes: Uint8Array, offset: number): number {
  return ((bytes[offset]! << 24) | (bytes[offset + 1]! << 16) | (bytes[offset + 2]! << 8) | bytes[offset + 3]!) >>> 0;
}

function getU64(bytes: Uint8Array, offset: number): bigint {
  const low = getU32(bytes, offset);
  const high = getU32(bytes, offset + 4);
  return high === 0 ? BigInt(low) : (BigInt(high) << 32n) | BigInt(low);
}

const getAddress = (bytes: Uint8Array, offset: number): Uint8Array => bytes.slice(offset, offset + ADDRESS_BYTES);
const getMac = (bytes: Uint8Array, offset: number): Uint8Array => bytes.slice(offset, offset + MAC_BYTES);

function encodeTarget(bytes: Uint8Array, offset: number, target: Target): void {
  setBytes(bytes, offset + TARGET.mac, target.mac, MAC_BYTES, 'target MAC address');
  setU8(bytes, offset + TARGET.kind, target.kind, 'target kind');
  setU8(bytes, offset + TARGET.flags, target.flags, 'target flags');
  setU32(bytes, offset + TARGET.vsid, target.vsid, 'target VSID');
  setU32(bytes, offset + TARGET.ifindexOrShard, target.ifindexOrShard, 'target device or shard');
  setAddress(bytes, offset + TARGET.pa, target.pa, 'target provider address');
  setAddress(bytes, offset + TARGET.prevPa, target.prevPa, 'target previous provider address');
  setU64(bytes, offset + TARGET.prevUntilBootNs, target.prevUntilBootNs, 'target previous-until time');
  setU64(bytes, offset + TARGET.generation, target.generation, 'target generation');
}

function decodeTarget(bytes: Uint8Array): Target {
  return {
    mac: getMac(bytes, TARGET.mac),
    kind: bytes[TARGET.kind]! as TargetKind,
    flags: bytes[TARGET.flags]!,
    vsid: getU32(bytes, TARGET.vsid),
    ifindexOrShard: getU32(bytes, TARGET.ifindexOrShard),
    pa: getAddress(bytes, TARGET.pa),
    prevPa: getAddress(bytes, TARGET.prevPa),
    prevUntilBootNs: getU64(bytes, TARGET.prevUntilBootNs),
    generation: getU64(bytes, TARGET.generation),
  };
}

/** The codecs, by table. */
export const ROW_CODECS: { readonly [N in TableName]: RowCodec<N> } = {
  port: {
    encodeKey: (bytes, offset, key) => setU32(bytes, offset, key.ifindex, 'device index'),
    encodeValue(bytes, offset, value) {
      setU32(bytes, offset + PORT.networkId, value.networkId, 'port network id');
      setU32(bytes, offset + PORT.vsid, value.vsid, 'port VSID');
      setU32(bytes, offset + PORT.mtu, value.mtuBytes, 'port MTU');
      setU32(bytes, offset + PORT.flags, value.flags, 'port flags');
      setBytes(bytes, offset + PORT.mac, value.mac, MAC_BYTES, 'port MAC address');
    },
    decode: (key, value) => ({
      table: 'port',
      key: { ifindex: getU32(key, 0) },
      value: {
        networkId: getU32(value, PORT.networkId),
        vsid: getU32(value, PORT.vsid),
        mtuBytes: getU32(value, PORT.mtu),
        flags: getU32(value, PORT.flags),
        mac: getMac(value, PORT.mac),
      },
    }),
  },
  subnet: {
    encodeKey: (bytes, offset, key) => setU32(bytes, offset, key.vsid, 'subnet VSID'),
    encodeValue(bytes, offset, value) {
      setU32(bytes, offset + SUBNET.networkId, value.networkId, 'subnet network id');
      setU32(bytes, offset + SUBNET.flags, value.flags, 'subnet flags');
      setAddress(bytes, offset + SUBNET.gateway4, value.gateway4, 'subnet IPv4 gateway');
      setAddress(bytes, offset + SUBNET.gateway6, value.gateway6, 'subnet IPv6 gateway');
    },
    decode: (key, value) => ({
      table: 'subnet',
      key: { vsid: getU32(key, 0) },
      value: {
        networkId: getU32(value, SUBNET.networkId),
        flags: getU32(value, SUBNET.flags),
        gateway4: getAddress(value, SUBNET.gateway4),
        gateway6: getAddress(value, SUBNET.gateway6),
      },
    }),
  },
  lookup: {
    encodeKey(bytes, offset, key) {
      setU32(bytes, offset + LOOKUP_KEY.networkId, key.networkId, 'lookup network id');
      setAddress(bytes, offset + LOOKUP_KEY.ca, key.ca, 'lookup address');
    },
    encodeValue: encodeTarget,
    decode: (key, value) => ({
      table: 'lookup',
      key: { networkId: getU32(key, LOOKUP_KEY.networkId), ca: getAddress(key, LOOKUP_KEY.ca) },
      value: decodeTarget(value),
    }),
  },
  l2: {
    encodeKey(bytes, offset, key) {
      setU32(bytes, offset + L2_KEY.vsid, key.vsid, 'l2 VSID');
      setBytes(bytes, offset + L2_KEY.mac, key.mac, MAC_BYTES, 'l2 MAC address');
    },
    encodeValue: encodeTarget,
    decode: (key, value) => ({
      table: 'l2',
      key: { vsid: getU32(key, L2_KEY.vsid), mac: getMac(key, L2_KEY.mac) },
      value: decodeTarget(value),
    }),
  },
  route: {
    encodeKey(bytes, offset, key) {
      const { networkId, prefix, prefixLength } = key;
      if (!(prefixLength >= 0 && prefixLength <= PREFIX_BITS_MAX)) refuse('route prefix length', prefixLength, 'from 0 to 128');
      setU32(bytes, offset + ROUTE_KEY.prefixLength, NETWORK_ID_BITS + prefixLength, 'route prefix length');
      if (networkId >>> 0 !== networkId) refuse('route network id', networkId, 'an integer from 0 to 4294967295');
      bytes[offset + ROUTE_KEY.networkId] = networkId >>> 24;
      bytes[offset + ROUTE_KEY.networkId + 1] = networkId >>> 16;
      bytes[offset + ROUTE_KEY.networkId + 2] = networkId >>> 8;
      bytes[offset + ROUTE_KEY.networkId + 3] = networkId;
      setAddress(bytes, offset + ROUTE_KEY.prefix, prefix, 'route prefix');
    },
    encodeValue(bytes, offset, value) {
      setU32(bytes, offset + ROUTE.kind, value.kind, 'route kind');
      setU32(bytes, offset + ROUTE.vsid, value.vsid, 'route VSID');
      setAddress(bytes, offset + ROUTE.nextHop, value.nextHop, 'route next hop');
    },
    decode: (key, value) => ({
      table: 'route',
      key: {
        networkId: getU32BigEndian(key, ROUTE_KEY.networkId),
        prefix: getAddress(key, ROUTE_KEY.prefix),
        prefixLength: getU32(key, ROUTE_KEY.prefixLength) - NETWORK_ID_BITS,
      },
      value: {
        kind: getU32(value, ROUTE.kind) as RouteKind,
        vsid: getU32(value, ROUTE.vsid),
        nextHop: getAddress(value, ROUTE.nextHop),
      },
    }),
  },
  speaker: {
    encodeKey(bytes, offset, key) {
      setAddress(bytes, offset + SPEAKER_KEY.pa, key.pa, 'speaker provider address');
      setU32(bytes, offset + SPEAKER_KEY.networkId, key.networkId, 'speaker network id');
    },
    encodeValue: (bytes, offset, value) => setU32(bytes, offset, value, 'speaker flags'),
    decode: (key, value) => ({
      table: 'speaker',
      key: { pa: getAddress(key, SPEAKER_KEY.pa), networkId: getU32(key, SPEAKER_KEY.networkId) },
      value: getU32(value, 0),
    }),
  },
  shard: {
    encodeKey: (bytes, offset, key) => setU32(bytes, offset, key.id, 'shard id'),
    encodeValue(bytes, offset, value) {
      setU64(bytes, offset + SHARD.epoch, value.epoch, 'shard epoch');
      setAddress(bytes, offset + SHARD.pa, value.pa, 'shard provider address');
      setAddress(bytes, offset + SHARD.prevPa, value.prevPa, 'shard previous provider address');
      setU64(bytes, offset + SHARD.prevUntilBootNs, value.prevUntilBootNs, 'shard previous-until time');
    },
    decode: (key, value) => ({
      table: 'shard',
      key: { id: getU32(key, 0) },
      value: {
        epoch: getU64(value, SHARD.epoch),
        pa: getAddress(value, SHARD.pa),
        prevPa: getAddress(value, SHARD.prevPa),
        prevUntilBootNs: getU64(value, SHARD.prevUntilBootNs),
      },
    }),
  },
};
