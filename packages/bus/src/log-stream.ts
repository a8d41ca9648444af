import { headers } from '@nats-io/transport-node';
import { WeftError } from '@weft/model';
import type { LogMessage, LogStream } from './api.ts';
import { readAck } from './bucket.ts';
import { openFeed } from './feed.ts';
import { followStream } from './follow.ts';
import { insist, lastMessage, streamInfo } from './js-api.ts';
import type { Link } from './link.ts';

export const AUDIT_STREAM = 'AUDIT';
export const AUDIT_SUBJECTS = 'weft.v1.audit.>';
export const NAT_LOG_STREAM = 'NATLOG';
export const NAT_LOG_SUBJECTS = 'weft.v1.natlog.>';
const TIMEOUT_MS = 5_000;
const HEARTBEAT_MS = 500;

/** A stream that is appended to with a message id and read by sequence. Whether it is there shows when it is used. */
export class JetStreamLog implements LogStream {
  readonly #link: Link;
  readonly #stream: string;
  readonly #any: string;

  constructor(link: Link, stream: string, any: string) {
    this.#link = link;
    this.#stream = stream;
    this.#any = any;
  }

  async append(subject: string, id: string, value: Uint8Array): Promise<{ sequence: number; duplicate: boolean }> {
    const marked = headers();
    marked.set('Nats-Msg-Id', id);
    // Repeating is safe: the id makes it stand once.
    return await insist(this.#link, TIMEOUT_MS, undefined, async (timeoutMs) =>
      readAck(await this.#link.request(subject, value, { headers: marked, timeoutMs }), `record ${id} of ${this.#stream}`),
    );
  }

  async read(options: { fromSequence: number; limit: number; subject?: string }): Promise<readonly LogMessage[]> {
    if (options.limit <= 0) return [];
    return await insist(this.#link, TIMEOUT_MS, undefined, (timeoutMs) => this.#readOnce(options, timeoutMs));
  }

  async *follow(options: { fromSequence: number; signal: AbortSignal; subject?: string }): AsyncIterable<LogMessage> {
    const { fromSequence, signal, subject } = options;
    for await (const message of followStream(this.#link, this.#stream, subject ?? this.#any, fromSequence, signal)) {
      yield { sequence: message.sequence, id: message.id, value: message.data };
    }
  }

  async last(subject: string): Promise<LogMessage | undefined> {
    const message = await insist(this.#link, TIMEOUT_MS, undefined, (timeoutMs) =>
      lastMessage(this.#link, this.#stream, subject, timeoutMs),
    );
    return message === undefined ? undefined : { sequence: message.sequence, id: '', value: message.data };
  }

  async lastSequence(): Promise<number> {
    return (await insist(this.#link, TIMEOUT_MS, undefined, (timeoutMs) => streamInfo(this.#link, this.#stream, timeoutMs))).state.last_seq;
  }

  async #readOnce(options: { fromSequence: number; limit: number; subject?: string }, timeoutMs: number): Promise<LogMessage[]> {
    const messages: LogMessage[] = [];
    let settle: (error?: WeftError) => void = () => {};
    const done = new Promise<void>((resolve, reject) => {
      settle = (error) => (error === undefined ? resolve() : reject(error));
    });
    done.catch(() => {});
    const feed = await openFeed(
      this.#link,
      {
        stream: this.#stream,
        filter: options.subject ?? this.#any,
        start: { fromSequence: options.fromSequence },
        heartbeatMs: HEARTBEAT_MS,
        onMessage: (message) => {
          if (messages.length < options.limit) messages.push({ sequence: message.sequence, id: message.id, value: message.data });
          if (messages.length === options.limit) settle();
        },
        onCaughtUp: () => settle(),
        onLost: (reason) => settle(new WeftError('WEFT_ERR_BUS_TIMEOUT', `Reading the stream ${this.#stream} broke off: ${reason}`)),
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
