import type { DropCounter } from '@weft/datapath';
import { type FenceRow, type Input, TIMING } from '@weft/election';
import { GatewayMode, type GatewayTableChange, type GatewayTableEntry, MemoryGatewayTables } from '@weft/forwarding';
import { type Assignment, DropReason, type ExternalLink, type Gateway, type VirtualNetwork } from '@weft/model';
import { buildAnnouncement, parseIp } from '@weft/packet';
import type { NatSetupChange } from '@weft/tables';
import { FakeClock } from '@weft/testkit';
import { beforeEach, describe, expect, it } from 'vitest';
import { doc, GATEWAY, GatewayMemory, nat, tenant } from '../../model/test/gateway-world.ts';
import { Conditions } from '../src/conditions.ts';
import type { ExternalDeviceState } from '../src/gateway/external-devices.ts';
import { GatewayRole } from '../src/gateway/gateway-role.ts';
import { LEAVING_MS } from '../src/gateway/leaving-networks.ts';
import type { AgentParts } from '../src/role.ts';
import { memoryStorage } from './support/storage.ts';

// Member gw-a of a gateway with the interfaces eth1 and eth1.210, and what its role makes of records, devices and fences: rows, attached devices, frames.

const OWN = '203.0.113.20';

class Machine {
  readonly clock = new FakeClock(1_000);
  readonly world: GatewayMemory;
  readonly tables: MemoryGatewayTables;
  /** How often all rows of the packet path were read. */
  wholeLooks = 0;
  readonly attached = new Set<number>();
  readonly storage = memoryStorage();
  readonly claims: string[] = [];
  links: readonly ExternalLink[] = [];
  drops: readonly DropCounter[] = [];
  readonly devices = new Map<string, ExternalDeviceState>();
  readonly sent: { device: string; frame: Uint8Array }[] = [];
  readonly nat: NatSetupChange[] = [];
  /** Networks that have sessions or blocks. */
  readonly holders: Set<number>;
  readonly forgotten: number[] = [];
  networksOf: (shard: number) => readonly number[] = () => [];
  shardOf: (networkId: number) => number | undefined = () => undefined;
  readonly carriers: boolean[] = [];
  readonly conditions: Conditions;
  readonly joined = new Set<string>();
  readonly role: GatewayRole;
  /** Networks whose records have all been read. */
  complete = true;
  /** No record of the networks is known. */
  isUnknown = false;
  /** The store has been read since the start. */
  isRead = true;
  /** Claims of shards are known. */
  knowsClaims = true;
  /** Called when a review gathers its facts, after it has looked at the networks. */
  onFacts: () => void = () => {};
  readFault: Error | undefined;
  /** No gateway names this machine any more. */
  isDismissed = false;
  fences: FenceRow[] = [];
  isConfirmed = true;
  /** Rows of `shard`. */
  shardMap: unknown[] = [];
  fault: Error | undefined;
  /** The same of what port mapping is given. */
  natFault: Error | undefined;
  changes = 0;
  /** How often devices were read. */
  reads = 0;

