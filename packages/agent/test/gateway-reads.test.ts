import { type GatewayTableEntry, type NatEvent, NatEventKind, NatEventList, NatState, SessionKind } from '@weft/forwarding';
import type { NatQuery, TrustStore } from '@weft/model';
import { DropReason, WeftError } from '@weft/model';
import { parseIp } from '@weft/packet';
import { describe, expect, it } from 'vitest';
import { countMappings, FlowMeter, networkUses, readQuotas, readUse, type UseParts } from '../src/gateway/gateway-use.ts';
import { inSlices } from '../src/gateway/in-slices.ts';
import { NAT_ROWS_MAX, natFlows, natMappings } from '../src/gateway/nat-rows.ts';
import { type OwnedNetwork, ownedNetworks, readableNetworks } from '../src/gateway/owned-networks.ts';

const EXTERNAL = parseIp('203.0.113.16');
const ZERO = new Uint8Array(16);
const any: NatQuery = {
  networkIds: [],
  customerAddress: '',
  externalAddress: '',
  externalPort: 0,
  remoteAddress: '',
  remotePort: 0,
  protocol: 0,
  limit: 100,
};

/** Two networks with the same customer address; each has one mapping with one session, and 7 a rule of each kind. */
function gateway() {
  const state = new NatState();
  for (const [networkId, externalPort] of [
    [7, 1030],
    [8, 1100],
  ] as const) {
    const ca = parseIp('10.0.0.1');
    state.set('mapping', { networkId, ca, port: 5000, protocol: 17 }, { pool: 1, segment: 1, address: EXTERNAL, externalPort, ticket: 1n });
    state.set(
      'session',
      { segment: 1, address: EXTERNAL, remote: parseIp('198.51.100.9'), externalPort, remotePort: 53, protocol: 17 },
      {
        networkId,
        ca,
        insidePort: 5000,
        kind: SessionKind.MAPPING,
        flags: 0,
        revision: 0,
        expiresBootNs: 61_000_000_000n,
        toldBootNs: 0n,
        ticket: 1n,
      },
    );
  }
  const block = Array.from({ length: 64 }, (_, i) => ({
    ...{ state: 0, protocol: 0, insidePort: 0, next: 0, version: 0, freeAtBootNs: 0n },
    sessions: i === 6 ? 3 : 0,
  }));
  state.set(
    'block',
    { segment: 1, address: EXTERNAL, block: 16 },
    { networkId: 7, pool: 1, ca: parseIp('10.0.0.1'), epoch: 5n, grantedBootNs: 0n, next: 0, addressIndex: 0, version: 4, ports: block },
  );
  const rules: GatewayTableEntry[] = [
    {
      table: 'external_address',
      key: { segment: 1, address: parseIp('203.0.113.20') },
      value: { shard: 3, kind: 2, networkId: 7, ca: parseIp('10.0.0.2') },
    },
    { table: 'external_address', key: { segment: 1, address: EXTERNAL }, value: { shard: 3, kind: 1, networkId: 0, ca: ZERO } },
    {
      table: 'port_forward',
      key: { segment: 1, address: parseIp('203.0.113.21'), port: 80, protocol: 6 },
      value: { networkId: 7, port: 8080, ca: parseIp('10.0.0.3') },
    },
  ];
  return {
    state,
    parts: {
      store: state,
      entries: (table: string) => rules.filter((row) => row.table === table),
      now: () => 1_000,
      slices: { now: () => 0, pause: async () => {} },
    },
  };
}

