import { setTimeout as sleep } from 'node:timers/promises';
import { hasCode, WeftError } from '@weft/model';
import type { Link } from './link.ts';

// JetStream's JSON interface ($JS.API.…), as far as Weft uses it, written out: of each call one sees which server answers it (a
// stream's leader), what it may be refused with, and what of it nats-server 2.9.10 knows.

export interface StreamConfig {
  readonly name: string;
  readonly subjects: readonly string[];
  readonly retention: 'limits';
  readonly storage: 'file' | 'memory';
  readonly num_replicas: number;
  readonly discard: 'new' | 'old';
  readonly max_msgs: number;
  readonly max_bytes: number;
  /** ns; 0: for ever. */
  readonly max_age: number;
  readonly max_msgs_per_subject: number;
  readonly max_msg_size: number;
  readonly max_consumers: number;
  readonly duplicate_window: number;
  readonly deny_delete: boolean;
  readonly deny_purge: boolean;
  readonly allow_rollup_hdrs: boolean;
  readonly allow_direct: boolean;
}

export interface StreamInfo {
  /** RFC 3339 with nanoseconds. */
  readonly created: string;
  readonly config: StreamConfig;
  readonly state: { readonly messages: number; readonly first_seq: number; readonly last_seq: number; readonly consumer_count: number };
}

export interface StoredMessage {
  readonly subject: string;
  readonly sequence: number;
  readonly data: Uint8Array;
}

export const JsError = {
  StreamNotFound: 10059,
  StreamNameInUse: 10058,
  NoMessage: 10037,
  WrongLastSequence: 10071,
  ConsumerNotFound: 10014,
  NoPeers: 10005,
  SequenceNotFound: 10043,
} as const;

const encoder = new TextEncoder();
const decoder = new TextDecoder();
/** Wait between attempts of calls that may be repeated. */
const RETRY_MS = 100;

interface ApiError {
  readonly code: number;
  readonly err_code?: number;
  readonly description?: string;
}

/** @throws {WeftError} `WEFT_ERR_BUS_API` with `details.errCode`, and what `Link.request` throws. */
export async function callApi<T>(
  link: Link,
  subject: string,
  body: object | undefined,
  timeoutMs: number,
  signal?: AbortSignal,
): Promise<T> {
  const bytes = await link.request(`$JS.API.${subject}`, body === undefined ? new Uint8Array() : encoder.encode(JSON.stringify(body)), {
    timeoutMs,
    signal,
  });
  let answer: T & { readonly error?: ApiError };
  try {
    answer = JSON.parse(decoder.decode(bytes));
  } catch (error) {
    throw new WeftError('WEFT_ERR_BUS_API', `Cannot read the answer of $JS.API.${subject}`, { subject }, { cause: error });
  }
  if (answer.error !== undefined) {
    const { code, err_code: errCode, description } = answer.error;
    throw new WeftError('WEFT_ERR_BUS_API', `NATS refused ${subject}: ${description ?? 'no reason given'} (${errCode ?? code})`, {
      subject,
      code,
      errCode,
    });
  }
  return answer;
}

/** True for refusals by JetStream with that number. */
export function refusedWith(error: unknown, errCode: number): boolean {
  return hasCode(error, 'WEFT_ERR_BUS_API') && error.details.errCode === errCode;
}

/**
 * Repeats an idempotent call until it is answered: through reconnects, servers that start, streams between two leaders.
 * @throws {WeftError} `WEFT_ERR_BUS_DISCONNECTED` or `WEFT_ERR_BUS_TIMEOUT` at the deadline; every refusal at once.
 */
