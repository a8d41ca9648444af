import type { Identity } from '@weft/bus';
import { commitRecord, createIdentity, getRecord } from '@weft/bus';
import { type FenceRow, isOpen, makeEpoch, type ShardRow } from '@weft/election';
import { encodeProbe, ProbeType } from '@weft/forwarding';
import { type Assignment, assignmentKey, grantKey, type Host, hostKey, TrustStore } from '@weft/model';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Conditions } from '../src/conditions.ts';
import type { ControlSocketInit } from '../src/gateway/control-socket.ts';
import { Gateways } from '../src/gateway/gateways.ts';
import type { ProbeReply } from '../src/gateway/probe-port.ts';
import { Lab } from './harness.ts';
import type { MemoryBus } from './memory-bus.ts';

// Two members, a witness and a host that only obeys, as machines: their processes can be killed and cut off while their "kernels" (tables, answers to
// probes) go on, until their power is cut too. Time is the lab's.

const GID = '22222222-2222-4222-8222-222222222222';
const SHARDS = [71, 72];
/** Of the same machines. */
const SECOND_GID = '33333333-3333-4333-8333-333333333333';
const SECOND_SHARDS = [81, 82];
const PROBE = 0x57465052;

class Machine {
  readonly id: string;
  readonly pa: string;
  readonly identity: Identity = createIdentity('host');
  /** Its disk. */
  readonly files = new Map<string, Uint8Array>();
  /** The kernel's tables. */
  readonly shard = new Map<number, ShardRow>();
  readonly fence = new Map<number, FenceRow>();
  readonly replies = new Map<string, ProbeReply>();
  /** Provider addresses whose probes it answers. */
  peers: ReadonlySet<string> = new Set();
  readonly peersEver: ReadonlySet<string>[] = [];
  powered = true;
  bus: MemoryBus | undefined;
  gateways: Gateways | undefined;
  onMessage: ControlSocketInit['onMessage'] | undefined;
  conditions: Conditions | undefined;

  constructor(id: string, number: number) {
    this.id = id;
    this.pa = `192.0.2.${number}`;
  }
}

class World {
  readonly lab = new Lab();
  readonly machines = new Map<string, Machine>();
  /** Ways that are cut, as "from to" by machine id; on the underlay only. */
  readonly cut = new Set<string>();

  async init(): Promise<void> {
    await this.lab.init();
    for (const [index, id] of ['g1', 'g2', 'w1', 'h1'].entries()) this.machines.set(id, new Machine(id, index + 1));
    for (const machine of this.machines.values()) {
      await this.lab.admit(machine.id, machine.identity);
      await this.#register(machine);
    }
    await this.assign(1);
    for (const machine of this.machines.values()) await this.start(machine);
  }

  /** The assignment as a controller writes it: voters with the memories that their hosts have told. */
  async assign(
    configId: number,
    drained?: string,
    gatewayId = GID,
    shards: readonly number[] = SHARDS,
    incarnation = 1,
    placement?: number,
  ): Promise<void> {
    const memory = (id: string): number =>
      this.machines
        .get(id)!
        .gateways?.memories()
        .find((one) => one.gatewayId === gatewayId)?.instance ?? 0;
    const value: Assignment = {
      gatewayId,
      gateway: gatewayId === GID ? 'edge' : 'second',
      incarnation,
      voters: {
        configId,
        voters: ['g1', 'g2', 'w1'].map((hostId) => ({
          hostId,
          publicKey: this.machines.get(hostId)!.identity.publicKey,
          instance: memory(hostId),
        })),
      },
      previousVoters: undefined,
      members: ['g1', 'g2'].map((hostId, index) => ({
        member: index + 1,
        hostId,
        providerAddress: this.machines.get(hostId)!.pa,
        drain: hostId === drained,
      })),
      shards: shards.map((id, index) => {
        const first = drained === undefined ? index + 1 : drained === 'g1' ? 2 : 1;
        return { id, order: [first, 3 - first], placement: placement ?? (drained !== undefined && first !== index + 1 ? 2 : 1) };
      }),
      addresses: [],
    };
    await this.lab.commit('gateways', assignmentKey(gatewayId), { kind: 'assignment', value });
  }

