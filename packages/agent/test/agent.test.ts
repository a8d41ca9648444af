import { createIdentity } from '@weft/bus';
import { TargetKind } from '@weft/forwarding';
import { configKey } from '@weft/model';
import { parseIp, parseMac } from '@weft/packet';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Host, Lab, network, paOf, port, portId, RDID } from './harness.ts';

let lab: Lab;
beforeEach(async () => {
  lab = new Lab();
  await lab.init();
  for (const n of [1, 2, 3]) await lab.putPort(n);
});
afterEach(() => lab.close());

const lookup = (host: Host, n: number) => host.datapath.tables.lookup(7, parseIp(`192.0.2.${n + 10}`));
const l2 = (host: Host, n: number) => host.datapath.tables.l2(5001, parseMac(port(n).mac));
const codes = (host: Host) => host.agent.conditions.map((condition) => condition.code);
const status = async (host: Host) => {
  const { result } = await lab.ask(host, { kind: 'status', value: {} });
  if (result?.kind !== 'status') throw new Error('no status');
  return result.value;
};

describe('bind', () => {
  it('makes TAP, program, claim and rows; the other host of the network sees it', async () => {
    const [a, b] = [await lab.host('host-a'), await lab.host('host-b')];
    const first = await lab.bind(a, 1);
    expect(first.problems).toEqual([]);
    expect(first.result).toMatchObject({
      kind: 'bindPort',
      value: { mtuBytes: 1450, binding: { hostId: 'host-a', generation: 1, providerAddress: paOf('host-a') } },
    });
    expect((await lab.bind(b, 2)).problems).toEqual([]);
    await lab.settle(300);
    const tap = a.devices.present.get('tap1')!;
    expect(a.datapath.attached.has(tap.ifindex)).toBe(true);
    expect(a.devices.protectedNames.has('tap1')).toBe(true);
    expect(a.datapath.tables.port(tap.ifindex)).toMatchObject({ flags: 1, mtuBytes: 1450, networkId: 7 });
    expect(lookup(a, 1)).toMatchObject({ kind: TargetKind.LOCAL, ifindexOrShard: tap.ifindex });
    expect(lookup(a, 2)).toMatchObject({ kind: TargetKind.PEER, pa: parseIp(paOf('host-b')) });
    expect(lookup(b, 1)).toMatchObject({ kind: TargetKind.PEER, pa: parseIp(paOf('host-a')) });
    for (const host of [a, b]) expect(await lab.consistency(host)).toMatchObject({ consistent: true, differences: [] });
  });

  it('attaches the program before the port entry says READY, and says it last', async () => {
    const a = await lab.host('host-a');
    await lab.bind(a, 1);
    const ready = a.datapath.history.findIndex(
      (change) => change.op === 'put' && change.table === 'port' && (change.value.flags & 1) === 1,
    );
    const rows = a.datapath.history.findIndex((change) => change.op === 'put' && change.table === 'lookup');
    expect(ready).toBeGreaterThan(rows);
    expect(a.datapath.attachedBeforeReady).toBe(true);
  });

  it('uses the end of a veth that is there, and is idempotent', async () => {
    const a = await lab.host('host-a');
    const veth = a.devices.add('vm1', 'veth');
    const bind = () => lab.bind(a, 1, { device: 'vm1', deviceKind: 'netdev' });
    expect((await bind()).problems).toEqual([]);
    expect(a.datapath.tables.port(veth.ifindex)?.flags).toBe(3);
    const before = a.datapath.history.length;
    expect((await bind()).result).toMatchObject({ value: { binding: { generation: 1 } } });
    expect(a.datapath.history.length).toBe(before);
    expect(lab.store.buckets.mapping.sequence).toBe(1);
  });

  it('takes an acknowledgement that was lost for what it was', async () => {
    const a = await lab.host('host-a');
    a.bus.writeFault = 'unknown-but-written';
    expect((await lab.bind(a, 1)).result).toMatchObject({ value: { binding: { generation: 1 } } });
    expect(lab.store.buckets.mapping.sequence).toBe(1);
  });

  it('says so when the outcome stays unknown, and takes the port up once it is seen to be written', async () => {
    const a = await lab.host('host-a');
    a.bus.writeFault = 'lost';
    const { problems } = await lab.bind(a, 1);
    expect(problems[0]?.code).toBe('WEFT_ERR_AGENT_UNKNOWN_OUTCOME');
    a.bus.writeFault = 'none';
    expect((await lab.bind(a, 1)).problems).toEqual([]);
    expect(lookup(a, 1)?.kind).toBe(TargetKind.LOCAL);
  });

  it('moves a port to another device of the same host', async () => {
    const a = await lab.host('host-a');
    await lab.bind(a, 1);
    const old = a.devices.present.get('tap1')!;
    expect((await lab.bind(a, 1, { device: 'tapx' })).result).toMatchObject({
      value: { binding: { generation: 2, device: 'tapx', previousHostId: '' } },
    });
    expect(a.devices.present.has('tap1')).toBe(false);
    expect(a.datapath.tables.port(old.ifindex)).toBeUndefined();
    expect(lookup(a, 1)?.ifindexOrShard).toBe(a.devices.present.get('tapx')!.ifindex);
  });
});

