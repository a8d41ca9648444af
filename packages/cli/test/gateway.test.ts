import { readFileSync } from 'node:fs';
import type { GatewayMemberUse, GatewayShardStatus, GatewayStatusResult, ListedValue, Result } from '@weft/model';
import { describe, expect, it } from 'vitest';
import { GatewayMemory } from '../../model/test/gateway-world.ts';
import { type Answerer, listed, run } from './support/harness.ts';

// The example of the documentation, planned and written as a controller would; the commands read it from there.

const example = readFileSync(new URL('../../../docs/examples/gateway.yaml', import.meta.url), 'utf8').replaceAll('host-c', 'host-w');
const made = (): GatewayMemory => {
  const world = new GatewayMemory();
  expect(world.apply(example).rules).toEqual([]);
  return world;
};
/** What a healthy machine says: gw-a owns the even shards, gw-b the others; each in the fifth ballot. */
function statusOf(world: GatewayMemory, host: string): GatewayStatusResult {
  const { id } = world.gateways.get('edge')!.value;
  const isMember = host.startsWith('gw-');
  const shards = [...world.assignments.values()][0]!.value.shards.map((one): GatewayShardStatus => {
    const owner = one.id % 2 === 0 ? 'gw-a' : 'gw-b';
    const [state, forwards] = [isMember ? (owner === host ? 'owner' : 'standby') : '', owner === host];
    const lag = { standby: owner === 'gw-a' ? 'gw-b' : 'gw-a', lagMsP99: 12, lagMsLast: 3, backlog: 0, isProtected: true };
    const takeover = {
      ...{ kind: 'handover', from: lag.standby, epoch: (1n << 32n) | 5n, agoMs: 124_000, silentBeforeUs: 12_000 },
      steps: [{ step: 'opened', host: '', afterUs: 20_400 }],
    };
    return {
      shard: one.id,
      owner,
      epoch: (1n << 32n) | 5n,
      sinceMs: 125_000,
      state,
      forwards,
      networks: 1,
      lag: forwards ? lag : undefined,
      takeover: forwards ? takeover : undefined,
    };
  });
  const use: GatewayMemberUse = {
    blocksHeld: 3,
    blocksFree: 4533,
    mappings: 1234,
    sessions: 2345,
    interfaces: [{ name: 'bond0', isPresent: true, hasCarrier: true }],
  };
  const part = isMember ? 'member' : 'witness';
  return {
    hostId: host,
    groups: [{ gatewayId: id, part, configId: 1, incarnation: 1, shards, use: isMember ? use : undefined }],
    alarms: [],
  };
}

function answering(world: GatewayMemory): Answerer {
  return (target, command) => {
    if (command.kind === 'drain') {
      const { problems, plan } = world.drain(command.value);
      return problems.length > 0 ? problems : { kind: 'apply', value: { changes: plan.changes } };
    }
    if (command.kind === 'apply') {
      return { kind: 'apply', value: { changes: [{ action: 'updated', resource: 'Gateway edge', revision: 9, fields: [] }] } };
    }
    if (command.kind === 'gatewayStatus') return { kind: 'gatewayStatus', value: statusOf(world, target) };
    if (command.kind !== 'list') return undefined;
    const { kinds } = command.value;
    const records: ListedValue[] = [];
    if (kinds.includes('VirtualNetwork') || kinds.includes('VirtualSubnet'))
      for (const { value } of world.networks.values()) records.push({ kind: 'network', value });
    if (kinds.includes('Tenant')) for (const { value } of world.tenants.values()) records.push({ kind: 'tenant', value });
    if (kinds.includes('Port')) for (const { value } of world.ports.values()) records.push({ kind: 'port', value });
    if (kinds.includes('Gateway')) for (const { value } of world.gateways.values()) records.push({ kind: 'gateway', value });
    if (kinds.includes('Assignment')) for (const { value } of world.assignments.values()) records.push({ kind: 'assignment', value });
    return { kind: 'list', value: { records: records.map(listed) } };
  };
}