  /** The record without a member of the pair that is gone for good: the other votes alone, once a majority of the former list has agreed. */
  async removeByForce(gone: Machine): Promise<void> {
    const entry = await getRecord((await this.machine('w1').bus!.open()).gateways, assignmentKey(GID));
    if (entry?.record?.kind !== 'assignment') throw new Error('there is no assignment');
    const before = entry.record.value;
    const members = before.members.filter(({ hostId }) => hostId !== gone.id);
    const value: Assignment = {
      ...before,
      incarnation: before.incarnation + 1,
      voters: {
        configId: before.voters.configId + 1,
        voters: before.voters.voters.filter(({ hostId }) => hostId === members[0]!.hostId),
      },
      previousVoters: before.voters,
      members,
      shards: before.shards.map((shard) => ({ ...shard, order: [members[0]!.member], placement: shard.placement + 1 })),
    };
    await this.lab.commit('gateways', assignmentKey(GID), { kind: 'assignment', value });
  }

  async start(machine: Machine, options: { readonly connected?: boolean } = {}): Promise<void> {
    const { lab } = this;
    const bus = lab.store.connect(machine.id);
    bus.setConnected(options.connected !== false);
    const trust = new TrustStore([lab.admin.publicKey]);
    const clock = {
      now: () => lab.clock.now(),
      unixMs: () => Math.floor(lab.clock.now()),
      setTimeout: (callback: () => void, ms: number) => lab.clock.setTimeout(callback, ms),
      clearTimeout: (handle: unknown) => lab.clock.clearTimeout(handle),
    };
    const logger = { debug() {}, info() {}, warn() {}, error() {} };
    const conditions = new Conditions(clock, logger);
    machine.bus = bus;
    machine.conditions = conditions;
    const gateways = new Gateways({
      hostId: machine.id,
      providerAddress: machine.pa,
      bootId: 'boot-1',
      storage: {
        file: (name) => ({
          read: async () => machine.files.get(name),
          write: async (content) => void machine.files.set(name, content),
        }),
        names: () => [...machine.files.keys()],
      },
      bus,
      identity: machine.identity,
      trust,
      clock,
      random: () => lab.random(),
      logger,
      conditions,
      tables: {
        shardRows: () => [...machine.shard.values()],
        writeShard: (row) => machine.shard.set(row.shard, row),
        fenceRows: () => [...machine.fence.values()],
        writeFence: (row) => machine.fence.set(row.shard, row),
        probeReplies: () => [...machine.replies.values()],
        setProbePeers: (addresses) => {
          machine.peers = new Set(addresses);
          machine.peersEver.push(machine.peers);
        },
      },
      used: () => new Set(machine.id === 'h1' ? [GID] : []),
      onChange: () => {},
      onOwnership: () => {},
      onMemories: () => {},
      openSocket: async ({ onMessage }) => {
        machine.onMessage = onMessage;
        return {
          send: async (address, message) => {
            this.#deliver(machine, address, message);
            return undefined;
          },
          close: () => {},
        };
      },
    });
    machine.gateways = gateways;
    await gateways.start();
    await this.#feedTrust(bus, trust);
    if (bus.state.state === 'connected') await gateways.connected(await bus.open());
    await this.lab.settle(0);
  }

  /** SIGKILL of the agent: its kernel goes on. */
  kill(machine: Machine): void {
    machine.onMessage = undefined;
    const { bus, gateways } = machine;
    bus?.setConnected(false);
    if (bus !== undefined) this.lab.store.connections.splice(this.lab.store.connections.indexOf(bus), 1);
    machine.gateways = undefined;
    this.#dead.push(gateways!);
    // Its timers go with its process.
    void gateways?.stop();
  }
  readonly #dead: Gateways[] = [];

