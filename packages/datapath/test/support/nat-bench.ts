import {
  FIRST_BLOCK,
  type GatewayQuota,
  type NatAddress,
  type NatEvent,
  type NatFlow,
  type NatShare,
  NatState,
  type NatStore,
  type NatTable,
  natSweep,
  PortMapping,
  SourceFlag,
  SourceRuleKind,
} from '@weft/forwarding';
import { dropReasonName } from '@weft/model';
import { parseIp } from '@weft/packet';
import { eventOfRecord, GatewayWorld, NatHarness } from './nat-harness.ts';

// Kernel and oracle side by side, with one history for both.

const SECOND = 1_000_000_000n;
export const SEGMENT = 7;
export const EXTERNAL: readonly Uint8Array[] = ['203.0.113.1', '203.0.113.2', '203.0.113.3'].map(parseIp);
export const EXTERNAL6: readonly Uint8Array[] = ['2001:db8:f::1', '2001:db8:f::2'].map(parseIp);
export const FORWARD_ADDRESS: Uint8Array = parseIp('203.0.113.80');
/** Of all pools. */
const POOLS: Readonly<Record<number, readonly Uint8Array[]>> = { 1: EXTERNAL, 2: EXTERNAL6 };
export const NETWORKS: readonly number[] = [11, 12];
const SHARD = 1;

/** The tables that are a NAT's state, compared whole. */
const COMPARED: readonly NatTable[] = ['free', 'block', 'source', 'mapping', 'session', 'reverse', 'usage', 'rate'];

export interface BenchOptions {
  readonly blocksPerAddress: number;
  readonly quota: GatewayQuota;
  /** Of maps. */
  readonly sizes?: Readonly<Record<string, number>>;
}

export class NatBench {
  readonly kernel: NatHarness;
  readonly state: NatState = new NatState();
  readonly world: GatewayWorld = new GatewayWorld();
  readonly mapping: PortMapping;
  now: bigint = 1000n * SECOND;
  epoch = 5n;
  /** The kernel's events so far, as of the last comparison. */
  readonly events: NatEvent[] = [];
  /** The same as they stood in the ring. */
  readonly records: Uint8Array[] = [];

  constructor(harness: string, { blocksPerAddress, quota, sizes }: BenchOptions) {
    this.kernel = new NatHarness(harness, sizes);
    this.mapping = new PortMapping(this.state, this.world);
    this.kernel.setClock(this.now);
    for (const networkId of NETWORKS) {
      this.place(networkId, SEGMENT);
      this.setQuota(networkId, quota);
    }
    this.own(true);
    for (const [pool, addresses] of Object.entries(POOLS)) {
      this.#both((store) => store.set('pool', { pool: Number(pool) }, { addresses: addresses.map(onSegment) }));
      for (const address of addresses) this.#both((store) => store.set('free', onSegment(address), freeRow(blocksPerAddress)));
    }
  }

  /** The network reaches the outside by that segment from now on. */
  place(networkId: number, segment: number): void {
    this.world.networks.set(networkId, { shard: SHARD, segment } as never);
    this.kernel.setNetwork(networkId, { shard: SHARD, segment });
  }

  setQuota(networkId: number, quota: GatewayQuota): void {
    this.#both((store) => store.set('quota', { networkId }, quota));
  }

  shareBlocks(pool: number, share: NatShare | undefined): void {
    this.#both((store) => (share === undefined ? void store.delete('share', { pool }) : store.set('share', { pool }, share)));
  }

  shareSessions(share: number): void {
    this.state.sessionsShare = share;
    this.kernel.maps.sessionsShare = share;
  }

  own(isOwned: boolean): void {
    const deadlineBootNs = isOwned ? 1n << 62n : 1n;
    const row = { epoch: this.epoch, deadlineBootNs };
    this.world.shards.set(SHARD, row as never);
    this.kernel.setShard(SHARD, row);
  }

  forward(port: number, protocol: number, to: { networkId: number; port: number; ca: Uint8Array } | undefined): void {
    this.kernel.setForward(SEGMENT, FORWARD_ADDRESS, port, protocol, to);
    const text = `${SEGMENT}/${Buffer.from(FORWARD_ADDRESS).toString('hex')}/${port}/${protocol}`;
    if (to === undefined) this.world.forwards.delete(text);
    else this.world.forwards.set(text, to);
  }

