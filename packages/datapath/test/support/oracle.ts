import { spawnSync } from 'node:child_process';
import type { TestRunResult } from '@weft/bpf';
import {
  Action,
  actionName,
  ERRORS_PER_SECOND,
  fromPort,
  fromUnderlay,
  type MemoryTables,
  type Verdict,
  verdictCb,
} from '@weft/forwarding';
import { createWorld, type GeneratedFrame, generateFrame, Rng, tablesOf, type World } from '@weft/forwarding/testing';
import { dropReasonName } from '@weft/model';
import { inNetns } from '@weft/tuntap';
import type { DropCounter, KernelDatapath, KernelDatapathOptions } from '../../src/index.ts';
import { createKernelDatapath } from '../../src/index.ts';
import { addHostNetns, ipLines, type LabHost, netnsPath, RUN, sh } from './lab.ts';

// The kernel's programs against the oracle: the same tables, the same frames (BPF_PROG_TEST_RUN), the same verdicts and bytes.

const PORT_COUNT = 6;
const UNDERLAY_MAC = '02:00:00:00:aa:02';
const UNDERLAY_MAC_BYTES: readonly number[] = UNDERLAY_MAC.split(':').map((byte) => Number.parseInt(byte, 16));
const TUNNEL_COMPARED_FROM = 12;
const OUTER_BYTES = 50;
const TC_ACT = {
  [Action.DROP]: 2,
  [Action.REPLY]: 7,
  [Action.LOCAL]: 7,
  [Action.TUNNEL]: 7,
  [Action.PASS]: -1,
  [Action.CLIMB]: -1,
  [Action.GATEWAY]: 2,
  [Action.EXTERNAL]: 7,
};
const CLIMB_MARK = 0x5746;
const FRAME_BYTES_MAX = 3600;

/** A frame with what the test run's context adds. */
export interface Trial extends GeneratedFrame {
  readonly gsoSize: number;
  readonly mark: number;
}

/** What differed, in words. */
export interface Difference {
  readonly seed: number;
  readonly index: number;
  readonly label: string;
  readonly text: string;
}

/** One host whose devices exist, on which worlds are tried one after the other. */
export class OracleBench {
  readonly datapath: KernelDatapath;
  readonly #netns: string;
  readonly #portIfindexes: readonly number[];

  readonly #isGuest: boolean;
  #trials = 0;

