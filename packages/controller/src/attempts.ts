import { WeftError } from '@weft/model';
import { Retry } from './components.ts';

const ATTEMPTS = 12;
const BACKOFF_MS = 25;

/**
 * Reads, decides and writes until nobody else was faster: some seconds at most, with longer waits from try to try.
 * @param random 0..1, for jitter.
 * @param work Throws `Retry` when somebody was faster, and then has left nothing behind.
 * @param onRetry Is told why it is done again.
 * @throws {WeftError} `WEFT_ERR_CONTROLLER_CONFLICT` when it never worked; what `work` throws else.
 */
export async function untilUndisturbed<T>(
  random: () => number,
  work: () => Promise<T>,
  onRetry: (attempt: number, reason: string) => void = () => {},
): Promise<T> {
  let reason = '';
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    if (attempt > 0) await new Promise((resolve) => setTimeout(resolve, BACKOFF_MS * 2 ** Math.min(attempt, 5) * (0.5 + random())));
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof Retry)) throw error;
      reason = error.message;
      onRetry(attempt, reason);
    }
  }
  throw new WeftError(
    'WEFT_ERR_CONTROLLER_CONFLICT',
    `Cannot carry out the request: others changed the same resources again and again (${reason}); nothing was changed, try again`,
    { reason },
  );
}