describe('natMappings(), natFlows()', () => {
  const both = new Set([7, 8]);

  it('give what traffic has made and what rules map, of the networks that may be told', async () => {
    const { parts } = gateway();
    const { rows, leftOut } = await natMappings(parts, any, new Set([7]));
    expect(leftOut).toBe(0);
    expect(
      rows.map(({ kind, customerAddress, customerPort, externalAddress, externalPort, protocol, sessions }) => [
        ...[kind, customerAddress, customerPort, externalAddress, externalPort, protocol, sessions],
      ]),
    ).toEqual([
      ['static', '10.0.0.2', 0, '203.0.113.20', 0, 0, 0],
      ['forward', '10.0.0.3', 8080, '203.0.113.21', 80, 6, 0],
      ['mapping', '10.0.0.1', 5000, '203.0.113.16', 1030, 17, 3],
    ]);
    const flows = await natFlows(parts, any, new Set([8]));
    expect(flows.rows).toEqual([
      expect.objectContaining({
        networkId: 8,
        customerAddress: '10.0.0.1',
        externalPort: 1100,
        remoteAddress: '198.51.100.9',
        remotePort: 53,
        remainingMs: 60_000,
      }),
    ]);
    expect((await natFlows({ ...parts, now: () => 70_000 }, any, both)).rows.map(({ remainingMs }) => remainingMs)).toEqual([0, 0]);
  });

  it('choose by every field of the question', async () => {
    const { parts } = gateway();
    const mappings = async (more: Partial<NatQuery>) =>
      (await natMappings(parts, { ...any, ...more }, both)).rows.map(({ kind, networkId }) => `${kind} ${networkId}`);
    const flows = async (more: Partial<NatQuery>) =>
      (await natFlows(parts, { ...any, ...more }, both)).rows.map(({ networkId }) => networkId);
    expect(await mappings({ networkIds: [8] })).toEqual(['mapping 8']);
    expect(await mappings({ customerAddress: '10.0.0.3' })).toEqual(['forward 7']);
    expect(await mappings({ externalAddress: '203.0.113.16', externalPort: 1030 })).toEqual(['mapping 7']);
    // A 1:1 rule is for every port and protocol, so for the one asked for.
    expect(await mappings({ externalAddress: '203.0.113.20', externalPort: 9, protocol: 17 })).toEqual(['static 7']);
    expect(await mappings({ protocol: 6 })).toEqual(['static 7', 'forward 7']);
    expect(await flows({ externalPort: 1100 })).toEqual([8]);
    expect(await flows({ remoteAddress: '198.51.100.9', remotePort: 53 })).toEqual([7, 8]);
    expect(await flows({ remotePort: 54 })).toEqual([]);
    expect(await flows({ remoteAddress: '198.51.100.8' })).toEqual([]);
    await expect(mappings({ externalAddress: 'x' })).rejects.toThrow(/must be an IP address/);
  });

  it('count what finds no room', async () => {
    const { state, parts } = gateway();
    for (let i = 0; i < NAT_ROWS_MAX; i++)
      state.set(
        'mapping',
        { networkId: 7, ca: parseIp('10.0.0.9'), port: 1_000 + i, protocol: 6 },
        { pool: 1, segment: 1, address: EXTERNAL, externalPort: 2_000 + i, ticket: 1n },
      );
    const few = await natMappings(parts, { ...any, limit: 2 }, both);
    expect([few.rows.length, few.leftOut]).toEqual([2, NAT_ROWS_MAX + 2]);
    const most = await natMappings(parts, { ...any, limit: 1_000_000 }, both);
    expect([most.rows.length, most.leftOut]).toEqual([NAT_ROWS_MAX, 4]);
  });
});

