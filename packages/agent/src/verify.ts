import { type Entry, type RecordEntry, readEntry } from '@weft/bus';
import { type BucketName, generationRefusal, type ParsedKey, parseKey, placementRefusal, type TrustStore, WeftError } from '@weft/model';
import type { NetworkRecord, NetworkView, RecordPosition } from '@weft/tables';

/** A record judged: what the fold takes, or why it is refused. */
export type Judged =
  | { readonly ok: true; readonly record: NetworkRecord; readonly entry: RecordEntry }
  | {
      readonly ok: false;
      readonly position: RecordPosition;
      readonly code: string;
      readonly reason: string /** A fresher look at principals and hosts may cure it. */;
      readonly curable: boolean;
    };

const CURABLE = new Set(['WEFT_ERR_TRUST_UNKNOWN_KEY', 'WEFT_ERR_TRUST_HOST', 'WEFT_ERR_TRUST_ROLE']);

/**
 * Judges a record of one network before it is applied: shape, signature, place, signer's role, provider address, generation, placement, replay.
 *
 * One signature verification. Never throws on what others wrote.
 *
 * @param view What is known already: for placement (also judged per row, as the port may come later), and against replays.
 */
export function judge(bucket: BucketName, createdUnixMs: number, entry: Entry, trust: TrustStore, view: NetworkView): Judged {
  const position = { bucket, key: entry.key, revision: entry.revision, bucketCreatedUnixMs: createdUnixMs };
  const refuse = (code: string, reason: string): Judged => ({ ok: false, position, code, reason, curable: CURABLE.has(code) });
  const parsed = parseKey(bucket, entry.key);
  if (parsed === undefined || !belongs(parsed, view.routingDomainId)) {
    return refuse(
      'WEFT_ERR_TRUST_KEY',
      `Cannot accept the record under ${bucket} ${entry.key}: not a key of network ${view.routingDomainId}`,
    );
  }
  try {
    const read = readEntry(bucket, entry);
    const refusal = trust.mayWrite(read.change, read.signer) ?? refuseClaim(read, parsed, trust, view) ?? refuseReplay(read, view, bucket);
    if (refusal !== undefined) return refuse(refusal.code, refusal.message);
    const record = toNetworkRecord(read, parsed, position);
    return record === undefined
      ? refuse('WEFT_ERR_TRUST_KEY', `Cannot accept the record under ${bucket} ${entry.key}: of another kind than its key`)
      : { ok: true, record, entry: read };
  } catch (error) {
    if (error instanceof WeftError) return refuse(error.code, error.message);
    throw error;
  }
}

/** A record that was verified when it was first seen, read back from this host's own disk. */
export function recall(bucket: BucketName, createdUnixMs: number, entry: Entry, routingDomainId: string): NetworkRecord | undefined {
  const parsed = parseKey(bucket, entry.key);
  if (parsed === undefined || !belongs(parsed, routingDomainId)) return undefined;
  const position = { bucket, key: entry.key, revision: entry.revision, bucketCreatedUnixMs: createdUnixMs };
  return toNetworkRecord(readEntry(bucket, entry), parsed, position);
}

/** As `recall`; what can't be read any more is read from the store instead. */
export function recallQuietly(...from: Parameters<typeof recall>): NetworkRecord | undefined {
  try {
    return recall(...from);
  } catch {
    return undefined;
  }
}

function belongs(parsed: ParsedKey, rdid: string): boolean {
  return (parsed.kind === 'network' || parsed.kind === 'port' || parsed.kind === 'binding') && parsed.routingDomainId === rdid;
}

function toNetworkRecord(read: RecordEntry, parsed: ParsedKey, position: RecordPosition): NetworkRecord | undefined {
  const { record } = read;
  if (record !== undefined && record.kind !== parsed.kind) return undefined;
  switch (parsed.kind) {
    case 'network':
      return { kind: 'network', ...position, value: record?.kind === 'network' ? record.value : undefined };
    case 'port':
      return { kind: 'port', portId: parsed.portId, ...position, value: record?.kind === 'port' ? record.value : undefined };
    case 'binding':
      return { kind: 'binding', portId: parsed.portId, ...position, value: record?.kind === 'binding' ? record.value : undefined };
    default:
      return undefined;
  }
}

/** A host speaks for itself only: it may not place a port that it may not have, nor delete or release another's binding. */
function refuseClaim(read: RecordEntry, parsed: ParsedKey, trust: TrustStore, view: NetworkView): WeftError | undefined {
  if (parsed.kind !== 'binding') return undefined;
  const known = view.binding(parsed.portId);
  const value = read.record?.kind === 'binding' ? read.record.value : undefined;
  if (value !== undefined) {
    const impossible = generationRefusal(value, read.revision);
    if (impossible !== undefined) return impossible;
    const port = view.port(parsed.portId);
    return port === undefined ? undefined : placementRefusal(value, port);
  }
  const author = trust.principal(read.signer)?.name;
  if (known === undefined || known.state !== 'bound' || known.hostId === author) return undefined;
  return new WeftError(
    'WEFT_ERR_TRUST_HOST',
    `Cannot accept the deletion of the binding of port ${parsed.portId} by host ${author}: host ${known.hostId} has the port`,
  );
}

/** An old envelope put again, or announced with a made-up revision, replaces something older than what is known. */
function refuseReplay(read: RecordEntry, view: NetworkView, bucket: BucketName): WeftError | undefined {
  const held = view.position(bucket, read.key);
  if (held === undefined || read.revision <= held.revision || read.change.replacesRevision >= held.revision) return undefined;
  return new WeftError(
    'WEFT_ERR_TRUST_KEY',
    `Cannot accept the record under ${bucket} ${read.key} at revision ${read.revision}: it was signed to replace revision ${read.change.replacesRevision}, ${held.revision} stands there; an old record put again`,
  );
}