describe('docs/examples/gateway.yaml', () => {
  it('is sound, and what `weft get -o yaml` shows of it changes nothing when applied', async () => {
    const world = made();
    let all = '';
    for (const kind of [
      'gateways',
      'tenants',
      'networks',
      'subnets',
      'ports',
      'routes',
      'connections',
      'external-addresses',
      'nat-rules',
    ]) {
      const { out, code } = await run(['get', kind, '-o', 'yaml'], answering(world));
      expect([kind, code]).toEqual([kind, 0]);
      all += `---\n${out}\n`;
    }
    const again = world.apply(all);
    expect(again.rules).toEqual([]);
    expect(again.actions.filter((action) => !action.startsWith('unchanged'))).toEqual([]);
    expect(again.actions.length).toBeGreaterThan(15);
  });
});

describe('weft get, describe', () => {
  it('show gateways and what networks have of them', async () => {
    const answer = answering(made());
    expect((await run(['get', 'gateways'], answer)).out).toBe(
      [
        'GATEWAY  MEMBERS     WITNESSES  SEGMENTS        POOLS   SHARDS',
        'edge     gw-a, gw-b  host-w     internet, mpls  public       8',
        '',
      ].join('\n'),
    );
    const connections = (await run(['get', 'connections'], answer)).out;
    expect(connections).toMatch(/coke\/net\/internet +edge +nat +pool public, IPv6 nptv6 +0\.0\.0\.0\/0, ::\/0 +connected/);
    expect(connections).toMatch(/coke\/net\/pepsi +edge +peering +network pepsi\/net +10\.1\.0\.0\/24 +accepted/);
    expect((await run(['get', 'external-addresses', '--tenant', 'coke'], answer)).out).toMatch(
      /coke\/net\/services +203\.0\.113\.30 +reserved +public +ssh, media/,
    );
    expect((await run(['get', 'nat-rules'], answer)).out).toMatch(/coke\/net\/media +forward +services udp 5000-5099 +10\.0\.0\.12 5000/);
    expect((await run(['get', 'routes'], answer)).out).toMatch(/coke\/net\/never +192\.168\.0\.0\/16 +blackhole/);
    expect((await run(['get', 'subnets'], answer)).out).toContain('weft-gateway');
    const one = JSON.parse((await run(['get', 'connection', 'coke/net/pepsi', '--json'], answer)).out);
    expect(one).toMatchObject({ kind: 'GatewayConnection', spec: { peer: 'pepsi/net' }, status: { state: 'accepted' } });
    expect((await run(['describe', 'gateway', 'edge'], answer)).out).toMatch(/gw-a.*eth1\.210/);
    const missing = await run(['get', 'nat-rule', 'coke/net/wwx'], answer);
    expect([missing.code, missing.err]).toEqual([1, expect.stringContaining('did you mean "coke/net/www"')]);
  });
});