describe('refusals name value, rule and what to do, and leave nothing behind', () => {
  const refused = async (host: Host, code: string, answer: ReturnType<Lab['bind']>): Promise<void> => {
    const { problems, result } = await answer;
    expect(problems.map((problem) => problem.code)).toEqual([code]);
    expect(problems[0]!.rule.length).toBeGreaterThan(20);
    expect(result).toBeUndefined();
    expect(host.datapath.entries('port')).toEqual([]);
    expect([...host.datapath.attached]).toEqual([]);
    expect([...host.devices.present.values()].filter((device) => device.isTap)).toEqual([]);
    expect(lab.store.buckets.mapping.values.size).toBeLessThanOrEqual(1);
  };

  it('unknown network, unknown port', async () => {
    const a = await lab.host('host-a');
    await refused(a, 'WEFT_ERR_AGENT_NO_SUCH_NETWORK', lab.bind(a, 1, { rdid: '22222222-2222-4222-8222-222222222222' }));
    await refused(a, 'WEFT_ERR_AGENT_NO_SUCH_PORT', lab.bind(a, 99, { device: 'tap99' }));
  });

  it('device missing, of another kind, badly named, or of another port', async () => {
    const a = await lab.host('host-a');
    await refused(a, 'WEFT_ERR_AGENT_DEVICE_MISSING', lab.bind(a, 1, { device: 'nope', deviceKind: 'netdev' }));
    a.devices.add('eth9', 'veth');
    await refused(a, 'WEFT_ERR_AGENT_DEVICE_KIND', lab.bind(a, 1, { device: 'eth9' }));
    await refused(a, 'WEFT_ERR_AGENT_DEVICE_NAME', lab.bind(a, 1, { device: '../../etc/passwd' }));
    await lab.bind(a, 1, { device: 'eth9', deviceKind: 'netdev' });
    expect((await lab.bind(a, 2, { device: 'eth9', deviceKind: 'netdev' })).problems[0]?.code).toBe('WEFT_ERR_AGENT_DEVICE_IN_USE');
  });

  it("the host's own devices", async () => {
    const a = await lab.host('host-a', { init: { reservedDevices: ['eth0'] } });
    a.devices.add('eth0', 'tap');
    a.devices.add('br0', 'tap', false, 'it has the address 192.0.2.200');
    await refused(a, 'WEFT_ERR_AGENT_DEVICE_RESERVED', lab.bind(a, 1, { device: 'eth0', deviceKind: 'netdev' }));
    await refused(a, 'WEFT_ERR_AGENT_DEVICE_RESERVED', lab.bind(a, 1, { device: 'br0', deviceKind: 'netdev' }));
    expect(a.devices.protectedNames.size).toBe(0);
  });

  it('placement', async () => {
    const a = await lab.host('host-a');
    await lab.putPort(1, { placement: { mode: 'list', hosts: ['host-z'] } });
    await refused(a, 'WEFT_ERR_AGENT_PLACEMENT', lab.bind(a, 1));
    await lab.putPort(1, { placement: { mode: 'deny', hosts: [] } });
    await refused(a, 'WEFT_ERR_AGENT_PLACEMENT', lab.bind(a, 1));
  });

  it('bound elsewhere without a move; generation not the expected one', async () => {
    const [a, b] = [await lab.host('host-a'), await lab.host('host-b')];
    await lab.bind(a, 1);
    await refused(b, 'WEFT_ERR_AGENT_BOUND_ELSEWHERE', lab.bind(b, 1));
    await refused(b, 'WEFT_ERR_AGENT_GENERATION', lab.bind(b, 1, { move: true, expectedGeneration: 5 }));
    expect(lookup(a, 1)?.kind).toBe(TargetKind.LOCAL);
  });

  it('NATS down, host not admitted, VSID not claimed', async () => {
    const a = await lab.host('host-a');
    a.bus.setConnected(false);
    await refused(a, 'WEFT_ERR_AGENT_NATS_DOWN', lab.bind(a, 1));
    const z = await lab.host('host-z', { admit: false });
    expect(codes(z)).toContain('NOT_ADMITTED');
    await refused(z, 'WEFT_ERR_AGENT_NOT_ADMITTED', lab.bind(z, 1));
    await lab.admit('host-z', z.identity);
    await lab.settle(3_000);
    expect(codes(z)).toEqual([]);
    expect((await lab.bind(z, 1)).problems).toEqual([]);
    lab.store.buckets.config.values.delete(configKey.vsidClaim(5001));
    const b = await lab.host('host-b');
    expect((await lab.bind(b, 2)).problems[0]?.code).toBe('WEFT_ERR_AGENT_VSID_CLAIM');
    expect(codes(b)).toContain('VSID_CLAIM');
    expect(b.datapath.tables.subnet(5001)).toBeUndefined();
  });

  it('strangers, viewers and tenants of others', async () => {
    const a = await lab.host('host-a');
    const [stranger, tenant] = [createIdentity('user'), createIdentity('user')];
    const admit = (tenants: string[]) =>
      lab.commit(
        'config',
        configKey.principal(tenant.publicKey),
        { kind: 'principal', value: { key: tenant.publicKey, name: 'joe', role: 'tenant', tenants } },
        lab.admin,
      );
    await admit(['pepsi']);
    const b = await lab.host('host-b');
    await refused(a, 'WEFT_ERR_TRUST_UNKNOWN_KEY', lab.bind(a, 1, { signer: stranger.publicKey }));
    await refused(b, 'WEFT_ERR_TRUST_TENANT', lab.bind(b, 1, { signer: tenant.publicKey }));
    expect((await lab.ask(b, { kind: 'status', value: {} }, tenant.publicKey)).problems[0]?.code).toBe('WEFT_ERR_TRUST_TENANT');
    await admit(['coke']);
    const c = await lab.host('host-c');
    expect((await lab.bind(c, 1, { signer: tenant.publicKey })).problems).toEqual([]);
    expect((await lab.ask(c, { kind: 'mappings', value: { routingDomainId: RDID } }, tenant.publicKey)).problems).toEqual([]);
    expect((await lab.ask(c, { kind: 'mappings', value: { routingDomainId: '' } }, tenant.publicKey)).problems[0]?.code).toBe(
      'WEFT_ERR_TRUST_TENANT',
    );
  });

  it('a device that can not be made ready', async () => {
    const a = await lab.host('host-a');
    a.datapath.attachFault = new Error('verifier says no');
    await refused(a, 'WEFT_ERR_AGENT_DEVICE_SETUP', lab.bind(a, 1));
    expect(lab.store.buckets.mapping.sequence).toBe(0);
  });
});

