import {
  BLOCK_PORTS,
  HOLDER_ADDRESSES_MAX,
  type NatAddress,
  type NatBlock,
  type NatKey,
  type NatMapping,
  type NatPort,
  type NatSession,
  type NatSourceState,
  type NatTable,
  type NatValue,
  POOL_ADDRESSES_MAX,
} from '@weft/forwarding';
import { DatapathError } from '../../errors.ts';
import { addressAt } from './address-cache.ts';
import * as L from './layout.ts';

// Rows of the NAT as bytes of the kernel's maps, and back. Ports in keys and values are in network order; other integers as the machine has
// them (little-endian: types.h checks it).

/** Encoders and decoders of one table. `encode…` write into zeroed bytes of the right size. */
export interface NatCodec<T extends NatTable> {
  encodeKey(view: DataView, key: NatKey<T>): void;
  decodeKey(view: DataView): NatKey<T>;
  encodeValue(view: DataView, value: NatValue<T>, key: NatKey<T>): void;
  decodeValue(view: DataView): NatValue<T>;
}

const ADDRESS_BYTES = 16;

const u16 = (view: DataView, at: number): number => view.getUint16(at, true);
const u32 = (view: DataView, at: number): number => view.getUint32(at, true);
const u64 = (view: DataView, at: number): bigint => view.getBigUint64(at, true);
const port = (view: DataView, at: number): number => view.getUint16(at, false);
const setU16 = (view: DataView, at: number, value: number): void => view.setUint16(at, value, true);
const setU32 = (view: DataView, at: number, value: number): void => view.setUint32(at, value, true);
const setU64 = (view: DataView, at: number, value: bigint): void => view.setBigUint64(at, value, true);
const setPort = (view: DataView, at: number, value: number): void => view.setUint16(at, value, false);

function bytes(view: DataView, at: number, length: number = ADDRESS_BYTES): Uint8Array {
  // So short an array is made fastest this way.
  const copy = new Uint8Array(length);
  for (let i = 0; i < length; i++) copy[i] = view.getUint8(at + i);
  return copy;
}

function setBytes(view: DataView, at: number, value: Uint8Array, length: number = ADDRESS_BYTES): void {
  if (value.length !== length) {
    throw new DatapathError('WEFT_ERR_DATAPATH_BAD_ROW', `Cannot write an address of ${value.length} bytes: must be ${length} bytes`);
  }
  new Uint8Array(view.buffer, view.byteOffset + at, length).set(value);
}

function encodeAddress(view: DataView, at: number, { segment, address }: NatAddress): void {
  setU32(view, at + L.NAT_ADDRESS.segment, segment);
  setBytes(view, at + L.NAT_ADDRESS.address, address);
}

function decodeAddress(view: DataView, at: number): { segment: number; address: Uint8Array } {
  return { segment: u32(view, at + L.NAT_ADDRESS.segment), address: addressAt(view, at + L.NAT_ADDRESS.address) };
}

function refuseMore(count: number, max: number, what: string): void {
  if (count > max) throw new DatapathError('WEFT_ERR_DATAPATH_BAD_ROW', `Cannot write ${count} ${what}: must be at most ${max}`);
}

/** `struct nat_port` */
export function decodePort(view: DataView, at: number): NatPort {
  const P = L.NAT_PORT;
  return {
    state: view.getUint8(at + P.state),
    protocol: view.getUint8(at + P.protocol),
    insidePort: port(view, at + P.insidePort),
    next: u32(view, at + P.next),
    sessions: u32(view, at + P.sessions),
    version: u32(view, at + P.version),
    freeAtBootNs: u64(view, at + P.freeAtBootNs),
  };
}

function encodePort(view: DataView, at: number, value: NatPort): void {
  const P = L.NAT_PORT;
  view.setUint8(at + P.state, value.state);
  view.setUint8(at + P.protocol, value.protocol);
  setPort(view, at + P.insidePort, value.insidePort);
  setU32(view, at + P.next, value.next);
  setU32(view, at + P.sessions, value.sessions);
  setU32(view, at + P.version, value.version);
  setU64(view, at + P.freeAtBootNs, value.freeAtBootNs);
}

