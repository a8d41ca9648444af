import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import {
  type Change,
  configKey,
  type Host,
  hostKey,
  mappingKey,
  type Port,
  type PortBinding,
  type Principal,
  type Role,
  TrustStore,
  type WeftRecord,
} from '../src/index.ts';

const key = (letter: string, kind: 'U' | 'N' | 'C' = 'U'): string => kind + letter.repeat(55);
const admin = key('A');
const second = key('B');
const tenantUser = key('D');
const controller = key('E', 'C');
const hostA = key('F', 'N');
const hostB = key('G', 'N');
const stranger = key('Z');
const rdid = '0b8f5e0a-0000-4000-8000-00000000000a';
const portId = '0b8f5e0a-0000-4000-8000-000000000001';

let revision = 0;
let trust: TrustStore;

const change = (bucket: Change['bucket'], at: string, after: WeftRecord | undefined): Change => ({
  bucket,
  key: at,
  tenant: '',
  replacesRevision: 0,
  operation: after === undefined ? 'delete' : 'put',
  before: undefined,
  after,
  authorKey: '',
  authorName: '',
  requestId: '',
  timeUnixMs: 0,
});
const principal = (publicKey: string, role: Role, name: string, tenants: string[] = []): Change => {
  const value: Principal = { key: publicKey, name, role, tenants };
  return change('config', configKey.principal(publicKey), { kind: 'principal', value });
};
const apply = (one: Change, signer: string) => trust.apply({ ...one, replacesRevision: revision }, signer, ++revision);
const host = (id: string, publicKey: string, providerAddress: string): Change => {
  const value: Host = {
    id,
    providerAddress,
    publicKey,
    encapsulations: ['vxlan'],
    engine: 'kernel',
    underlayMtu: 1500,
    version: '0',
    roles: ['host'],
    bootId: '',
    memories: [],
    externalLinks: [],
  };
  return change('hosts', hostKey(id), { kind: 'host', value });
};
const binding = (hostId: string, providerAddress: string): PortBinding => ({
  portId,
  routingDomainId: rdid,
  vsid: 4096,
  hostId,
  providerAddress,
  generation: 1,
  state: 'bound',
  device: 'tap0',
  deviceKind: 'tap',
  previousHostId: '',
  previousProviderAddress: '',
});
const bindingChange = (value: PortBinding): Change => change('mapping', mappingKey(rdid, 4096, portId), { kind: 'binding', value });
const port = (placement: Port['placement']): Port => ({
  id: portId,
  tenant: 'coke',
  network: 'net',
  routingDomainId: rdid,
  subnet: 'blue',
  vsid: 4096,
  name: 'a',
  mac: '02:00:00:00:00:01',
  addresses: ['10.0.0.5'],
  placement,
});

beforeEach(() => {
  revision = 0;
  trust = new TrustStore([admin]);
  apply(principal(controller, 'controller', 'c1'), admin);
  apply(principal(tenantUser, 'tenant', 'dora', ['coke']), admin);
  apply(principal(hostA, 'host', 'host-a'), admin);
  apply(principal(hostB, 'host', 'host-b'), admin);
  apply(host('host-a', hostA, '192.0.2.1'), hostA);
  apply(host('host-b', hostB, '192.0.2.2'), hostB);
});

