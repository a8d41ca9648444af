import { BpfError, type BpfMap, type BpfProgram, giveWay, type RingBatch, RingBuffer } from '@weft/bpf';
import {
  canonicalGatewayRow,
  GATEWAY_TABLES,
  type GatewayTableChange,
  type GatewayTableEntry,
  type GatewayTableName,
  gatewayRowKey,
  type NatEventBatch,
  type NatKey,
} from '@weft/forwarding';
import { interfaceIndex } from '@weft/tuntap';
import { DatapathError } from '../errors.ts';
import type { ExternalDevice, GatewayDatapath, GatewayTraffic, NatSwept, ProbeStamp } from '../gateway-datapath.ts';
import { noDevice } from '../host/devices.ts';
import type { Attachments } from './attachments.ts';
import { decodeGatewayRow, encodeGatewayKey, encodeGatewayValue } from './gateway-codec.ts';
import { GATEWAY_MAPS, GATEWAY_PROGRAMS, PROBE_REPLY, PROBE_SHARD, PROBE_SHARD_BYTES, TRAFFIC } from './gateway-layout.ts';
import { KernelNatBatch } from './nat/event-batch.ts';
import { NatMaps } from './nat/nat-maps.ts';
import type { TableGeneration } from './table-generation.ts';

/** A frame that BPF_PROG_TEST_RUN takes; the sweep does not look at it. */
const SWEEP_FRAME = new Uint8Array(64);
const ETHERNET_BYTES = 14;
/** Segment, address, slice. */
const SLICE_FRAME_BYTES = ETHERNET_BYTES + 4 + 16 + 128;
const PROBE_FORWARDS = 1;
/** How long changes wait before they leave for the standby, at most: each time costs something by itself. At 20,000 connections a second 1,200 events come meanwhile, a fortieth of what the ring has room for. */
const NAT_EVENTS_REST_MS = 12;
const NAT_EVENTS_BATCH = 2_048;

/** Maps and programs of the engine, by their names in the compiled object. */
export interface EngineParts {
  map(name: string): BpfMap;
  /** @throws {DatapathError} `WEFT_ERR_DATAPATH_NOT_STARTED`. */
  program(name: string): BpfProgram;
}

/** The kernel engine's part for gateways. */
export class KernelGateway implements GatewayDatapath {
  readonly nat: NatMaps;
  readonly #parts: EngineParts;
  readonly #attachments: Attachments;
  readonly #generation: TableGeneration;
  readonly #check: (action: string) => void;

  /** @param check Throws if the engine is closed. */
  constructor(parts: EngineParts, attachments: Attachments, generation: TableGeneration, check: (action: string) => void) {
    this.#parts = parts;
    this.nat = new NatMaps((name) => parts.map(name));
    this.#attachments = attachments;
    this.#generation = generation;
    this.#check = check;
  }

  /**
   * Puts the programs of this version where those of a former one were: first those that are called, then those at devices. Each entry is replaced in
   * one step, so a frame meets the old program or the new one.
   */
  start(): void {
    const programs = this.#parts.map('map_gateway_program');
    for (const [name, slot] of GATEWAY_PROGRAMS) programs.update(u32(slot), u32(this.#parts.program(name).fd));
    this.#attachments.replaceAll('from_external', this.#parts.program('from_external'), this.externalIndexes());
  }

  apply(changes: readonly GatewayTableChange[]): void {
    this.#check('write to');
    const last = new Map<string, GatewayTableChange>();
    for (const change of changes) {
      if (GATEWAY_MAPS[change.table] === undefined) {
        throw new DatapathError(
          'WEFT_ERR_DATAPATH_BAD_ROW',
          `Cannot write to table ${String(change.table)}: there are ${GATEWAY_TABLES.join(', ')}`,
        );
      }
      const row = canonicalGatewayRow(change);
      last.set(gatewayRowKey(row), row);
    }
    // All is encoded before anything is written, so that a bad row changes nothing.
    const rows = [...last.values()];
    const batches = GATEWAY_TABLES.map((table) => ({
      table,
      deletes: encodeRows(table, rows, 'delete'),
      puts: encodeRows(table, rows, 'put'),
    }));
    this.#change(() => {
      for (const { table, deletes } of batches.toReversed()) this.#map(table).deleteBatch(deletes.keys, deletes.count);
      for (const { table, puts } of batches) this.#put(table, puts);
    });
  }

