import { hasCode } from '@weft/model';
import { callApi, JsError, refusedWith } from './js-api.ts';
import type { Incoming, Link } from './link.ts';

// One ephemeral push consumer, from birth to its first doubt. It tells messages in order, says when it has told all there was, and
// ends itself at a gap, a missed heartbeat or a lost connection: what then is to be done (begin anew, and from where) is its user's.
// Consumers are deleted when left, and die of themselves after 5 s without listener.

export interface FeedMessage {
  readonly subject: string;
  readonly sequence: number;
  readonly data: Uint8Array;
  readonly id: string;
}

export interface FeedInit {
  readonly stream: string;
  readonly filter: string;
  readonly start: 'last-per-subject' | { readonly fromSequence: number };
  readonly bytesPerSecond?: number | undefined;
  readonly heartbeatMs: number;
  readonly onMessage: (message: FeedMessage) => void;
  /** Once, when everything that was there at the start has been told. */
  readonly onCaughtUp: () => void;
  /** Once; nothing comes after it. */
  readonly onLost: (reason: string) => void;
}

export interface Feed {
  /** Ends it and deletes the consumer. */
  stop(): Promise<void>;
}

const NS_PER_MS = 1_000_000;
const INACTIVE_MS = 5_000;
/** Heartbeats that may be missed before the consumer counts as lost. */
const MISSED_HEARTBEATS = 3;

/** @throws What `callApi` throws; then nothing is left behind. */
export async function openFeed(link: Link, init: FeedInit, timeoutMs: number, signal?: AbortSignal): Promise<Feed> {
  const deliverTo = link.inbox();
  const consumer = `weft${deliverTo.slice(deliverTo.lastIndexOf('.') + 1)}`;
  let received = 0;
  let caughtUp = false;
  let ended = false;
  let watchdog: NodeJS.Timeout | undefined;

  const end = (reason: string | undefined): void => {
    if (ended) return;
    ended = true;
    clearTimeout(watchdog);
    stopState();
    subscription.stop();
    if (reason !== undefined) init.onLost(reason);
  };
  const heard = (): void => {
    clearTimeout(watchdog);
    watchdog = setTimeout(() => end('heartbeats missed'), init.heartbeatMs * MISSED_HEARTBEATS + 250);
  };
  const complete = (): void => {
    if (caughtUp) return;
    caughtUp = true;
    init.onCaughtUp();
  };
  const onMessage = (message: Incoming): void => {
    if (ended) return;
    heard();
    if (message.headers !== undefined && message.headers.code >= 100) {
      onStatus(message);
      return;
    }
    const position = parsePosition(message.reply);
    if (position === undefined) return;
    received++;
    if (position.consumerSequence !== received) {
      end(`gap: message ${position.consumerSequence} came as number ${received}`);
      return;
    }
    init.onMessage({
      subject: message.subject,
      sequence: position.streamSequence,
      data: message.data,
      id: message.headers?.get('Nats-Msg-Id') ?? '',
    });
    if (position.pending === 0) complete();
  };
  const onStatus = (message: Incoming): void => {
    const code = message.headers!.code;
    if (code !== 100) {
      end(`server says ${code} ${message.headers!.description}`);
      return;
    }
    // Flow control: the server waits for an answer. A stalled consumer's heartbeat names the subject to answer to.
    const answerTo = message.reply !== undefined && message.reply !== '' ? message.reply : message.headers!.get('Nats-Consumer-Stalled');
    if (answerTo !== '') {
      link.publish(answerTo, new Uint8Array());
      return;
    }
    // A heartbeat means that the consumer has nothing to tell; also when its count of the pending is off, as it is
    // when keys were overwritten under it.
    const last = Number(message.headers!.get('Nats-Last-Consumer'));
    if (last > received) end(`gap: ${last} messages were sent, ${received} came`);
    else complete();
  };

  const subscription = link.subscribe(deliverTo, onMessage);
  const stopState = link.onState((state) => {
    // Called at once, before `stopState` is there: a dead connection is then found by the request below.
    if (state.state === 'disconnected' && watchdog !== undefined) end('disconnected');
  });
  try {
    const info = await callApi<{ num_pending: number; delivered: { consumer_seq: number } }>(
      link,
      `CONSUMER.CREATE.${init.stream}.${consumer}.${init.filter}`,
      {
        stream_name: init.stream,
        config: {
          name: consumer,
          deliver_subject: deliverTo,
          filter_subject: init.filter,
          ...(init.start === 'last-per-subject'
            ? { deliver_policy: 'last_per_subject' }
            : { deliver_policy: 'by_start_sequence', opt_start_seq: Math.max(1, init.start.fromSequence) }),
          ...(init.bytesPerSecond === undefined ? {} : { rate_limit_bps: init.bytesPerSecond * 8 }),
          ack_policy: 'none',
          max_deliver: 1,
          replay_policy: 'instant',
          flow_control: true,
          idle_heartbeat: init.heartbeatMs * NS_PER_MS,
          inactive_threshold: INACTIVE_MS * NS_PER_MS,
          mem_storage: true,
          num_replicas: 1,
        },
      },
      timeoutMs,
      signal,
    );
    if (!ended) heard();
    if (info.num_pending + info.delivered.consumer_seq === 0) complete();
  } catch (error) {
    ended = true;
    clearTimeout(watchdog);
    stopState();
    subscription.stop();
    // It may have been made though the answer was lost.
    void remove(link, init.stream, consumer);
    throw error;
  }
  return {
    async stop() {
      end(undefined);
      await remove(link, init.stream, consumer);
    },
  };
}

async function remove(link: Link, stream: string, consumer: string): Promise<void> {
  if (link.state.state !== 'connected') return;
  await callApi(link, `CONSUMER.DELETE.${stream}.${consumer}`, undefined, link.requestTimeoutMs).catch((error: unknown) => {
    if (refusedWith(error, JsError.ConsumerNotFound) || hasCode(error, 'WEFT_ERR_BUS_DISCONNECTED')) return;
    link.logger.debug({ stream, consumer, error: (error as Error).message }, 'consumer not deleted; it ends by itself in 5 s');
  });
}

/** `$JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>`; newer servers put domain and account before the stream. */
function parsePosition(reply: string | undefined): { streamSequence: number; consumerSequence: number; pending: number } | undefined {
  if (reply === undefined || !reply.startsWith('$JS.ACK.')) return undefined;
  const tokens = reply.split('.');
  const at = tokens.length >= 11 ? 4 : 2;
  return { streamSequence: Number(tokens[at + 3]), consumerSequence: Number(tokens[at + 4]), pending: Number(tokens[at + 6]) };
}
