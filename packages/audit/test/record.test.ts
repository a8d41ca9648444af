import { createIdentity, readEntry, signEnvelope } from '@weft/bus';
import { auditCodec, type Change, changeCodec, configKey, type Port, type WeftRecord } from '@weft/model';
import { describe, expect, it } from 'vitest';
import { auditId, auditRecordOf, changedFields, describeAudit, readAuditMessage } from '../src/index.ts';

const controller = createIdentity('controller');
const port: Port = {
  id: '0b8f5e0a-0000-4000-8000-000000000001',
  tenant: 'coke',
  network: 'net',
  routingDomainId: '0b8f5e0a-0000-4000-8000-00000000000a',
  subnet: 'blue',
  vsid: 4096,
  name: 'web1',
  mac: '02:00:00:00:00:01',
  addresses: ['10.0.0.4'],
  placement: { mode: 'any', hosts: [] },
};

function entryOf(before: WeftRecord | undefined, after: WeftRecord | undefined, key: string) {
  const change: Change = {
    bucket: 'config',
    key,
    tenant: 'coke',
    replacesRevision: before === undefined ? 0 : 41,
    operation: after === undefined ? 'delete' : 'put',
    before,
    after,
    authorKey: 'U',
    authorName: 'alice',
    requestId: 'request-1',
    timeUnixMs: 1_700_000_000_000,
  };
  return readEntry('config', { key, revision: 42, value: signEnvelope(controller, 'change', changeCodec.encode(change)) });
}
const key = configKey.port(port.routingDomainId, port.id);
const record = (value: Port): WeftRecord => ({ kind: 'port', value });

describe('auditRecordOf()', () => {
  it('projects who, when, what and the fields, and reads back from the stream', () => {
    const audit = auditRecordOf('config', entryOf(record(port), record({ ...port, addresses: ['10.0.0.5'] }), key), 1_600_000_000_000)!;
    expect(auditId(audit)).toBe('config.1600000000000.42');
    const entry = readAuditMessage({ sequence: 1, id: auditId(audit), value: auditCodec.encode(audit) });
    expect(entry.record).toEqual(audit);
    expect(entry.fields).toEqual([{ path: 'addresses', before: '10.0.0.4', after: '10.0.0.5' }]);
    expect(describeAudit(entry)).toBe('2023-11-14T22:13:20.000Z alice updated Port coke/net/web1: addresses 10.0.0.4 → 10.0.0.5');
  });

  it('says created, updated and deleted', () => {
    const operation = (before: WeftRecord | undefined, after: WeftRecord | undefined) =>
      auditRecordOf('config', entryOf(before, after, key), 1)?.operation;
    expect([operation(undefined, record(port)), operation(record(port), record(port)), operation(record(port), undefined)]).toEqual([
      'created',
      'updated',
      'deleted',
    ]);
  });

  it('tells what a network has of a gateway resource by resource', () => {
    const rule = {
      name: 'www',
      kind: 'static',
      source: '',
      externalAddress: 'www',
      pool: '',
      poolId: 0,
      customerAddress: '10.0.0.4',
      protocol: 'none',
      firstPort: 0,
      lastPort: 0,
      customerPort: 0,
    } as const;
    const gateway = { gatewayId: 'g', gateway: 'edge', shard: 4, addresses: [], ownPool: 5, connections: [], externalAddresses: [] };
    const network = (address: string): WeftRecord => ({
      kind: 'network',
      value: {
        id: port.routingDomainId,
        tenant: 'coke',
        name: 'net',
        networkId: 7,
        subnets: [],
        routes: [],
        gateway: { ...gateway, natRules: [{ ...rule, customerAddress: address }] },
      },
    });
    expect(changedFields(network('10.0.0.4'), network('10.0.0.5'))).toEqual([
      {
        path: 'natRules.www',
        before: '{static: {externalAddress: www, address: 10.0.0.4}}',
        after: '{static: {externalAddress: www, address: 10.0.0.5}}',
      },
    ]);
  });

  it('leaves out claims, intents and tombstones of nothing', () => {
    const claim: WeftRecord = { kind: 'claim', value: { owner: port.id, ownerKey: key, requestId: 'request-1' } };
    expect(auditRecordOf('config', entryOf(undefined, claim, configKey.vsidClaim(4096)), 1)).toBeUndefined();
    expect(auditRecordOf('config', entryOf(undefined, undefined, key), 1)).toBeUndefined();
  });
});

describe('readAuditMessage()', () => {
  it('refuses a record whose envelope was tampered with', () => {
    const audit = auditRecordOf('config', entryOf(undefined, record(port), key), 1)!;
    const envelope = audit.envelope.slice();
    envelope[envelope.length - 1]! ^= 1;
    expect(() => readAuditMessage({ sequence: 1, id: '', value: auditCodec.encode({ ...audit, envelope }) })).toThrow(
      /signature does not hold/,
    );
  });
});