describe('TrustStore', () => {
  it('without anchors trusts nobody', () => {
    const empty = new TrustStore([]);
    empty.apply(principal(stranger, 'admin', 'mallory'), stranger, 1);
    expect(empty.roleOf(stranger)).toBe('deny');
    expect(empty.mayAct(stranger, 'coke', 'read')?.code).toBe('WEFT_ERR_TRUST_UNKNOWN_KEY');
  });

  it('gives the same answers in whatever order the records come', () => {
    const records: [Change, string, number][] = [
      [principal(second, 'admin', 'second'), admin, 1],
      [principal(controller, 'controller', 'c1'), second, 2],
      [principal(hostA, 'host', 'host-a'), second, 3],
      [host('host-a', hostA, '192.0.2.1'), hostA, 1],
      [principal(stranger, 'admin', 'mallory'), stranger, 4],
    ];
    fc.assert(
      fc.property(fc.shuffledSubarray(records, { minLength: records.length }), (shuffled) => {
        const one = new TrustStore([admin]);
        for (const [record, signer, at] of shuffled) one.apply(record, signer, at);
        expect([one.roleOf(second), one.roleOf(controller), one.roleOf(stranger)]).toEqual(['admin', 'controller', 'deny']);
        expect(one.host('host-a')?.providerAddress).toBe('192.0.2.1');
      }),
    );
  });

  it('does not let a stranger displace a principal or a host, nor make itself one', () => {
    expect(apply(principal(controller, 'deny', 'c1'), stranger)?.code).toBe('WEFT_ERR_TRUST_ROLE');
    expect(apply(change('config', configKey.principal(controller), undefined), stranger)?.code).toBe('WEFT_ERR_TRUST_ROLE');
    expect(apply(principal(tenantUser, 'admin', 'dora'), tenantUser)?.code).toBe('WEFT_ERR_TRUST_ROLE');
    expect(apply(host('host-a', stranger, '192.0.2.66'), stranger)?.code).toBe('WEFT_ERR_TRUST_UNKNOWN_KEY');
    expect(apply(host('host-a', hostB, '192.0.2.66'), hostB)?.code).toBe('WEFT_ERR_TRUST_HOST');
    expect([trust.roleOf(controller), trust.roleOf(tenantUser), trust.host('host-a')?.providerAddress]).toEqual([
      'controller',
      'tenant',
      '192.0.2.1',
    ]);
  });

  it('forgets with an admin what only that admin vouched for, and older revisions change nothing', () => {
    apply(principal(second, 'admin', 'second'), admin);
    apply(principal(stranger, 'viewer', 'vera'), second);
    expect(trust.roleOf(stranger)).toBe('viewer');
    apply(change('config', configKey.principal(second), undefined), admin);
    expect(trust.roleOf(stranger)).toBe('deny');
    trust.apply(principal(second, 'admin', 'second'), admin, 1);
    expect(trust.roleOf(second)).toBe('deny');
  });

  it('refuses an old record put again: who was removed stays out', () => {
    const granted = { ...principal(hostB, 'host', 'host-b'), replacesRevision: revision };
    expect(trust.apply(granted, admin, ++revision)).toBeUndefined();
    const old = { ...host('host-b', hostB, '192.0.2.2'), replacesRevision: revision };
    expect(trust.apply(old, hostB, ++revision)).toBeUndefined();
    expect(apply(host('host-b', hostB, '192.0.2.22'), hostB)).toBeUndefined();
    expect(trust.apply(old, hostB, ++revision)?.code).toBe('WEFT_ERR_TRUST_KEY');
    expect(trust.host('host-b')?.providerAddress).toBe('192.0.2.22');
    expect(apply(change('config', configKey.principal(hostB), undefined), admin)).toBeUndefined();
    expect(trust.apply(granted, admin, ++revision)?.code).toBe('WEFT_ERR_TRUST_KEY');
    expect(trust.roleOf(hostB)).toBe('deny');
  });

  it('sweeps what a snapshot lacks', () => {
    trust.sweep('principal', new Set([hostA]), revision);
    expect([trust.roleOf(controller), trust.roleOf(hostA)]).toEqual(['deny', 'host']);
    trust.sweep('host', new Set(), revision);
    expect(trust.hosts()).toEqual([]);
  });

  it('mayWrite() lets controllers write configuration, hosts their own bindings, admins principals', () => {
    const network = change('config', configKey.port(rdid, portId), { kind: 'port', value: port({ mode: 'any', hosts: [] }) });
    expect(trust.mayWrite(network, controller)).toBeUndefined();
    expect(trust.mayWrite(network, admin)?.code).toBe('WEFT_ERR_TRUST_ROLE');
    expect(trust.mayWrite(network, hostA)?.code).toBe('WEFT_ERR_TRUST_ROLE');
    expect(trust.mayWrite(network, stranger)?.code).toBe('WEFT_ERR_TRUST_UNKNOWN_KEY');
    expect(trust.mayWrite({ ...network, key: configKey.port(rdid, '0b8f5e0a-0000-4000-8000-000000000002') }, controller)?.code).toBe(
      'WEFT_ERR_TRUST_KEY',
    );
    expect(trust.mayWrite(bindingChange(binding('host-a', '192.0.2.1')), hostA)).toBeUndefined();
    expect(trust.mayWrite(bindingChange(binding('host-a', '192.0.2.1')), hostB)?.code).toBe('WEFT_ERR_TRUST_HOST');
    expect(trust.mayWrite(bindingChange(binding('host-a', '192.0.2.2')), hostA)?.code).toBe('WEFT_ERR_TRUST_HOST');
    expect(trust.mayWrite(bindingChange(binding('host-a', '192.0.2.1')), controller)?.code).toBe('WEFT_ERR_TRUST_ROLE');
    expect(trust.mayWrite(principal(stranger, 'viewer', 'v'), controller)?.code).toBe('WEFT_ERR_TRUST_ROLE');
  });

  it('mayBind() refuses hosts that placement leaves out; deny, unknown port and an empty list refuse all', () => {
    const mine = binding('host-a', '192.0.2.1');
    expect(trust.mayBind(mine, hostA, port({ mode: 'any', hosts: [] }))).toBeUndefined();
    expect(trust.mayBind(mine, hostA, port({ mode: 'list', hosts: ['host-a'] }))).toBeUndefined();
    for (const placement of [
      { mode: 'list', hosts: ['host-b'] },
      { mode: 'list', hosts: [] },
      { mode: 'deny', hosts: ['host-a'] },
    ] as const) {
      expect(trust.mayBind(mine, hostA, port(placement))?.code).toBe('WEFT_ERR_TRUST_PLACEMENT');
    }
    expect(trust.mayBind(mine, hostA, undefined)?.code).toBe('WEFT_ERR_TRUST_PLACEMENT');
    expect(trust.mayBind(mine, hostA, { ...port({ mode: 'any', hosts: [] }), vsid: 4097 })?.code).toBe('WEFT_ERR_TRUST_PLACEMENT');
  });

  it('mayAct() and mayAnswer() go by role and tenant', () => {
    expect(trust.mayAct(tenantUser, 'coke', 'write')).toBeUndefined();
    expect(trust.mayAct(tenantUser, 'pepsi', 'read')?.code).toBe('WEFT_ERR_TRUST_TENANT');
    expect(trust.mayAct(tenantUser, '', 'read')?.code).toBe('WEFT_ERR_TRUST_TENANT');
    expect(trust.mayAct(hostA, 'coke', 'read')?.code).toBe('WEFT_ERR_TRUST_ROLE');
    expect(trust.mayAnswer('controller', controller)).toBeUndefined();
    expect(trust.mayAnswer('controller', hostA)?.code).toBe('WEFT_ERR_TRUST_ROLE');
    expect(trust.mayAnswer('host-a', hostA)).toBeUndefined();
    expect(trust.mayAnswer('host-a', hostB)?.code).toBe('WEFT_ERR_TRUST_ROLE');
  });
});
