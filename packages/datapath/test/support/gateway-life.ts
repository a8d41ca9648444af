import { Action, actionName, type GatewayTableChange, type NatTable, natSweep, type TableChange, type Verdict } from '@weft/forwarding';
import { answersTo, type GatewayWorld, gatewayFrames, Rng, tablesOf } from '@weft/forwarding/testing';
import { IP_PROTOCOL } from '@weft/packet';
import { type BenchContext, checksumFault, type GatewayBench, type GatewayTrial, judgeGateway } from './gateway-oracle.ts';
import { compareStores } from './nat-bench.ts';
import { type Difference, isAccepted } from './oracle.ts';

// A gateway's life: a few flows whose frames come again and again, both ways; and in between time, sweeps, and changes of rows and of what is owned.

/** Of each program. */
const FLOWS = 3;
const SECOND = 1_000_000_000n;
const STEPS_NS = [
  0n,
  1n,
  1000n,
  SECOND / 10n,
  SECOND / 3n,
  SECOND,
  2n * SECOND,
  61n * SECOND,
  242n * SECOND,
  302n * SECOND,
  7442n * SECOND,
];
const TCP_FLAGS = [0x10, 0x10, 0x10, 0x18, 0x00, 0x02, 0x12, 0x11, 0x04, 0x14];
const SYN = 2;
const TTLS = [64, 64, 64, 64, 4, 3, 2, 1];
const OUTER_BYTES = 50;
const ETHERNET_BYTES = 14;
const SWEEP_BUDGET = 300;

/** Where the IP packet of a trial stands, and its transport header; undefined if it is not plain TCP or UDP. */
function plainLayers({
  program,
  frame,
}: GatewayTrial): { readonly ip: number; readonly l4: number; readonly protocol: number } | undefined {
  const ip = (program === 'from_underlay' ? OUTER_BYTES : 0) + ETHERNET_BYTES;
  const isIpv4 =
    frame[ip - 2] === 0x08 && frame[ip - 1] === 0 && frame[ip] === 0x45 && (frame[ip + 6]! & 0x3f) === 0 && frame[ip + 7] === 0;
  const isIpv6 = frame[ip - 2] === 0x86 && frame[ip - 1] === 0xdd;
  const protocol = isIpv4 ? frame[ip + 9]! : isIpv6 ? frame[ip + 6]! : 0;
  if (protocol !== IP_PROTOCOL.tcp && protocol !== IP_PROTOCOL.udp) return undefined;
  return { ip, l4: ip + (isIpv4 ? 20 : 40), protocol };
}

/** The trials of a world that a decision may be remembered for. */
export function plainTrials(world: GatewayWorld): GatewayTrial[] {
  return gatewayFrames(world)
    .map((frame) => ({ ...frame, gsoSize: 0 }))
    .filter((trial) => isAccepted(trial.frame) && plainLayers(trial) !== undefined);
}

/** The trial with other TCP flags, and a checksum that follows; undefined if it is no plain TCP. */
export function withTcpFlags(trial: GatewayTrial, flags: number): GatewayTrial | undefined {
  const layers = plainLayers(trial);
  if (layers?.protocol !== IP_PROTOCOL.tcp) return undefined;
  const frame = trial.frame.slice();
  setTcpFlags(frame, layers.l4, flags);
  return { ...trial, frame };
}

export class GatewayLife {
  readonly world: GatewayWorld;
  readonly tables: ReturnType<typeof tablesOf>;
  context: BenchContext;
  readonly rng: Rng;
  readonly #bench: GatewayBench;
  readonly #flows: GatewayTrial[] = [];
  readonly #answers: GatewayTrial[] = [];
  readonly #away: (() => void)[] = [];
  #last: GatewayTrial;