  /** The plug is pulled: process and kernel. */
  powerOff(machine: Machine): void {
    machine.powered = false;
    this.kill(machine);
  }

  #deliver(from: Machine, address: string, message: Uint8Array): void {
    const to = [...this.machines.values()].find(({ pa }) => pa === address);
    if (to === undefined || !from.powered || !to.powered || this.cut.has(`${from.id} ${to.id}`)) return;
    const view = new DataView(message.buffer, message.byteOffset, message.byteLength);
    if (view.byteLength >= 16 && view.getUint32(0) === PROBE) {
      if (this.cut.has(`${to.id} ${from.id}`) || !to.peers.has(from.pa)) return;
      const now = this.lab.clock.now();
      const shards = Array.from({ length: view.getUint8(6) }, (_, index) => view.getUint32(16 + 16 * index)).map((shard) => ({
        shard,
        epoch: to.fence.get(shard)?.epoch ?? 0n,
        valid: isOpen(to.fence.get(shard), now),
      }));
      const nonce = view.getBigUint64(8);
      from.replies.set(to.pa, { pa: to.pa, nonce, shards });
      const answer = encodeProbe({
        type: ProbeType.REPLY,
        nonce,
        shards: shards.map(({ shard, epoch, valid }) => ({ shard, epoch, isForwarding: valid })),
      });
      queueMicrotask(() => from.onMessage?.(answer, to.pa));
      return;
    }
    const copy = message.slice();
    queueMicrotask(() => to.onMessage?.(copy, from.pa));
  }

  async #register(machine: Machine): Promise<void> {
    const value: Host = {
      id: machine.id,
      providerAddress: machine.pa,
      publicKey: machine.identity.publicKey,
      encapsulations: ['vxlan'],
      engine: 'kernel',
      underlayMtu: 1500,
      version: '0.1.0',
      roles: ['host'],
      bootId: 'boot-1',
      memories: [],
      externalLinks: [],
    };
    await this.lab.commit('hosts', hostKey(machine.id), { kind: 'host', value }, machine.identity);
  }

  async #feedTrust(bus: MemoryBus, trust: TrustStore): Promise<void> {
    if (bus.state.state !== 'connected') return;
    const { readEntry } = await import('@weft/bus');
    const store = await bus.open();
    for (const entry of (await store.config.snapshot('principal')).entries) {
      const read = readEntry('config', entry);
      trust.apply(read.change, read.signer, read.revision);
    }
    for (const entry of (await store.hosts.snapshot('')).entries) {
      const read = readEntry('hosts', entry);
      trust.apply(read.change, read.signer, read.revision);
    }
  }

  machine(id: string): Machine {
    return this.machines.get(id)!;
  }

  /** Who h1 sends a shard's frames to. */
  owners(): Record<number, string | undefined> {
    const rows = this.machine('h1').shard;
    return Object.fromEntries(SHARDS.map((shard) => [shard, rows.get(shard)?.owner]));
  }

  /** The owner of shard 71 and the member that is not. */
  pair(): { readonly owner: Machine; readonly other: Machine } {
    const owner = this.machine(this.owners()[71]!);
    return { owner, other: this.machine(owner.id === 'g1' ? 'g2' : 'g1') };
  }

  /** Members whose packet path forwards for a shard now. */
  open(shard: number): string[] {
    const now = this.lab.clock.now();
    return [...this.machines.values()].filter((one) => one.powered && isOpen(one.fence.get(shard), now)).map(({ id }) => id);
  }

  /** Lets time pass until `done`. @returns The ms it took. */
  async until(done: () => boolean, withinMs: number, what: string): Promise<number> {
    const start = this.lab.clock.now();
    while (!done()) {
      if (this.lab.clock.now() - start > withinMs)
        throw new Error(
          `${what}: not within ${withinMs} ms; owners ${JSON.stringify(this.owners())}, conditions ${[...this.machines.values()].map(({ id, conditions }) => `${id}: ${conditions?.list().map(({ message }) => message)}`).join('; ')}`,
        );
      await this.lab.settle(10);
    }
    return this.lab.clock.now() - start;
  }

  async close(): Promise<void> {
    for (const { gateways } of this.machines.values()) await gateways?.stop();
  }
}

