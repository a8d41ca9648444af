import type { AuditMessage, AuditStream } from '@weft/bus';
import { type AuditRecord, auditCodec, subjects, WeftError } from '@weft/model';
import type { AuditNamer } from './names.ts';
import { type AuditEntry, auditId, readAuditMessage } from './record.ts';

/** Appends a record; once, however often it is called within an hour. `duplicate`: it stood there already. */
export async function appendAudit(
  stream: AuditStream,
  record: AuditRecord,
): Promise<{ readonly sequence: number; readonly duplicate: boolean }> {
  return await stream.append(subjects.audit(record.bucket), auditId(record), auditCodec.encode(record));
}

export interface AuditFilter {
  /** Tenant name. */
  readonly tenant?: string;
  /** Begin of the resource's name, with or without kind: `Port coke/net`, `coke/net/web1`. */
  readonly resource?: string;
  /** Unix ms: not before. */
  readonly sinceMs?: number;
  /** Puts names to ids; without it, `resource` finds a binding by its ids only. */
  readonly namer?: AuditNamer;
}

const WINDOW = 500;

/**
 * The latest records that match, oldest first. Reads backwards, so a long past costs nothing. What can't be read is left out and told to `onBad`.
 * @param options.limit Default 100.
 */
export async function listAudit(
  stream: AuditStream,
  options: AuditFilter & { readonly limit?: number; readonly onBad?: (sequence: number, error: WeftError) => void } = {},
): Promise<AuditEntry[]> {
  const limit = options.limit ?? 100;
  const found: AuditEntry[] = [];
  const seen = new Set<string>();
  let end = await stream.lastSequence();
  while (end > 0 && found.length < limit) {
    const start = Math.max(1, end - WINDOW + 1);
    const window = await stream.read({ fromSequence: start, limit: end - start + 1 });
    let tooOld = window.length > 0;
    for (const message of [...window].reverse()) {
      if (message.sequence > end) continue;
      const entry = read(message, options.onBad);
      if (entry === undefined) continue;
      // Writers' clocks differ a little: only a whole window of older ones ends the search.
      tooOld &&= options.sinceMs !== undefined && entry.record.timeUnixMs < options.sinceMs;
      const id = auditId(entry.record);
      if (found.length >= limit || seen.has(id)) continue;
      const match = await matching(entry, options);
      if (match === undefined) continue;
      seen.add(id);
      found.push(match);
    }
    if (tooOld) break;
    end = start - 1;
  }
  return found.reverse();
}

/**
 * Records as they are appended, without end.
 * @param options.past Tell also this many of the latest before. Default 0.
 */
export async function* tailAudit(
  stream: AuditStream,
  options: AuditFilter & {
    readonly signal: AbortSignal;
    readonly past?: number;
    readonly onBad?: (sequence: number, error: WeftError) => void;
  },
): AsyncGenerator<AuditEntry> {
  const last = await stream.lastSequence();
  const seen = new Set<string>();
  const isNew = (entry: AuditEntry): boolean => {
    const id = auditId(entry.record);
    if (seen.has(id)) return false;
    seen.add(id);
    // Duplicates come close together; a follower may run for months.
    if (seen.size > 10_000) seen.delete(seen.values().next().value!);
    return true;
  };
  if ((options.past ?? 0) > 0) {
    for (const entry of await listAudit(stream, { ...options, limit: options.past! }))
      if (entry.sequence <= last && isNew(entry)) yield entry;
  }
  for await (const message of stream.follow({ fromSequence: last + 1, signal: options.signal })) {
    const entry = read(message, options.onBad);
    const match = entry === undefined ? undefined : await matching(entry, options);
    if (match !== undefined && isNew(match)) yield match;
  }
}

function read(message: AuditMessage, onBad: ((sequence: number, error: WeftError) => void) | undefined): AuditEntry | undefined {
  try {
    return readAuditMessage(message);
  } catch (error) {
    if (!(error instanceof WeftError)) throw error;
    onBad?.(message.sequence, error);
    return undefined;
  }
}

/** The entry, with its names, if it is one of those wanted. */
async function matching(entry: AuditEntry, { tenant, resource, sinceMs, namer }: AuditFilter): Promise<AuditEntry | undefined> {
  const { record } = entry;
  if (sinceMs !== undefined && record.timeUnixMs < sinceMs) return undefined;
  const names = await namer?.namesOf(record);
  if (tenant !== undefined && record.tenant !== tenant && names?.tenant !== tenant) return undefined;
  if (resource !== undefined) {
    const calls = [record.resource, ...(names === undefined ? [] : [names.resource])].flatMap((text) => [
      text,
      text.slice(text.indexOf(' ') + 1),
    ]);
    if (!calls.some((text) => text === resource || text.startsWith(`${resource}/`))) return undefined;
  }
  return names === undefined ? entry : { ...entry, names };
}
