import type { FenceRow, ShardRow } from '@weft/election';
import { describe, expect, it } from 'vitest';
import { Conditions } from '../src/conditions.ts';
import { gatewayStatus } from '../src/gateway/gateway-status.ts';
import type { InvolvedGroup } from '../src/gateway/gateways.ts';
import { ShardStates } from '../src/gateway/shard-states.ts';

const GROUP = '22222222-2222-4222-8222-222222222222';
const OTHER = '33333333-3333-4333-8333-333333333333';
const row = (shard: number, owner: string, epoch: bigint): ShardRow => ({
  shard,
  owner,
  epoch,
  providerAddress: '',
  previousAddress: '',
  previousUntilMs: 0,
});
const fence = (shard: number, deadlineMs: number): FenceRow => ({ shard, epoch: 5n, deadlineMs, handoverUntilMs: 0, handoverTo: '' });

describe('ShardStates', () => {
  it('remembers since when an owner is obeyed; of rows from before its start it knows only that', () => {
    let now = 1_000;
    const states = new ShardStates(() => now);
    const view = (rows: readonly ShardRow[], fences: readonly FenceRow[] = []) => states.views(GROUP, [1], rows, fences)[0]!;
    expect(view([])).toMatchObject({ owner: '', epoch: 0n, forwards: false });
    expect(view([row(1, 'g1', 5n)])).toMatchObject({ owner: 'g1', sinceMs: 1_000, state: '' });
    now = 2_000;
    states.obeyed(row(1, 'g2', 6n));
    now = 3_000;
    // The same grant written anew (a hand-over that ended) begins nothing.
    states.obeyed(row(1, 'g2', 6n));
    states.entered(GROUP, 1, 'standby');
    expect(view([row(1, 'g2', 6n)], [fence(1, 3_000)])).toMatchObject({ sinceMs: 2_000, state: 'standby', forwards: false });
    expect(view([row(1, 'g2', 6n)], [fence(1, 3_001)])).toMatchObject({ forwards: true });
    expect(view([row(1, 'g2', 6n)]).takeover).toBeUndefined();
    const times = { ...{ shards: [1], kind: 'takeover' as const, from: 'g1', epoch: '7' }, votesMs: {}, announcedMs: 5 };
    states.takenOver(GROUP, times);
    expect(view([row(1, 'g2', 6n)]).takeover).toEqual({ times, atMs: 3_000 });
    states.obeyed(row(1, 'g2', 7n));
    expect(view([row(1, 'g2', 7n)])).toMatchObject({ sinceMs: 3_000 });
  });
});

describe('gatewayStatus', () => {
  const clock = { now: () => 10_000, unixMs: () => 0, setTimeout: () => 0, clearTimeout: () => {} };
  const conditions = new Conditions(clock, { debug() {}, info() {}, warn() {}, error() {} });
  const group = (id: string, part: InvolvedGroup['part']): InvolvedGroup => ({
    id,
    part,
    config: {
      group: id,
      config: 3,
      incarnation: 2,
      voters: [],
      previous: undefined,
      members: [],
      shards: [{ shard: 1, order: [], placement: 0 }],
    },
    shards: [{ shard: 1, state: 'owner', owner: 'g1', epoch: 9n, sinceMs: 4_000, forwards: true, takeover: undefined }],
  });
  const parts = {
    hostId: 'g1',
    nowMs: 10_000,
    gateways: { involved: () => [group(GROUP, 'member'), group(OTHER, 'host')], directory: { networksOf: () => ['a', 'b'] } as never },
    conditions,
    use: () => ({ blocksHeld: 1, blocksFree: 2, mappings: 3, sessions: 4, interfaces: [] }),
    lags: [{ shard: 1, standby: 'g2', lagMsP99: 19.3, lagMsLast: 0.2, backlog: 0, isProtected: true }],
  };

  it('tells of the group that is asked for, with what only a member knows', () => {
    const { groups } = gatewayStatus(parts, GROUP);
    expect(groups).toHaveLength(1);
    expect(groups[0]).toMatchObject({ gatewayId: GROUP, part: 'member', configId: 3, incarnation: 2, use: { mappings: 3 } });
    expect(groups[0]!.shards).toEqual([
      {
        ...{ shard: 1, owner: 'g1', epoch: 9n, sinceMs: 6_000, state: 'owner', forwards: true, networks: 2 },
        lag: { standby: 'g2', lagMsP99: 20, lagMsLast: 1, backlog: 0, isProtected: true },
      },
    ]);
    expect(gatewayStatus(parts, '').groups.map(({ use }) => use !== undefined)).toEqual([true, false]);
    expect(gatewayStatus({ ...parts, lags: [] }, GROUP).groups[0]!.shards[0]!.lag).toBeUndefined();
  });

  it('tells how a shard came to this member: its steps in the order in which they were done', () => {
    const times = {
      ...{ shards: [1], kind: 'takeover' as const, from: 'g2', epoch: '4294967305', silentBeforeMs: 152.3, answeredMs: 6, ballotMs: 6.4 },
      ...{ votesMs: { w1: 18, g1: 17.5 }, openedMs: 18.2, toldMs: 19, announcedMs: 21.04 },
    };
    const came = { ...group(GROUP, 'member'), shards: [{ ...group(GROUP, 'member').shards[0]!, takeover: { times, atMs: 4_000 } }] };
    const { groups } = gatewayStatus({ ...parts, gateways: { ...parts.gateways, involved: () => [came] } }, GROUP);
    expect(groups[0]!.shards[0]!.takeover).toEqual({
      ...{ kind: 'takeover', from: 'g2', epoch: 4294967305n, agoMs: 6_000, silentBeforeUs: 152_300 },
      steps: [
        { step: 'answered', host: '', afterUs: 6_000 },
        { step: 'ballot', host: '', afterUs: 6_400 },
        { step: 'vote', host: 'g1', afterUs: 17_500 },
        { step: 'vote', host: 'w1', afterUs: 18_000 },
        { step: 'opened', host: '', afterUs: 18_200 },
        { step: 'told', host: '', afterUs: 19_000 },
        { step: 'done', host: '', afterUs: 21_040 },
      ],
    });
  });

  it('gives conditions of gateways by the codes of ownership, and nobody else’s', () => {
    conditions.raise('GATEWAY_OWNERSHIP', 'nobody serves shard 1', `${GROUP} no-owner 1`);
    conditions.raise('GATEWAY_OWNERSHIP', 'elsewhere', `${OTHER} flapping`);
    conditions.raise('EXTERNAL_DEVICE', 'no eth1', 'eth1');
    conditions.raise('NATS_DISCONNECTED', 'gone');
    const told = gatewayStatus(parts, GROUP).alarms.map(({ gatewayId, code, message }) => [gatewayId, code, message]);
    expect(told).toEqual([
      ['', 'EXTERNAL_DEVICE', 'no eth1'],
      [GROUP, 'no-owner', 'nobody serves shard 1'],
    ]);
    expect(gatewayStatus(parts, '').alarms).toHaveLength(3);
  });
});
