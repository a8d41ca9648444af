import type { OwnershipConfig, OwnershipMessage, OwnershipVoter } from '@weft/model';
import { certificateFault } from '../certificate.ts';
import type { Durable } from '../durable.ts';
import { epochText } from '../epoch.ts';
import type { FenceRow } from '../fence.ts';
import { OwnershipHost } from '../host.ts';
import type { HostInput, HostOutput, Input, Output, Path, Send, ShardRow, SliceRecord } from '../io.ts';
import { OwnershipNode } from '../node.ts';
import type { Rules } from '../rules.ts';
import { boundD, type Timing } from '../timing.ts';
import { Checker, Violation } from './checker.ts';
import { SimClock } from './clock.ts';
import { EventQueue } from './queue.ts';
import { Random } from './random.ts';
import { simSigner, simVerify } from './signatures.ts';

/** A machine: its kernel (clock, pinned maps, packet path), its disk, and the agent's process on it. */
export interface Machine {
  readonly id: string;
  readonly kind: 'gateway' | 'host';
  readonly clock: SimClock;
  /** Counts boots. */
  life: number;
  power: boolean;
  /** The whole machine stands still. */
  frozen: boolean;
  /** The agent's process stands still; the packet path goes on. */
  stopped: boolean;
  /** Counts processes: what was meant for an earlier one is lost. */
  process: number;
  node: OwnershipNode | undefined;
  host: OwnershipHost | undefined;
  inbox: (Input | HostInput)[];
  disk: Durable | undefined;
  writing: { readonly token: number; readonly state: Durable } | undefined;
  diskMs: number;
  carrier: boolean;
  readonly fence: Map<number, FenceRow>;
  readonly shards: Map<number, ShardRow>;
  /** Per shard: own clock when it was replaced, and by which epoch. */
  readonly replaced: Map<number, { readonly epoch: bigint; readonly at: number }>;
  instance: number;
}

export interface WorldInit {
  readonly seed: number;
  readonly timing: Timing;
  readonly rules: Rules;
  readonly members: readonly string[];
  readonly witnesses: readonly string[];
  readonly hosts: readonly string[];
  /** Ids of the first voters. */
  readonly voters: readonly string[];
  readonly shards: readonly number[];
  /** How often the state does not get to the next owner. */
  readonly syncLoss?: number;
  readonly trace?: (line: string) => void;
  /** Sees what each machine puts out. */
  readonly onOutput?: (machine: string, output: Output | HostOutput) => void;
}

/** How messages travel at the moment. */
export interface Weather {
  loss: number;
  twice: number;
  late: number;
  lateMs: number;
}

const JITTER_TICKS = 0.01;
const LATE_TIMER_MS = 103;

/** The machines, the paths between them, the store, and the rules that are checked at every step. */
export class World {
  readonly random: Random;
  readonly queue: EventQueue = new EventQueue();
  readonly checker: Checker = new Checker();
  readonly machines: Map<string, Machine> = new Map();
  readonly weather: Weather = { loss: 0, twice: 0, late: 0, lateMs: 0 };
  /** Directed cuts, counted, so that two may overlap: "from to" for the underlay, "nats id" for a client, "nats" for the servers. */
  readonly cuts: Map<string, number> = new Map();
  readonly configs: OwnershipConfig[] = [];
  slices: SliceRecord[] = [];
  /** No write gets through before this: JetStream elects a leader. */
  storeBlockedUntil = 0;
  /** Faults are over. */
  calm = false;
  now = 0;
  events = 0;
  readonly init: WorldInit;
  readonly #gateways: Machine[] = [];
  readonly #hosts: Machine[] = [];

  constructor(init: WorldInit) {
    this.init = init;
    this.random = new Random(init.seed);
    for (const id of [...init.members, ...init.witnesses]) this.#add(id, 'gateway');
    for (const id of init.hosts) this.#add(id, 'host');
    this.slices = init.members.map((holder, i) => ({ slice: i + 1, holder, generation: 1 }));
    for (const machine of this.machines.values()) this.boot(machine);
    this.configs.push(this.makeConfig(1, 1, init.voters, undefined));
    for (const machine of this.machines.values()) this.giveConfigs(machine);
    this.#every(500, () => this.check());
    this.#every(1_000, () => this.#controller());
  }