  /** @param before Whose agent has ended, and whose packet path goes on. */
  constructor(before?: Machine) {
    this.world = before?.world ?? new GatewayMemory();
    this.tables = before?.tables ?? new MemoryGatewayTables();
    this.holders = before?.holders ?? new Set();
    const own = doc('ExternalAddress', 'coke/net/own', `pool: public, address: ${OWN}, use: snat`);
    if (before === undefined) expect(this.world.apply(`${GATEWAY}---${tenant('coke')}${nat('coke/net/out')}${own}`).codes).toEqual([]);
    this.plug('eth1', 11);
    this.plug('eth1.210', 12);
    const logger = { debug() {}, info() {}, warn() {}, error() {} };
    const clock = {
      now: () => this.clock.now(),
      unixMs: () => 0,
      setTimeout: (callback: () => void, ms: number) => this.clock.setTimeout(callback, ms),
      clearTimeout: (handle: unknown) => this.clock.clearTimeout(handle),
    };
    this.conditions = new Conditions(clock, logger);
    const directory = {
      isRead: () => this.isRead,
      groups: () => new Map(this.gateway === undefined ? [] : [[this.gateway.id, { gateway: this.gateway, assignment: this.assignment }]]),
    };
    const parts = {
      init: { hostId: 'gw-a', underlayMtu: 1_500 },
      clock,
      logger,
      conditions: this.conditions,
      trust: {
        hosts: () => {
          this.onFacts();
          return [...this.world.hosts.values()];
        },
      },
      onChange: () => this.changes++,
      networks: {
        get: (rdid: string) => (this.joined.has(rdid) ? this.#session(rdid) : undefined),
        joinAll: (rdids: Iterable<string>) => {
          for (const rdid of rdids) this.joined.add(rdid);
        },
      },
      gateways: {
        memberships: () =>
          this.gateway === undefined
            ? []
            : [{ id: this.gateway.id, gateway: this.gateway, assignment: this.assignment, assignmentRevision: 1 }],
        directory: {
          get isRead() {
            return directory.isRead();
          },
          get groups() {
            return directory.groups();
          },
          networksOf: (shard: number) =>
            this.knowsClaims ? [...this.#networks()].flatMap((one) => (one.gateway?.shard === shard ? [one.id] : [])) : [],
        },
        driver: () => ({
          step: (input: Input) => {
            if (input.kind === 'carrier') this.carriers.push(input.up);
            if (input.kind === 'external-conflict') this.claims.push(input.address);
          },
        }),
        fences: () => this.fences,
        isConfirmed: () => this.isConfirmed,
        setStateKeeper: () => {},
        setExternalLinks: (links: readonly ExternalLink[]) => {
          this.links = links;
        },
        file: (name: string) => this.storage.file(name),
      },
      datapath: {
        drops: () => this.drops,
        entries: () => this.shardMap,
        gateway: {
          entries: () => [...this.tables.entries()],
          rows: () => {
            this.wholeLooks++;
            return [...this.tables.entries()];
          },
          apply: (changes: readonly GatewayTableChange[]) => {
            if (this.fault !== undefined) throw this.fault;
            this.tables.apply(changes);
          },
          externalDevices: () => [...this.attached],
          attachExternal: ({ ifindex }: { ifindex: number }) => this.attached.add(ifindex),
          detachExternal: (ifindex: number) => this.attached.delete(ifindex),
        },
      },
    };
    this.role = new GatewayRole(parts as unknown as AgentParts, {
      nat: {
        apply: (changes) => {
          if (this.natFault !== undefined) throw this.natFault;
          this.nat.push(...changes);
        },
        sweep: async () => {},
        free: () => [],
        holds: (networkId) => this.holders.has(networkId),
        forget: (networkId) => void this.forgotten.push(networkId),
      },
      log: { start: async () => {}, stop: async () => {}, setStore: () => {}, onEvents: () => {}, onLost: () => {}, poll: () => {} },
      makeState: ({ networksOf, shardOf }) => {
        Object.assign(this, { networksOf, shardOf });
        return { start: () => {}, stop: () => {}, bring: async () => {}, lags: () => [] };
      },
      wires: {
        read: async (names) => {
          this.reads++;
          if (this.readFault !== undefined) throw this.readFault;
          return new Map([...this.devices].filter(([name]) => names.has(name)));
        },
        look: (names) => new Map([...this.devices].filter(([name]) => names.has(name))),
        send: (device, frame) => void this.sent.push({ device, frame }),
        close: () => {},
      },
    });
  }

  get gateway(): Gateway | undefined {
    return this.isDismissed ? undefined : this.world.gateways.get('edge')?.value;
  }
  get assignment(): Assignment {
    return this.world.assignments.get(this.gateway!.id)!.value;
  }
  get network(): VirtualNetwork {
    return this.world.network('coke/net');
  }
  get shard(): number {
    return this.network.gateway!.shard;
  }

  plug(name: string, ifindex: number, change: Partial<ExternalDeviceState> = {}): void {
    const mac = Uint8Array.of(2, 0, 0, 0, 0, ifindex);
    const none = new Uint8Array(16);
    this.devices.set(name, { name, ifindex, mac, mtuBytes: 1_500, address4: none, address6: none, carrier: true, ...change });
  }

  /** Records, or who owns what, have changed. */
  async review(): Promise<void> {
    this.role.onOwnership();
    this.role.onGateways();
    await this.role.onStore(undefined as never);
  }

  /** What was sent since the last call, as `device source`. */
  heard(): Set<string> {
    return new Set(this.sent.splice(0).map(({ device, frame }) => `${device} ${[...frame.subarray(6, 12)].join(':')}`));
  }

  rows(table: GatewayTableEntry['table']): GatewayTableEntry[] {
    return [...this.tables.entries()].filter((row) => row.table === table);
  }

  *#networks(): IterableIterator<VirtualNetwork> {
    for (const { value } of this.world.networks.values()) yield value;
  }
  #session(rdid: string) {
    const network = () => (this.isUnknown ? undefined : [...this.#networks()].find(({ id }) => id === rdid));
    const isComplete = () => this.complete;
    return {
      rdid,
      view: {
        get network() {
          return network();
        },
      },
      get complete() {
        return isComplete();
      },
      claimedVsids: new Set(network()?.subnets.map(({ vsid }) => vsid)),
    };
  }
}

let machine: Machine;
beforeEach(() => {
  machine = new Machine();
});

describe('GatewayRole', () => {
  it('starts no command to see that its devices are as before; for their addresses it does every 10 s', async () => {
    await machine.review();
    await machine.role.poll();
    const polls = async (count: number): Promise<number> => {
      const before = machine.reads;
      for (let i = 0; i < count; i++) {
        machine.clock.advance(1_000);
        await machine.role.poll();
      }
      return machine.reads - before;
    };
    expect(await polls(9)).toBe(0);
    machine.plug('eth1', 11, { carrier: false });
    // Once to see what is other, once in the review that takes it.
    expect(await polls(1)).toBe(2);
    expect(machine.carriers.at(-1)).toBe(false);
    machine.plug('eth1', 11, { address4: parseIp('198.51.100.9') });
    expect(await polls(1)).toBe(2);
    expect(await polls(9)).toBe(0);
    machine.plug('eth1', 11, { address4: parseIp('198.51.100.10') });
    expect(await polls(5)).toBe(2);
  });

  it('follows the networks of its shards, writes their rows and takes up the devices that the gateway names', async () => {
    await machine.review();
    expect([...machine.joined]).toEqual([machine.network.id]);
    expect(machine.role.uses(machine.network.id)).toBe(true);
    expect(machine.tables.gatewayNetwork(machine.network.networkId)).toMatchObject({ shard: machine.shard, mtuBytes: 1_450 });
    expect([...machine.attached].sort()).toEqual([11, 12]);
    expect(machine.nat.some(({ table }) => table === 'nat_pool')).toBe(true);
    machine.world.apply(tenant('pepsi') + nat('pepsi/net/out'));
    await machine.review();
    expect(machine.joined.size).toBe(2);
    expect(machine.rows('gateway_network')).toHaveLength(2);
  });

  it('leaves what the last run wrote until all its networks are read, and rows of ownership always', async () => {
    const value = { segment: 9, mtuBytes: 1_500, mac: Uint8Array.of(2, 0, 0, 0, 0, 9) };
    const fence = { epoch: 1n, deadlineBootNs: 5n, handoverUntilBootNs: 0n, handoverPa: parseIp('::'), handoverMac: new Uint8Array(6) };
    machine.tables.apply([
      { op: 'put', table: 'external', key: { ifindex: 99 }, value },
      { op: 'put', table: 'gateway_shard', key: { shard: machine.shard }, value: fence },
    ]);
    machine.attached.add(99);
    machine.complete = false;
    await machine.review();
    expect(machine.tables.external(99)).toBeDefined();
    expect([...machine.attached].sort()).toEqual([11, 12, 99]);
    machine.complete = true;
    await machine.review();
    expect(machine.tables.external(99)).toBeUndefined();
    expect([...machine.attached].sort()).toEqual([11, 12]);
    expect(machine.rows('gateway_shard')).toHaveLength(1);
  });

  it('leaves what the last run wrote when its networks are not known, as long as the store has not been read', async () => {
    await machine.review();
    const rows = [...machine.tables.entries()];
    const next = new Machine(machine);
    Object.assign(next, { isRead: false, knowsClaims: false });
    await next.review();
    expect(next.joined.size).toBe(0);
    expect(next.rows('gateway_network')).toHaveLength(1);
    expect([...next.tables.entries()]).toEqual(rows);
    // The store says that it has none.
    next.isRead = true;
    await next.review();
    expect(next.rows('gateway_network')).toHaveLength(0);
  });

  it('leaves what the last run wrote of a network that is read while a review without it goes on', async () => {
    await machine.review();
    const rows = [...machine.tables.entries()];
    const next = new Machine(machine);
    Object.assign(next, { complete: false, isUnknown: true });
    const seen: number[] = [];
    next.onFacts = () => {
      Object.assign(next, { complete: true, isUnknown: false });
      seen.push(next.rows('gateway_network').length);
    };
    next.role.onGateways();
    for (let i = 0; i < 2; i++) await next.role.onStore(undefined as never);
    expect(new Set(seen)).toEqual(new Set([1]));
    expect([...next.tables.entries()]).toEqual(rows);
  });

  it('takes its rows and programs away when no gateway names it any more, once the store has said so and no deadline holds', async () => {
    const { shard } = machine;
    await machine.review();
    const value = { epoch: 4n, deadlineBootNs: 5n, handoverUntilBootNs: 0n, handoverPa: parseIp('::'), handoverMac: new Uint8Array(6) };
    machine.tables.apply([{ op: 'put', table: 'gateway_shard', key: { shard }, value }]);
    const tables = (): string[] => [...machine.tables.entries()].map(({ table }) => table);
    const rows = tables().length;
    expect(rows).toBeGreaterThan(5);
    const fence = { epoch: 4n, deadlineMs: 60_000, handoverUntilMs: 0, handoverTo: '', shard };
    machine.isDismissed = true;
    for (const [isRead, fences] of [
      [false, []],
      [true, [fence]],
    ] as const) {
      Object.assign(machine, { isRead, fences });
      await machine.review();
      expect(tables()).toHaveLength(rows);
      expect([...machine.attached].sort()).toEqual([11, 12]);
    }
    machine.fences = [];
    await machine.review();
    expect(tables()).toEqual(['gateway_shard']);
    expect([...machine.attached]).toEqual([]);
    // Named again.
    machine.isDismissed = false;
    await machine.review();
    expect(tables()).toHaveLength(rows);
    expect([...machine.attached].sort()).toEqual([11, 12]);
  });

  it('names a device that is missing, goes without it, and takes it up when it comes', async () => {
    machine.devices.delete('eth1.210');
    await machine.review();
    const missing = () => machine.conditions.list().filter(({ code }) => code === 'EXTERNAL_DEVICE');
    expect(missing().map(({ message }) => message)).toEqual([expect.stringContaining('eth1.210')]);
    expect(machine.rows('segment')).toHaveLength(1);
    machine.plug('eth1.210', 14);
    await machine.role.poll();
    expect(missing()).toEqual([]);
    expect([...machine.attached].sort()).toEqual([11, 14]);
    // Made anew, as by a driver that was loaded again.
    machine.plug('eth1.210', 15);
    await machine.role.poll();
    expect([...machine.attached].sort()).toEqual([11, 15]);
  });

  it('tells ownership of the carrier: down when a device lost it, or is not there', async () => {
    await machine.review();
    expect(machine.carriers.at(-1)).toBe(true);
    machine.plug('eth1', 11, { carrier: false });
    await machine.role.poll();
    expect(machine.carriers.at(-1)).toBe(false);
    machine.plug('eth1', 11);
    await machine.role.poll();
    expect(machine.carriers.at(-1)).toBe(true);
    machine.devices.delete('eth1');
    await machine.role.poll();
    expect(machine.carriers.at(-1)).toBe(false);
  });

  it('sees a carrier that was away only when a review looked', async () => {
    await machine.review();
    await machine.role.poll();
    machine.plug('eth1', 11, { carrier: false });
    await machine.review();
    expect(machine.carriers.at(-1)).toBe(false);
    machine.plug('eth1', 11);
    machine.clock.advance(1_000);
    await machine.role.poll();
    expect(machine.carriers.at(-1)).toBe(true);
  });

  it('looks at its devices again a second after they could not be read', async () => {
    await machine.review();
    await machine.role.poll();
    machine.plug('eth1', 11, { carrier: false });
    machine.readFault = new Error('Cannot allocate memory');
    machine.clock.advance(1_000);
    await machine.role.poll();
    machine.readFault = undefined;
    machine.clock.advance(1_000);
    await machine.role.poll();
    expect(machine.carriers.at(-1)).toBe(false);
  });

  it('announces what was handed over after hosts have had time to obey, once', async () => {
    await machine.review();
    const open = { epoch: 4n, deadlineMs: 60_000, handoverUntilMs: 0, handoverTo: '' };
    machine.fences = [{ ...open, shard: machine.shard }];
    machine.shardMap = [{ table: 'shard', key: { id: machine.shard }, value: { prevUntilBootNs: 31_000_000_000n } }];
    await machine.review();
    machine.clock.advance(100);
    await machine.review();
    expect(machine.sent).toEqual([]);
    machine.clock.advance(100);
    expect(machine.heard()).toEqual(new Set(['eth1 2:0:0:0:0:11']));
    await machine.review();
    expect(machine.sent).toEqual([]);
  });

  it('announces the addresses of shards that are open here, anew with each epoch, and no others', async () => {
    await machine.review();
    expect(machine.heard()).toEqual(new Set());
    const open = { epoch: 4n, deadlineMs: 60_000, handoverUntilMs: 0, handoverTo: '' };
    machine.fences = machine.assignment.shards.map(({ id }) => ({ ...open, shard: id, deadlineMs: id === machine.shard ? 60_000 : 0 }));
    // What a former process has left open may be another member's by now: only a grant or renewal tells.
    machine.isConfirmed = false;
    machine.role.onOwnership();
    expect(machine.sent).toEqual([]);
    machine.isConfirmed = true;
    // At once, and without a review: that waits for the devices to be read.
    const read = machine.reads;
    machine.role.onOwnership();
    expect(machine.reads).toBe(read);
    const served = machine.assignment.addresses.filter(({ shard }) => shard === machine.shard);
    expect(served.map(({ address }) => address)).toContain(OWN);
    // Two frames for an IPv4 address, one for another.
    const frames = served.reduce((sum, { address }) => sum + (address.includes(':') ? 1 : 2), 0);
    expect(machine.sent).toHaveLength(frames);
    expect(machine.heard()).toEqual(new Set(['eth1 2:0:0:0:0:11']));
    await machine.review();
    expect(machine.sent).toEqual([]);
    machine.fences = machine.fences.map((row) => ({ ...row, epoch: 5n }));
    await machine.review();
    expect(machine.sent).toHaveLength(frames);
    machine.sent.splice(0);
    machine.plug('eth1', 11, { mac: Uint8Array.of(2, 0, 0, 0, 0, 99) });
    await machine.role.poll();
    expect(machine.heard()).toEqual(new Set(['eth1 2:0:0:0:0:99']));
    machine.clock.advance(10_000);
    expect(machine.heard()).toEqual(new Set(['eth1 2:0:0:0:0:99']));
    // Its lease runs out, and nobody says so.
    machine.clock.advance(600_000);
    machine.heard();
    machine.clock.advance(600_000);
    expect(machine.heard()).toEqual(new Set());
    machine.fences = machine.fences.map((row) => ({ ...row, epoch: 6n, deadlineMs: row.deadlineMs > 0 ? 10_000_000 : 0 }));
    await machine.review();
    expect(machine.heard()).toEqual(new Set(['eth1 2:0:0:0:0:99']));
    machine.fences = machine.fences.map((row) => ({ ...row, deadlineMs: 0 }));
    await machine.review();
    machine.sent.splice(0);
    machine.clock.advance(600_000);
    expect(machine.sent).toEqual([]);
  });

  it('says where its external devices are, and answers for an address that another machine claims', async () => {
    const open = { epoch: 4n, deadlineMs: 1e9, handoverUntilMs: 0, handoverTo: '' };
    machine.fences = machine.assignment.shards.map(({ id }) => ({ ...open, shard: id }));
    await machine.review();
    expect(machine.links.map((link) => link.interface)).toEqual(['eth1', 'eth1.210']);
    const claim = (packets: bigint, from: string): void => {
      const [request] = buildAnnouncement(from, OWN);
      const sample = request!.subarray(0, 64);
      machine.drops = [{ ifindex: 11, vsid: 0, reason: DropReason.EXTERNAL_ADDRESS_CONFLICT, packets, bytes: 0n, lastBootNs: 0n, sample }];
    };
    // Its claims of several addresses at once are known by the last one alone, so all are answered for.
    const { addresses } = machine.assignment;
    const { segment } = addresses.find(({ address }) => address === OWN)!;
    const owned = addresses.filter((one) => one.segment === segment).map(({ address }) => address);
    expect(owned.length).toBeGreaterThan(1);
    const mac = '02:00:00:00:00:0b';
    const answers = [OWN, ...owned.filter((address) => address !== OWN)].flatMap((address) => buildAnnouncement(mac, address));
    const poll = async (): Promise<Uint8Array[]> => {
      machine.sent.splice(0);
      machine.clock.advance(1_000);
      machine.sent.splice(0);
      await machine.role.poll();
      return machine.sent.filter(({ device }) => device === 'eth1').map(({ frame }) => frame);
    };
    // Counted before this process was there: nobody knows when.
    claim(3n, '02:00:00:00:00:66');
    expect(await poll()).toEqual([]);
    expect(await poll()).toEqual([]);
    expect(machine.claims).toEqual([]);
    claim(4n, '02:00:00:00:00:66');
    const told = await poll();
    expect(new Set(told.map(String))).toEqual(new Set(answers.map(String)));
    expect(machine.claims).toEqual([OWN]);
    expect(await poll()).toEqual([]);
    expect(machine.claims).toEqual([OWN]);
    // A member's own announcement may be late, which is no reason for an alarm; long after a takeover it is an impostor's, too.
    const member = '02:00:00:00:00:0c';
    const host = machine.world.hosts.get('gw-b')!;
    machine.world.hosts.set('gw-b', { ...host, externalLinks: [{ interface: 'eth1', mac: member }] });
    claim(5n, member);
    expect(await poll()).toHaveLength(answers.length);
    expect(machine.claims).toEqual([OWN]);
    machine.clock.advance(TIMING.handoverMs);
    claim(6n, member);
    expect(await poll()).toHaveLength(answers.length);
    expect(machine.claims).toEqual([OWN, OWN]);
    // Whoever lost its lease does not contradict the next owner.
    machine.fences = machine.fences.map((row) => ({ ...row, deadlineMs: 0 }));
    claim(7n, member);
    expect(await poll()).toEqual([]);
  });

  it('says so when the packet path refuses its rows, and writes them when it can', async () => {
    machine.fault = new Error('No space left on device');
    await machine.review();
    expect(machine.conditions.list().map(({ code }) => code)).toEqual(['GATEWAY_TABLES']);
    machine.fault = undefined;
    machine.clock.advance(30_000);
    await machine.role.poll();
    expect(machine.conditions.list()).toEqual([]);
    expect(machine.rows('gateway_network')).toHaveLength(1);
    expect(machine.networksOf(machine.shard)).toEqual([machine.network.networkId]);
  });

  it('gives port mapping what it could not be given, and only the last of it', async () => {
    machine.natFault = new Error('No space left on device');
    await machine.review();
    expect(machine.conditions.list().map(({ code }) => code)).toEqual(['GATEWAY_TABLES']);
    machine.world.apply(tenant('pepsi') + nat('pepsi/net/out'));
    await machine.review();
    expect(machine.world.remove('GatewayConnection pepsi/net/out').codes).toEqual([]);
    machine.natFault = undefined;
    await machine.review();
    expect(machine.conditions.list()).toEqual([]);
    const given = machine.nat.map(({ op, table, key }) => `${op} ${table} ${JSON.stringify(key)}`);
    expect(given).toContain(`put gateway_quota {"networkId":${machine.network.networkId}}`);
    expect(given.some((one) => one.startsWith('put nat_pool'))).toBe(true);
    const pepsi = machine.world.network('pepsi/net').networkId;
    expect(given.filter((one) => one.endsWith(`gateway_quota {"networkId":${pepsi}}`))).toEqual([
      `delete gateway_quota {"networkId":${pepsi}}`,
    ]);
    // Once.
    machine.nat.splice(0);
    await machine.review();
    expect(machine.nat).toEqual([]);
  });

  it('knows after a failure, too, which networks its shards serve, those among them that leave', async () => {
    await machine.review();
    const { networkId } = machine.network;
    const { shard } = machine;
    machine.holders.add(networkId);
    expect(machine.world.remove('ExternalAddress coke/net/own', 'GatewayConnection coke/net/out').codes).toEqual([]);
    machine.fault = new Error('No space left on device');
    await machine.review();
    expect(machine.conditions.list().map(({ code }) => code)).toEqual(['GATEWAY_TABLES']);
    machine.fault = undefined;
    machine.clock.advance(30_000);
    await machine.role.poll();
    expect(machine.conditions.list()).toEqual([]);
    expect([machine.networksOf(shard), machine.shardOf(networkId)]).toEqual([[networkId], shard]);
    expect(machine.tables.gatewayNetwork(networkId)?.mode).toBe(GatewayMode.DENY);
    machine.holders.clear();
    machine.clock.advance(1_000);
    await machine.role.poll();
    expect([machine.networksOf(shard), machine.forgotten]).toEqual([[], [networkId]]);
  });

  it('keeps a row for a network that is gone until nothing of it is left: its shard’s owner ends its flows, and tells its standby', async () => {
    await machine.review();
    const { networkId } = machine.network;
    const { shard } = machine;
    const delete_ = (): void => {
      const { codes } = machine.world.remove('ExternalAddress coke/net/own', 'GatewayConnection coke/net/out');
      expect(codes).toEqual([]);
    };
    machine.holders.add(networkId);
    const before = machine.tables.gatewayNetwork(networkId)!;
    expect(before.segment).toBeGreaterThan(0);
    delete_();
    await machine.review();
    const row = () => machine.tables.gatewayNetwork(networkId);
    const { segment } = before;
    // It may come back: then it has its flows still.
    expect(row()).toMatchObject({ shard, segment, mode: GatewayMode.DENY, flags: 0 });
    machine.clock.advance(LEAVING_MS - 1);
    await machine.role.poll();
    expect(row()).toMatchObject({ segment, mode: GatewayMode.DENY });
    machine.clock.advance(1_000);
    await machine.role.poll();
    expect(row()).toMatchObject({ segment: 0, mode: GatewayMode.DENY });
    expect([machine.networksOf(shard), machine.shardOf(networkId)]).toEqual([[networkId], shard]);
    // All rows are compared now and then.
    machine.clock.advance(30_000);
    await machine.review();
    expect(row()).toMatchObject({ segment: 0, mode: GatewayMode.DENY });
    expect(machine.forgotten).toEqual([]);
    machine.holders.clear();
    machine.clock.advance(1_000);
    await machine.role.poll();
    expect([row(), machine.networksOf(shard), machine.forgotten]).toEqual([undefined, [], [networkId]]);
    // It comes back, and goes while it holds something, and the agent is another; and comes back in the middle.
    machine.world.apply(nat('coke/net/out'));
    await machine.review();
    expect(row()).toMatchObject({ mode: GatewayMode.NAT });
    machine.holders.add(networkId);
    expect(machine.world.remove('GatewayConnection coke/net/out').codes).toEqual([]);
    const next = new Machine(machine);
    await next.review();
    expect(row()).toMatchObject({ shard: expect.any(Number), mode: GatewayMode.DENY });
    machine.world.apply(nat('coke/net/out'));
    await next.review();
    expect(row()).toMatchObject({ mode: GatewayMode.NAT, shard: machine.shard });
    expect(next.networksOf(machine.shard)).toEqual([networkId]);
    machine.holders.clear();
    next.clock.advance(1_000);
    await next.role.poll();
    expect(row()).toMatchObject({ mode: GatewayMode.NAT });
  });

  it('takes the row of a network that holds nothing away at once', async () => {
    await machine.review();
    const { networkId } = machine.network;
    expect(machine.world.remove('ExternalAddress coke/net/own', 'GatewayConnection coke/net/out').codes).toEqual([]);
    await machine.review();
    expect([machine.tables.gatewayNetwork(networkId), machine.forgotten]).toEqual([undefined, [networkId]]);
  });

  it('leaves rows and devices when it stops, but for a purge', async () => {
    await machine.review();
    await machine.role.stop({ purge: false });
    expect([machine.attached.size, machine.rows('gateway_network').length]).toEqual([2, 1]);
    await machine.role.stop({ purge: true });
    expect(machine.attached.size).toBe(0);
  });
});
