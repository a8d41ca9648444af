import type { AuditMessage, RecordEntry } from '@weft/bus';
import { openChange } from '@weft/bus';
import {
  type AuditRecord,
  auditCodec,
  type BucketName,
  connectionSpecView,
  diffFields,
  externalAddressSpecView,
  type FieldChange,
  gatewaySpecView,
  natRuleSpecView,
  networkSpecView,
  portSpecView,
  resourceName,
  routeSpecView,
  subnetSpecView,
  type VirtualNetwork,
  type WeftRecord,
} from '@weft/model';
import type { AuditNames } from './names.ts';

// An audit record is a projection of a committed change: everything in it stands in the signed change, so whoever reads the bucket can
// make it, and making it twice makes the same.

/**
 * The audit record of a bucket entry. Undefined for claims and intents: they are steps of a change, not changes, and for tombstones
 * that replaced nothing.
 */
export function auditRecordOf(bucket: BucketName, entry: RecordEntry, bucketCreatedUnixMs: number): AuditRecord | undefined {
  const { change } = entry;
  const record = change.after ?? change.before;
  if (record === undefined || record.kind === 'claim' || record.kind === 'intent') return undefined;
  return {
    bucket,
    key: entry.key,
    revision: entry.revision,
    bucketCreatedUnixMs,
    tenant: change.tenant,
    authorKey: change.authorKey,
    authorName: change.authorName,
    requestId: change.requestId,
    timeUnixMs: change.timeUnixMs,
    operation: change.operation === 'delete' ? 'deleted' : change.before === undefined ? 'created' : 'updated',
    resource: resourceName(record),
    envelope: entry.envelope,
  };
}

/** The message id under which it stands once: `config.1700000000000.42`. */
export function auditId(record: Pick<AuditRecord, 'bucket' | 'bucketCreatedUnixMs' | 'revision'>): string {
  return `${record.bucket}.${record.bucketCreatedUnixMs}.${record.revision}`;
}

/** One audit record as listed. */
export interface AuditEntry {
  /** Position in the stream. */
  readonly sequence: number;
  readonly record: AuditRecord;
  /** What changed, field by field, from the signed change. */
  readonly fields: readonly FieldChange[];
  /** For the ids in the record; where it was asked for, and they are known. */
  readonly names?: AuditNames;
}

/** @throws {WeftError} When the message, or the change inside, can't be read or its signature does not hold. */
export function readAuditMessage(message: AuditMessage): AuditEntry {
  const record = auditCodec.decode(message.value);
  const { change } = openChange(record.envelope);
  return { sequence: message.sequence, record, fields: changedFields(change.before, change.after) };
}

/** The fields in which two states of a record differ, in a manifest's words where it has a manifest. */
export function changedFields(before: WeftRecord | undefined, after: WeftRecord | undefined): FieldChange[] {
  return diffFields('', before && view(before), after && view(after));
}

function view(record: WeftRecord): object {
  switch (record.kind) {
    case 'network': {
      const { networkId, subnets } = record.value;
      const named = Object.fromEntries(subnets.map((subnet) => [`subnets.${subnet.name}`, subnetSpecView(subnet)]));
      return { ...networkSpecView(record.value), networkId, ...named, ...gatewayPart(record.value) };
    }
    case 'port':
      return { ...portSpecView(record.value), vsid: record.value.vsid };
    case 'gateway':
      return gatewaySpecView(record.value);
    case 'grant': {
      const { epoch, config, kind, candidate, round } = record.value.certificate.ballot;
      return { owner: candidate, epoch: `${epoch >> 32n}.${epoch & 0xffff_ffffn}`, kind, config, round };
    }
    case 'intent':
      return { requestId: record.value.requestId };
    default:
      return record.value;
  }
}

/** What a network has of a gateway, resource by resource. */
function gatewayPart(network: VirtualNetwork): object {
  const routes = network.routes.filter(({ name }) => name !== undefined).map((route) => [`routes.${route.name}`, routeSpecView(route)]);
  const of = network.gateway;
  if (of === undefined) return Object.fromEntries(routes);
  return Object.fromEntries([
    ...routes,
    ['gateway', of.gateway],
    ['shard', of.shard],
    ...of.connections.map((one) => [`connections.${one.name}`, connectionSpecView(network, one)]),
    ...of.externalAddresses.map((one) => [`externalAddresses.${one.name}`, externalAddressSpecView(one)]),
    ...of.natRules.map((one) => [`natRules.${one.name}`, natRuleSpecView(one)]),
  ]);
}

/** One line for people: `2026-11-22T10:00:00.000Z alice updated Port coke/net/web1: addresses 10.0.0.4 → 10.0.0.5`. */
export function describeAudit(entry: AuditEntry): string {
  const { record } = entry;
  const time = new Date(record.timeUnixMs).toISOString();
  const author = record.authorName === '' ? record.authorKey : record.authorName;
  const details = auditDetails(entry)
    .map(({ path, before, after }) => `${path} ${before === '' ? '(none)' : before} → ${after === '' ? '(none)' : after}`)
    .join(', ');
  return `${time} ${author} ${record.operation} ${entry.names?.resource ?? record.resource}${details === '' ? '' : `: ${details}`}`;
}

/** The fields worth a person's look: what differs; of a new binding, where it is. */
export function auditDetails({ record, fields }: AuditEntry): readonly FieldChange[] {
  if (record.operation === 'updated') return fields;
  if (record.bucket !== 'mapping' || record.operation !== 'created') return [];
  return fields.filter(({ path }) => path === 'hostId' || path === 'device');
}
