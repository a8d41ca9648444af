import { createIdentity } from '@weft/bus';
import { type Assignment, assignmentKey, configKey, type Gateway, TrustStore } from '@weft/model';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { GatewayDirectory } from '../src/gateway/directory.ts';
import { Lab, RDID } from './harness.ts';

const GID = '22222222-2222-4222-8222-222222222222';
const OTHER = '33333333-3333-4333-8333-333333333333';
const gateway = (id: string, name: string): Gateway => ({ id, name, members: [], witnesses: [], segments: [], pools: [], shards: 4 });
const assignment = (id: string, incarnation: number): Assignment => ({
  gatewayId: id,
  gateway: 'edge',
  incarnation,
  voters: { configId: 1, voters: [] },
  previousVoters: undefined,
  members: [],
  shards: [{ id: 7, order: [], placement: 1 }],
  addresses: [],
});

/** A file in memory, which outlives the directory that writes it. */
class MemoryFile {
  content: Uint8Array | undefined;
  async read(): Promise<Uint8Array | undefined> {
    return this.content;
  }
  async write(content: Uint8Array): Promise<void> {
    this.content = content;
  }
}

let lab: Lab;
let file: MemoryFile;
let claimsFile: MemoryFile;
let problems: (string | undefined)[];
let changes: number;
const running: GatewayDirectory[] = [];

beforeEach(async () => {
  lab = new Lab();
  await lab.init();
  file = new MemoryFile();
  claimsFile = new MemoryFile();
  problems = [];
  changes = 0;
});
afterEach(async () => {
  for (const directory of running.splice(0)) await directory.stop();
});

async function open(connected = true): Promise<{ directory: GatewayDirectory; bus: ReturnType<Lab['store']['connect']> }> {
  const bus = lab.store.connect('g1', connected);
  const trust = new TrustStore([lab.admin.publicKey]);
  trust.apply(
    {
      bucket: 'config',
      key: configKey.principal(lab.controller.publicKey),
      tenant: '',
      replacesRevision: 0,
      operation: 'put',
      before: undefined,
      after: { kind: 'principal', value: { key: lab.controller.publicKey, name: 'controller', role: 'controller', tenants: [] } },
      authorKey: '',
      authorName: '',
      requestId: 'request-1',
      timeUnixMs: 0,
    },
    lab.admin.publicKey,
    1,
  );
  const directory = new GatewayDirectory({
    hostId: 'g1',
    bus,
    trust,
    clock: {
      now: () => lab.clock.now(),
      unixMs: () => 0,
      setTimeout: (callback, ms) => lab.clock.setTimeout(callback, ms),
      clearTimeout: (handle) => lab.clock.clearTimeout(handle),
    },
    random: () => 0.5,
    logger: { debug() {}, info() {}, warn() {}, error() {} },
    file,
    claimsFile,
    isInvolved: () => true,
    onChange: () => changes++,
    onProblem: (reason) => problems.push(reason),
  });
  running.push(directory);
  await directory.start();
  if (connected) {
    directory.setStore(await bus.open());
    await directory.refresh();
  }
  return { directory, bus };
}

const claim = (owner: string) => ({ kind: 'claim' as const, value: { owner, ownerKey: configKey.network(owner), requestId: 'request-1' } });

describe('GatewayDirectory', () => {
  const member = { host: 'g1', interfaces: [], drain: false };

  it('finds groups, assignments and the networks of a shard', async () => {
    await lab.commit('config', configKey.gateway(GID), { kind: 'gateway', value: { ...gateway(GID, 'edge'), members: [member] } });
    await lab.commit('gateways', assignmentKey(GID), { kind: 'assignment', value: assignment(GID, 1) });
    await lab.commit('config', `claim.shard.7.${RDID}`, claim(RDID));
    const { directory } = await open();
    expect(directory.groups.get(GID)?.gateway?.name).toBe('edge');
    expect(directory.groups.get(GID)?.assignment?.incarnation).toBe(1);
    expect(directory.networksOf(7)).toEqual([RDID]);
    expect(directory.networksOf(8)).toEqual([]);
    // The groups, which are few, and then the networks, which may be many.
    expect(changes).toBe(2);
  });

  it('reads the networks of shards only where the machine is a member: a witness and a host have nothing to do with them', async () => {
    await lab.commit('config', configKey.gateway(GID), {
      kind: 'gateway',
      value: { ...gateway(GID, 'edge'), members: [{ ...member, host: 'g2' }] },
    });
    await lab.commit('gateways', assignmentKey(GID), { kind: 'assignment', value: assignment(GID, 1) });
    await lab.commit('config', `claim.shard.7.${RDID}`, claim(RDID));
    const { directory } = await open();
    expect(directory.groups.get(GID)?.assignment?.incarnation).toBe(1);
    expect(directory.networksOf(7)).toEqual([]);
    expect(changes).toBe(1);
  });

  it('hears of changes by an event at once, and without one within the poll', async () => {
    const { directory } = await open();
    await lab.commit('config', configKey.gateway(GID), { kind: 'gateway', value: gateway(GID, 'edge') });
    await lab.settle(25);
    expect(directory.groups.get(GID)?.gateway?.name).toBe('edge');
    lab.store.deliver = () => false;
    await lab.commit('config', configKey.gateway(OTHER), { kind: 'gateway', value: gateway(OTHER, 'lost') });
    await lab.settle(25);
    expect(directory.groups.has(OTHER)).toBe(false);
    await lab.settle(10_000);
    expect(directory.groups.get(OTHER)?.gateway?.name).toBe('lost');
    expect(changes).toBe(2);
  });

  it('keeps what it knows while NATS is gone, says so, and knows it after a restart without NATS', async () => {
    await lab.commit('config', configKey.gateway(GID), { kind: 'gateway', value: gateway(GID, 'edge') });
    const { directory, bus } = await open();
    bus.setConnected(false);
    await directory.refresh();
    expect(problems.at(-1)).toMatch(/Cannot read gateways/);
    expect(directory.groups.get(GID)?.gateway?.name).toBe('edge');
    const again = await open(false);
    expect(again.directory.groups.get(GID)?.gateway?.name).toBe('edge');
    bus.setConnected(true);
    await directory.refresh();
    expect(problems.at(-1)).toBeUndefined();
  });

  it('keeps in force what stood where somebody else has written, and takes up the next that a controller signs', async () => {
    const key = configKey.gateway(GID);
    await lab.commit('config', key, { kind: 'gateway', value: gateway(GID, 'edge') });
    const { directory } = await open();
    await lab.commit('config', key, { kind: 'gateway', value: gateway(GID, 'forged') }, createIdentity('controller'));
    await directory.refresh();
    expect(directory.groups.get(GID)?.gateway?.name).toBe('edge');
    const again = await open(false);
    expect(again.directory.groups.get(GID)?.gateway?.name).toBe('edge');
    await lab.commit('config', key, { kind: 'gateway', value: gateway(GID, 'renamed') });
    await directory.refresh();
    expect(directory.groups.get(GID)?.gateway?.name).toBe('renamed');
  });

  it('does not believe a gateway that no controller signed', async () => {
    const stranger = createIdentity('controller');
    await lab.commit('config', configKey.gateway(GID), { kind: 'gateway', value: gateway(GID, 'forged') }, stranger);
    const { directory } = await open();
    expect(directory.groups.size).toBe(0);
  });

  it('starts with nothing when its file is damaged', async () => {
    file.content = new TextEncoder().encode('{');
    const { directory } = await open(false);
    expect(directory.groups.size).toBe(0);
  });
});
