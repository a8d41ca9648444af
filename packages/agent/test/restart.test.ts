import { readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { TargetKind } from '@weft/forwarding';
import { parseIp, parseMac } from '@weft/packet';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Host, Lab, paOf, port, portId } from './harness.ts';

let lab: Lab;
let a: Host;
let b: Host;
beforeEach(async () => {
  lab = new Lab();
  await lab.init();
  for (const n of [1, 2, 3]) await lab.putPort(n);
  a = await lab.host('host-a');
  b = await lab.host('host-b');
  expect((await lab.bind(a, 1)).problems).toEqual([]);
  expect((await lab.bind(b, 2)).problems).toEqual([]);
  await lab.settle(1_000);
});
afterEach(() => lab.close());

const lookup = (host: Host, n: number) => host.datapath.tables.lookup(7, parseIp(`192.0.2.${n + 10}`));
const codes = (host: Host) => host.agent.conditions.map((condition) => condition.code);

/** A row that no record explains, as an agent leaves behind that was killed half-way. */
function putStale(host: Host): void {
  const mac = parseMac('02:00:00:00:00:77');
  host.datapath.tables.apply([
    {
      op: 'put',
      table: 'lookup',
      key: { networkId: 7, ca: parseIp('192.0.2.55') },
      value: {
        mac,
        kind: TargetKind.PEER,
        flags: 0,
        vsid: 5001,
        ifindexOrShard: 0,
        pa: parseIp('198.51.100.9'),
        prevPa: new Uint8Array(16),
        prevUntilBootNs: 0n,
        generation: 3n,
      },
    },
    { op: 'put', table: 'speaker', key: { pa: parseIp('198.51.100.9'), networkId: 7 }, value: 1 },
  ]);
}