  entries(table?: GatewayTableName): GatewayTableEntry[] {
    return [...this.rows(table)];
  }

  *rows(table?: GatewayTableName): Generator<GatewayTableEntry> {
    for (const name of table === undefined ? GATEWAY_TABLES : [table]) {
      this.#check('read');
      for (const [key, value] of this.#map(name).entries()) yield decodeGatewayRow(name, key, value);
    }
  }

  setDeadline(shard: number, epoch: bigint, deadlineBootNs: bigint): boolean {
    this.#check('write to');
    const map = this.#map('gateway_shard');
    const key = u32(shard);
    const value = map.lookup(key);
    if (value === undefined) return false;
    const row = decodeGatewayRow('gateway_shard', key, value);
    if (row.table !== 'gateway_shard' || row.value.epoch !== epoch) return false;
    const bytes = new Uint8Array(value.length);
    encodeGatewayValue('gateway_shard', bytes, 0, { ...row.value, deadlineBootNs });
    // What was decided until an earlier deadline is decided anew when that is over; what was decided until a later one must not be used again.
    if (deadlineBootNs >= row.value.deadlineBootNs) map.update(key, bytes);
    else this.#change(() => map.update(key, bytes));
    return true;
  }

  attachExternal(device: ExternalDevice): void {
    this.#check('attach to');
    const ifindex = interfaceIndex(device.name);
    if (ifindex === undefined) throw noDevice(device.name);
    if (ifindex !== device.ifindex) {
      throw new DatapathError(
        'WEFT_ERR_DATAPATH_NO_DEVICE',
        `Cannot attach to "${device.name}": its index is ${ifindex}, not ${device.ifindex}; it was made anew, look again`,
      );
    }
    this.#attachments.attach('from_external', this.#parts.program('from_external'), ifindex);
  }

  detachExternal(ifindex: number): void {
    this.#check('detach from');
    this.#attachments.detach('from_external', ifindex);
  }

  externalDevices(): number[] {
    this.#check('read');
    return this.#attachments.attached('from_external', this.externalIndexes());
  }

  probeStamps(pa?: Uint8Array): ProbeStamp[] {
    this.#check('read');
    const map = this.#parts.map('map_probe_reply');
    if (pa === undefined) return [...map.entries()].map(([key, value]) => decodeStamp(key, value));
    const value = map.lookup(pa);
    return value === undefined ? [] : [decodeStamp(pa, value)];
  }

  sweepNat(budget: number): NatSwept {
    this.#check('sweep');
    const { ctx } = this.#parts
      .program('nat_sweep')
      .testRun({ data: SWEEP_FRAME, ctx: { cb: [budget] }, dataOutBytes: SWEEP_FRAME.length });
    return { steps: ctx.cb[1]!, sessions: ctx.cb[2]!, blocks: ctx.cb[3]! };
  }

  sliceNat({ segment, address }: NatKey<'free'>, own: Uint8Array): boolean {
    this.#check('write to');
    const data = new Uint8Array(SLICE_FRAME_BYTES);
    new DataView(data.buffer).setUint32(ETHERNET_BYTES, segment, true);
    data.set(address, ETHERNET_BYTES + 4);
    data.set(own, ETHERNET_BYTES + 20);
    const { ctx } = this.#parts.program('nat_sweep').testRun({ data, ctx: { cb: [0, 0, 0, 0, 1] }, dataOutBytes: data.length });
    return ctx.cb[1] === 1;
  }

  watchNat(onEvents: (batch: NatEventBatch) => void): () => void {
    this.#check('read');
    giveWay();
    const batch = new KernelNatBatch();
    const onBatch = (records: RingBatch): void => {
      batch.read(records);
      onEvents(batch);
    };
    const options = { restMs: NAT_EVENTS_REST_MS, batchRecords: NAT_EVENTS_BATCH };
    const ring = new RingBuffer(this.#parts.map('map_nat_events'), { onBatch }, options);
    return () => ring.close();
  }

  natSessionsMax(): number {
    this.#check('read');
    return this.nat.sessionsMax;
  }

  shareNatSessions(share: number): void {
    this.#check('write to');
    this.nat.sessionsShare = share;
  }

  traffic(): ReadonlyMap<number, GatewayTraffic> {
    this.#check('read');
    const map = this.#parts.map('map_gateway_traffic');
    const all = new Map<number, GatewayTraffic>();
    for (const [key, value] of map.entries()) {
      let [packets, bytes] = [0n, 0n];
      for (const one of map.perCpuValues(value)) {
        const view = new DataView(one.buffer, one.byteOffset);
        packets += view.getBigUint64(TRAFFIC.packets, true);
        bytes += view.getBigUint64(TRAFFIC.bytes, true);
      }
      all.set(new DataView(key.buffer, key.byteOffset).getUint32(0, true), { packets, bytes });
    }
    return all;
  }

  natEventsLost(): bigint {
    this.#check('read');
    return this.nat.counters().eventsLost;
  }

  /** Devices that the tables name. */
  externalIndexes(): number[] {
    const rows: number[] = [];
    for (const [key] of this.#map('external').entries()) rows.push(new DataView(key.buffer, key.byteOffset).getUint32(0, true));
    return rows;
  }

  #map(table: GatewayTableName): BpfMap {
    return this.#parts.map(GATEWAY_MAPS[table].map);
  }

  /** No decision is used or kept while the rows behind it change, and none from before afterwards. */
  #change(write: () => void): void {
    this.#generation.end();
    try {
      write();
    } finally {
      this.#generation.begin();
    }
  }

  #put(table: GatewayTableName, { keys, values, count }: EncodedRows): void {
    try {
      this.#map(table).updateBatch(keys, values, count);
    } catch (error) {
      if (!(error instanceof BpfError) || error.code !== 'WEFT_ERR_BPF_MAP_FULL') throw error;
      const { maxEntries } = this.#map(table);
      throw new DatapathError(
        'WEFT_ERR_DATAPATH_TABLE_FULL',
        `Cannot write ${count} rows to table ${table}: it holds at most ${maxEntries}; raise maxEntries.${table} and start the datapath anew`,
        { cause: error },
      );
    }
  }
}