describe('inSlices()', () => {
  it('lets others have their turn when it has worked for some milliseconds', async () => {
    let [now, pauses, seen] = [0, 0, 0];
    const rows = Array.from({ length: 10_000 }, (_, i) => i);
    await inSlices(
      rows,
      () => {
        seen++;
        now += 0.01;
      },
      { now: () => now, pause: async () => void pauses++ },
    );
    expect(seen).toBe(10_000);
    // 100 ms of work in slices of 4 ms and a little.
    expect(pauses).toBeGreaterThan(15);
    expect(pauses).toBeLessThan(26);
  });

  it('waits for no sixteen rows when each takes as long as a slice should, wherever they begin', async () => {
    let [now, since, most] = [0, 0, 0];
    const rows = Array.from({ length: 1_000 }, (_, i) => i);
    const visit = (row: number): void => {
      now += row < 500 ? 0.01 : 2;
      most = Math.max(most, now - since);
    };
    const pause = async (): Promise<void> => {
      since = now;
    };
    await inSlices(rows, visit, { now: () => now, pause });
    // Sixteen that were begun before the first of the long ones was seen.
    expect(most).toBeLessThan(4 + 16 * 2);
    since = now;
    most = 0;
    await inSlices(rows.slice(500), visit, { now: () => now, pause });
    expect(most).toBeLessThanOrEqual(4 + 2);
  });
});

describe('networks that a member tells of', async () => {
  const row = (networkId: number, shard: number): GatewayTableEntry =>
    ({ table: 'gateway_network', key: { networkId }, value: { shard, vsid: 5000 + networkId } }) as unknown as GatewayTableEntry;
  const fence = (shard: number, deadlineMs: number) => ({ shard, epoch: 5n, deadlineMs, handoverUntilMs: 0, handoverTo: '' });
  const owned = await ownedNetworks({
    rows: () => [row(7, 1), row(8, 1), row(9, 2)],
    fences: () => [fence(1, 2_000), fence(2, 900)],
    tenantOf: (id) => ({ 7: 'coke', 8: 'pepsi' })[id] ?? '',
    now: () => 1_000,
  });

  it('are those on shards it owns now', () => {
    expect([...owned.values()]).toEqual([
      { networkId: 7, shard: 1, vsid: 5007, tenant: 'coke' },
      { networkId: 8, shard: 1, vsid: 5008, tenant: 'pepsi' },
    ]);
  });

  it('and those that the asker may read', () => {
    const roles: Readonly<Record<string, string>> = { admin: 'admin', cokes: 'tenant' };
    const trust = {
      principal: (signer: string) => (roles[signer] === undefined ? undefined : { role: roles[signer] }),
      mayAct: (signer: string, tenant: string) =>
        signer === 'admin' || (signer === 'cokes' && tenant === 'coke')
          ? undefined
          : new WeftError('WEFT_ERR_TRUST_TENANT', `not for ${tenant}`),
    } as unknown as TrustStore;
    const read = (wanted: readonly number[], signer: string): number[] => [...readableNetworks(owned, wanted, trust, signer).keys()];
    expect(read([], 'admin')).toEqual([7, 8]);
    expect(read([8, 9], 'admin')).toEqual([8]);
    expect(read([], 'cokes')).toEqual([7]);
    expect(() => read([8], 'cokes')).toThrow(/not for pepsi/);
    expect(() => read([], 'nobody')).toThrow(/not for/);
  });
});

