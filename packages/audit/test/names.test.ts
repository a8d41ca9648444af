import { type AuditStream, type Bucket, createIdentity, readEntry, signEnvelope } from '@weft/bus';
import {
  auditCodec,
  type BucketName,
  type Change,
  changeCodec,
  configKey,
  mappingKey,
  type Port,
  type PortBinding,
  type WeftRecord,
} from '@weft/model';
import { describe, expect, it } from 'vitest';
import { auditId, auditRecordOf, createAuditNamer, describeAudit, listAudit, tailAudit } from '../src/index.ts';

// Bindings in the audit have the ids of port and network. Their names come from the config bucket: also from the tombstone of a port deleted since.

const identity = createIdentity('controller');
const rdid = '0b8f5e0a-0000-4000-8000-00000000000a';
const port = (name: string, last: number): Port => ({
  id: `0b8f5e0a-0000-4000-8000-00000000000${last}`,
  tenant: 'coke',
  network: 'net',
  routingDomainId: rdid,
  subnet: 'blue',
  vsid: 4096,
  name,
  mac: `02:00:00:00:00:0${last}`,
  addresses: [`10.0.0.${last}`],
  placement: { mode: 'any', hosts: [] },
});
const [web1, gone, forgotten] = [port('web1', 1), port('gone', 2), port('forgotten', 3)];
const binding = ({ id }: Port, hostId: string, generation = 1): PortBinding => ({
  portId: id,
  routingDomainId: rdid,
  vsid: 4096,
  hostId,
  providerAddress: '192.0.2.1',
  generation,
  state: 'bound',
  device: 'tap0',
  deviceKind: 'tap',
  previousHostId: '',
  previousProviderAddress: '',
});

let revision = 0;
function entry(bucket: BucketName, key: string, before: WeftRecord | undefined, after: WeftRecord | undefined) {
  const change: Change = {
    bucket,
    key,
    tenant: 'coke',
    replacesRevision: before === undefined ? 0 : revision,
    operation: after === undefined ? 'delete' : 'put',
    before,
    after,
    authorKey: identity.publicKey,
    authorName: 'alice',
    requestId: 'request-1',
    timeUnixMs: 1_700_000_000_000,
  };
  return readEntry(bucket, { key, revision: ++revision, value: signEnvelope(identity, 'change', changeCodec.encode(change)) });
}
const portKey = ({ id }: Port): string => configKey.port(rdid, id);
const config = new Map(
  [
    entry('config', portKey(web1), undefined, { kind: 'port', value: web1 }),
    entry('config', portKey(gone), { kind: 'port', value: gone }, undefined),
  ].map((made) => [made.key, made]),
);
let reads = 0;
const bucket = {
  name: 'config',
  async get(key: string) {
    reads++;
    const found = config.get(key);
    return found && { key, revision: found.revision, value: found.envelope };
  },
} as unknown as Bucket;

const bound = (of: Port, before: PortBinding | undefined, after: PortBinding) =>
  auditRecordOf(
    'mapping',
    entry('mapping', mappingKey(rdid, 4096, of.id), before && { kind: 'binding', value: before }, { kind: 'binding', value: after }),
    1,
  )!;
const messages = [
  bound(web1, undefined, binding(web1, 'host-a')),
  bound(web1, binding(web1, 'host-a'), binding(web1, 'host-b', 2)),
  bound(gone, undefined, binding(gone, 'host-a')),
  bound(forgotten, undefined, binding(forgotten, 'host-a')),
  auditRecordOf('config', config.get(portKey(web1))!, 1)!,
].map((record, i) => ({ sequence: i + 1, id: auditId(record), value: auditCodec.encode(record) }));
const stream = {
  lastSequence: async () => messages.length,
  read: async () => messages,
  async *follow() {},
} as unknown as AuditStream;

describe('createAuditNamer()', () => {
  it('names bindings of ports that are and that were; leaves ids where nobody remembers, and ids in the record', async () => {
    const list = await listAudit(stream, { namer: createAuditNamer(bucket) });
    expect(list.map(({ names }) => names?.resource)).toEqual([
      'PortBinding coke/net/web1',
      'PortBinding coke/net/web1',
      'PortBinding coke/net/gone',
      undefined,
      undefined,
    ]);
    expect(list[1]!.names).toEqual({ resource: 'PortBinding coke/net/web1', tenant: 'coke', network: 'net', port: 'web1', host: 'host-b' });
    expect(list[0]!.record.resource).toBe(`PortBinding ${rdid}/${web1.id}`);
    expect(list.map(describeAudit).map((line) => line.slice(line.indexOf('alice')))).toEqual([
      'alice created PortBinding coke/net/web1: hostId (none) → host-a, device (none) → tap0',
      'alice updated PortBinding coke/net/web1: hostId host-a → host-b, generation 1 → 2',
      'alice created PortBinding coke/net/gone: hostId (none) → host-a, device (none) → tap0',
      `alice created PortBinding ${rdid}/${forgotten.id}: hostId (none) → host-a, device (none) → tap0`,
      'alice created Port coke/net/web1',
    ]);
  });

  it('finds a port with its bindings by name, and still by ids', async () => {
    const sequences = async (resource: string) =>
      (await listAudit(stream, { resource, namer: createAuditNamer(bucket) })).map(({ sequence }) => sequence);
    expect(await sequences('coke/net/web1')).toEqual([1, 2, 5]);
    expect(await sequences('PortBinding coke/net')).toEqual([1, 2, 3]);
    expect(await sequences(rdid)).toEqual([1, 2, 3, 4]);
    expect(await sequences('coke/net/we')).toEqual([]);
  });

  it('reads a port once, however many of its bindings are told', async () => {
    reads = 0;
    const told: string[] = [];
    for await (const { names } of tailAudit(stream, { signal: new AbortController().signal, past: 100, namer: createAuditNamer(bucket) }))
      told.push(names?.port ?? '');
    expect([told.length, reads]).toEqual([5, 3]);
  });
});
