import {
  type CommittedRecord,
  changeCodec,
  committedCodec,
  type EnvelopeKind,
  envelopeCodec,
  envelopeKindNumbers,
  eventSubject,
  WeftError,
} from '@weft/model';
import type { Bucket, CommitInit, Entry, RecordEntry, VerifiedChange, WriteOutcome } from './api.ts';
import { type Identity, verifySignature } from './identity.ts';

// What is signed is the domain ("weft.v1.", the envelope's kind, ".") and then the payload's bytes as they travel: no re-encoding
// stands between what was signed and what is verified, and a signature for one kind is none for another.

const encoder = new TextEncoder();
const SIGNATURE_BYTES = 64;
/** Fields of `weft.v1.SignedEnvelope`, as they stand on the wire. */
const Tag = { kind: 0x08, signed: 0x12, keyId: 0x1a, signature: 0x22 } as const;

function domainOf(kind: EnvelopeKind): Uint8Array {
  return encoder.encode(`weft.v1.${envelopeKindNumbers[kind]}.`);
}

function signedBytes(kind: EnvelopeKind, payload: Uint8Array): Uint8Array {
  const domain = domainOf(kind);
  const bytes = new Uint8Array(domain.length + payload.length);
  bytes.set(domain);
  bytes.set(payload, domain.length);
  return bytes;
}

/**
 * Wraps a payload: the bytes of a SignedEnvelope, the same as `envelopeCodec` makes. In one piece of memory, with the payload copied once, as the owner of many new flows signs megabytes a second of
 * them: what is to be signed stands there with the domain in front of it, which the envelope's own beginning then takes the place of.
 */
export function signEnvelope(identity: Identity, kind: EnvelopeKind, payload: Uint8Array): Uint8Array {
  const domain = domainOf(kind);
  const keyId = encoder.encode(identity.publicKey);
  const head = [Tag.kind, ...varint(envelopeKindNumbers[kind]), ...(payload.length === 0 ? [] : [Tag.signed, ...varint(payload.length)])];
  const keyHead = [Tag.keyId, ...varint(keyId.length)];
  const signatureHead = [Tag.signature, ...varint(SIGNATURE_BYTES)];
  const from = Math.max(domain.length, head.length);
  const to = from + payload.length;
  const bytes = new Uint8Array(to + keyHead.length + keyId.length + signatureHead.length + SIGNATURE_BYTES);
  bytes.set(payload, from);
  bytes.set(domain, from - domain.length);
  const signature = identity.sign(bytes.subarray(from - domain.length, to));
  bytes.set(head, from - head.length);
  let at = to;
  for (const part of [keyHead, keyId, signatureHead, signature]) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes.subarray(from - head.length);
}

function varint(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 0x80; rest >>>= 7) bytes.push((rest & 0x7f) | 0x80);
  return [...bytes, rest];
}

/**
 * Unwraps an envelope whose signature holds. Who the signer is, and may, is not judged here.
 * @throws {WeftError} `WEFT_ERR_MODEL_DECODE`, or `WEFT_ERR_TRUST_SIGNATURE`: another kind, a key that is none, a signature that does not hold.
 */
export function openEnvelope(bytes: Uint8Array, kind: EnvelopeKind): { readonly payload: Uint8Array; readonly signer: string } {
  const envelope = envelopeCodec.decode(bytes);
  if (envelope.kind !== kind) {
    throw new WeftError(
      'WEFT_ERR_TRUST_SIGNATURE',
      `Cannot accept the envelope of ${envelope.keyId}: it holds a ${envelope.kind}, a ${kind} is wanted`,
      { signer: envelope.keyId },
    );
  }
  if (!verifySignature(envelope.keyId, signedBytes(kind, envelope.signed), envelope.signature)) {
    throw new WeftError(
      'WEFT_ERR_TRUST_SIGNATURE',
      `Cannot accept the ${kind} that names ${envelope.keyId.slice(0, 60)} as its signer: the signature does not hold`,
      {
        signer: envelope.keyId,
      },
    );
  }
  return { payload: envelope.signed, signer: envelope.keyId };
}

/** Reads a signed change. @throws As `openEnvelope`. */
export function openChange(envelope: Uint8Array): VerifiedChange {
  const { payload, signer } = openEnvelope(envelope, 'change');
  return { change: changeCodec.decode(payload), signer };
}

/**
 * Reads a bucket entry or an event: the signature holds, and the change is of that bucket, key and a lower revision.
 * Trust (may the signer write this?) is the caller's: `trust.mayWrite(entry.change, entry.signer)`.
 * @throws As `openEnvelope`, and `WEFT_ERR_TRUST_KEY` for a change that was signed for another place.
 */
export function readEntry(bucket: string, entry: Entry): RecordEntry {
  const { change, signer } = openChange(entry.value);
  if (change.bucket !== bucket || change.key !== entry.key || change.replacesRevision >= entry.revision) {
    throw new WeftError(
      'WEFT_ERR_TRUST_KEY',
      `Cannot accept the record under ${bucket} ${entry.key} at revision ${entry.revision}: it was signed for ${change.bucket} ${change.key} after revision ${change.replacesRevision}`,
      { bucket, key: entry.key, signer },
    );
  }
  return {
    change,
    signer,
    key: entry.key,
    revision: entry.revision,
    envelope: entry.value,
    record: change.operation === 'put' ? change.after : undefined,
  };
}

/** An event, read like a bucket entry. */
export function readCommitted(event: CommittedRecord): RecordEntry {
  return readEntry(event.bucket, { key: event.key, revision: event.revision, value: event.envelope });
}

/** Reads one key: undefined if nothing stands there; a tombstone is an entry whose `record` is undefined. @throws As `readEntry`. */
export async function getRecord(bucket: Pick<Bucket, 'name' | 'get'>, key: string): Promise<RecordEntry | undefined> {
  const entry = await bucket.get(key);
  return entry === undefined ? undefined : readEntry(bucket.name, entry);
}

/**
 * Commits a record: signs the change (with what stood there before), writes it by CAS, and announces it once acknowledged.
 * @returns The outcome; and the entry as committed, to go on from.
 */
export async function commitRecord(init: CommitInit): Promise<{ readonly outcome: WriteOutcome; readonly entry: RecordEntry | undefined }> {
  const { bus, bucket, identity, key, current, after } = init;
  const change = {
    bucket: bucket.name,
    key,
    tenant: init.tenant,
    replacesRevision: current?.revision ?? 0,
    operation: after === undefined ? ('delete' as const) : ('put' as const),
    before: current?.record,
    after,
    authorKey: init.authorKey,
    authorName: init.authorName,
    requestId: init.requestId,
    timeUnixMs: init.nowMs,
  };
  const envelope = signEnvelope(identity, 'change', changeCodec.encode(change));
  const outcome = await bucket.put(key, envelope, change.replacesRevision);
  if (outcome.status !== 'committed') return { outcome, entry: undefined };
  const { revision } = outcome;
  const entry: RecordEntry = { change, signer: identity.publicKey, key, revision, envelope, record: after };
  init.beforeAnnounce?.(entry);
  bus.publishCommitted({ bucket: bucket.name, key, revision, bucketCreatedUnixMs: bucket.bucketCreatedUnixMs, envelope });
  return { outcome, entry };
}

/** Subject and bytes of the event for a committed record; undefined where nobody listens. */
export function eventOf(record: CommittedRecord): { readonly subject: string; readonly bytes: Uint8Array } | undefined {
  const subject = eventSubject(record.bucket, record.key);
  return subject === undefined ? undefined : { subject, bytes: committedCodec.encode(record) };
}