describe('who uses how much', () => {
  const networks = new Map<number, OwnedNetwork>(
    [7, 8].map((networkId) => [networkId, { networkId, shard: 1, vsid: 5000 + networkId, tenant: 'coke' }]),
  );

  it('is told by what grew between two readings, the busiest first', async () => {
    const { state } = gateway();
    const meter = new FlowMeter();
    const flow = (networkId: number): void =>
      meter.onEvents(new NatEventList([{ kind: NatEventKind.SESSION_ADDED, session: { networkId } } as unknown as NatEvent]));
    const drops: { ifindex: number; vsid: number; reason: number; packets: bigint; bytes: bigint }[] = [
      { ifindex: 3, vsid: 5008, reason: DropReason.NAT_BLOCK_QUOTA, packets: 100n, bytes: 6_000n },
      { ifindex: 2, vsid: 0, reason: DropReason.NAT_NO_MAPPING, packets: 5n, bytes: 300n },
      { ifindex: 9, vsid: 0, reason: DropReason.NO_PORT, packets: 5n, bytes: 300n },
    ];
    const traffic = new Map([
      [7, { packets: 64n, bytes: 6_400n }],
      [8, { packets: 640n, bytes: 64_000n }],
    ]);
    let [now, lost] = [1_000, 2n];
    const parts: UseParts = {
      store: state,
      drops: () => drops.map((one) => ({ ...one })),
      externalDevices: () => [2],
      traffic: () => new Map(traffic),
      eventsLost: () => lost,
      meter,
      now: () => now,
      slices: { now: () => 0, pause: async () => {} },
    };
    state.set('quota', { networkId: 8 }, { blocks: 64, blocksPerSource: 16, sessions: 1_000, newFlowsPerSecond: 0 });
    state.set('usage', { networkId: 8 }, { blocks: 60, sessions: 900, deniedBlocks: 1_000n, deniedSessions: 7n, exhausted: 0n });
    state.set('usage', { networkId: 7 }, { blocks: 1, sessions: 3, deniedBlocks: 50n, deniedSessions: 0n, exhausted: 0n });
    state.set('rate', { networkId: 8 }, { dueBootNs: 0n, denied: 40n });
    flow(7);
    flow(8);
    const before = await readUse(parts);
    for (let i = 0; i < 20; i++) flow(8);
    flow(7);
    traffic.set(8, { packets: 704n, bytes: 70_400n });
    Object.assign(drops[0]!, { packets: 400n, bytes: 24_000n });
    Object.assign(drops[1]!, { packets: 45n });
    Object.assign(drops[2]!, { packets: 500n });
    state.set('usage', { networkId: 8 }, { blocks: 64, sessions: 1_000, deniedBlocks: 1_300n, deniedSessions: 7n, exhausted: 2n });
    // Begun anew, as after a takeover.
    state.set('usage', { networkId: 7 }, { blocks: 1, sessions: 4, deniedBlocks: 3n, deniedSessions: 0n, exhausted: 0n });
    [now, lost] = [3_000, 2n];
    state.set('rate', { networkId: 8 }, { dueBootNs: 0n, denied: 45n });
    const after = await readUse(parts);
    state.set('source', { networkId: 8, pool: 1, ca: parseIp('10.0.0.1') }, { mappings: 40, addresses: [] } as never);
    state.set('source', { networkId: 8, pool: 2, ca: parseIp('10.0.0.1') }, { mappings: 2, addresses: [] } as never);
    const mappings = await countMappings(state, networks);
    const uses = networkUses(before, after, networks, { quotas: await readQuotas(state), mappings, outside: true });
    expect(uses).toEqual([
      {
        ...{ networkId: 8, blocks: 64, blocksQuota: 64, sessions: 1_000, sessionsQuota: 1_000, mappings: 42, newFlows: 20 },
        ...{ deniedBlocks: 300, deniedSessions: 0, deniedFlows: 5, exhausted: 2, packets: 64, bytes: 6_400 },
        drops: [{ reason: DropReason.NAT_BLOCK_QUOTA, packets: 300, bytes: 18_000 }],
      },
      expect.objectContaining({ networkId: 0, newFlows: 0, drops: [{ reason: DropReason.NAT_NO_MAPPING, packets: 40, bytes: 0 }] }),
      expect.objectContaining({ networkId: 7, newFlows: 1, deniedBlocks: 3, drops: [] }),
    ]);
    expect(
      networkUses(before, after, networks, { quotas: await readQuotas(state), mappings, outside: false }).map(({ networkId }) => networkId),
    ).toEqual([8, 7]);
    // Who only sends much is found, too.
    traffic.set(7, { packets: 64_064n, bytes: 6_406_400n });
    const much = networkUses(before, await readUse(parts), networks, { quotas: await readQuotas(state), mappings, outside: false });
    expect(much[0]).toMatchObject({ networkId: 7, packets: 64_000, bytes: 6_400_000 });
  });
});