/** `struct nat_block_head` */
export function decodeBlockHead(view: DataView, at: number): Omit<NatBlock, 'ports'> {
  const H = L.NAT_BLOCK_HEAD;
  return {
    networkId: u32(view, at + H.networkId),
    pool: u32(view, at + H.pool),
    ca: addressAt(view, at + H.ca),
    epoch: u64(view, at + H.epoch),
    grantedBootNs: u64(view, at + H.grantedBootNs),
    next: u32(view, at + H.next),
    addressIndex: u32(view, at + H.addressIndex),
    version: u32(view, at + H.version),
  };
}

const SOURCE_FIELDS = [
  'version',
  'freeHead',
  'freeTail',
  'freeCount',
  'fresh',
  'freshLeft',
  'newest',
  'blocks',
  'mappings',
  'flags',
  'addressCount',
] as const;

/** `struct nat_source_state` */
export function decodeSourceState(view: DataView, at: number): NatSourceState {
  const S = L.NAT_SOURCE_STATE;
  return {
    version: u32(view, at + S.version),
    freeHead: u32(view, at + S.freeHead),
    freeTail: u32(view, at + S.freeTail),
    freeCount: u32(view, at + S.freeCount),
    fresh: u32(view, at + S.fresh),
    freshLeft: u32(view, at + S.freshLeft),
    newest: u32(view, at + S.newest),
    blocks: u32(view, at + S.blocks),
    mappings: u32(view, at + S.mappings),
    flags: u32(view, at + S.flags),
    addressCount: u32(view, at + S.addressCount),
    idleBootNs: u64(view, at + S.idleBootNs),
  };
}

/** `struct nat_mapping` */
export function decodeMapping(view: DataView, at: number): NatMapping {
  const M = L.NAT_MAPPING;
  return {
    pool: u32(view, at + M.pool),
    segment: u32(view, at + M.segment),
    address: addressAt(view, at + M.address),
    externalPort: port(view, at + M.externalPort),
    ticket: u64(view, at + M.ticket),
  };
}

/** `struct nat_session` */
export function decodeSession(view: DataView, at: number): NatSession {
  const S = L.NAT_SESSION;
  return {
    networkId: u32(view, at + S.networkId),
    ca: addressAt(view, at + S.ca),
    insidePort: port(view, at + S.insidePort),
    kind: view.getUint8(at + S.kind),
    flags: u32(view, at + S.flags),
    revision: u32(view, at + S.revision),
    expiresBootNs: u64(view, at + S.expiresBootNs),
    toldBootNs: u64(view, at + S.toldBootNs),
    ticket: u64(view, at + S.ticket),
  };
}

/** `nat_session_self` of nat_session.h: by which the programs know whose row they have read. */
function sessionSelf(key: NatKey<'session'>): readonly [number, number] {
  const bytesOfKey = new DataView(new ArrayBuffer(L.NAT_MAP_LAYOUT.session.keyBytes));
  sessionKey.encode(bytesOfKey, 0, key);
  const K = L.NAT_SESSION_KEY;
  const ports = u32(bytesOfKey, K.externalPort);
  return [(u32(bytesOfKey, K.remote + 12) ^ key.segment) >>> 0, (ports ^ u32(bytesOfKey, K.address + 12) ^ (key.protocol << 24)) >>> 0];
}

export const sessionKey = {
  encode(view: DataView, at: number, key: NatKey<'session'>): void {
    const K = L.NAT_SESSION_KEY;
    encodeAddress(view, at, key);
    setBytes(view, at + K.remote, key.remote);
    setPort(view, at + K.externalPort, key.externalPort);
    setPort(view, at + K.remotePort, key.remotePort);
    view.setUint8(at + K.protocol, key.protocol);
  },
  decode(view: DataView, at: number): NatKey<'session'> {
    const K = L.NAT_SESSION_KEY;
    return {
      segment: u32(view, at + K.segment),
      address: addressAt(view, at + K.address),
      remote: addressAt(view, at + K.remote),
      externalPort: port(view, at + K.externalPort),
      remotePort: port(view, at + K.remotePort),
      protocol: view.getUint8(at + K.protocol),
    };
  },
};