  constructor(bench: GatewayBench, seed: number) {
    this.#bench = bench;
    this.world = bench.world(seed);
    this.tables = tablesOf(this.world);
    this.context = bench.load(this.world);
    // What the sweep has queued of former worlds, whose rows are gone: else it would look at sessions in another order than the oracle.
    bench.datapath.gateway.sweepNat(65_536);
    this.rng = new Rng(seed);
    // The worlds' deadlines are within a microsecond.
    for (const shard of [1, 2]) if (this.rng.below(8) > 0) this.setDeadline(shard, this.context.nowBootNs + 100_000n * SECOND);
    const all = plainTrials(this.world);
    for (const program of ['from_port', 'from_underlay', 'to_gateway', 'from_external'] as const) {
      const some = all.filter((trial) => trial.program === program);
      if (some.length === 0) continue;
      // Some that go on, if there are any, and one of any kind.
      const tried = Array.from({ length: 4 * FLOWS }, () => this.rng.pick(some)).filter((trial) => this.#goesOn(trial));
      this.#flows.push(...tried.slice(0, FLOWS), this.rng.pick(some));
    }
    this.#last = this.#flows[0]!;
  }

  /** @returns What differed. */
  run(steps: number, seen?: Map<string, number>): Omit<Difference, 'seed'> | undefined {
    const { rng } = this;
    for (let index = 0; index < steps; index++) {
      const what = rng.below(90);
      if (what === 0) this.advance(rng.pick(STEPS_NS));
      else if (what === 1) this.sweep();
      else if (what === 2) this.#moveDeadline();
      else if (what === 3) this.#changeRow();
      else if (what === 4) this.#forward();
      else if (what <= 6) for (const undo of this.#away.splice(0)) undo();
      else {
        const trial = this.#next();
        // As often as flows have packets in a row.
        for (let i = 0; i <= rng.below(3); i++) {
          const text = this.try(trial, seen);
          if (text !== undefined) return { index, label: trial.label, text };
        }
        const text = rng.oneIn(3) ? this.compareRows(['session']) : undefined;
        if (text !== undefined) return { index, label: `after ${trial.label}`, text };
      }
    }
    this.sweep();
    const text = this.compareRows();
    return text === undefined ? undefined : { index: steps, label: 'at the end', text };
  }

  /** Whether a row of port mapping is another, of these tables or of all. */
  compareRows(tables?: readonly NatTable[]): string | undefined {
    try {
      compareStores(this.context.state, this.#bench.datapath.gateway.nat, tables);
      return undefined;
    } catch (error) {
      return (error as Error).message;
    }
  }

  /** One frame, in both. */
  try(trial: GatewayTrial, seen?: Map<string, number>): string | undefined {
    const verdict = this.judge(trial);
    const kind = `${trial.program} ${actionName(verdict.action)} ${verdict.reason}`;
    seen?.set(kind, (seen.get(kind) ?? 0) + 1);
    this.#keepAnswers(verdict);
    return this.#bench.compare(trial, verdict) ?? checksumFault(trial, verdict);
  }

  judge(trial: GatewayTrial): Verdict {
    return judgeGateway(this.tables, this.context, trial);
  }

  advance(ns: bigint): void {
    this.context = { ...this.context, nowBootNs: this.context.nowBootNs + ns };
    this.#bench.datapath.setTestClock(this.context.nowBootNs);
  }

  sweep(): void {
    natSweep(this.context.state, this.context.tables, { budget: SWEEP_BUDGET, nowBootNs: this.context.nowBootNs });
    this.#bench.datapath.gateway.sweepNat(SWEEP_BUDGET);
  }

  setDeadline(shard: number, deadlineBootNs: bigint): void {
    const value = this.context.tables.gatewayShard(shard);
    if (value === undefined) return;
    this.context.tables.apply([{ op: 'put', table: 'gateway_shard', key: { shard }, value: { ...value, deadlineBootNs } }]);
    this.#bench.datapath.gateway.setDeadline(shard, value.epoch, deadlineBootNs);
  }

  apply(change: TableChange): void {
    this.tables.apply([change]);
    this.#bench.datapath.apply([change]);
  }

  applyGateway(change: GatewayTableChange): void {
    this.context.tables.apply([change]);
    this.#bench.datapath.gateway.apply([change]);
  }

  /** What the outside answers to the frame that left last. */
  get answer(): GatewayTrial | undefined {
    return this.#answers[0];
  }

  /** Whether its first frame is sent on. @throws If kernel and oracle differ. */
  #goesOn(trial: GatewayTrial): boolean {
    const first = withTcpFlags(trial, SYN) ?? trial;
    const verdict = this.judge(first);
    const text = this.#bench.compare(first, verdict);
    if (text !== undefined) throw new Error(`${trial.label}: ${text}`);
    return (
      verdict.reason === 0 && (verdict.action === Action.EXTERNAL || verdict.action === Action.LOCAL || verdict.action === Action.TUNNEL)
    );
  }

  #next(): GatewayTrial {
    const { rng } = this;
    // Mostly what has just been there, or an answer to it: a flow's packets follow one another.
    const others = this.#answers.length > 0 && rng.oneIn(2) ? this.#answers : this.#flows;
    const from = rng.oneIn(3) ? rng.pick(others) : rng.oneIn(2) ? (this.#answers[0] ?? this.#last) : this.#last;
    this.#last = from;
    const layers = plainLayers(from);
    if (layers === undefined || rng.oneIn(3)) return from;
    const frame = from.frame.slice();
    if (layers.protocol === IP_PROTOCOL.tcp) setTcpFlags(frame, layers.l4, rng.pick(TCP_FLAGS));
    // The header's checksum is nobody's to look at on the way.
    if (rng.oneIn(6)) frame[layers.ip + (frame[layers.ip] === 0x45 ? 8 : 7)] = rng.pick(TTLS);
    const gsoSize = rng.oneIn(8) ? rng.pick([8, 500, 1240, 1340, 1400, 9000]) : 0;
    return { ...from, frame, gsoSize };
  }

  #keepAnswers(verdict: Verdict): void {
    const left = this.world.externals.find(({ ifindex }) => verdict.action === Action.EXTERNAL && verdict.ifindex === ifindex);
    if (left === undefined || verdict.reason !== 0 || verdict.gso !== undefined) return;
    const answers = answersTo(verdict.frame!, left);
    this.#answers.unshift(
      ...answers
        .map((answer) => ({ ...answer, program: 'from_external' as const, ifindex: left.ifindex, gsoSize: 0 }))
        .filter((one) => isAccepted(one.frame)),
    );
    this.#answers.splice(30);
  }