  get gateways(): readonly Machine[] {
    return this.#gateways;
  }
  get hosts(): readonly Machine[] {
    return this.#hosts;
  }
  machine(id: string): Machine {
    return this.machines.get(id)!;
  }
  get newestConfig(): OwnershipConfig {
    return this.configs[this.configs.length - 1]!;
  }
  /** The machine that holds the newest grant of a shard. */
  owner(shard: number): Machine | undefined {
    const grant = this.checker.newest.get(shard);
    return grant === undefined ? undefined : this.machines.get(grant.candidate);
  }

  trace(line: () => string): void {
    this.init.trace?.(`${this.now.toFixed(1).padStart(9)}  ${line()}`);
  }

  runUntil(time: number): void {
    while (this.queue.nextAt <= time) {
      this.now = this.queue.nextAt;
      this.events++;
      this.queue.take()();
    }
    this.now = time;
  }

  after(ms: number, event: () => void): void {
    this.queue.at(this.now + ms, event);
  }

  #every(ms: number, event: () => void): void {
    const again = (): void => {
      event();
      this.after(ms, again);
    };
    this.after(ms, again);
  }

  // Machines.

  #add(id: string, kind: Machine['kind']): void {
    // Two clocks differ by rho at most.
    const rate = 1 + this.random.between(-0.49, 0.49) * this.init.timing.rho;
    const machine: Machine = {
      id,
      kind,
      clock: new SimClock(0, rate),
      life: 0,
      power: false,
      frozen: false,
      stopped: false,
      process: 0,
      node: undefined,
      host: undefined,
      inbox: [],
      disk: undefined,
      writing: undefined,
      diskMs: 2,
      carrier: true,
      fence: new Map(),
      shards: new Map(),
      replaced: new Map(),
      instance: 0,
    };
    this.machines.set(id, machine);
    (kind === 'gateway' ? this.#gateways : this.#hosts).push(machine);
  }

  boot(machine: Machine): void {
    if (machine.power) return;
    machine.life++;
    machine.power = true;
    machine.clock.reboot(this.now);
    machine.fence.clear();
    machine.shards.clear();
    machine.replaced.clear();
    this.startAgent(machine);
  }

  powerOff(machine: Machine): void {
    this.killAgent(machine);
    machine.power = false;
    machine.frozen = false;
    machine.fence.clear();
    machine.shards.clear();
    machine.replaced.clear();
  }

  startAgent(machine: Machine): void {
    if (!machine.power || machine.node !== undefined || machine.host !== undefined) return;
    machine.process++;
    machine.inbox = [];
    machine.stopped = false;
    const { timing, rules } = this.init;
    const now = machine.clock.at(this.now);
    const random = (): number => this.random.bits();
    if (machine.kind === 'host') {
      machine.host = new OwnershipHost(
        { self: machine.id, rows: [...machine.shards.values()], now },
        { verify: simVerify, random, timing, rules },
      );
    } else {
      const init = {
        self: machine.id,
        bootId: `${machine.id}-${machine.life}`,
        file: machine.disk,
        rows: [...machine.fence.values()],
        now,
      };
      machine.node = new OwnershipNode(init, { signer: simSigner(`key-${machine.id}`), verify: simVerify, random, timing, rules });
      machine.instance = machine.node.instance;
    }
    this.trace(() => `${machine.id} agent starts, boot ${machine.life}${machine.disk === undefined ? ', no file' : ''}`);
    this.giveConfigs(machine);
    if (machine.node !== undefined) {
      this.step(machine, { kind: 'hosts', hosts: this.init.hosts });
      if (!machine.carrier) this.step(machine, { kind: 'carrier', up: false });
    }
    const process = machine.process;
    const { probeMs } = timing;
    const tick = (): void => {
      if (machine.process !== process || (machine.node === undefined && machine.host === undefined)) return;
      if (!machine.stopped && !machine.frozen) this.step(machine, { kind: 'tick' });
      const late = this.random.chance(JITTER_TICKS) ? this.random.between(0, LATE_TIMER_MS) : this.random.between(0, 2);
      this.after((machine.kind === 'host' ? 2 * probeMs : probeMs) + late, tick);
    };
    this.after(this.random.between(0, probeMs), tick);
  }

  killAgent(machine: Machine): void {
    if (machine.node === undefined && machine.host === undefined) return;
    this.trace(() => `${machine.id} agent killed`);
    // A write under way may have reached the disk, or not.
    if (machine.writing !== undefined && this.random.chance(0.5)) machine.disk = machine.writing.state;
    machine.writing = undefined;
    machine.node = undefined;
    machine.host = undefined;
    machine.process++;
    machine.inbox = [];
  }

  setStopped(machine: Machine, stopped: boolean): void {
    machine.stopped = stopped;
    this.#drainInbox(machine);
  }

  /** @param clockStops The guest's clock stands still too, so its deadlines don't pass. */
  freeze(machine: Machine, clockStops: boolean): void {
    machine.frozen = true;
    if (clockStops) machine.clock.stop(this.now);
  }
  thaw(machine: Machine): void {
    if (!machine.frozen) return;
    machine.frozen = false;
    machine.clock.go(this.now);
    this.#drainInbox(machine);
  }

  #drainInbox(machine: Machine): void {
    if (machine.stopped || machine.frozen) return;
    const inbox = machine.inbox;
    machine.inbox = [];
    // What has piled up comes in any order, timers before messages or after.
    if (this.random.chance(0.5)) this.step(machine, { kind: 'tick' });
    // What came over the network in any order; what the machine itself said in its own.
    const network = inbox.filter(fromNetwork);
    if (this.random.chance(0.3)) network.reverse();
    for (const input of [...inbox.filter((one) => !fromNetwork(one)), ...network]) this.step(machine, input);
  }

  // Steps.

  /** Gives an input to a machine's agent, now or when it goes on. */
  give(machine: Machine, input: Input | HostInput): void {
    if (machine.node === undefined && machine.host === undefined) return;
    if (machine.stopped || machine.frozen) {
      if (machine.inbox.length < 300 || !fromNetwork(input)) machine.inbox.push(input);
    } else this.step(machine, input);
  }

  step(machine: Machine, input: Input | HostInput): void {
    const now = machine.clock.at(this.now);
    if (machine.node !== undefined) for (const output of machine.node.step(input as Input, now)) this.#carryOut(machine, output);
    else if (machine.host !== undefined) for (const output of machine.host.step(input as HostInput, now)) this.#obey(machine, output);
  }

  #carryOut(machine: Machine, output: Output): void {
    this.init.onOutput?.(machine.id, output);
    switch (output.kind) {
      case 'send':
        this.#send(machine, output);
        break;
      case 'probe':
        this.#probe(machine, output.peer, output.nonce);
        break;
      case 'persist': {
        machine.writing = output;
        const process = machine.process;
        this.after(machine.diskMs * this.random.between(0.5, 1.5), () => {
          if (machine.process !== process) return;
          machine.disk = output.state;
          machine.writing = undefined;
          this.give(machine, { kind: 'persisted', token: output.token });
        });
        break;
      }
      case 'fence':
        this.#fence(machine, output.row);
        break;
      case 'record': {
        const { ballot } = output.certificate;
        this.trace(
          () => `${machine.id} GRANTED ${ballot.kind} ${epochText(ballot.epoch)} shards ${ballot.shards.join()} config ${ballot.config}`,
        );
        if (this.checker.granted(output.certificate, machine.life)) this.#replace(ballot);
        break;
      }
      case 'settled': {
        const { config, certificate } = output;
        // The controller doesn't take anybody's word for it.
        const joint = this.configs.findLast((known) => known.config === config);
        if (joint === undefined || certificateFault(joint, certificate, simVerify, this.init.rules) !== undefined) break;
        this.#storeWrite(() => this.#settle(config));
        break;
      }
      case 'handover':
        this.trace(() => `${machine.id} hand-over ${output.step} ${output.shards.join()} to ${output.to}`);
        if (output.step === 'sync' && !this.random.chance(this.init.syncLoss ?? 0.1)) {
          this.after(this.random.between(1, 300), () => this.give(machine, { kind: 'synced', shards: output.shards }));
        }
        break;
      case 'slice-consent': {
        const { slice, generation, to } = output.consent;
        this.#storeWrite(() => this.#sliceWrite(slice, generation, to));
        break;
      }
      case 'slice-reclaim':
        this.#storeWrite(() => this.#sliceWrite(output.slice, output.generation, machine.id));
        break;
      case 'alarm':
        this.trace(() => `${machine.id} alarm ${output.code} ${output.about} ${output.active ? 'on' : 'off'}`);
        break;
      case 'state':
        this.trace(() => `${machine.id} shard ${output.shard} ${output.state} ${epochText(output.epoch)} owner ${output.owner}`);
        break;
      case 'need-config':
        if (this.random.chance(0.5)) this.after(this.random.between(5, 200), () => this.giveConfigs(machine));
        break;
      default:
        break;
    }
  }

  #obey(machine: Machine, output: HostOutput): void {
    this.init.onOutput?.(machine.id, output);
    if (output.kind === 'send') this.#send(machine, output);
    else if (output.kind === 'shard') {
      this.trace(() => `${machine.id} obeys ${output.row.owner} ${epochText(output.row.epoch)} for shard ${output.row.shard}`);
      machine.shards.set(output.row.shard, output.row);
      this.checker.accepted(machine.id, output.row);
    } else if (output.kind === 'need-config' && this.random.chance(0.5))
      this.after(this.random.between(5, 200), () => this.giveConfigs(machine));
  }

  // Paths.

  cut(key: string): void {
    this.cuts.set(key, (this.cuts.get(key) ?? 0) + 1);
  }
  mend(key: string): void {
    const left = (this.cuts.get(key) ?? 0) - 1;
    if (left > 0) this.cuts.set(key, left);
    else this.cuts.delete(key);
  }
  #open(path: Path, from: string, to: string): boolean {
    if (this.cuts.size === 0) return true;
    if (path === 'nats') return !this.cuts.has('nats') && !this.cuts.has(`nats ${from}`) && !this.cuts.has(`nats ${to}`);
    return !this.cuts.has(path === 'external' ? `external ${from} ${to}` : `${from} ${to}`);
  }

  #send(machine: Machine, { to, paths, body }: Send): void {
    const target = this.machines.get(to);
    if (target === undefined) return;
    const message: OwnershipMessage = { group: this.newestConfig.group, from: machine.id, to, body };
    let delivered = false;
    for (const path of paths) {
      if (!this.#open(path, machine.id, to)) continue;
      const { loss, twice, late, lateMs } = this.weather;
      if (loss > 0 && this.random.chance(loss)) continue;
      // Most of the time a copy on the second path is no news; it is spared, so that more schedules fit in a second.
      if (delivered && loss === 0 && late === 0 && this.cuts.size === 0 && this.random.chance(0.8)) continue;
      delivered = true;
      const copies = twice > 0 && this.random.chance(twice) ? 2 : 1;
      for (let i = 0; i < copies; i++) {
        const delay = late > 0 && this.random.chance(late) ? this.random.between(1, lateMs) : this.random.between(0.1, 2);
        this.after(delay, () => {
          if (target.power) this.give(target, { kind: 'message', message });
        });
      }
    }
  }

  #probe(machine: Machine, peer: string, nonce: number): void {
    this.step(machine, { kind: 'probe-sent', peer, nonce, at: machine.clock.at(this.now) });
    const target = this.machines.get(peer);
    if (target === undefined || !target.power || target.frozen) return;
    if (!this.#open('underlay', machine.id, peer) || !this.#open('underlay', peer, machine.id)) return;
    const { loss, late, lateMs } = this.weather;
    if (loss > 0 && this.random.chance(loss)) return;
    const now = target.clock.at(this.now);
    const shards = [...target.fence.values()].map((row) => ({
      shard: row.shard,
      epoch: row.epoch,
      valid: this.init.rules.isOpen(row, now),
    }));
    const delay = late > 0 && this.random.chance(late) ? this.random.between(1, lateMs) : this.random.between(0.1, 1);
    const process = machine.process;
    this.after(delay, () => {
      if (machine.process === process) this.give(machine, { kind: 'probe-answered', peer, nonce, shards });
    });
  }

  // What is checked.

  #fence(machine: Machine, row: FenceRow): void {
    machine.fence.set(row.shard, row);
    this.#closedInTime(machine, row.shard);
  }

  #replace(ballot: { readonly epoch: bigint; readonly candidate: string; readonly shards: readonly number[] }): void {
    for (const machine of this.#gateways) {
      if (machine.id === ballot.candidate || !machine.power) continue;
      for (const shard of ballot.shards) {
        const row = machine.fence.get(shard);
        if (row === undefined || row.epoch >= ballot.epoch || machine.replaced.has(shard)) continue;
        machine.replaced.set(shard, { epoch: ballot.epoch, at: machine.clock.at(this.now) });
        this.#closedInTime(machine, shard);
      }
    }
  }

  /** A replaced owner's packet path is closed within D, on its own clock. */
  #closedInTime(machine: Machine, shard: number): void {
    const row = machine.fence.get(shard);
    const replaced = machine.replaced.get(shard);
    if (row === undefined || replaced === undefined) return;
    if (row.epoch > replaced.epoch) {
      // An owner again, by a later grant.
      machine.replaced.delete(shard);
      return;
    }
    const closes = replaced.at + boundD(this.init.timing);
    const open = this.init.rules.isOpen(row, Math.max(machine.clock.at(this.now), closes + 0.001));
    if (row.deadlineMs > closes + 0.001 || open) {
      throw new Violation(
        'closed-later-than-d',
        `${machine.id}, shard ${shard}, epoch ${epochText(row.epoch)}: replaced by ${epochText(replaced.epoch)} at ${replaced.at.toFixed(1)}, must be closed at ${closes.toFixed(1)}; deadline ${row.deadlineMs.toFixed(1)} (own clock)`,
      );
    }
  }

  /** What is looked at twice a second, besides at each step that could break it. */
  check(): void {
    for (const machine of this.#gateways) for (const shard of machine.replaced.keys()) this.#closedInTime(machine, shard);
    for (const { slice } of this.slices) {
      const holders = this.#gateways.filter(({ node }) => node?.slices.usable(slice) === true);
      if (holders.length > 1) throw new Violation('slice-held-twice', `slice ${slice}: ${holders.map(({ id }) => id).join(' and ')}`);
    }
  }

  /** Undefined: every shard has an owner that forwards, and every host obeys it. */
  unhealthy(): string | undefined {
    for (const shard of this.init.shards) {
      const grant = this.checker.newest.get(shard);
      const owner = this.owner(shard);
      if (grant === undefined || owner === undefined) return `shard ${shard} was never granted`;
      const row = owner.fence.get(shard);
      if (row === undefined || row.epoch !== grant.epoch || row.deadlineMs <= owner.clock.at(this.now)) {
        return `shard ${shard}: ${owner.id} was granted ${epochText(grant.epoch)} and does not forward`;
      }
      for (const host of this.#hosts) {
        const known = host.shards.get(shard);
        if (known === undefined || known.epoch !== grant.epoch) {
          return `shard ${shard}: ${host.id} obeys ${known === undefined ? 'nobody' : epochText(known.epoch)}, not ${epochText(grant.epoch)} of ${owner.id}`;
        }
      }
    }
    return undefined;
  }

  /** Undefined: no owner has a shard that the record placed elsewhere since it took it over. */
  misplaced(): string | undefined {
    for (const shard of this.init.shards) {
      const to = this.owner(shard)?.node?.displacedTo(shard);
      if (to !== undefined) return `shard ${shard} is placed on ${to}, and ${this.owner(shard)!.id} keeps it`;
    }
    return undefined;
  }

  // The store and the controller.

  #storeWrite(write: () => void): void {
    const wait = Math.max(0, this.storeBlockedUntil - this.now) + this.random.between(1, 20);
    this.after(wait, () => {
      if (this.now < this.storeBlockedUntil || this.cuts.has('nats')) this.#storeWrite(write);
      else write();
    });
  }

  #sliceWrite(slice: number, generation: number, holder: string): void {
    this.slices = this.slices.map((record) =>
      record.slice === slice && record.generation === generation ? { slice, holder, generation: generation + 1 } : record,
    );
  }

  voter(id: string): OwnershipVoter {
    return { id, key: `key-${id}`, instance: this.machine(id).instance };
  }

  makeConfig(config: number, incarnation: number, voters: readonly string[], previous: OwnershipConfig['previous']): OwnershipConfig {
    const { members, shards } = this.init;
    return {
      group: 'group',
      config,
      incarnation,
      voters: voters.map((id) => this.voter(id)),
      previous,
      members:
        this.configs.at(-1)?.members ??
        members.map((id, i) => ({ id, key: `key-${id}`, providerAddress: `192.0.2.${i + 1}`, drain: false })),
      shards:
        this.configs.at(-1)?.shards ??
        shards.map((shard, i) => ({ shard, order: members.map((_, at) => members[(at + i) % members.length]!), placement: 1 })),
    };
  }

  /** Commits another preferred owner of a shard, as an operator's move does. */
  place(shard: number, first: string): void {
    this.trace(() => `controller: shard ${shard} is placed on ${first}`);
    this.#arrange(this.newestConfig.members, (entry) =>
      entry.shard === shard ? [first, ...entry.order.filter((id) => id !== first)] : undefined,
    );
  }

  /** Commits that a member is drained or not: it is the last in every order then, and gets its share back afterwards. */
  drain(id: string, drain: boolean): void {
    const members = this.newestConfig.members.map((member) => (member.id === id ? { ...member, drain } : member));
    const isOut = (member: string): boolean => members.some((known) => known.id === member && known.drain);
    this.trace(() => `controller: ${id} is ${drain ? 'drained' : 'active again'}`);
    this.#arrange(members, ({ shard, order }) => {
      const home = this.init.members[this.init.shards.indexOf(shard) % this.init.members.length]!;
      const wanted = !drain && home === id ? [id, ...order.filter((one) => one !== id)] : order;
      const next = [...wanted.filter((one) => !isOut(one)), ...wanted.filter(isOut)];
      return next[0] === order[0] ? undefined : next;
    });
  }

  #arrange(
    members: OwnershipConfig['members'],
    orderOf: (entry: OwnershipConfig['shards'][number]) => readonly string[] | undefined,
  ): void {
    const shards = this.newestConfig.shards.map((entry) => {
      const order = orderOf(entry);
      return order === undefined ? entry : { ...entry, order, placement: entry.placement + 1 };
    });
    this.configs.push({ ...this.newestConfig, members, shards });
  }

  /** Commits a new voter list, as the controller does: it names the last one that took effect. */
  changeVoters(voters: readonly string[]): void {
    const { config, incarnation, previous, voters: current } = this.newestConfig;
    const next = this.makeConfig(config + 1, incarnation, voters, previous ?? { config, voters: current });
    if (next.voters.some(({ instance }) => instance === 0)) return;
    this.configs.push(next);
    this.trace(() => `controller: configuration ${next.config}, voters ${voters.join()}, after ${next.previous!.config}`);
  }

  /** A grant in the new list was recorded: majorities of both have accepted it. */
  #settle(config: number): void {
    const { newestConfig } = this;
    if (newestConfig.config !== config || newestConfig.previous === undefined) return;
    this.configs.push({ ...newestConfig, previous: undefined });
    this.trace(() => `controller: configuration ${config} took effect`);
  }

  /** Where a voter has lost its file, a new list names its new memory; where a majority has, the operator recovers. */
  #controller(): void {
    if (this.now >= this.storeBlockedUntil && !this.cuts.has('nats')) {
      const { voters, config, incarnation, previous } = this.newestConfig;
      const ids = voters.map(({ id }) => id);
      // All that can go on needs a majority of the last list that took effect.
      const inForce = previous?.voters ?? voters;
      if (2 * inForce.filter((voter) => !this.#forgotten(voter)).length <= inForce.length) {
        this.configs.push(this.makeConfig(config + 1, incarnation + 1, ids, undefined));
        this.trace(() => `operator: weft gateway recover, incarnation ${incarnation + 1}, configuration ${config + 1}`);
      } else if (voters.some((voter) => this.#forgotten(voter))) this.changeVoters(ids);
    }
    for (const machine of this.machines.values()) {
      if (this.cuts.has('nats') || this.cuts.has(`nats ${machine.id}`) || this.now < this.storeBlockedUntil) continue;
      this.giveConfigs(machine);
      if (machine.node !== undefined) this.give(machine, { kind: 'slices', slices: this.slices });
    }
  }

  #forgotten({ id, instance }: OwnershipVoter): boolean {
    return this.machine(id).instance !== instance;
  }

  giveConfigs(machine: Machine): void {
    if (machine.stopped || machine.frozen) return;
    const newest = this.configs.length === 0 ? undefined : this.newestConfig;
    if (newest === undefined || machine.node?.config === newest) return;
    const oldest = newest.previous?.config ?? newest.config;
    for (const [id, config] of new Map(this.configs.map((config) => [config.config, config]))) {
      if (id >= oldest) this.give(machine, { kind: 'config', config });
    }
  }
}

function fromNetwork({ kind }: Input | HostInput): boolean {
  return kind === 'message' || kind === 'probe-answered';
}