describe('a restarted agent', () => {
  it('starts the packet path, where it has only the tables yet, before it restores networks and attaches devices', async () => {
    lab.kill(a);
    a.datapath.attached.clear();
    const seen: object[] = [];
    const startDatapath = (): void => {
      seen.push({ attached: a.datapath.attached.size, networks: Object.keys(a.agent.networkCounters()).length });
    };
    await lab.startAgent(a, { startDatapath, connected: false });
    expect(seen).toEqual([{ attached: 0, networks: 0 }]);
    expect(a.datapath.attached.size).toBe(1);
    expect(Object.keys(a.agent.networkCounters())).toHaveLength(1);
  });

  it('whose packet path does not start loses nothing of what was saved', async () => {
    lab.kill(a);
    const refusal = new Error('a program is refused');
    const failing = lab.startAgent(a, {
      startDatapath: () => {
        throw refusal;
      },
    });
    await expect(failing).rejects.toThrow(refusal);
    await a.agent.stop();
    await lab.startAgent(a, { connected: false });
    expect(Object.keys(a.agent.networkCounters())).toHaveLength(1);
    expect(a.datapath.attached.size).toBe(1);
  });

  it('changes no row that is right, after a kill and after a stop', async () => {
    for (const end of ['kill', 'stop'] as const) {
      const rows = a.datapath.entries();
      if (end === 'kill') lab.kill(a);
      else await a.agent.stop();
      a.datapath.history.length = 0;
      await lab.startAgent(a);
      await lab.settle(2_000);
      expect(a.datapath.history).toEqual([]);
      expect(a.datapath.entries()).toEqual(rows);
      expect(a.agent.ready).toBe(true);
      expect((await lab.consistency(a)).differences).toEqual([]);
    }
  });

  it('cuts no port off whose device can not be taken up at once; but not for ever', async () => {
    const rows = a.datapath.entries();
    const { ifindex } = a.devices.present.get('tap1')!;
    lab.kill(a);
    putStale(a);
    a.datapath.history.length = 0;
    a.datapath.attachFault = new Error('ip: timed out');
    await lab.startAgent(a);
    await lab.settle(5_000);
    expect(a.agent.ready).toBe(true);
    expect(codes(a)).toContain('DEVICE_MISSING');
    expect(a.datapath.entries()).toEqual(rows);
    expect(a.datapath.attached.has(ifindex)).toBe(true);
    a.datapath.attachFault = undefined;
    await lab.settle(40_000);
    expect(a.datapath.entries()).toEqual(rows);
    expect(codes(a)).toEqual([]);
    expect((await lab.consistency(a)).differences).toEqual([]);

    lab.kill(a);
    a.datapath.attachFault = new Error('ip: timed out');
    await lab.startAgent(a);
    await lab.settle(400_000);
    expect(a.datapath.entries('port')).toEqual([]);
    expect(a.datapath.attached.has(ifindex)).toBe(false);
  });

  it('removes stale rows and devices only once the store has been seen', async () => {
    lab.kill(a);
    putStale(a);
    a.datapath.attached.add(99);
    await lab.startAgent(a, { connected: false });
    await lab.settle(20_000);
    expect(a.datapath.tables.lookup(7, parseIp('192.0.2.55'))).toBeDefined();
    expect(a.datapath.attached.has(99)).toBe(true);
    expect(codes(a)).toContain('NATS_DISCONNECTED');
    a.bus.setConnected(true);
    await lab.settle(1_000);
    expect(a.datapath.tables.lookup(7, parseIp('192.0.2.55'))).toBeUndefined();
    expect(a.datapath.tables.speaker(parseIp('198.51.100.9'), 7)).toBeUndefined();
    expect(a.datapath.attached.has(99)).toBe(false);
    expect(lookup(a, 1)?.kind).toBe(TargetKind.LOCAL);
  });

  it('without NATS still describes and re-asserts its ports, also on a packet path that is empty', async () => {
    await lab.settle(6_000);
    lab.kill(a);
    const wanted = a.datapath.entries();
    a.datapath.tables.apply(wanted.map(({ table, key }) => ({ op: 'delete', table, key }) as never));
    a.datapath.attached.clear();
    a.devices.present.clear();
    await lab.startAgent(a, { connected: false });
    await lab.settle(1_000);
    const { ifindex } = a.devices.present.get('tap1')!;
    expect(a.datapath.tables.port(ifindex)?.flags).toBe(1);
    expect(lookup(a, 1)).toMatchObject({ kind: TargetKind.LOCAL, ifindexOrShard: ifindex });
    expect(lookup(a, 2)).toMatchObject({ kind: TargetKind.PEER, pa: parseIp(paOf('host-b')) });
    const { result } = await lab.ask(a, { kind: 'status', value: {} });
    expect(result).toMatchObject({
      value: { natsState: 'disconnected', mappings: 2, portStatus: [{ portId: portId(1), state: 'bound', generation: 1 }] },
    });
  });

  it('learns what happened meanwhile: a port lost, one deleted, another moved', async () => {
    await lab.bind(a, 3);
    await a.agent.stop();
    await lab.bind(b, 1, { move: true });
    await lab.unbind(b, 2);
    await lab.settle(500);
    await lab.startAgent(a);
    await lab.settle(2_000);
    expect(lookup(a, 1)).toMatchObject({ kind: TargetKind.REDIRECT, pa: parseIp(paOf('host-b')) });
    expect(lookup(a, 2)).toBeUndefined();
    expect(lookup(a, 3)?.kind).toBe(TargetKind.LOCAL);
    expect(a.devices.present.has('tap1')).toBe(false);
    expect((await lab.consistency(a)).differences).toEqual([]);
  });

  it('never puts an older target in place of a newer one while it has not seen the store', async () => {
    await lab.settle(6_000);
    await a.agent.stop();
    const newer = { ...lookup(a, 2)!, pa: parseIp('198.51.100.3'), generation: 9n };
    a.datapath.tables.apply([{ op: 'put', table: 'lookup', key: { networkId: 7, ca: parseIp('192.0.2.12') }, value: newer }]);
    await lab.startAgent(a, { connected: false });
    await lab.settle(3_000);
    expect(lookup(a, 2)?.generation).toBe(9n);
    a.bus.setConnected(true);
    await lab.settle(1_000);
    expect(lookup(a, 2)?.generation).toBe(1n);
  });

  it('that lost its state finds its ports in the store', async () => {
    await a.agent.stop();
    rmSync(a.stateDirectory, { recursive: true, force: true });
    a.datapath.history.length = 0;
    await lab.startAgent(a);
    await lab.settle(2_000);
    expect(a.datapath.history.filter((change) => change.op === 'delete')).toEqual([]);
    expect(lookup(a, 1)?.kind).toBe(TargetKind.LOCAL);
    expect((await lab.unbind(a, 1)).problems).toEqual([]);
    expect(a.devices.present.size).toBe(0);
  });

  it('with damaged files says so and asks the store', async () => {
    await a.agent.stop();
    for (const file of readdirSync(a.stateDirectory)) writeFileSync(join(a.stateDirectory, file), '{"format":1,"ports":');
    a.datapath.history.length = 0;
    await lab.startAgent(a);
    expect(lab.logs.some((log) => log.fields.condition === 'STATE_NOT_SAVED' && String(log.fields.reason).includes('state.json'))).toBe(
      true,
    );
    await lab.settle(2_000);
    expect(a.datapath.history).toEqual([]);
    expect(lookup(a, 1)?.kind).toBe(TargetKind.LOCAL);
  });

  it('with its records lost, but not its ports, leaves the packet path alone until it has seen the store', async () => {
    await lab.settle(6_000);
    await a.agent.stop();
    for (const file of readdirSync(a.stateDirectory)) if (file.startsWith('network-')) truncateSync(join(a.stateDirectory, file), 30);
    a.datapath.history.length = 0;
    await lab.startAgent(a, { connected: false });
    await lab.settle(5_000);
    expect(a.datapath.history).toEqual([]);
    a.bus.setConnected(true);
    await lab.settle(2_000);
    expect(a.datapath.history).toEqual([]);
    expect((await lab.consistency(a)).differences).toEqual([]);
  });

  it('keeps move windows over a restart on the same boot', async () => {
    await lab.bind(b, 1, { move: true, device: 'tapb' });
    await lab.settle(10_000);
    const until = lookup(b, 1)!.prevUntilBootNs;
    expect(until).toBeGreaterThan(0n);
    await b.agent.stop();
    await lab.startAgent(b);
    await lab.settle(500);
    expect(lookup(b, 1)?.prevUntilBootNs).toBe(until);
    await lab.settle(60_000);
    expect(lookup(b, 1)?.prevUntilBootNs).toBe(0n);
  });

  it('with another provider address claims its ports anew', async () => {
    await a.agent.stop();
    await lab.startAgent(a, { init: { providerAddress: '198.51.100.77' } });
    await lab.settle(2_000);
    expect(lookup(b, 1)).toMatchObject({ kind: TargetKind.PEER, pa: parseIp('198.51.100.77'), generation: 2n });
    expect(lookup(a, 1)?.kind).toBe(TargetKind.LOCAL);
    expect(codes(a)).toEqual([]);
  });

  it('that is purged leaves nothing', async () => {
    await a.agent.stop({ purge: true });
    expect(a.datapath.destroyed).toBe(true);
    expect(a.devices.present.size).toBe(0);
    expect(lookup(b, 1)).toBeDefined();
    await lab.startAgent(a);
  });
});

