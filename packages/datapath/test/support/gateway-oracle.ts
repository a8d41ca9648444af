import { spawnSync } from 'node:child_process';
import type { TestRunResult } from '@weft/bpf';
import {
  Action,
  actionName,
  ErrorLimit,
  FIRST_BLOCK,
  type ForwardingContext,
  fromExternal,
  fromPort,
  fromUnderlay,
  MemoryGatewayTables,
  NAT_TABLES,
  type NatFree,
  NatState,
  PortMapping,
  type Probe,
  toGateway,
  type Verdict,
  verdictCb,
} from '@weft/forwarding';
import {
  answersTo,
  createGatewayWorld,
  type GatewayTrialFrame,
  type GatewayWorld,
  generateGatewayFrame,
  Rng,
  tablesOf,
} from '@weft/forwarding/testing';
import { dropReasonName } from '@weft/model';
import { inNetns } from '@weft/tuntap';
import { createKernelDatapath, type GatewayTraffic, type KernelDatapath, type KernelDatapathOptions } from '../../src/index.ts';
import { addHostNetns, netnsPath, RUN, sh } from './lab.ts';
import { compareDrops, type Difference, firstDifference, hex, isAccepted, tally } from './oracle.ts';
import { hasRightChecksums } from './right-checksums.ts';

// As oracle.ts, for what a gateway does: programs reach one another by tail calls, which a test run follows.

const PORT_COUNT = 4;
const UNDERLAY_MAC = '02:00:00:00:aa:02';
const UNDERLAY_MAC_BYTES: readonly number[] = UNDERLAY_MAC.split(':').map((byte) => Number.parseInt(byte, 16));
const OUTER_BYTES = 50;
const COMPARED_FROM_TYPE = 12;
const CLIMB_MARK = 0x5746;
const CALL_OUT = 0x57464757;
const REDIRECT = 7;
const SHOT = 2;
const UNSPEC = -1;

export interface GatewayTrial extends GatewayTrialFrame {
  readonly gsoSize: number;
}

/** A gateway's machine whose devices exist, on which worlds are tried one after the other. */
export class GatewayBench {
  readonly datapath: KernelDatapath;
  readonly #netns: string;
  readonly #devices: ReadonlyMap<string, number>;

  constructor(kernel61?: boolean, options: Partial<KernelDatapathOptions> = {}) {
    const netns = `wdpg${RUN}${kernel61 === true ? 'k' : ''}`;
    this.#netns = netns;
    addHostNetns(netns);
    sh(`ip -n ${netns} tuntap add under0 mode tap; ip -n ${netns} link set under0 address ${UNDERLAY_MAC} up`);
    const names = [...Array.from({ length: PORT_COUNT }, (_, i) => `p${i}`), 'out0', 'out1'];
    for (const name of names) sh(`ip -n ${netns} tuntap add ${name} mode tap; ip -n ${netns} link set ${name} up`);
    const { stdout } = spawnSync('ip', ['-n', netns, '-json', 'link', 'show'], { encoding: 'utf8' });
    const devices = JSON.parse(stdout) as { ifname: string; ifindex: number }[];
    this.#devices = new Map(devices.map(({ ifname, ifindex }) => [ifname, ifindex]));
    this.datapath = this.in(() =>
      createKernelDatapath({
        instance: netns,
        pa: this.world(1).pa,
        underlayInterface: 'under0',
        testClock: true,
        ...(kernel61 === undefined ? {} : { kernel61 }),
        maxEntries: { lookup: 4096, l2: 4096, route: 4096, speaker: 1024, shard: 64, subnet: 1024 },
        ...options,
      }),
    );
  }