interface EncodedRows {
  readonly keys: Uint8Array;
  readonly values: Uint8Array;
  readonly count: number;
}

function encodeRows(table: GatewayTableName, changes: readonly GatewayTableChange[], op: 'put' | 'delete'): EncodedRows {
  const rows = changes.filter((change) => change.table === table && change.op === op);
  const { keyBytes, valueBytes } = GATEWAY_MAPS[table];
  const keys = new Uint8Array(rows.length * keyBytes);
  const values = new Uint8Array(op === 'put' ? rows.length * valueBytes : 0);
  rows.forEach((row, i) => {
    encodeGatewayKey(table, keys, i * keyBytes, row.key);
    if (row.op === 'put') encodeGatewayValue(table, values, i * valueBytes, row.value);
  });
  return { keys, values, count: rows.length };
}

function decodeStamp(pa: Uint8Array, value: Uint8Array): ProbeStamp {
  const view = new DataView(value.buffer, value.byteOffset);
  const shards = Array.from({ length: view.getUint32(PROBE_REPLY.count, true) }, (_, i) => {
    const at = PROBE_REPLY.shards + i * PROBE_SHARD_BYTES;
    return {
      shard: view.getUint32(at + PROBE_SHARD.shard, true),
      epoch: view.getBigUint64(at + PROBE_SHARD.epoch, true),
      isForwarding: (view.getUint32(at + PROBE_SHARD.flags, true) & PROBE_FORWARDS) !== 0,
    };
  });
  return { pa: pa.slice(), nonce: view.getBigUint64(PROBE_REPLY.nonce), bootNs: view.getBigUint64(PROBE_REPLY.bootNs, true), shards };
}

function u32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return bytes;
}