describe('move', () => {
  it('redirects at the former host, keeps it as second home elsewhere, and tidies up after the window', async () => {
    const [a, b, c] = [await lab.host('host-a'), await lab.host('host-b'), await lab.host('host-c')];
    await lab.bind(a, 1);
    await lab.bind(c, 3);
    await lab.bind(a, 2);
    await lab.settle(300);
    const moved = await lab.bind(b, 1, { device: 'tapb', move: true });
    expect(moved.result).toMatchObject({
      value: { binding: { generation: 2, previousHostId: 'host-a', previousProviderAddress: paOf('host-a') } },
    });
    await lab.settle(50);
    expect(lookup(a, 1)).toMatchObject({ kind: TargetKind.REDIRECT, pa: parseIp(paOf('host-b')), generation: 2n });
    expect(l2(a, 1)?.kind).toBe(TargetKind.REDIRECT);
    expect(a.devices.present.has('tap1')).toBe(false);
    expect(lookup(c, 1)).toMatchObject({ kind: TargetKind.PEER, pa: parseIp(paOf('host-b')), prevPa: parseIp(paOf('host-a')) });
    expect(lookup(b, 1)).toMatchObject({ kind: TargetKind.LOCAL, prevPa: parseIp(paOf('host-a')) });
    await lab.settle(61_000);
    expect(lookup(a, 1)?.kind).toBe(TargetKind.PEER);
    expect(lookup(c, 1)?.prevUntilBootNs).toBe(0n);
    for (const host of [a, b, c]) expect((await lab.consistency(host)).differences).toEqual([]);
  });

  it('leaves a TAP that a VM holds, silent, and removes it when the VM lets go', async () => {
    const [a, b] = [await lab.host('host-a'), await lab.host('host-b')];
    await lab.bind(a, 1);
    await lab.settle(300);
    const { ifindex } = a.devices.present.get('tap1')!;
    a.devices.held.add('tap1');
    await lab.bind(b, 1, { device: 'tapb', move: true });
    await lab.settle(2_000);
    expect(a.datapath.tables.port(ifindex)).toBeUndefined();
    expect(a.datapath.attached.has(ifindex)).toBe(true);
    expect(codes(a)).toContain('DEVICE_HELD');
    a.devices.held.clear();
    await lab.settle(2_000);
    expect(a.devices.present.has('tap1')).toBe(false);
    expect([...a.datapath.attached]).toEqual([]);
    expect(codes(a)).toEqual([]);
  });

  it('is prepared without a claim: device and tables are there, the port is not READY', async () => {
    const [a, b] = [await lab.host('host-a'), await lab.host('host-b')];
    await lab.bind(a, 1);
    const prepare = { routingDomainId: RDID, portId: portId(1), device: 'tapb', deviceKind: 'tap' as const };
    expect((await lab.ask(b, { kind: 'preparePort', value: prepare })).problems).toEqual([]);
    const { ifindex } = b.devices.present.get('tapb')!;
    expect(b.datapath.tables.port(ifindex)?.flags).toBe(0);
    expect(lookup(b, 1)?.kind).toBe(TargetKind.PEER);
    expect(lookup(a, 1)?.kind).toBe(TargetKind.LOCAL);
    await lab.bind(b, 1, { device: 'tapb', move: true });
    expect(b.datapath.tables.port(ifindex)?.flags).toBe(1);
  });

  it('back and forth leaves the port where the last claim says, on every host', async () => {
    const hosts = [await lab.host('host-a'), await lab.host('host-b'), await lab.host('host-c')];
    await lab.bind(hosts[2]!, 3);
    for (let i = 0; i < 7; i++) {
      expect((await lab.bind(hosts[i % 2]!, 1, { move: true })).problems).toEqual([]);
      await lab.settle(lab.random() * 400);
    }
    await lab.settle(2_000);
    expect(lookup(hosts[0]!, 1)).toMatchObject({ kind: TargetKind.LOCAL, generation: 7n });
    expect(lookup(hosts[1]!, 1)).toMatchObject({ kind: TargetKind.REDIRECT, pa: parseIp(paOf('host-a')) });
    expect(lookup(hosts[2]!, 1)).toMatchObject({ kind: TargetKind.PEER, pa: parseIp(paOf('host-a')) });
    for (const host of hosts) expect((await lab.consistency(host)).differences).toEqual([]);
  });
});