  advance(seconds: number): void {
    this.now += BigInt(Math.round(seconds * 1e9));
    this.kernel.setClock(this.now);
  }

  /** One packet out, in both. @throws If they differ. */
  outbound(flow: NatFlow, pool: number): { readonly reason: number; readonly address: Uint8Array; readonly port: number } {
    const oracle = this.mapping.outbound(flow, { kind: SourceRuleKind.POOL, pool }, this.now);
    const kernel = this.kernel.outbound(flow, pool);
    check(flow, oracle, kernel, false);
    return oracle;
  }

  inbound(flow: NatFlow): { readonly reason: number; readonly address: Uint8Array; readonly port: number; readonly networkId: number } {
    const oracle = this.mapping.inbound(flow, {} as never, this.now);
    const kernel = this.kernel.inbound(flow);
    check(flow, oracle, kernel, true);
    return oracle;
  }

  /** @throws If what the two did differs, or their states afterwards. */
  sweep(budget: number): { readonly steps: number; readonly sessions: number; readonly blocks: number } {
    const oracle = natSweep(this.state, this.world, { budget, nowBootNs: this.now });
    const kernel = this.kernel.sweep(budget);
    if (JSON.stringify(oracle) !== JSON.stringify(kernel))
      throw new Error(`sweep: oracle ${JSON.stringify(oracle)}, kernel ${JSON.stringify(kernel)}`);
    this.compare();
    return oracle;
  }

  /** Every row, every event and the serial. @throws If something differs. */
  compare(): void {
    compareStores(this.state, this.kernel.maps);
    if (this.state.serial !== this.kernel.maps.serial)
      throw new Error(`serial: oracle ${this.state.serial}, kernel ${this.kernel.maps.serial}`);
    const records = this.kernel.takeRecords();
    const told = records.map(eventOfRecord);
    this.records.push(...records);
    this.events.push(...told);
    const [oracle, kernel] = [this.state.takeEvents().map(text), told.map(text)];
    for (let i = 0; i < Math.max(oracle.length, kernel.length); i++) {
      if (oracle[i] !== kernel[i]) throw new Error(`event ${i}:\n  oracle ${oracle[i]}\n  kernel ${kernel[i]}`);
    }
    checkHolders(this.kernel.maps);
  }

  close(): void {
    this.kernel.close();
  }

  #both(change: (store: NatStore) => void): void {
    change(this.state);
    change(this.kernel.maps);
  }
}

export function onSegment(address: Uint8Array): NatAddress {
  return { segment: SEGMENT, address };
}

export function freeRow(count: number): { own: Uint8Array; blocks: { block: number; freeAtS: number }[] } {
  const own = new Uint8Array(128);
  const blocks = Array.from({ length: count }, (_, i) => ({ block: FIRST_BLOCK + i, freeAtS: 0 }));
  for (const { block } of blocks) own[block >>> 3]! |= 1 << (block & 7);
  return { own, blocks };
}

interface Answer {
  readonly reason: number;
  readonly address: Uint8Array;
  readonly port: number;
  readonly networkId: number;
}

function check(flow: NatFlow, oracle: Answer, kernel: Answer, isInbound: boolean): void {
  const words = (answer: Answer): string =>
    answer.reason !== 0
      ? dropReasonName(answer.reason)
      : `${Buffer.from(answer.address).toString('hex')} ${answer.port}${isInbound ? ` network ${answer.networkId}` : ''}`;
  if (words(oracle) !== words(kernel)) throw new Error(`${text(flow)}\n  oracle ${words(oracle)}\n  kernel ${words(kernel)}`);
}

/** @throws If the tables of two states differ. `ignore` says what is each member's own. */
export function compareStores(
  a: NatStore,
  b: NatStore,
  tables: readonly NatTable[] = COMPARED,
  normal: (row: unknown) => unknown = (row) => row,
  names: readonly [string, string] = ['oracle', 'kernel'],
): void {
  for (const table of tables) {
    const [left, right] = [a, b].map((store) =>
      [...store.rows(table)]
        .map(normal)
        .filter((row) => row !== undefined)
        .map(text)
        .sort(),
    );
    if (left!.join('\n') === right!.join('\n')) continue;
    const only = (these: string[], those: string[]): string => these.filter((row) => !those.includes(row)).join('\n    ');
    throw new Error(`table ${table}:\n  ${names[0]} only ${only(left!, right!)}\n  ${names[1]} only ${only(right!, left!)}`);
  }
}