  in<T>(fn: () => T): T {
    return inNetns(netnsPath(this.#netns), fn);
  }

  world(seed: number): GatewayWorld {
    const of = (...names: string[]): number[] => names.map((name) => this.#devices.get(name)!);
    const portIfindexes = of(...Array.from({ length: PORT_COUNT }, (_, i) => `p${i}`));
    return createGatewayWorld(seed, { portIfindexes, underlayIfindex: of('under0')[0]!, externalIfindexes: of('out0', 'out1') });
  }

  /** Tries `count` frames of the world of `seed`; stops at the first difference. */
  run(seed: number, count: number, seen?: Map<string, number>): { readonly refused: number; readonly difference: Difference | undefined } {
    const world = this.world(seed);
    const context = this.load(world);
    const tables = tablesOf(world);
    const rng = new Rng(seed);
    const expectedDrops = new Map<string, number>();
    const before = tally(this.datapath.drops());
    let refused = 0;
    const answers: GatewayTrialFrame[] = [];
    return this.in(() => {
      for (let index = 0; index < count; index++) {
        const trial = answers.length > 0 && rng.oneIn(2) ? { ...answers.shift()!, gsoSize: 0 } : nextTrial(rng, world);
        if (!isAccepted(trial.frame)) {
          refused++;
          continue;
        }
        const verdict = judgeGateway(tables, context, trial);
        const kind = `${trial.program} ${actionName(verdict.action)} ${dropReasonName(verdict.reason)}`;
        seen?.set(kind, (seen.get(kind) ?? 0) + 1);
        if (verdict.reason !== 0) {
          const key = `${trial.ifindex}/${verdict.countedVsid}/${verdict.reason}`;
          expectedDrops.set(key, (expectedDrops.get(key) ?? 0) + 1);
        }
        const left = world.externals.find(({ ifindex }) => verdict.action === Action.EXTERNAL && verdict.ifindex === ifindex);
        if (left !== undefined && verdict.reason === 0 && verdict.gso === undefined) {
          for (const answer of answersTo(verdict.frame!, left))
            answers.push({ ...answer, program: 'from_external', ifindex: left.ifindex });
        }
        const text = this.compare(trial, verdict);
        if (text !== undefined) return { refused, difference: { seed, index, label: trial.label, text } };
        const wrong = checksumFault(trial, verdict);
        if (wrong !== undefined) return { refused, difference: { seed, index, label: trial.label, text: wrong } };
      }
      const text = compareDrops(expectedDrops, before, tally(this.datapath.drops())) ?? this.#compareProbes(context);
      return { refused, difference: text === undefined ? undefined : { seed, index: count, label: 'counters and probes', text } };
    });
  }

  /**
   * Tries the first frame of the world that is refused and told as `wanted` says, `times` times; stops at the first difference.
   *
   * @returns Undefined: there is none among 400 frames of that world.
   */
  flood(
    seed: number,
    times: number,
    wanted: (trial: GatewayTrialFrame, verdict: Verdict) => boolean,
  ): { readonly told: number; readonly difference: string | undefined } | undefined {
    const world = this.world(seed);
    const tables = tablesOf(world);
    const rng = new Rng(seed);
    let context = this.load(world);
    for (let index = 0; index < 400; index++) {
      const trial = nextTrial(rng, world);
      if (!isAccepted(trial.frame) || !wanted(trial, judgeGateway(tables, context, trial))) continue;
      context = this.load(world);
      return this.in(() => {
        let told = 0;
        for (let time = 0; time < times; time++) {
          const verdict = judgeGateway(tables, context, trial);
          if (verdict.action !== Action.DROP) told++;
          const difference = this.compare(trial, verdict);
          if (difference !== undefined) return { told, difference: `time ${time}: ${difference}` };
        }
        return { told, difference: undefined };
      });
    }
    return undefined;
  }

  /** Puts a frame to `to_gateway` so often. @returns Its bytes, and what was counted for its network meanwhile. */
  traffic(seed: number, times: number): { readonly sent: number; readonly counted: GatewayTraffic } {
    const world = this.world(seed);
    const context = this.load(world);
    const tables = tablesOf(world);
    const rng = new Rng(seed);
    for (;;) {
      const trial = { ...nextTrial(rng, world), gsoSize: 0 };
      const { entry } = trial;
      if (trial.program !== 'to_gateway' || entry === undefined || !isAccepted(trial.frame)) continue;
      if (judgeGateway(tables, context, trial).action !== Action.EXTERNAL) continue;
      const of = (): GatewayTraffic => this.datapath.gateway.traffic().get(entry.networkId) ?? { packets: 0n, bytes: 0n };
      const before = of();
      const cb = [entry.networkId, entry.shard, entry.vsid, entry.isSecondHand ? 1 : 0, CALL_OUT];
      for (let time = 0; time < times; time++) this.datapath.testRun('to_gateway', { data: trial.frame, ctx: { cb }, dataOutBytes: 8192 });
      const after = of();
      return {
        sent: trial.frame.length,
        counted: { packets: after.packets - before.packets, bytes: after.bytes - before.bytes },
      };
    }
  }

  /** Puts the kernel's tables in the state of a world, and nothing else. */
  load(world: GatewayWorld): BenchContext {
    const { datapath } = this;
    datapath.apply(datapath.entries().map(({ table, key }) => ({ op: 'delete', table, key }) as never));
    datapath.gateway.apply(datapath.gateway.entries().map(({ table, key }) => ({ op: 'delete', table, key }) as never));
    datapath.apply(world.changes);
    datapath.gateway.apply(world.gatewayChanges);
    for (const ifindex of this.#devices.values()) datapath.forgetDrops(ifindex);
    datapath.setTestClock(world.nowBootNs);
    const state = new NatState();
    for (const store of [state, datapath.gateway.nat]) {
      for (const table of NAT_TABLES) for (const { key } of [...store.rows(table)]) store.delete(table, key as never);
      for (const { pool, segment, address } of world.pools) {
        store.set('pool', { pool }, { addresses: [{ segment, address }] });
        store.set('free', { segment, address }, freeBlocks());
      }
      for (const { networkId } of world.gatewaySubnets) {
        store.set(
          'quota',
          { networkId },
          networkId % 5 === 0
            ? { blocks: 2, blocksPerSource: 1, sessions: 20, newFlowsPerSecond: 0 }
            : { blocks: 100, blocksPerSource: 4, sessions: 10_000, newFlowsPerSecond: 0 },
        );
      }
    }
    datapath.gateway.nat.forgetFragments();
    state.raiseSerial(datapath.gateway.nat.serial);
    const probes = new Map<string, Probe>();
    const gateway = new MemoryGatewayTables(world.gatewayChanges);
    return {
      pa: world.pa,
      udpPort: world.udpPort,
      nowBootNs: world.nowBootNs,
      errors: new ErrorLimit(),
      probes,
      state,
      tables: gateway,
      gateway: {
        tables: gateway,
        nat: new PortMapping(state, gateway),
        underlayIfindex: world.underlayIfindex,
        onProbeReply: (pa, reply) => void probes.set(hex(pa), reply),
      },
    };
  }

  close(): void {
    this.in(() => this.datapath.destroy());
    sh(`ip netns del ${this.#netns}`);
  }

  /** Runs the programs on a frame. */
  testRun({ program, ifindex, gsoSize, frame: data, entry }: GatewayTrial): TestRunResult {
    const cb = entry === undefined ? [] : [entry.networkId, entry.shard, entry.vsid, entry.isSecondHand ? 1 : 0, CALL_OUT];
    return this.datapath.testRun(program, {
      data,
      ctx: { ifindex, ...(entry === undefined ? {} : { cb }), ...(gsoSize > 0 && { gsoSize, gsoSegs: 2 }) },
      dataOutBytes: 8192,
    });
  }

  /** What the kernel made of a frame that the oracle says is not so. */
  compare(trial: GatewayTrial, verdict: Verdict, result: TestRunResult = this.testRun(trial)): string | undefined {
    const { program, ifindex, gsoSize, frame: data } = trial;
    const faults: string[] = [];
    const expectedCb = [...verdictCb(verdict)];
    if (result.ctx.cb.some((word, i) => word !== expectedCb[i]))
      faults.push(`cb ${describeCb(result.ctx.cb)}, oracle ${describeCb(expectedCb)}`);
    const { action, frame } = verdict;
    const expectedRetval = action === Action.DROP ? SHOT : action === Action.PASS || action === Action.CLIMB ? UNSPEC : REDIRECT;
    if (result.retval !== expectedRetval) faults.push(`returns ${result.retval}, must return ${expectedRetval}`);
    // Frames of a test run have no GSO type: the VXLAN device encapsulates those.
    const byDevice = action === Action.TUNNEL && verdict.gso !== undefined;
    const expectedMark = action === Action.CLIMB || byDevice ? CLIMB_MARK : 0;
    if (result.ctx.mark !== expectedMark) faults.push(`mark ${result.ctx.mark.toString(16)}, must be ${expectedMark.toString(16)}`);
    if (frame !== undefined) {
      const expected = byDevice ? frame.subarray(OUTER_BYTES) : frame;
      const byNeighbor =
        action === Action.EXTERNAL || (action === Action.TUNNEL && !byDevice) || (action === Action.REPLY && program === 'from_underlay');
      const at = firstDifference(result.data, expected, byNeighbor ? COMPARED_FROM_TYPE : 0);
      if (at >= 0) faults.push(`byte ${at} of ${result.data.length}:\n  kernel ${hex(result.data)}\n  oracle ${hex(expected)}`);
    }
    if (faults.length === 0) return undefined;
    return `${program} ifindex ${ifindex} gso ${gsoSize} frame ${hex(data)}\n${faults.join('\n')}`;
  }

  #compareProbes({ probes, nowBootNs }: BenchContext): string | undefined {
    for (const [pa, { nonce, shards }] of probes) {
      const [stamp] = this.datapath.gateway.probeStamps(Buffer.from(pa, 'hex'));
      const text = (value: unknown): string => JSON.stringify(value, (_, part) => (typeof part === 'bigint' ? `${part}` : part));
      const expected = text({ nonce, bootNs: nowBootNs, shards: shards.map((one) => [one.shard, one.epoch, one.isForwarding]) });
      const kept = stamp && {
        nonce: stamp.nonce,
        bootNs: stamp.bootNs,
        shards: stamp.shards.map((one) => [one.shard, one.epoch, one.isForwarding]),
      };
      if (text(kept) !== expected) return `probe of ${pa}: kernel ${text(kept)}, oracle ${expected}`;
    }
    return undefined;
  }
}

/** All of an address's first 40 blocks, of this member. */
function freeBlocks(): NatFree {
  const own = new Uint8Array(128);
  const blocks = Array.from({ length: 40 }, (_, i) => ({ block: FIRST_BLOCK + i, freeAtS: 0 }));
  for (const { block } of blocks) own[block >>> 3]! |= 1 << (block & 7);
  return { own, blocks };
}

/** What came with right checksums leaves with right ones, recomputed over the whole packet. */
export function checksumFault(trial: GatewayTrial, { action, frame, reason }: Verdict): string | undefined {
  if (frame === undefined || reason !== 0 || action === Action.PASS || action === Action.CLIMB || trial.gsoSize > 0) return undefined;
  const before = trial.frame.subarray(trial.program === 'from_underlay' ? OUTER_BYTES : 0);
  const after = frame.subarray(action === Action.TUNNEL ? OUTER_BYTES : 0);
  if (!hasRightChecksums(before) || hasRightChecksums(after)) return undefined;
  return `checksums were right, and are wrong now:\n  before ${hex(before)}\n  after  ${hex(after)}`;
}

/** The oracle's state, as the kernel's was made. */
export type BenchContext = ForwardingContext & {
  readonly probes: Map<string, Probe>;
  readonly state: NatState;
  readonly tables: MemoryGatewayTables;
};

function nextTrial(rng: Rng, world: GatewayWorld): GatewayTrial {
  const generated = generateGatewayFrame(rng, world);
  const gsoSize = rng.oneIn(10) ? rng.pick([8, 64, 500, 1240, 1340, 1400, 1460, 9000]) : 0;
  return { ...generated, gsoSize, label: `${generated.label}${gsoSize > 0 ? `; GSO ${gsoSize}` : ''}` };
}

/** The oracle's verdict. */
export function judgeGateway(tables: ReturnType<typeof tablesOf>, context: ForwardingContext, trial: GatewayTrial): Verdict {
  const { ifindex, frame, gsoSize, entry } = trial;
  const gso = gsoSize > 0 ? { size: gsoSize } : undefined;
  switch (trial.program) {
    case 'from_port':
      return fromPort(tables, { ifindex, frame, gso }, context);
    case 'from_external':
      return fromExternal(tables, { ifindex, frame, gso }, context);
    case 'to_gateway':
      return toGateway(tables, { frame, gso, ...entry! }, context);
    default: {
      const packetType = UNDERLAY_MAC_BYTES.every((byte, i) => frame[i] === byte) ? 'host' : 'other';
      return fromUnderlay(tables, { frame, gso, packetType }, context);
    }
  }
}

function describeCb(cb: readonly number[]): string {
  const action = cb[0]! >>> 16;
  return `${actionName(action as Action)} ${dropReasonName(cb[0]! & 0xffff)} [${cb.map((word) => (word >>> 0).toString(16)).join(' ')}]`;
}
