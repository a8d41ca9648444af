import { headers } from '@nats-io/transport-node';
import { WeftError } from '@weft/model';
import type { AuditMessage, AuditStream } from './api.ts';
import { readAck } from './bucket.ts';
import { openFeed } from './feed.ts';
import { followStream } from './follow.ts';
import { insist, lastMessage, type StreamInfo, streamInfo } from './js-api.ts';
import type { Link } from './link.ts';

export const AUDIT_STREAM = 'AUDIT';
const ANY = 'weft.v1.audit.>';
const TIMEOUT_MS = 5_000;
const HEARTBEAT_MS = 500;

/** The stream AUDIT: appended with a message id, read by sequence. */
export class JetStreamAudit implements AuditStream {
  readonly #link: Link;

  constructor(link: Link, _info: StreamInfo) {
    this.#link = link;
  }

  async append(subject: string, id: string, value: Uint8Array): Promise<{ sequence: number; duplicate: boolean }> {
    const marked = headers();
    marked.set('Nats-Msg-Id', id);
    // Repeating is safe: the id makes it stand once.
    return await insist(this.#link, TIMEOUT_MS, undefined, async (timeoutMs) =>
      readAck(await this.#link.request(subject, value, { headers: marked, timeoutMs }), `audit record ${id}`),
    );
  }

  async read(options: { fromSequence: number; limit: number; subject?: string }): Promise<readonly AuditMessage[]> {
    if (options.limit <= 0) return [];
    return await insist(this.#link, TIMEOUT_MS, undefined, (timeoutMs) => this.#readOnce(options, timeoutMs));
  }

  async *follow(options: { fromSequence: number; signal: AbortSignal; subject?: string }): AsyncIterable<AuditMessage> {
    const { fromSequence, signal, subject } = options;
    for await (const message of followStream(this.#link, AUDIT_STREAM, subject ?? ANY, fromSequence, signal)) {
      yield { sequence: message.sequence, id: message.id, value: message.data };
    }
  }

  async last(subject: string): Promise<AuditMessage | undefined> {
    const message = await insist(this.#link, TIMEOUT_MS, undefined, (timeoutMs) =>
      lastMessage(this.#link, AUDIT_STREAM, subject, timeoutMs),
    );
    return message === undefined ? undefined : { sequence: message.sequence, id: '', value: message.data };
  }

  async lastSequence(): Promise<number> {
    return (await insist(this.#link, TIMEOUT_MS, undefined, (timeoutMs) => streamInfo(this.#link, AUDIT_STREAM, timeoutMs))).state.last_seq;
  }

  async #readOnce(options: { fromSequence: number; limit: number; subject?: string }, timeoutMs: number): Promise<AuditMessage[]> {
    const messages: AuditMessage[] = [];
    let settle: (error?: WeftError) => void = () => {};
    const done = new Promise<void>((resolve, reject) => {
      settle = (error) => (error === undefined ? resolve() : reject(error));
    });
    done.catch(() => {});
    const feed = await openFeed(
      this.#link,
      {
        stream: AUDIT_STREAM,
        filter: options.subject ?? ANY,
        start: { fromSequence: options.fromSequence },
        heartbeatMs: HEARTBEAT_MS,
        onMessage: (message) => {
          if (messages.length < options.limit) messages.push({ sequence: message.sequence, id: message.id, value: message.data });
          if (messages.length === options.limit) settle();
        },
        onCaughtUp: () => settle(),
        onLost: (reason) => settle(new WeftError('WEFT_ERR_BUS_TIMEOUT', `Reading the audit stream broke off: ${reason}`)),
      },
      timeoutMs,
    );
    try {
      await done;
      return messages;
    } finally {
      void feed.stop();
    }
  }
}
