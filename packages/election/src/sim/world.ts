import type { OwnershipConfig, OwnershipMessage, OwnershipVoter } from '@weft/model';
import { certificateFault } from '../certificate.ts';
import { epochText } from '../epoch.ts';
import { isOpen } from '../fence.ts';
import { OwnershipHost } from '../host.ts';
import type { HostInput, HostOutput, Input, Output, Send } from '../io.ts';
import { OwnershipNode } from '../node.ts';
import type { Rules } from '../rules.ts';
import type { Timing } from '../timing.ts';
import { SimBlocks } from './blocks.ts';
import { Checker } from './checker.ts';
import { GroupRecord, keyOf } from './group-record.ts';
import { forgetKernel, hasAgent, isRunning, type Machine, makeMachine } from './machine.ts';
import { Paths } from './paths.ts';
import { EventQueue } from './queue.ts';
import { Random } from './random.ts';
import { Replaced } from './replaced.ts';
import { simSigner, simVerify } from './signatures.ts';

export interface WorldInit {
  readonly seed: number;
  readonly timing: Timing;
  readonly rules: Rules;
  readonly members: readonly string[];
  /** Machines that may be named as witnesses; those among `voters` are so at first. */
  readonly witnesses: readonly string[];
  /** Machines that may become members. */
  readonly spares?: readonly string[];
  readonly hosts: readonly string[];
  /** Ids of the first voters: the members, or one of a pair alone, and witnesses. */
  readonly voters: readonly string[];
  readonly shards: readonly number[];
  /** How often the state does not get to the next owner. */
  readonly syncLoss?: number;
  readonly trace?: (line: string) => void;
  /** Sees what each machine puts out. */
  readonly onOutput?: (machine: string, output: Output | HostOutput) => void;
}

const JITTER_TICKS = 0.01;
const LATE_TIMER_MS = 103;

/** The machines, the paths between them, the store, and the rules that are checked at every step. */
export class World {
  readonly random: Random;
  readonly queue: EventQueue = new EventQueue();
  readonly checker: Checker = new Checker();
  readonly machines: Map<string, Machine> = new Map();
  readonly paths: Paths;
  readonly record: GroupRecord;
  readonly blocks: SimBlocks;
  readonly #replaced: Replaced;
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
    this.paths = new Paths(this.random);
    for (const id of [...init.members, ...init.witnesses, ...(init.spares ?? [])]) this.#add(id, 'gateway');
    for (const id of init.hosts) this.#add(id, 'host');
    this.#replaced = new Replaced({ timing: init.timing, rules: init.rules, now: () => this.now });
    const trace = (line: () => string): void => this.trace(line);
    this.record = new GroupRecord({
      members: init.members,
      witnesses: init.witnesses.filter((id) => init.voters.includes(id)),
      shards: init.shards,
      instanceOf: (id) => this.#instanceOf(this.machine(id)),
      trace,
    });
    this.blocks = new SimBlocks({
      record: this.record,
      random: this.random,
      rules: init.rules,
      trace,
      now: () => this.now,
      after: (ms, event) => this.after(ms, event),
      storeWrite: (write) => this.#storeWrite(write),
      onMoved: (machine) => this.#blocksMoved(machine),
      isOpen: (machine) => isOpen(machine.fence.get(init.shards[0]!), machine.clock.at(this.now)),
    });
    for (const machine of this.machines.values()) this.boot(machine);
    this.record.create();
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
    return this.record.newest;
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
    const machine = makeMachine(id, kind, this.random, this.init.timing);
    this.machines.set(id, machine);
    (kind === 'gateway' ? this.#gateways : this.#hosts).push(machine);
  }

  boot(machine: Machine): void {
    if (machine.power) return;
    machine.life++;
    machine.power = true;
    machine.clock.reboot(this.now);
    forgetKernel(machine);
    this.startAgent(machine);
  }

  powerOff(machine: Machine): void {
    this.killAgent(machine);
    machine.power = false;
    machine.frozen = false;
    forgetKernel(machine);
    if (machine.kind === 'gateway') this.blocks.powerLost(machine);
  }