  #moveDeadline(): void {
    const { nowBootNs } = this.context;
    const shard = 1 + this.rng.below(2);
    const before = this.context.tables.gatewayShard(shard)?.deadlineBootNs;
    if (before === undefined) return;
    this.setDeadline(shard, nowBootNs + this.rng.pick([-1n, 0n, 1n, SECOND / 5n, 200_000n * SECOND]));
    this.#away.push(() => this.setDeadline(shard, nowBootNs + 100_000n * SECOND));
  }

  /** A row goes, or one of its numbers is another, until it comes back. */
  #changeRow(): void {
    const { rng } = this;
    if (rng.oneIn(2)) {
      // A target whose subnet is not there is nobody's to the kernel (lookup.h); agents never write one without the other.
      const row = rng.pick([...this.tables.entries()].filter(({ table }) => table !== 'subnet'));
      this.apply({ op: 'delete', table: row.table, key: row.key } as TableChange);
      this.#away.push(() => this.apply({ op: 'put', ...row } as TableChange));
      return;
    }
    const row = rng.pick([...this.context.tables.entries()]);
    const numbers = Object.entries(row.value).filter(([, value]) => typeof value === 'number');
    const key = numbers.length > 0 && rng.oneIn(2) ? rng.pick(numbers)[0] : undefined;
    if (key === undefined) this.applyGateway({ op: 'delete', table: row.table, key: row.key } as GatewayTableChange);
    else {
      const value = { ...(row.value as object), [key]: ((row.value as unknown as Record<string, number>)[key]! ^ 1) >>> 0 };
      this.applyGateway({ op: 'put', table: row.table, key: row.key, value } as unknown as GatewayTableChange);
    }
    this.#away.push(() => this.applyGateway({ op: 'put', ...row } as GatewayTableChange));
  }

  /** A port forward for what the outside sends to, or its end. */
  #forward(): void {
    const { rng, world } = this;
    const trial = rng.pick(this.#flows.filter(({ program }) => program === 'from_external'));
    const layers = plainLayers(trial);
    const external = world.externals.find(({ ifindex }) => ifindex === trial.ifindex);
    if (layers === undefined || external === undefined) return;
    const isIpv6 = layers.l4 - layers.ip === 40;
    const bytes = trial.frame.subarray(layers.ip + (isIpv6 ? 24 : 16), layers.l4);
    const address = isIpv6 ? bytes.slice(0, 16) : Uint8Array.from([...new Uint8Array(10), 255, 255, ...bytes.subarray(0, 4)]);
    const port = trial.frame[layers.l4 + 2]! * 256 + trial.frame[layers.l4 + 3]!;
    const key = { segment: external.segment, address, port, protocol: layers.protocol };
    const networkId = world.gatewaySubnets[external.segment - 1]!.networkId;
    const to = rng.pick(world.members.filter(({ subnet }) => subnet.networkId === networkId));
    const ca = (isIpv6 ? to?.cas6 : to?.cas4)?.[0];
    if (ca === undefined || rng.oneIn(4)) this.applyGateway({ op: 'delete', table: 'port_forward', key } as GatewayTableChange);
    else this.applyGateway({ op: 'put', table: 'port_forward', key, value: { networkId, port: 80, ca } });
  }
}

/** The checksum follows, so that what is right stays right. */
function setTcpFlags(frame: Uint8Array, l4: number, flags: number): void {
  const at = l4 + 16;
  const sum = (~(frame[at]! * 256 + frame[at + 1]!) & 0xffff) + (~frame[l4 + 13]! & 0xffff) + flags;
  const folded = (sum & 0xffff) + (sum >>> 16);
  const check = ~((folded & 0xffff) + (folded >>> 16)) & 0xffff;
  frame[l4 + 13] = flags;
  frame[at] = check >>> 8;
  frame[at + 1] = check & 0xff;
}
