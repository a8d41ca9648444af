import { type FeedMessage, openFeed } from './feed.ts';
import type { Link } from './link.ts';

const HEARTBEAT_MS = 500;

/** All messages of a stream from a sequence on, in order, without end; goes on where it was after every loss. */
export async function* followStream(
  link: Link,
  stream: string,
  filter: string,
  fromSequence: number,
  signal: AbortSignal,
): AsyncGenerator<FeedMessage> {
  let next = fromSequence;
  while (!signal.aborted && !link.closed) {
    const queue: FeedMessage[] = [];
    let lost = false;
    let wake: () => void = () => {};
    const wakeUp = (): void => wake();
    signal.addEventListener('abort', wakeUp, { once: true });
    try {
      await link.whenConnected(signal);
      const feed = await openFeed(
        link,
        {
          stream,
          filter,
          start: { fromSequence: next },
          heartbeatMs: HEARTBEAT_MS,
          onMessage: (message) => {
            queue.push(message);
            wake();
          },
          onCaughtUp: () => {},
          onLost: () => {
            lost = true;
            wake();
          },
        },
        link.requestTimeoutMs,
        signal,
      );
      try {
        for (;;) {
          for (let message = queue.shift(); message !== undefined; message = queue.shift()) {
            if (signal.aborted) return;
            next = message.sequence + 1;
            yield message;
          }
          if (lost || signal.aborted) break;
          await new Promise<void>((resolve) => {
            wake = resolve;
            if (queue.length > 0 || lost || signal.aborted) resolve();
          });
        }
      } finally {
        await feed.stop();
      }
    } catch (error) {
      if (signal.aborted || link.closed) return;
      link.logger.warn({ stream, error: (error as Error).message }, 'following a stream failed; starting anew');
      await new Promise((resolve) => setTimeout(resolve, 200));
    } finally {
      signal.removeEventListener('abort', wakeUp);
    }
  }
}