export async function insist<T>(
  link: Link,
  timeoutMs: number,
  signal: AbortSignal | undefined,
  call: (timeoutMs: number) => Promise<T>,
): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    signal?.throwIfAborted();
    const leftMs = deadline - performance.now();
    try {
      return await call(Math.max(50, Math.min(leftMs, link.requestTimeoutMs)));
    } catch (error) {
      if (!isTransient(error) || deadline - performance.now() < RETRY_MS) throw error;
    }
    if (link.state.state === 'connected') await sleep(RETRY_MS, undefined, { signal: anySignal(signal, link.closing) }).catch(() => {});
    else await whenConnectedWithin(link, deadline - performance.now(), signal);
  }
}

/** True for failures that may be over in a moment. */
export function isTransient(error: unknown): boolean {
  if (hasCode(error, 'WEFT_ERR_BUS_TIMEOUT') || hasCode(error, 'WEFT_ERR_BUS_DISCONNECTED') || hasCode(error, 'WEFT_ERR_BUS_NO_RESPONDER'))
    return true;
  // 503: no leader, JetStream starting. No peers: a cluster whose members have not met yet.
  return hasCode(error, 'WEFT_ERR_BUS_API') && (error.details.code === 503 || error.details.errCode === JsError.NoPeers);
}

/** Waits for a connection, at most that long; does not say whether it came. */
export async function whenConnectedWithin(link: Link, timeoutMs: number, signal?: AbortSignal): Promise<void> {
  const timer = AbortSignal.timeout(Math.max(1, Math.ceil(timeoutMs)));
  await link.whenConnected(anySignal(signal, timer)).catch((error: unknown) => {
    if (signal?.aborted || hasCode(error, 'WEFT_ERR_BUS_CLOSED')) throw error;
  });
}

function anySignal(first: AbortSignal | undefined, second: AbortSignal): AbortSignal {
  return first === undefined ? second : AbortSignal.any([first, second]);
}

export function streamInfo(link: Link, stream: string, timeoutMs: number, signal?: AbortSignal): Promise<StreamInfo> {
  return callApi<StreamInfo>(link, `STREAM.INFO.${stream}`, undefined, timeoutMs, signal);
}

/** The last message of a subject, from the stream's leader. Undefined if there is none. */
export async function lastMessage(
  link: Link,
  stream: string,
  subject: string,
  timeoutMs: number,
  signal?: AbortSignal,
): Promise<StoredMessage | undefined> {
  try {
    const { message } = await callApi<{ message: { subject: string; seq: number; data?: string } }>(
      link,
      `STREAM.MSG.GET.${stream}`,
      { last_by_subj: subject },
      timeoutMs,
      signal,
    );
    return { subject: message.subject, sequence: message.seq, data: new Uint8Array(Buffer.from(message.data ?? '', 'base64')) };
  } catch (error) {
    if (refusedWith(error, JsError.NoMessage)) return undefined;
    throw error;
  }
}

/** The first message of a subject at or after a sequence, through the stream's leader; undefined when there is none. */
export async function nextMessage(
  link: Link,
  stream: string,
  subject: string,
  fromSequence: number,
  timeoutMs: number,
): Promise<Pick<StoredMessage, 'sequence'> | undefined> {
  try {
    const { message } = await callApi<{ message: { seq: number } }>(
      link,
      `STREAM.MSG.GET.${stream}`,
      { seq: fromSequence, next_by_subj: subject },
      timeoutMs,
    );
    return { sequence: message.seq };
  } catch (error) {
    if (refusedWith(error, JsError.NoMessage)) return undefined;
    throw error;
  }
}

/** Deletes one message; one that is gone already is none to delete. Unlike a purge it leaves consumers where they are. */
export async function deleteMessage(link: Link, stream: string, sequence: number, timeoutMs: number): Promise<void> {
  try {
    await callApi(link, `STREAM.MSG.DELETE.${stream}`, { seq: sequence, no_erase: true }, timeoutMs);
  } catch (error) {
    if (!refusedWith(error, JsError.NoMessage) && !refusedWith(error, JsError.SequenceNotFound)) throw error;
  }
}

/** Unix ms of a server's RFC 3339 stamp. */
export function unixMs(stamp: string): number {
  return Math.trunc(Date.parse(stamp));
}