let world: World;
beforeEach(async () => {
  world = new World();
  await world.init();
  // The controller has heard of the memories.
  await world.assign(2);
  await world.until(() => SHARDS.every((shard) => world.owners()[shard] !== undefined), 20_000, 'an owner of each shard');
  // Members that asked at the same time may have promised each other's epochs: the owner takes a higher one at a renewal.
  await world.lab.settle(8_000);
});
afterEach(async () => {
  await world.close();
});

describe('gateway groups, as machines', () => {
  it('come to one owner of each shard, and hosts know it', () => {
    for (const shard of SHARDS) expect(world.open(shard)).toEqual([world.owners()[shard]]);
    const { owner, other } = world.pair();
    expect(world.machine('h1').shard.get(71)?.providerAddress).toBe(owner.pa);
    // Each member's own host side knows as well.
    for (const machine of [owner, other]) expect(machine.shard.get(71)?.owner).toBe(owner.id);
  });

  it('keep their owner for as long as nothing happens', async () => {
    const epochs = SHARDS.map((shard) => world.machine('h1').shard.get(shard)!.epoch);
    await world.lab.settle(30_000);
    expect(SHARDS.map((shard) => world.machine('h1').shard.get(shard)!.epoch)).toEqual(epochs);
    for (const shard of SHARDS) expect(world.open(shard)).toEqual([world.owners()[shard]]);
  });

  it('are two on the same machines: each has owners that the others hear, and is taken over', async () => {
    for (const configId of [1, 2]) {
      await world.assign(configId, undefined, SECOND_GID, SECOND_SHARDS);
      await world.lab.settle(2_000);
    }
    const members = ['g1', 'g2'].map((id) => world.machine(id));
    const owners = (shard: number): string[] => world.open(shard);
    await world.until(() => [...SHARDS, ...SECOND_SHARDS].every((shard) => owners(shard).length === 1), 20_000, 'an owner of each shard');
    await world.lab.settle(15_000);
    for (const { conditions } of members) expect(conditions!.list().map(({ message }) => message)).toEqual([]);
    const { owner, other } = world.pair();
    world.powerOff(owner);
    await world.until(
      () => [...SHARDS, ...SECOND_SHARDS].every((shard) => owners(shard).join() === other.id),
      1_000,
      'takeover of both groups',
    );
  });

  it('answer the probes of all of their groups at every moment, whichever of them has news', async () => {
    await world.assign(1, undefined, SECOND_GID, SECOND_SHARDS);
    await world.lab.settle(2_000);
    const entry = await getRecord((await world.machine('w1').bus!.open()).gateways, assignmentKey(SECOND_GID));
    if (entry?.record?.kind !== 'assignment') throw new Error('there is no assignment');
    const { value } = entry.record;
    // Its witness is another than that of the first group.
    const voters = value.voters.voters.map((one) =>
      one.hostId === 'w1' ? { hostId: 'h1', publicKey: world.machine('h1').identity.publicKey, instance: 0 } : one,
    );
    await world.lab.commit('gateways', assignmentKey(SECOND_GID), {
      kind: 'assignment',
      value: { ...value, voters: { configId: 2, voters } },
    });
    await world.lab.settle(2_000);
    const { peersEver } = world.machine('g1');
    peersEver.splice(0);
    await world.assign(3);
    await world.lab.settle(2_000);
    expect(peersEver.length).toBeGreaterThan(0);
    const all = [...new Set(peersEver.map((peers) => [...peers].sort().join()))];
    expect(all).toEqual([
      ['g1', 'g2', 'h1', 'w1']
        .map((id) => world.machine(id).pa)
        .sort()
        .join(),
    ]);
  });

  it('have no part any more of a machine that is neither member nor voter, and has no network of theirs', async () => {
    const gone = world.machine('g2');
    expect(gone.gateways!.driver(GID)).toBeDefined();
    const { gateways } = await world.machine('w1').bus!.open();
    const entry = await getRecord(gateways, assignmentKey(GID));
    if (entry?.record?.kind !== 'assignment') throw new Error('there is no assignment');
    const { value } = entry.record;
    await world.lab.commit('gateways', assignmentKey(GID), {
      kind: 'assignment',
      value: {
        ...value,
        voters: { configId: 9, voters: value.voters.voters.filter(({ hostId }) => hostId !== 'g2') },
        members: value.members.filter(({ hostId }) => hostId !== 'g2'),
        shards: value.shards.map((shard) => ({ ...shard, order: [1] })),
      },
    });
    await world.until(() => gone.gateways!.driver(GID) === undefined, 5_000, 'the removed member to stop taking part');
    expect(gone.peers.size).toBe(0);
    expect(gone.gateways!.involved()).toMatchObject([{ part: 'host' }]);
    expect(gone.conditions!.list()).toEqual([]);
  });

  it('go on by one member when the other was taken out by force: the witness that votes no more votes along until the new list is in force', async () => {
    const { owner, other } = world.pair();
    world.powerOff(owner);
    await world.until(() => world.owners()[71] === other.id, 3_000, 'takeover');
    await world.lab.settle(6_000);
    await world.removeByForce(owner);
    const isNew = (shard: number): boolean => (other.fence.get(shard)?.epoch ?? 0n) >= makeEpoch(2, 1);
    await world.until(() => SHARDS.every(isNew), 5_000, 'grants of the new incarnation');
    for (const shard of SHARDS) expect(world.open(shard)).toEqual([other.id]);
    await world.lab.settle(20_000);
    for (const shard of SHARDS) expect(world.open(shard)).toEqual([other.id]);
  });

  it('go on after restarts beside another group, whose rows the packet path holds, too', async () => {
    const { owner, other } = world.pair();
    const row = owner.fence.get(71)!;
    // Each group counts its epochs by itself: one may be the same as here, another of a higher incarnation.
    owner.fence.set(900, { ...row, shard: 900 });
    other.fence.set(901, { ...row, shard: 901, epoch: makeEpoch(9, 1) });
    for (const machine of [owner, other]) {
      world.kill(machine);
      await world.lab.settle(500);
      await world.start(machine);
    }
    await world.lab.settle(8_000);
    expect(world.open(71)).toEqual([owner.id]);
    expect(owner.fence.get(71)!.epoch).toBe(row.epoch);
    world.powerOff(owner);
    await world.until(() => world.owners()[71] === other.id, 3_000, 'takeover');
    expect(other.fence.get(901)!.epoch).toBe(makeEpoch(9, 1));
  });

  it('move a shard within half a second when its owner loses power', async () => {
    const { owner, other } = world.pair();
    world.powerOff(owner);
    const ms = await world.until(() => world.owners()[71] === other.id, 5_000, 'shard 71 on the other member');
    expect(ms).toBeLessThan(500);
    expect(world.open(71)).toEqual([other.id]);
    await world.until(() => world.owners()[72] === other.id, 500, 'shard 72 there as well');
  });

  it('move nothing when an agent is killed and starts again within its deadline', async () => {
    const before = world.machine('h1').shard.get(71)!.epoch;
    const { owner } = world.pair();
    world.kill(owner);
    await world.lab.settle(2_000);
    await world.start(owner);
    await world.lab.settle(20_000);
    expect(world.machine('h1').shard.get(71)!.epoch).toBe(before);
    expect(world.open(71)).toEqual([owner.id]);
  });

  it('have their leases renewed before a restarted agent does anything else, with NATS gone, too', async () => {
    const { owner } = world.pair();
    for (const machine of world.machines.values()) machine.bus!.setConnected(false);
    world.kill(owner);
    await world.lab.settle(3_000);
    const before = owner.fence.get(71)!.deadlineMs;
    await world.start(owner, { connected: false });
    const gateways = owner.gateways!;
    expect(gateways.isConfirmed(71)).toBe(false);
    const renewed = gateways.renewed(500);
    await world.lab.settle(500);
    expect(await renewed).toBe(true);
    expect(gateways.isConfirmed(71)).toBe(true);
    expect(owner.fence.get(71)!.deadlineMs).toBeGreaterThan(before);
  });

  it('are waited for by a restarted agent so long, and no longer, when nobody votes', async () => {
    const { owner, other } = world.pair();
    for (const machine of world.machines.values()) machine.bus!.setConnected(false);
    world.kill(owner);
    for (const id of [other.id, 'w1']) world.cut.add(`${owner.id} ${id}`).add(`${id} ${owner.id}`);
    const before = owner.fence.get(71)!.deadlineMs;
    await world.start(owner, { connected: false });
    let isRenewed: boolean | undefined;
    void owner.gateways!.renewed(500).then((result) => {
      isRenewed = result;
    });
    await world.lab.settle(400);
    expect(isRenewed).toBeUndefined();
    await world.lab.settle(200);
    expect(isRenewed).toBe(false);
    expect(owner.fence.get(71)!.deadlineMs).toBe(before);
  });

  it('are waited for by nobody who owns nothing', async () => {
    const witness = world.machine('w1');
    world.kill(witness);
    await world.start(witness, { connected: false });
    expect(await witness.gateways!.renewed(500)).toBe(true);
  });

  it('move nothing when NATS is gone, also across a restart of an agent', async () => {
    const epochs = SHARDS.map((shard) => world.machine('h1').shard.get(shard)!.epoch);
    for (const machine of world.machines.values()) machine.bus!.setConnected(false);
    await world.lab.settle(60_000);
    expect(SHARDS.map((shard) => world.machine('h1').shard.get(shard)!.epoch)).toEqual(epochs);
    for (const shard of SHARDS) expect(world.open(shard)).toEqual([world.owners()[shard]]);
  });

  it.each([
    { nats: 'there', connected: true },
    { nats: 'gone', connected: false },
  ])('still have a witness that hears them, and whom they hear, after a restart with NATS $nats', async ({ connected }) => {
    const { owner, other } = world.pair();
    if (!connected) for (const machine of world.machines.values()) machine.bus!.setConnected(false);
    for (const machine of [owner, other]) {
      world.kill(machine);
      await world.lab.settle(1_000);
      await world.start(machine, { connected });
      await world.lab.settle(1_000);
    }
    expect([...owner.peers].sort()).toEqual(['g1', 'g2', 'w1'].map((id) => world.machine(id).pa));
    world.powerOff(owner);
    await world.until(() => world.owners()[71] === other.id, 5_000, 'shard 71 on the other member');
    expect(world.open(71)).toEqual([other.id]);
  });

  it('fail over with NATS gone at the same moment', async () => {
    for (const machine of world.machines.values()) machine.bus!.setConnected(false);
    const { owner, other } = world.pair();
    world.powerOff(owner);
    expect(await world.until(() => world.owners()[71] === other.id, 5_000, 'shard 71 on the other member')).toBeLessThan(500);
  });

  it("tell a member's own host side, that has just booted, with its own voice when another is missing", async () => {
    const { owner, other } = world.pair();
    world.powerOff(world.machine('w1'));
    world.kill(other);
    other.shard.clear();
    await world.start(other);
    await world.until(() => other.shard.get(71)?.owner === owner.id, 10_000, 'the owner of shard 71 known');
    expect(other.shard.get(71)?.providerAddress).toBe(owner.pa);
  });

  it('leave an owner that only its standby can not hear', async () => {
    const { owner } = world.pair();
    world.cut.add('g1 g2').add('g2 g1');
    await world.lab.settle(10_000);
    expect(world.owners()[71]).toBe(owner.id);
    expect(world.open(71)).toEqual([owner.id]);
  });

  it('never have two open sides once the former owner returns', async () => {
    const { owner, other } = world.pair();
    for (const { id } of world.machines.values()) world.cut.add(`${owner.id} ${id}`).add(`${id} ${owner.id}`);
    owner.bus!.setConnected(false);
    await world.until(() => world.owners()[71] === other.id, 5_000, 'shard 71 on the other member');
    await world.until(() => !world.open(71).includes(owner.id), 5_000, 'the former owner closed by its own deadline');
    world.cut.clear();
    owner.bus!.setConnected(true);
    await world.lab.settle(10_000);
    expect(world.open(71)).toEqual([other.id]);
    expect(owner.shard.get(71)?.owner).toBe(other.id);
  });

  it('know of their successor on the host side, too, when they come back and read of it in the record', async () => {
    const { owner, other } = world.pair();
    world.kill(owner);
    for (const { id } of world.machines.values()) world.cut.add(`${owner.id} ${id}`).add(`${id} ${owner.id}`);
    await world.until(() => world.owners()[71] === other.id, 10_000, 'shard 71 on the other member');
    await world.lab.settle(10_000);
    expect(owner.shard.get(71)?.owner).toBe(owner.id);
    world.cut.clear();
    await world.start(owner);
    await world.until(() => owner.shard.get(71)?.owner === other.id, 5_000, "the returned member's own VMs to be led to the new owner");
  });

  it('move shards away by consent when a member is drained, with both addresses accepted meanwhile', async () => {
    const { owner, other } = world.pair();
    await world.assign(2, owner.id);
    await world.until(() => world.owners()[71] === other.id, 10_000, 'shard 71 on the other member');
    const row = world.machine('h1').shard.get(71)!;
    expect(row.previousAddress).toBe(owner.pa);
    expect(row.previousUntilMs).toBeGreaterThan(world.lab.clock.now());
    expect(world.open(71)).toEqual([other.id]);
    expect(owner.fence.get(71)?.handoverTo).toBe(other.pa);
  });

  it('stay with a member that is drained no more, for as long as it can not read so, and after', async () => {
    const other = world.machine('g2');
    await world.assign(2, 'g2');
    await world.until(() => world.owners()[72] === 'g1', 10_000, 'shard 72 on the other member');
    await world.lab.settle(1_000);
    other.bus!.setConnected(false);
    await world.assign(2, undefined, GID, SHARDS, 1, 3);
    await world.until(() => world.owners()[72] === 'g2', 10_000, 'shard 72 on its first member again');
    const { epoch } = world.machine('h1').shard.get(72)!;
    await world.lab.settle(20_000);
    expect([world.owners()[72], world.machine('h1').shard.get(72)!.epoch]).toEqual(['g2', epoch]);
    other.bus!.setConnected(true);
    await world.lab.settle(15_000);
    expect([world.owners()[72], world.machine('h1').shard.get(72)!.epoch]).toEqual(['g2', epoch]);
    // What the record says by now, it obeys.
    await world.assign(2, 'g2', GID, SHARDS, 1, 4);
    await world.until(() => world.owners()[72] === 'g1', 30_000, 'shard 72 on the other member (three moves a minute are allowed)');
  });

  it('write their grants down, and believe of what is written only what proves itself', async () => {
    const { owner, other } = world.pair();
    const recorded = async () => {
      const entry = await getRecord((await other.bus!.open()).gateways, grantKey(GID, 71));
      return entry?.record?.kind === 'grant' ? { entry, certificate: entry.record.value.certificate } : undefined;
    };
    const first = await recorded();
    expect(first?.certificate.ballot.candidate).toBe(owner.id);
    // A host may write any, here one of an epoch that no honest grant would ever be above.
    const { ballot, votes } = first!.certificate;
    const forged = { ballot: { ...ballot, epoch: ballot.epoch + 1_000n, candidate: 'g2', providerAddress: world.machine('g2').pa }, votes };
    await commitRecord({
      bus: other.bus!,
      bucket: (await other.bus!.open()).gateways,
      identity: other.identity,
      key: grantKey(GID, 71),
      tenant: '',
      current: first!.entry,
      after: { kind: 'grant', value: { gatewayId: GID, shard: 71, certificate: forged } },
      authorKey: other.identity.publicKey,
      authorName: other.id,
      requestId: 'forged-grant-1',
      nowMs: 0,
    });
    const before = world.machine('h1').shard.get(71)!;
    world.kill(other);
    await world.start(other);
    await world.lab.settle(3_000);
    expect(other.conditions!.list().some(({ message }) => message.includes('is refused'))).toBe(true);
    expect(world.open(71)).toEqual([owner.id]);
    expect(world.machine('h1').shard.get(71)).toEqual(before);
    // The next true grant takes its place.
    world.kill(owner);
    for (const { id } of world.machines.values()) world.cut.add(`${owner.id} ${id}`).add(`${id} ${owner.id}`);
    await world.until(() => world.owners()[71] === other.id, 10_000, 'shard 71 on the other member');
    await world.lab.settle(1_000);
    expect((await recorded())?.certificate.ballot).toMatchObject({ candidate: other.id, shards: expect.arrayContaining([71]) });
    expect((await recorded())!.certificate.ballot.epoch).toBeLessThan(forged.ballot.epoch);
  });

  it('come to owners when their gateway is made anew under its name, by a record that goes on from the one that was deleted', async () => {
    await world.lab.commit('gateways', assignmentKey(GID), undefined);
    await world.until(() => SHARDS.every((shard) => world.open(shard).length === 0), 10_000, 'nobody to own what is gone');
    const shards = [91, 92];
    await world.assign(3, undefined, GID, shards, 2);
    const { shard } = world.machine('h1');
    await world.until(() => shards.every((id) => shard.has(id)), 20_000, 'an owner of each new shard');
  });

  it('have no owner while a majority of the voters has lost its memory, and begin anew by the next incarnation, which hosts obey', async () => {
    const before = world.machine('h1').shard.get(71)!;
    const lost = ['g1', 'g2', 'w1'].map((id) => world.machine(id));
    for (const machine of lost) {
      world.kill(machine);
      machine.fence.clear();
      for (const name of [...machine.files.keys()]) if (name.startsWith('ownership-')) machine.files.delete(name);
    }
    await world.lab.settle(6_000);
    for (const machine of lost) await world.start(machine);
    await world.lab.settle(15_000);
    expect(SHARDS.map((shard) => world.open(shard))).toEqual([[], []]);
    expect(
      world
        .machine('g1')
        .conditions!.list()
        .some(({ message }) => message.includes('has lost its ownership file')),
    ).toBe(true);
    // As `weft gateway recover` has it, the memories that hosts tell by now in the list.
    await world.assign(3, undefined, GID, SHARDS, 2);
    await world.until(() => SHARDS.every((shard) => world.open(shard).length === 1), 20_000, 'an owner of each shard');
    await world.lab.settle(3_000);
    const after = world.machine('h1').shard.get(71)!;
    expect(after.owner).toBe(world.open(71)[0]);
    expect(after.epoch).toBeGreaterThan(before.epoch);
    expect(after.epoch >> 32n).toBe(2n);
  });

  it('refuse what a stranger signs in a member’s name', async () => {
    const before = world.machine('h1').shard.get(71)!;
    const stranger = createIdentity('host');
    const { signEnvelope } = await import('@weft/bus');
    const { ownershipMessageCodec } = await import('@weft/model');
    const bytes = signEnvelope(
      stranger,
      'ownership',
      ownershipMessageCodec.encode({
        group: GID,
        from: 'g2',
        to: '',
        body: { kind: 'release', value: { epoch: before.epoch, shards: [71] } },
      }),
    );
    for (const machine of world.machines.values()) machine.onMessage?.(bytes, '192.0.2.9');
    await world.lab.settle(3_000);
    expect(world.machine('h1').shard.get(71)).toEqual(before);
  });
});