export const sourceKey = {
  encode(view: DataView, at: number, key: NatKey<'source'>): void {
    setU32(view, at + L.NAT_SOURCE_KEY.networkId, key.networkId);
    setU32(view, at + L.NAT_SOURCE_KEY.pool, key.pool);
    setBytes(view, at + L.NAT_SOURCE_KEY.ca, key.ca);
  },
  decode: (view: DataView, at: number): NatKey<'source'> => ({
    networkId: u32(view, at + L.NAT_SOURCE_KEY.networkId),
    pool: u32(view, at + L.NAT_SOURCE_KEY.pool),
    ca: addressAt(view, at + L.NAT_SOURCE_KEY.ca),
  }),
};

export const mappingKey = {
  encode(view: DataView, at: number, key: NatKey<'mapping'>): void {
    const K = L.NAT_MAPPING_KEY;
    setU32(view, at + K.networkId, key.networkId);
    setBytes(view, at + K.ca, key.ca);
    setPort(view, at + K.port, key.port);
    view.setUint8(at + K.protocol, key.protocol);
  },
  decode(view: DataView, at: number): NatKey<'mapping'> {
    const K = L.NAT_MAPPING_KEY;
    return {
      networkId: u32(view, at + K.networkId),
      ca: addressAt(view, at + K.ca),
      port: port(view, at + K.port),
      protocol: view.getUint8(at + K.protocol),
    };
  },
};

export const blockKey = {
  encode(view: DataView, at: number, key: NatKey<'block'>): void {
    encodeAddress(view, at, key);
    setU16(view, at + L.NAT_BLOCK_KEY.block, key.block);
  },
  decode: (view: DataView, at: number): NatKey<'block'> => ({
    ...decodeAddress(view, at),
    block: u16(view, at + L.NAT_BLOCK_KEY.block),
  }),
};

const network = {
  encodeKey: (view: DataView, key: { readonly networkId: number }): void => setU32(view, 0, key.networkId),
  decodeKey: (view: DataView): { networkId: number } => ({ networkId: u32(view, 0) }),
};