describe('an agent that starts without NATS', () => {
  it('says so, waits, and takes part when NATS comes', async () => {
    const c = await lab.host('host-c', { connected: false });
    expect(codes(c)).toEqual(['NATS_DISCONNECTED']);
    await lab.settle(30_000);
    expect(codes(c)).toEqual(['NATS_DISCONNECTED']);
    c.bus.setConnected(true);
    await lab.settle(1_000);
    expect(codes(c)).toEqual([]);
    expect((await lab.bind(c, 3)).problems).toEqual([]);
    expect(lookup(c, 1)?.kind).toBe(TargetKind.PEER);
  });
});

describe('a packet path that refuses', () => {
  it('is tried again until it takes everything', async () => {
    a.datapath.fault = new Error('table full');
    await lab.putPort(2, { addresses: ['192.0.2.40'] });
    await lab.settle(300);
    expect(codes(a)).toContain('DATAPATH_FAILED');
    expect(a.datapath.tables.lookup(7, parseIp('192.0.2.40'))).toBeUndefined();
    a.datapath.fault = undefined;
    await lab.settle(40_000);
    expect(codes(a)).toEqual([]);
    expect(a.datapath.tables.lookup(7, parseIp('192.0.2.40'))?.mac).toEqual(parseMac(port(2).mac));
    expect((await lab.consistency(a)).differences).toEqual([]);
  });
});

describe('what is logged', () => {
  it('uses one vocabulary, and tells of a bind with port, network and generation', () => {
    const bound = lab.logs.find((log) => log.message === 'port bound');
    expect(bound?.fields).toMatchObject({ host: 'host-a', port: portId(1), generation: 1, device: 'tap1' });
    expect(typeof bound?.fields.revision).toBe('number');
  });
});
