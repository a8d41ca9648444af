import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { BpfObject, type RingBatch, RingBuffer } from '@weft/bpf';
import type { GatewayNetworkEntry, GatewayShardEntry, NatEvent, NatFlow, NatTables, PortForwardEntry } from '@weft/forwarding';
import { decodeNatEvent, NatMaps } from '../../src/index.ts';

// Port mapping alone in the kernel: a flow goes in as the bytes of a frame, the answer comes out behind it (test/bpf/nat-harness.bpf.c).

const FLOW_AT = 14;
const FLOW_BYTES = 64;
const ANSWER_AT = FLOW_AT + FLOW_BYTES;
const FRAME_BYTES = ANSWER_AT + 24;
const SOURCE = fileURLToPath(new URL('../bpf/nat-harness.bpf.c', import.meta.url));

/**
 * Compiles the harness.
 * @param defines Macros, such as NAT_RACES, which makes processors wait in the middle of things now and then.
 * @returns The object's path, and what removes it.
 */
export function compileHarness(...defines: string[]): { readonly path: string; remove(): void } {
  const folder = mkdtempSync(join(tmpdir(), 'weft-nat-'));
  const path = join(folder, 'nat-harness.bpf.o');
  const multiarch = `/usr/include/${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}-linux-gnu`;
  const options = [
    '-O2',
    '-g',
    '-Wall',
    '-Wextra',
    '-Werror',
    '-target',
    'bpf',
    '-mcpu=v3',
    `-I${multiarch}`,
    ...defines.map((name) => `-D${name}`),
    '-c',
    SOURCE,
    '-o',
    path,
  ];
  const { status, stderr } = spawnSync('clang', options, { encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr);
  return { path, remove: () => rmSync(folder, { recursive: true }) };
}

export interface KernelAnswer {
  readonly reason: number;
  readonly address: Uint8Array;
  readonly networkId: number;
  readonly port: number;
  readonly durationNs: number;
}

/** The gateway's tables that port mapping reads, for the oracle. */
export class GatewayWorld implements NatTables {
  readonly networks = new Map<number, GatewayNetworkEntry>();
  readonly shards = new Map<number, GatewayShardEntry>();
  readonly forwards = new Map<string, PortForwardEntry>();

  gatewayNetwork(networkId: number): GatewayNetworkEntry | undefined {
    return this.networks.get(networkId);
  }
  gatewayShard(shard: number): GatewayShardEntry | undefined {
    return this.shards.get(shard);
  }
  externalAddress(): undefined {
    return undefined;
  }
  portForward(segment: number, address: Uint8Array, port: number, protocol: number): PortForwardEntry | undefined {
    return this.forwards.get(forwardText(segment, address, port, protocol));
  }
}

function forwardText(segment: number, address: Uint8Array, port: number, protocol: number): string {
  return `${segment}/${Buffer.from(address).toString('hex')}/${port}/${protocol}`;
}

/** @throws If this version does not know its kind. */
export function eventOfRecord(record: Uint8Array): NatEvent {
  const event = decodeNatEvent(record);
  if (event === undefined) throw new Error(`record of unknown kind: ${Buffer.from(record).toString('hex')}`);
  return event;
}

/** Records as a reader of the ring gets them together. */
export function ringBatch(records: readonly Uint8Array[]): RingBatch {
  const places = new Uint32Array(2 * records.length);
  let length = 0;
  records.forEach((record, i) => {
    places.set([length, record.length], 2 * i);
    length += Math.ceil(record.length / 8) * 8;
  });
  const bytes = new Uint8Array(length);
  records.forEach((record, i) => {
    bytes.set(record, places[2 * i]!);
  });
  return { count: records.length, bytes, places };
}

const NO_ADDRESS = new Uint8Array(16);

/** Sizes that keep tests quick. */
const TEST_SIZES = {
  map_nat_mapping: 65_536,
  map_nat_session: 65_536,
  map_nat_reverse: 4096,
  map_nat_queue: 131_072,
  map_nat_block: 16_384,
  map_nat_source: 16_384,
  map_nat_fragment_slot: 4096,
};

export class NatHarness {
  readonly object: BpfObject;
  readonly maps: NatMaps;
  readonly #ring: RingBuffer;
  #records: Uint8Array[] = [];

  constructor(path: string, maxEntries: Readonly<Record<string, number>> = {}) {
    this.object = BpfObject.open(path, { rodata: { cfg_test_clock: 1 }, maxEntries: { ...TEST_SIZES, ...maxEntries } }).load();
    this.maps = new NatMaps((name) => this.object.map(name));
    this.#ring = new RingBuffer(this.object.map('map_nat_events'), (record) => this.#records.push(record));
  }

  setClock(nowBootNs: bigint): void {
    const value = new Uint8Array(8);
    new DataView(value.buffer).setBigUint64(0, nowBootNs, true);
    this.object.map('map_clock').update(new Uint8Array(4), value);
  }

  setNetwork(networkId: number, { shard, segment }: { readonly shard: number; readonly segment: number }): void {
    const value = new Uint8Array(96);
    new DataView(value.buffer).setUint32(0, shard, true);
    new DataView(value.buffer).setUint32(4, segment, true);
    this.object.map('map_gateway_network').update(u32(networkId), value);
  }

  setShard(shard: number, { epoch, deadlineBootNs }: { readonly epoch: bigint; readonly deadlineBootNs: bigint }): void {
    const value = new Uint8Array(48);
    const view = new DataView(value.buffer);
    view.setBigUint64(0, epoch, true);
    view.setBigUint64(8, deadlineBootNs, true);
    this.object.map('map_gateway_shard').update(u32(shard), value);
  }

  /** `to` undefined: removes it. */
  setForward(segment: number, address: Uint8Array, port: number, protocol: number, to: PortForwardEntry | undefined): void {
    const key = new Uint8Array(24);
    const view = new DataView(key.buffer);
    view.setUint32(0, segment, true);
    key.set(address, 4);
    view.setUint16(20, port);
    key[22] = protocol;
    const map = this.object.map('map_port_forward');
    if (to === undefined) {
      map.delete(key);
      return;
    }
    const value = new Uint8Array(24);
    new DataView(value.buffer).setUint32(0, to.networkId, true);
    new DataView(value.buffer).setUint16(4, to.port);
    value.set(to.ca, 8);
    map.update(key, value);
  }

  outbound(flow: NatFlow, pool: number, repeat = 1): KernelAnswer {
    return this.#run('harness_out', flow, [0, pool], repeat);
  }

  inbound(flow: NatFlow, repeat = 1): KernelAnswer {
    return this.#run('harness_in', flow, [], repeat);
  }

  sweep(budget: number): { readonly steps: number; readonly sessions: number; readonly blocks: number } {
    const { ctx } = this.object.program('nat_sweep').testRun({ data: new Uint8Array(64), ctx: { cb: [budget] }, dataOutBytes: 64 });
    return { steps: ctx.cb[1]!, sessions: ctx.cb[2]!, blocks: ctx.cb[3]! };
  }

  /** Events since the last call. */
  takeEvents(): NatEvent[] {
    return this.takeRecords().map(eventOfRecord);
  }

  /** The same as they stand in the ring. */
  takeRecords(): Uint8Array[] {
    while (this.#ring.consume() > 0);
    const records = this.#records;
    this.#records = [];
    return records;
  }

  close(): void {
    this.#ring.close();
    this.object.close();
  }

  #run(program: string, flow: NatFlow, cb: readonly number[], repeat: number): KernelAnswer {
    const data = encodeFlow(flow);
    const result = this.object.program(program).testRun({ data, ctx: { cb }, dataOutBytes: 256, repeat });
    const reason = result.ctx.cb[0]!;
    const view = new DataView(result.data.buffer, result.data.byteOffset);
    return {
      reason,
      address: reason === 0 ? result.data.slice(ANSWER_AT, ANSWER_AT + 16) : NO_ADDRESS,
      networkId: view.getUint32(ANSWER_AT + 16, true),
      port: view.getUint16(ANSWER_AT + 20),
      durationNs: result.durationNs,
    };
  }
}

/** A frame with `struct gateway_flow` as its payload. */
export function encodeFlow(flow: NatFlow): Uint8Array {
  const data = new Uint8Array(FRAME_BYTES);
  data.set([0x88, 0xb5], 12);
  const view = new DataView(data.buffer, FLOW_AT);
  view.setUint32(0, flow.networkId, true);
  view.setUint32(4, flow.segment, true);
  data.set(flow.near, FLOW_AT + 8);
  data.set(flow.remote, FLOW_AT + 24);
  view.setUint16(40, flow.nearPort);
  view.setUint16(42, flow.remotePort);
  data.set([flow.protocol, flow.icmpType, flow.tcpFlags, +flow.isIpv6, +flow.isError, +flow.isFragment, +flow.hasL4Header], FLOW_AT + 44);
  view.setUint32(52, flow.ipLength, true);
  view.setUint32(56, flow.fragmentId);
  return data;
}

function u32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return bytes;
}