/** The codecs, by table. */
export const NAT_CODECS: { readonly [T in NatTable]: NatCodec<T> } = {
  pool: {
    encodeKey: (view, key) => setU32(view, 0, key.pool),
    decodeKey: (view) => ({ pool: u32(view, 0) }),
    encodeValue(view, { addresses }) {
      refuseMore(addresses.length, POOL_ADDRESSES_MAX, 'addresses of a pool');
      setU32(view, L.NAT_POOL.count, addresses.length);
      addresses.forEach((address, i) => {
        encodeAddress(view, L.NAT_POOL.addresses + i * L.NAT_ADDRESS_BYTES, address);
      });
    },
    decodeValue: (view) => ({
      addresses: Array.from({ length: u32(view, L.NAT_POOL.count) }, (_, i) =>
        decodeAddress(view, L.NAT_POOL.addresses + i * L.NAT_ADDRESS_BYTES),
      ),
    }),
  },
  free: {
    encodeKey: (view, key) => encodeAddress(view, 0, key),
    decodeKey: (view) => decodeAddress(view, 0),
    encodeValue(view, { own, blocks }) {
      refuseMore(blocks.length, L.NAT_RING_ENTRIES, 'free blocks of an address');
      setU32(view, L.NAT_FREE.count, blocks.length);
      setBytes(view, L.NAT_FREE.own, own, L.NAT_RING_ENTRIES / 8);
      blocks.forEach(({ block, freeAtS }, i) => {
        setU32(view, L.NAT_FREE.ring + i * L.NAT_FREE_BLOCK_BYTES, freeAtS);
        setU16(view, L.NAT_FREE.ring + i * L.NAT_FREE_BLOCK_BYTES + L.NAT_FREE_BLOCK.block, block);
      });
    },
    decodeValue(view) {
      const head = u32(view, L.NAT_FREE.head);
      const blocks = Array.from({ length: u32(view, L.NAT_FREE.count) }, (_, i) => {
        const at = L.NAT_FREE.ring + ((head + i) % L.NAT_RING_ENTRIES) * L.NAT_FREE_BLOCK_BYTES;
        return { block: u16(view, at + L.NAT_FREE_BLOCK.block), freeAtS: u32(view, at) };
      });
      return { own: bytes(view, L.NAT_FREE.own, L.NAT_RING_ENTRIES / 8), blocks };
    },
  },
  block: {
    encodeKey: (view, key) => blockKey.encode(view, 0, key),
    decodeKey: (view) => blockKey.decode(view, 0),
    encodeValue(view, value) {
      const H = L.NAT_BLOCK_HEAD;
      setU32(view, H.networkId, value.networkId);
      setU32(view, H.pool, value.pool);
      setBytes(view, H.ca, value.ca);
      setU64(view, H.epoch, value.epoch);
      setU64(view, H.grantedBootNs, value.grantedBootNs);
      setU32(view, H.next, value.next);
      setU32(view, H.addressIndex, value.addressIndex);
      setU32(view, H.version, value.version);
      value.ports.forEach((one, i) => {
        encodePort(view, L.NAT_BLOCK_HEAD_BYTES + i * L.NAT_PORT_BYTES, one);
      });
    },
    decodeValue: (view) => ({
      ...decodeBlockHead(view, 0),
      ports: Array.from({ length: BLOCK_PORTS }, (_, i) => decodePort(view, L.NAT_BLOCK_HEAD_BYTES + i * L.NAT_PORT_BYTES)),
    }),
  },
  source: {
    encodeKey: (view, key) => sourceKey.encode(view, 0, key),
    decodeKey: (view) => sourceKey.decode(view, 0),
    encodeValue(view, value, key) {
      refuseMore(value.addresses.length, HOLDER_ADDRESSES_MAX, 'addresses of a holder');
      sourceKey.encode(view, L.NAT_SOURCE.self, key);
      for (const field of SOURCE_FIELDS) setU32(view, L.NAT_SOURCE.state + L.NAT_SOURCE_STATE[field], value[field]);
      setU64(view, L.NAT_SOURCE.state + L.NAT_SOURCE_STATE.idleBootNs, value.idleBootNs);
      value.addresses.forEach((address, i) => {
        encodeAddress(view, L.NAT_SOURCE.addresses + i * L.NAT_ADDRESS_BYTES, address);
      });
    },
    decodeValue(view) {
      const state = decodeSourceState(view, L.NAT_SOURCE.state);
      const addresses = Array.from({ length: state.addressCount }, (_, i) =>
        decodeAddress(view, L.NAT_SOURCE.addresses + i * L.NAT_ADDRESS_BYTES),
      );
      return { ...state, addresses };
    },
  },
  mapping: {
    encodeKey: (view, key) => mappingKey.encode(view, 0, key),
    decodeKey: (view) => mappingKey.decode(view, 0),
    encodeValue(view, value, key) {
      const M = L.NAT_MAPPING;
      setU32(view, M.selfNetworkId, key.networkId);
      setBytes(view, M.selfCa, key.ca.subarray(12), 4);
      setPort(view, M.selfPort, key.port);
      view.setUint8(M.selfProtocol, key.protocol);
      setU32(view, M.pool, value.pool);
      setU32(view, M.segment, value.segment);
      setBytes(view, M.address, value.address);
      setPort(view, M.externalPort, value.externalPort);
      setU64(view, M.ticket, value.ticket);
    },
    decodeValue: (view) => decodeMapping(view, 0),
  },
  session: {
    encodeKey: (view, key) => sessionKey.encode(view, 0, key),
    decodeKey: (view) => sessionKey.decode(view, 0),
    encodeValue(view, value, key) {
      const S = L.NAT_SESSION;
      const [first, second] = sessionSelf(key);
      setU32(view, S.self, first);
      setU32(view, S.self + 4, second);
      setU32(view, S.networkId, value.networkId);
      setPort(view, S.insidePort, value.insidePort);
      view.setUint8(S.kind, value.kind);
      setBytes(view, S.ca, value.ca);
      setU32(view, S.flags, value.flags);
      setU32(view, S.revision, value.revision);
      setU64(view, S.expiresBootNs, value.expiresBootNs);
      setU64(view, S.toldBootNs, value.toldBootNs);
      setU64(view, S.ticket, value.ticket);
    },
    decodeValue: (view) => decodeSession(view, 0),
  },
  reverse: {
    encodeKey(view, key) {
      const K = L.NAT_REVERSE_KEY;
      setU32(view, K.networkId, key.networkId);
      setBytes(view, K.ca, key.ca);
      setBytes(view, K.remote, key.remote);
      setPort(view, K.port, key.port);
      setPort(view, K.remotePort, key.remotePort);
      view.setUint8(K.protocol, key.protocol);
    },
    decodeKey(view) {
      const K = L.NAT_REVERSE_KEY;
      return {
        networkId: u32(view, K.networkId),
        ca: addressAt(view, K.ca),
        remote: addressAt(view, K.remote),
        port: port(view, K.port),
        remotePort: port(view, K.remotePort),
        protocol: view.getUint8(K.protocol),
      };
    },
    encodeValue(view, value) {
      encodeAddress(view, 0, value);
      setPort(view, L.NAT_REVERSE.externalPort, value.externalPort);
    },
    decodeValue: (view) => ({ ...decodeAddress(view, 0), externalPort: port(view, L.NAT_REVERSE.externalPort) }),
  },
  quota: {
    ...network,
    encodeValue(view, value) {
      setU32(view, L.NAT_QUOTA.blocks, value.blocks);
      setU32(view, L.NAT_QUOTA.blocksPerSource, value.blocksPerSource);
      setU32(view, L.NAT_QUOTA.sessions, value.sessions);
      setU32(view, L.NAT_QUOTA.newFlowsPerSecond, value.newFlowsPerSecond);
    },
    decodeValue: (view) => ({
      blocks: u32(view, L.NAT_QUOTA.blocks),
      blocksPerSource: u32(view, L.NAT_QUOTA.blocksPerSource),
      sessions: u32(view, L.NAT_QUOTA.sessions),
      newFlowsPerSecond: u32(view, L.NAT_QUOTA.newFlowsPerSecond),
    }),
  },
  usage: {
    ...network,
    encodeValue(view, value) {
      setU32(view, L.NAT_USAGE.blocks, value.blocks);
      setU32(view, L.NAT_USAGE.sessions, value.sessions);
      setU64(view, L.NAT_USAGE.deniedBlocks, value.deniedBlocks);
      setU64(view, L.NAT_USAGE.deniedSessions, value.deniedSessions);
      setU64(view, L.NAT_USAGE.exhausted, value.exhausted);
    },
    decodeValue: (view) => ({
      blocks: u32(view, L.NAT_USAGE.blocks),
      sessions: u32(view, L.NAT_USAGE.sessions),
      deniedBlocks: u64(view, L.NAT_USAGE.deniedBlocks),
      deniedSessions: u64(view, L.NAT_USAGE.deniedSessions),
      exhausted: u64(view, L.NAT_USAGE.exhausted),
    }),
  },
  share: {
    encodeKey: (view, key) => setU32(view, 0, key.pool),
    decodeKey: (view) => ({ pool: u32(view, 0) }),
    encodeValue(view, value) {
      setU32(view, L.NAT_SHARE.blocks, value.blocks);
      setU32(view, L.NAT_SHARE.keep, value.keep);
    },
    decodeValue: (view) => ({ blocks: u32(view, L.NAT_SHARE.blocks), keep: u32(view, L.NAT_SHARE.keep) }),
  },
  rate: {
    ...network,
    encodeValue(view, value) {
      setU64(view, L.NAT_RATE.dueBootNs, value.dueBootNs);
      setU64(view, L.NAT_RATE.denied, value.denied);
    },
    decodeValue: (view) => ({ dueBootNs: u64(view, L.NAT_RATE.dueBootNs), denied: u64(view, L.NAT_RATE.denied) }),
  },
};