describe('weft gateway', () => {
  it('status tells each member’s share, for people and as JSON', async () => {
    const answer = answering(made());
    const { out } = await run(['gateway', 'status'], answer);
    expect(out).toMatch(/Gateway edge: 8 shards, 8 shared and 2 own external addresses, incarnation 1/);
    expect(out).toMatch(/Voters \(list 1\): gw-a \(has not answered yet\)/);
    // Owns 4, preferred owner of 4, standby of 4.
    expect(out).toMatch(/gw-a +198\.51\.100\.1 +active +4 +4 +4 +\d +4,536 +4,533 +3 +1,234 +2,345 +bond0 up/);
    const [edge] = JSON.parse((await run(['gateway', 'status', 'edge', '--json'], answer)).out);
    expect(edge.members.map((one: { blocks: number }) => one.blocks)).toEqual([504 * 9, 504 * 9]);
    expect(edge.shards[0].takeover).toEqual({
      ...{ kind: 'handover', from: 'gw-b', epoch: '1.5', agoMs: 124_000, silentBeforeUs: 12_000 },
      steps: [{ step: 'opened', host: '', afterUs: 20_400 }],
    });
    expect((await run(['gateway', 'status', 'edgy'], answer)).err).toContain('did you mean "edge"');
    const none = await run(['gateway', 'status'], () => ({ kind: 'list', value: { records: [] } }));
    expect([none.out, none.err]).toEqual(['', 'no gateways yet\n']);
  });

  it('status tells who owns each shard, since when, and how far its standby is behind', async () => {
    const { out, code } = await run(['gateway', 'status', 'edge'], answering(made()));
    expect(out).toMatch(/^ +4 +gw-a +1\.5 +2m5s +\d +gw-a owner, gw-b standby +gw-b +12ms +protected$/m);
    expect(out).toMatch(/^ +5 +gw-b +1\.5 +2m5s +\d +gw-a standby, gw-b owner +gw-a +12ms +protected$/m);
    expect(code).toBe(0);
    const yaml = (await run(['gateway', 'status', 'edge', '-o', 'yaml'], answering(made()))).out;
    expect(yaml).toMatch(/^ok: true$/m);
    expect(yaml).toMatch(/^ {4}epoch: "1\.5"$/m);
  });

  it('status counts networks by what members say of them, and lists none', async () => {
    const world = made();
    const answer = answering(world);
    const kinds = new Set<string>();
    const asked =
      (networks: (target: string) => number | undefined): Answerer =>
      (target, command) => {
        if (command.kind === 'list') for (const kind of command.value.kinds) kinds.add(kind);
        const result = answer(target, command) as Result;
        if (result.kind !== 'gatewayStatus') return result;
        const count = networks(target);
        if (count === undefined) return [{ code: 'WEFT_ERR_BUS_TIMEOUT', resource: '', path: '', value: '', rule: 'no time', hint: '' }];
        const groups = result.value.groups.map((group) => ({ ...group, shards: group.shards.map((one) => ({ ...one, networks: count })) }));
        return { ...result, value: { ...result.value, groups } };
      };
    const counted = async (networks: (target: string) => number | undefined) => {
      const [edge] = JSON.parse((await run(['gateway', 'status', '--json'], asked(networks))).out);
      return [
        ...new Set(edge.shards.map((one: { networks: number | null }) => one.networks)),
        ...edge.members.map((one: { networks: number | null }) => one.networks),
      ];
    };
    // Each owner's word on its own; witnesses read no claims.
    const told = (target: string) => ({ 'gw-a': 10, 'gw-b': 12 })[target] ?? 0;
    const sums = (await counted(told)).sort();
    expect(sums).toContain(10);
    expect(sums).toContain(12);
    // Of an owner that does not answer, the other member's.
    expect(await counted((target) => (target === 'gw-a' ? undefined : told(target)))).toEqual([12, 48, 48]);
    expect(await counted((target) => (target.startsWith('gw-') ? undefined : 0))).toEqual([null, null, null]);
    expect(kinds).toEqual(new Set(['Gateway', 'Assignment']));
  });

  it('status shows who is silent, who disagrees, who forwards beside the owner, and alarms; and fails', async () => {
    const world = made();
    const answer = answering(world);
    const changed = (change: (target: string, value: GatewayStatusResult) => GatewayStatusResult | undefined): Answerer => {
      return (target, command) => {
        const result = answer(target, command) as Result;
        if (result.kind !== 'gatewayStatus') return result;
        const value = change(target, result.value);
        return value === undefined
          ? [{ code: 'WEFT_ERR_BUS_TIMEOUT', resource: '', path: '', value: '', rule: 'no time', hint: '' }]
          : { ...result, value };
      };
    };
    const shard = (value: GatewayStatusResult, id: number, more: Partial<GatewayShardStatus>): GatewayStatusResult => ({
      ...value,
      groups: value.groups.map((group) => ({
        ...group,
        shards: group.shards.map((one) => (one.shard === id ? { ...one, ...more } : one)),
      })),
    });
    const status = async (change: Parameters<typeof changed>[0]) => {
      const { out, code } = await run(['gateway', 'status'], changed(change));
      expect(code).toBe(1);
      return out;
    };
    const silent = await status((target, value) => (target === 'gw-a' ? undefined : value));
    expect(silent).toMatch(/gw-a: no answer: .*no time/);
    expect(silent).toMatch(/gw-a +198\.51\.100\.1 +no answer/);
    expect(silent).toMatch(/^ +4 +gw-a \(no answer\) +1\.5/m);
    const stale = await status((target, value) =>
      target === 'host-w' ? shard(value, 4, { owner: 'gw-b', epoch: (1n << 32n) | 4n }) : value,
    );
    expect(stale).toContain("host-w: disagrees: it believes shard 4 to be gw-b's, epoch 1.4");
    expect(stale).toMatch(/^ +4 +gw-a +1\.5/m);
    const two = await status((target, value) => (target === 'gw-b' ? shard(value, 4, { forwards: true }) : value));
    expect(two).toContain("gw-b: forwards for shard 4, too, which is gw-a's");
    const closed = await status((target, value) => (target === 'gw-a' ? shard(value, 4, { forwards: false, state: 'asking' }) : value));
    expect(closed).toMatch(/^ +4 +gw-a \(does not forward\) .*gw-a asking, gw-b standby/m);
    const nobody = await status((_, value) => shard(value, 4, { owner: '', epoch: 0n, forwards: false, state: 'none' }));
    expect(nobody).toMatch(/^ +4 +nobody +- +- +\d/m);
    const alarm = { code: 'no-owner', severity: 'critical', message: 'nobody serves shard 4', sinceMs: 5_000, count: 2 };
    const alarmed = await status((target, value) =>
      target === 'gw-a' ? { ...value, alarms: [{ gatewayId: value.groups[0]!.gatewayId, ...alarm }] } : value,
    );
    expect(alarmed).toContain('gw-a: critical no-owner (2 times), 5s: nobody serves shard 4');
  });

  it('drain asks for that member only: what others change of the gateway meanwhile stays', async () => {
    const world = made();
    const answer = answering(world);
    // Another operator is faster by a moment: the pool has grown since this command has read the gateway.
    const raced: Answerer = (target, command) => {
      if (command.kind === 'apply' || command.kind === 'drain')
        expect(world.apply(example.replace('203.0.113.16/28', '203.0.113.16-203.0.113.40')).rules).toEqual([]);
      return answer(target, command);
    };
    const { sent, out, err } = await run(['gateway', 'drain', 'edge', 'gw-b'], raced);
    expect(out).toBe('gw-b is being drained\n');
    expect(err).toBe('follow it with: weft gateway status edge\n');
    const gateway = () => world.gateways.get('edge')!.value;
    expect(gateway().pools[0]!.addresses).toContain('203.0.113.16-203.0.113.40');
    expect(gateway().members.map(({ drain }) => drain)).toEqual([false, true]);
    expect(sent).toContainEqual(['controller', { kind: 'drain', value: { gateway: 'edge', host: 'gw-b', drain: true } }]);
    expect((await run(['gateway', 'drain', 'edge', 'gw-b'], answer)).out).toBe('gw-b is being drained already\n');
    expect((await run(['gateway', 'drain', 'edge', 'gw-z'], answer)).err).toContain('its members are gw-a, gw-b');
    expect((await run(['gateway', 'drain', 'edge', 'gw-a'], answer)).err).toContain('no member of edge is left that is not drained');
    expect((await run(['gateway', 'undrain', 'edge', 'gw-b'], answer)).out).toBe('gw-b is active again\n');
    expect((await run(['gateway', 'undrain', 'edge', 'gw-b'], answer)).out).toBe('gw-b was not drained\n');
    expect(gateway().members.map(({ drain }) => drain)).toEqual([true, false]);
  });

  it('two that are drained at once are told that nobody is left, each by what stands after its own', async () => {
    const world = made();
    const answer = answering(world);
    const raced: Answerer = (target, command) => {
      if (command.kind === 'drain') world.drain({ gateway: 'edge', host: 'gw-a', drain: true });
      return answer(target, command);
    };
    expect((await run(['gateway', 'drain', 'edge', 'gw-b'], raced)).err).toContain('no member of edge is left that is not drained');
  });

  it('what changes a gateway tells so in JSON, too', async () => {
    const world = made();
    const answer = answering(world);
    const step: Answerer = (target, command) =>
      command.kind === 'gatewayStep' ? { kind: 'gatewayStep', value: { revision: 77 } } : answer(target, command);
    const json = async (...args: string[]): Promise<unknown> => JSON.parse((await run(['gateway', ...args, '--json'], step)).out);
    expect(await json('drain', 'edge', 'gw-b')).toEqual({ gateway: 'edge', host: 'gw-b', drain: true, changed: true });
    expect(await json('undrain', 'edge', 'gw-b')).toEqual({ gateway: 'edge', host: 'gw-b', drain: false, changed: true });
    expect(await json('move', 'edge', '1', '2', '--to', 'gw-b')).toEqual({ gateway: 'edge', shards: [1, 2], to: 'gw-b', revision: 77 });
    expect(await json('recover', 'edge')).toEqual({ gateway: 'edge', revision: 77 });
  });

  it('recover asks a controller to raise the incarnation', async () => {
    const world = made();
    const answer = answering(world);
    const { sent, out, err } = await run(['gateway', 'recover', 'edge'], (target, command) =>
      command.kind === 'gatewayStep' ? { kind: 'gatewayStep', value: { revision: 77 } } : answer(target, command),
    );
    expect(out).toBe('gateway edge begins anew: its assignment is at revision 77\n');
    expect(err).toContain('if the alarm configuration-unsettled stands there, run this once more');
    const gatewayId = world.gateways.get('edge')!.value.id;
    expect(sent.at(-1)).toEqual([
      'controller',
      { kind: 'gatewayStep', value: { gatewayId, assignmentRevision: 0, step: { kind: 'recover', value: {} } } },
    ]);
  });

  it('move asks a controller to make a member the preferred owner of shards', async () => {
    const world = made();
    const answer = answering(world);
    const asked = async (...words: string[]) =>
      await run(['gateway', 'move', ...words], (target, command) =>
        command.kind === 'gatewayStep' ? { kind: 'gatewayStep', value: { revision: 78 } } : answer(target, command),
      );
    const { sent, out } = await asked('edge', '17', '18', '--to', 'gw-b');
    expect(out).toBe('shards 17, 18 of edge go to gw-b\n');
    const gatewayId = world.gateways.get('edge')!.value.id;
    const move = { kind: 'move', value: { shards: [17, 18], to: 'gw-b' } };
    expect(sent.at(-1)).toEqual(['controller', { kind: 'gatewayStep', value: { gatewayId, assignmentRevision: 0, step: move } }]);
    expect((await asked('edge', '17', '17', '--to', 'gw-b')).out).toBe('shard 17 of edge goes to gw-b\n');
    for (const word of ['x', '1.5', '0', '1e1']) expect((await asked('edge', word, '--to', 'gw-b')).err).toContain(`"${word}" is no shard`);
    expect((await asked('edge', '17')).err).toContain('--to');
  });

  it('apply --force says so to the controller', async () => {
    const { sent } = await run(['apply', '-f', '-', '--force'], answering(made()), { stdin: example });
    expect(sent.map(([, command]) => command.kind === 'apply' && command.value.force)).toEqual([true]);
  });
});