describe('unbind', () => {
  it('takes the port entry first, then the device, and tells the others', async () => {
    const [a, b] = [await lab.host('host-a'), await lab.host('host-b')];
    await lab.bind(a, 1);
    await lab.bind(b, 2);
    await lab.settle(300);
    const from = a.datapath.history.length;
    expect((await lab.unbind(a, 1)).problems).toEqual([]);
    await lab.settle(50);
    expect(a.datapath.history[from]).toMatchObject({ op: 'delete', table: 'port' });
    expect(a.devices.present.size).toBe(0);
    expect(a.datapath.attached.size).toBe(0);
    expect(lookup(b, 1)).toBeUndefined();
    expect((await lab.unbind(a, 1)).problems[0]?.code).toBe('WEFT_ERR_AGENT_NOT_BOUND_HERE');
    expect((await lab.bind(b, 1)).result).toMatchObject({ value: { binding: { generation: 2, previousHostId: '' } } });
  });

  it('goes on with a release that NATS interrupted', async () => {
    const a = await lab.host('host-a');
    await lab.bind(a, 1);
    a.bus.writeFault = 'lost';
    expect((await lab.unbind(a, 1)).problems[0]?.code).toBe('WEFT_ERR_AGENT_UNKNOWN_OUTCOME');
    expect(a.datapath.entries('port')).toEqual([]);
    expect((await status(a)).portStatus).toMatchObject([{ state: 'releasing' }]);
    a.bus.writeFault = 'none';
    await lab.settle(3_000);
    expect((await status(a)).portStatus).toEqual([]);
    expect((await lab.bind(a, 1)).result).toMatchObject({ value: { binding: { generation: 2 } } });
  });
});