/** No port is lost, none is held twice: used + free + fresh = granted, by the counts and by the records. @throws Else. */
export function checkHolders(store: NatStore): void {
  const blocks = [...store.rows('block')];
  const mappings = [...store.rows('mapping')];
  const sessions = new Map<string, number>();
  for (const { key, value } of store.rows('session')) {
    if (value.kind !== 0) continue;
    const port = `${Buffer.from(key.address).toString('hex')}/${key.externalPort}`;
    sessions.set(port, (sessions.get(port) ?? 0) + 1);
  }
  const external = new Set(
    mappings.map(({ value }) => `${value.segment}/${Buffer.from(value.address).toString('hex')}/${value.externalPort}`),
  );
  if (external.size !== mappings.length) throw new Error('two mappings have one external port');
  let used = 0;
  for (const { key, value } of store.rows('source')) {
    const where = text(key);
    const own = blocks.filter(
      ({ value: block }) => text([block.networkId, block.pool, block.ca]) === text([key.networkId, key.pool, key.ca]),
    );
    if (own.length !== value.blocks) throw new Error(`${where}: ${own.length} blocks, counts ${value.blocks}`);
    if (value.flags & SourceFlag.DELETING) continue;
    if (value.mappings + value.freeCount + value.freshLeft !== 64 * value.blocks) throw new Error(`${where}: ports lost: ${text(value)}`);
    const states = own.flatMap(({ value: block }) => block.ports.map(({ state }) => state));
    const count = (state: number): number => states.filter((one) => one === state).length;
    if (count(2) !== value.mappings || count(1) !== value.freeCount || count(0) !== value.freshLeft)
      throw new Error(`${where}: records say ${count(2)} used, ${count(1)} free, ${count(0)} fresh: ${text(value)}`);
    used += value.mappings;
    checkFreeList(own, value, where);
  }
  if (used !== mappings.length) throw new Error(`${used} ports are in use by ${mappings.length} mappings`);
  for (const { key, value } of blocks) {
    value.ports.forEach((port, i) => {
      if (port.state !== 2) return;
      const name = `${Buffer.from(key.address).toString('hex')}/${key.block * 64 + i}`;
      if ((sessions.get(name) ?? 0) !== port.sessions)
        throw new Error(`${name}: counts ${port.sessions} sessions, has ${sessions.get(name)}`);
    });
  }
}

function checkFreeList(
  blocks: readonly {
    readonly key: { readonly block: number };
    readonly value: { readonly addressIndex: number; readonly ports: readonly { readonly state: number; readonly next: number }[] };
  }[],
  source: { readonly freeHead: number; readonly freeTail: number; readonly freeCount: number },
  where: string,
): void {
  const ports = new Map(
    blocks.flatMap(({ key, value }) => value.ports.map((port, i) => [value.addressIndex * 65_536 + key.block * 64 + i, port] as const)),
  );
  let count = 0;
  let last = 0;
  for (let at = source.freeHead; at !== 0; at = ports.get(at)!.next) {
    if (ports.get(at)?.state !== 1 || ++count > source.freeCount) throw new Error(`${where}: the free list is broken at ${at}`);
    last = at;
  }
  if (count !== source.freeCount || last !== source.freeTail)
    throw new Error(`${where}: ${count} ports in the free list, counts ${source.freeCount}`);
}

export function text(value: unknown): string {
  return JSON.stringify(value, (_, part) => {
    if (typeof part === 'bigint') return `${part}n`;
    if (part instanceof Uint8Array) return Buffer.from(part).toString('hex');
    if (part !== null && typeof part === 'object' && !Array.isArray(part)) {
      return Object.fromEntries(Object.entries(part).sort(([a], [b]) => (a < b ? -1 : 1)));
    }
    return part;
  });
}

/** A flow with everything that a test does not say. */
export function flowOf(parts: Partial<NatFlow> & Pick<NatFlow, 'near' | 'remote'>): NatFlow {
  return {
    networkId: 0,
    segment: SEGMENT,
    isIpv6: false,
    nearPort: 0,
    remotePort: 0,
    protocol: 17,
    icmpType: 0,
    tcpFlags: 0,
    isError: false,
    isFragment: false,
    hasL4Header: true,
    fragmentId: 0,
    ipLength: 100,
    ...parts,
  };
}