  /**
   * @param kernel61 Do without what came with kernels 6.2 and 6.3. Default: if the kernel lacks it.
   * @param host Try them on this host, of address 192.0.2.1 and with a test clock, whose tables are lost. Default: one of the bench's own.
   */
  constructor(kernel61?: boolean, options: Partial<KernelDatapathOptions> = {}, host?: LabHost) {
    const netns = host?.netns ?? `wdpo${RUN}`;
    this.#netns = netns;
    this.#isGuest = host !== undefined;
    if (host === undefined) {
      addHostNetns(netns);
      sh(`ip -n ${netns} tuntap add under0 mode tap; ip -n ${netns} link set under0 up`);
    }
    const ports = Array.from({ length: PORT_COUNT }, (_, i) => [`tuntap add p${i} mode tap`, `link set p${i} up`]).flat();
    ipLines(netns, `link set under0 address ${UNDERLAY_MAC}`, ...ports);
    const { stdout } = spawnSync('ip', ['-n', netns, '-json', 'link', 'show'], { encoding: 'utf8' });
    const devices = JSON.parse(stdout) as { ifname: string; ifindex: number }[];
    this.#portIfindexes = devices.filter(({ ifname }) => /^p\d$/.test(ifname)).map(({ ifindex }) => ifindex);
    const world = this.world(1);
    this.datapath =
      host?.datapath ??
      this.in(() =>
        createKernelDatapath({
          instance: netns,
          pa: world.pa,
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

  world(seed: number): World {
    const underlayIfindex = this.in(() => Number(sh('ip -o link show under0 | cut -d: -f1')));
    return createWorld(seed, { portIfindexes: this.#portIfindexes, underlayIfindex });
  }

  /** Puts the kernel's tables in the state of a world, and nothing else. */
  load(world: World): MemoryTables {
    this.datapath.apply(this.datapath.entries().map(({ table, key }) => ({ op: 'delete', table, key }) as never));
    this.datapath.apply(world.changes);
    for (const ifindex of [...this.#portIfindexes, world.underlayIfindex]) this.datapath.forgetDrops(ifindex);
    this.datapath.setTestClock(world.nowBootNs);
    return tablesOf(world);
  }

  /** Tries `count` frames of the world of `seed`, each `times` in a row; stops at the first difference. */
  run(
    seed: number,
    count: number,
    times = 1,
  ): { readonly tried: number; readonly refused: number; readonly difference: Difference | undefined } {
    const world = this.world(seed);
    const tables = this.load(world);
    const rng = new Rng(seed);
    const expectedDrops = new Map<string, number>();
    const before = tally(this.datapath.drops());
    let refused = 0;
    return this.in(() => {
      for (let index = 0; index < count; index++) {
        const trial = nextTrial(rng, world);
        if (!isAccepted(trial.frame)) {
          refused++;
          continue;
        }
        const verdict = judgeTrial(tables, world, trial);
        if (verdict.reason !== 0) {
          const key = `${trial.ifindex}/${verdict.countedVsid}/${verdict.reason}`;
          expectedDrops.set(key, (expectedDrops.get(key) ?? 0) + times);
        }
        let text: string | undefined;
        for (let time = 0; time < times && text === undefined; time++) text = this.compare(trial, verdict);
        if (text !== undefined) return { tried: index + 1, refused, difference: { seed, index, label: trial.label, text } };
      }
      const text = compareDrops(expectedDrops, before, tally(this.datapath.drops()));
      const difference = text === undefined ? undefined : { seed, index: count, label: 'drop counters', text };
      return { tried: count, refused, difference };
    });
  }

  /** Removes what it has made; of a host that was lent to it, the rows only. */
  close(): void {
    if (this.#isGuest) {
      this.datapath.apply(this.datapath.entries().map(({ table, key }) => ({ op: 'delete', table, key }) as never));
      return;
    }
    this.in(() => this.datapath.destroy());
    sh(`ip netns del ${this.#netns}`);
  }

  /** Puts a frame to its program. In the bench's namespace. */
  testRun({ program, frame, ifindex, gsoSize, mark }: Trial): TestRunResult {
    // Time stands still, and the oracle of trials tells each error.
    if (++this.#trials % ERRORS_PER_SECOND === 0) this.datapath.forgetToldErrors();
    return this.datapath.testRun(program, {
      data: frame,
      ctx: { ifindex, mark, ...(gsoSize > 0 && { gsoSize, gsoSegs: 2 }) },
      dataOutBytes: 8192,
    });
  }

  /** As `testRun`; says what differs from the oracle's verdict, in words. */
  compare(trial: Trial, verdict: Verdict, result: TestRunResult = this.testRun(trial)): string | undefined {
    const { ifindex, gsoSize, mark } = trial;
    const faults: string[] = [];
    const expectedCb = [...verdictCb(verdict)];
    if (result.ctx.cb.some((word, i) => word !== expectedCb[i]))
      faults.push(`cb ${describeCb(result.ctx.cb)}, oracle ${describeCb(expectedCb)}`);
    const expectedRetval = TC_ACT[verdict.action];
    if (result.retval !== expectedRetval) faults.push(`returns ${result.retval}, must return ${expectedRetval}`);
    // Frames of a test run have no GSO type, and the kernel lets programs encapsulate TCP and UDP GSO only: those leave by the VXLAN device.
    const byDevice = verdict.action === Action.TUNNEL && gsoSize > 0;
    const expectedMark =
      verdict.action === Action.CLIMB || (byDevice && trial.program === 'from_port')
        ? (mark & ~0xffff) | CLIMB_MARK
        : (mark & 0xffff) === CLIMB_MARK && trial.program === 'from_underlay'
          ? mark & ~0xffff
          : mark;
    if (result.ctx.mark !== expectedMark >>> 0)
      faults.push(`mark ${result.ctx.mark.toString(16)}, must be ${(expectedMark >>> 0).toString(16)}`);
    const { frame } = verdict;
    if (frame !== undefined) {
      const expected = byDevice ? frame.subarray(OUTER_BYTES) : frame;
      const at = firstDifference(result.data, expected, verdict.action === Action.TUNNEL && !byDevice ? TUNNEL_COMPARED_FROM : 0);
      if (at >= 0) faults.push(`byte ${at} of ${result.data.length}:\n  kernel ${hex(result.data)}\n  oracle ${hex(expected)}`);
    }
    if (faults.length === 0) return undefined;
    return `${trial.program} ifindex ${ifindex} gso ${gsoSize} frame ${hex(trial.frame)}\n${faults.join('\n')}`;
  }
}

function nextTrial(rng: Rng, world: World): Trial {
  const generated = generateFrame(rng, world);
  const gsoSize = rng.oneIn(10) ? rng.pick([1, 8, 64, 500, 1000, 1240, 1340, 1400, 1460, 9000]) : 0;
  const mark = rng.oneIn(16) ? rng.pick([CLIMB_MARK, 0xabcd5746, 0xffff, 1]) : 0;
  return { ...generated, gsoSize, mark, label: `${generated.label}${gsoSize > 0 ? `; GSO ${gsoSize}` : ''}` };
}

/** What BPF_PROG_TEST_RUN takes. The rest goes through real devices (tap-oracle.kernel.ts). */
export function isAccepted(frame: Uint8Array): boolean {
  if (frame.length < 14 || frame.length > FRAME_BYTES_MAX) return false;
  const type = (frame[12]! << 8) | frame[13]!;
  return frame.length >= (type === 0x0800 ? 34 : type === 0x86dd ? 54 : 14);
}

export function judgeTrial(tables: MemoryTables, world: World, trial: Trial): Verdict {
  const context = { pa: world.pa, udpPort: world.udpPort, nowBootNs: world.nowBootNs };
  const gso = trial.gsoSize > 0 ? { size: trial.gsoSize } : undefined;
  const { ifindex, frame } = trial;
  if (trial.program === 'from_port') return fromPort(tables, { ifindex, frame, gso }, context);
  const packetType = UNDERLAY_MAC_BYTES.every((byte, i) => frame[i] === byte) ? 'host' : 'other';
  return fromUnderlay(tables, { frame, gso, packetType }, context);
}

export function tally(counters: readonly DropCounter[]): Map<string, number> {
  return new Map(counters.map(({ ifindex, vsid, reason, packets }) => [`${ifindex}/${vsid}/${reason}`, Number(packets)]));
}

export function compareDrops(
  expected: ReadonlyMap<string, number>,
  before: ReadonlyMap<string, number>,
  after: ReadonlyMap<string, number>,
): string | undefined {
  const faults: string[] = [];
  for (const key of new Set([...expected.keys(), ...after.keys()])) {
    const counted = (after.get(key) ?? 0) - (before.get(key) ?? 0);
    if (counted !== (expected.get(key) ?? 0)) faults.push(`${key}: kernel ${counted}, oracle ${expected.get(key) ?? 0}`);
  }
  return faults.length === 0 ? undefined : `drops by ifindex/vsid/reason:\n${faults.join('\n')}`;
}

export function firstDifference(a: Uint8Array, b: Uint8Array, from: number): number {
  const length = Math.max(a.length, b.length);
  for (let i = from; i < length; i++) if (a[i] !== b[i]) return i;
  return -1;
}

function describeCb(cb: readonly number[]): string {
  const action = cb[0]! >>> 16;
  return `${actionName(action as Action)} ${dropReasonName(cb[0]! & 0xffff)} [${cb.map((word) => (word >>> 0).toString(16)).join(' ')}]`;
}

export function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}