  startAgent(machine: Machine): void {
    if (!machine.power || hasAgent(machine)) return;
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
      machine.node = new OwnershipNode(init, { signer: simSigner(keyOf(machine.id)), verify: simVerify, random, timing, rules });
      machine.instance = machine.node.instance;
      this.blocks.started(machine);
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
      if (machine.process !== process || !hasAgent(machine)) return;
      if (isRunning(machine)) this.step(machine, { kind: 'tick' });
      const late = this.random.chance(JITTER_TICKS) ? this.random.between(0, LATE_TIMER_MS) : this.random.between(0, 2);
      this.after((machine.kind === 'host' ? 2 * probeMs : probeMs) + late, tick);
    };
    this.after(this.random.between(0, probeMs), tick);
  }

  killAgent(machine: Machine): void {
    if (!hasAgent(machine)) return;
    this.trace(() => `${machine.id} agent killed`);
    if (machine.kind === 'gateway') this.blocks.ended(machine);
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
    if (!hasAgent(machine)) return;
    if (!isRunning(machine)) {
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
        machine.fence.set(output.row.shard, output.row);
        this.#replaced.check(machine);
        break;
      case 'record': {
        const { ballot } = output.certificate;
        this.trace(
          () => `${machine.id} GRANTED ${ballot.kind} ${epochText(ballot.epoch)} shards ${ballot.shards.join()} config ${ballot.config}`,
        );
        if (this.checker.granted(output.certificate, machine.life)) this.#replaced.by(ballot, this.#gateways);
        break;
      }
      case 'settled': {
        const { config, certificate } = output;
        // The controller doesn't take anybody's word for it.
        const joint = this.record.configs.findLast((known) => known.config === config);
        if (joint === undefined || certificateFault(joint, certificate, simVerify, this.init.rules) !== undefined) break;
        this.#storeWrite(() => this.record.settle(config));
        break;
      }
      case 'handover':
        this.trace(() => `${machine.id} hand-over ${output.step} ${output.shards.join()} to ${output.to}`);
        if (output.step === 'sync' && !this.random.chance(this.init.syncLoss ?? 0.1)) {
          this.after(this.random.between(1, 300), () => this.give(machine, { kind: 'synced', shards: output.shards }));
        }
        break;
      case 'alarm':
        this.trace(() => `${machine.id} alarm ${output.code} ${output.about} ${output.active ? 'on' : 'off'}`);
        break;
      case 'state':
        this.trace(() => `${machine.id} shard ${output.shard} ${output.state} ${epochText(output.epoch)} owner ${output.owner}`);
        break;
      case 'need-config':
        if (this.random.chance(0.5)) {
          this.after(this.random.between(5, 200), () => {
            this.giveConfigs(machine);
            if (this.#readsStore(machine)) this.give(machine, { kind: 'record-read', askedAt: machine.clock.at(this.now) });
          });
        }
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

  #send(machine: Machine, { to, paths, body }: Send): void {
    const target = this.machines.get(to);
    if (target === undefined) return;
    const message: OwnershipMessage = { group: this.newestConfig.group, from: machine.id, to, body };
    for (const delay of this.paths.copies(paths, machine.id, to)) {
      this.after(delay, () => {
        if (target.power) this.give(target, { kind: 'message', message });
      });
    }
  }

  #probe(machine: Machine, peer: string, nonce: number): void {
    this.step(machine, { kind: 'probe-sent', peer, nonce, at: machine.clock.at(this.now) });
    const target = this.machines.get(peer);
    if (target === undefined || !target.power || target.frozen) return;
    const delay = this.paths.roundTrip(machine.id, peer);
    if (delay === undefined) return;
    const now = target.clock.at(this.now);
    const shards = [...target.fence.values()].map((row) => ({
      shard: row.shard,
      epoch: row.epoch,
      valid: this.init.rules.isOpen(row, now),
    }));
    const process = machine.process;
    this.after(delay, () => {
      if (machine.process === process) this.give(machine, { kind: 'probe-answered', peer, nonce, shards });
    });
  }

  // What is checked.

  /** What is looked at twice a second, besides at each step that could break it. */
  check(): void {
    for (const machine of this.#gateways) this.#replaced.check(machine);
  }

  // The store and the controller.

  #storeWrite(write: () => void): void {
    const wait = Math.max(0, this.storeBlockedUntil - this.now) + this.random.between(1, 20);
    this.after(wait, () => {
      if (this.now < this.storeBlockedUntil || this.paths.cuts.has('nats')) this.#storeWrite(write);
      else write();
    });
  }

  /** The moment in which a member knows least of what it may grant. */
  #blocksMoved(machine: Machine): void {
    if (this.calm || !hasAgent(machine) || !this.random.chance(0.2)) return;
    this.killAgent(machine);
    this.after(this.random.between(1, 50), () => this.startAgent(machine));
  }

  /** What its host record says: a memory is made when a machine takes part for the first time. */
  #instanceOf(machine: Machine): number {
    return this.init.spares?.includes(machine.id) === true && machine.node?.config === undefined && machine.disk === undefined
      ? 0
      : machine.instance;
  }

  /** Where a voter has lost its file, a new list names its new memory; where a majority has, the operator recovers. */
  #controller(): void {
    if (this.now >= this.storeBlockedUntil && !this.paths.cuts.has('nats')) {
      this.record.refresh();
      const { voters, previous } = this.newestConfig;
      // All that can go on needs a majority of the last list that took effect.
      const inForce = previous?.voters ?? voters;
      if (2 * inForce.filter((voter) => !this.#forgotten(voter)).length <= inForce.length) this.record.recover();
    }
    for (const machine of this.machines.values()) {
      const isConnected = this.#readsStore(machine);
      if (isConnected) this.giveConfigs(machine);
      if (machine.kind === 'gateway' && machine.power) this.blocks.poll(machine, isConnected);
    }
  }

  #forgotten({ id, instance }: OwnershipVoter): boolean {
    return this.machine(id).instance !== instance;
  }

  #readsStore(machine: Machine): boolean {
    return this.now >= this.storeBlockedUntil && this.paths.reachesNats(machine.id);
  }

  giveConfigs(machine: Machine): void {
    if (!isRunning(machine)) return;
    if (this.record.revision === 0) return;
    const newest = this.newestConfig;
    if (machine.kind === 'gateway') this.blocks.read(machine);
    if (machine.node?.config === newest || !this.#concerns(newest, machine)) return;
    const oldest = newest.previous?.config ?? newest.config;
    for (const [id, config] of new Map(this.record.configs.map((config) => [config.config, config]))) {
      if (id >= oldest) this.give(machine, { kind: 'config', config });
    }
  }

  /** A machine that is to be a member later takes no part before. */
  #concerns({ members }: OwnershipConfig, { id }: Machine): boolean {
    return this.init.spares?.includes(id) !== true || members.some((member) => member.id === id);
  }
}

function fromNetwork({ kind }: Input | HostInput): boolean {
  return kind === 'message' || kind === 'probe-answered';
}