describe('devices', () => {
  it('that vanish lose their row at once, and get it back when they return under another index', async () => {
    const a = await lab.host('host-a');
    const first = a.devices.add('vm1', 'veth');
    await lab.bind(a, 1, { device: 'vm1', deviceKind: 'netdev' });
    a.devices.present.delete('vm1');
    await lab.settle(1_500);
    expect(a.datapath.entries('port')).toEqual([]);
    expect(codes(a)).toContain('DEVICE_MISSING');
    expect((await status(a)).portStatus).toMatchObject([{ state: 'device-missing' }]);
    const second = a.devices.add('vm1', 'veth');
    await lab.settle(1_500);
    expect(second.ifindex).not.toBe(first.ifindex);
    expect(a.datapath.tables.port(second.ifindex)?.flags).toBe(3);
    expect([...a.datapath.attached]).toEqual([second.ifindex]);
    expect(codes(a)).toEqual([]);
  });
});

describe('answers', () => {
  it('status, mappings, drops', async () => {
    const a = await lab.host('host-a');
    await lab.bind(a, 1);
    expect(await status(a)).toMatchObject({
      hostId: 'host-a',
      natsState: 'connected',
      networks: 1,
      ports: 1,
      mappings: 1,
      conditions: [],
      portStatus: [{ state: 'bound', generation: 1, device: 'tap1' }],
    });
    const mappings = await lab.ask(a, { kind: 'mappings', value: { routingDomainId: RDID } });
    expect(mappings.result).toMatchObject({
      value: { mappings: [{ customerAddress: '192.0.2.11', kind: 'local', device: 'tap1', mac: port(1).mac, generation: 1 }] },
    });
    const { ifindex } = a.devices.present.get('tap1')!;
    a.datapath.counters = [
      {
        ifindex,
        vsid: 5001,
        reason: 7,
        packets: 3n,
        bytes: 180n,
        lastBootNs: BigInt(Math.round((lab.clock.now() - 40) * 1e6)),
        sample: Uint8Array.of(1, 2),
      },
    ];
    const drops = await lab.ask(a, { kind: 'drops', value: {} });
    expect(drops.result).toMatchObject({
      value: { counters: [{ device: 'tap1', portId: portId(1), reason: 7, packets: 3, lastMsAgo: 40 }] },
    });
    expect((await lab.ask(a, { kind: 'apply', value: { resources: [], dryRun: true } })).problems[0]?.code).toBe('WEFT_ERR_AGENT_COMMAND');
  });

  it('consistency tells a row that was changed behind the agent’s back', async () => {
    const a = await lab.host('host-a');
    await lab.bind(a, 1);
    expect((await lab.consistency(a)).consistent).toBe(true);
    a.datapath.tables.apply([{ op: 'delete', table: 'subnet', key: { vsid: 5002 } }]);
    const { consistent, differences } = await lab.consistency(a);
    expect(consistent).toBe(false);
    expect(differences[0]).toContain('subnet/5002');
  });
});

describe('networks', () => {
  it('are left some time after their last port, with a zero digest until then', async () => {
    const [a, b] = [await lab.host('host-a'), await lab.host('host-b')];
    await lab.bind(a, 1);
    await lab.bind(b, 2);
    await lab.unbind(a, 1);
    lab.store.digests.length = 0;
    await lab.settle(60_000);
    expect(lab.store.digests.some(({ from, digest }) => from === 'host-a' && digest.zero)).toBe(true);
    expect(lab.store.digests.some(({ from, digest }) => from === 'host-b' && digest.zero)).toBe(false);
    expect(lookup(a, 2)).toBeDefined();
    await lab.settle(600_000);
    expect(a.datapath.entries()).toEqual([]);
    expect((await status(a)).networks).toBe(0);
  });

  it('follow the document: new subnets with their claims, routes, deletion', async () => {
    const a = await lab.host('host-a');
    await lab.bind(a, 1);
    await lab.putNetwork(
      network({ subnets: [...network().subnets, { name: 'red', vsid: 5003, prefixes: ['192.0.2.128/26'], gateways: ['192.0.2.129'] }] }),
    );
    await lab.settle(500);
    expect(a.datapath.tables.subnet(5003)).toMatchObject({ networkId: 7 });
    await lab.commit('config', configKey.network(RDID), undefined);
    await lab.settle(50);
    expect(a.datapath.entries()).toEqual([]);
  });
});
