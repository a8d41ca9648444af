import { openChange } from '@weft/bus';
import { type AuditRecord, auditCodec, type FieldChange, type WeftRecord } from '@weft/model';
import type { Session } from './session.ts';

/** An audit record with the fields that its change changed. */
export interface ListedAudit {
  readonly sequence: number;
  readonly record: AuditRecord;
  readonly fields: readonly FieldChange[];
}

const BATCH = 500;

/** All audit records, oldest first. */
export async function* readAudit(session: Session): AsyncGenerator<ListedAudit> {
  const { audit } = session.store;
  for (let fromSequence = 1; ; ) {
    const messages = await audit.read({ fromSequence, limit: BATCH });
    for (const message of messages) yield explain(message.sequence, message.value);
    const last = messages.at(-1);
    if (last === undefined || messages.length < BATCH) return;
    fromSequence = last.sequence + 1;
  }
}

/** Audit records as they are appended; with `past` those before, too. */
export async function* followAudit(
  session: Session,
  options: { readonly past: boolean; readonly signal: AbortSignal },
): AsyncGenerator<ListedAudit> {
  const { audit } = session.store;
  const fromSequence = options.past ? 1 : (await audit.lastSequence()) + 1;
  for await (const message of audit.follow({ fromSequence, signal: options.signal })) yield explain(message.sequence, message.value);
}

function explain(sequence: number, value: Uint8Array): ListedAudit {
  const record = auditCodec.decode(value);
  const { change } = openChange(record.envelope);
  return { sequence, record, fields: diffRecords(change.before, change.after) };
}

/** Fields that differ between two states of a record, as text; nested ones by path (`subnets[0].prefixes[0]`). */
export function diffRecords(before: WeftRecord | undefined, after: WeftRecord | undefined): FieldChange[] {
  const left = flatten(before?.value);
  const right = flatten(after?.value);
  const paths = [...new Set([...left.keys(), ...right.keys()])];
  return paths
    .map((path) => ({ path, before: left.get(path) ?? '', after: right.get(path) ?? '' }))
    .filter((field) => field.before !== field.after);
}

function flatten(value: unknown, path = '', into: Map<string, string> = new Map()): Map<string, string> {
  if (value instanceof Uint8Array) into.set(path, Buffer.from(value).toString('hex'));
  else if (Array.isArray(value)) for (const [i, item] of value.entries()) flatten(item, `${path}[${i}]`, into);
  else if (typeof value === 'object' && value !== null) {
    for (const [key, item] of Object.entries(value)) flatten(item, path === '' ? key : `${path}.${key}`, into);
  } else if (value !== undefined) into.set(path, String(value));
  return into;
}
