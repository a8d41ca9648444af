import { CommandScope } from './command-scope.ts';
import { TestkitError, TestkitErrorCode } from './errors.ts';

export interface WaitOptions<T = unknown> {
  /** What is waited for, as a phrase that follows "for": `host b to have 3 mappings`. */
  readonly what: string;
  /** Default 10,000. */
  readonly deadlineMs?: number;
  /** Pause between two looks. Default 20. */
  readonly intervalMs?: number;
  /** Turns the last value into what the error shows. Default JSON. */
  readonly show?: (value: T) => string;
  readonly signal?: AbortSignal;
}

/** A condition that did not hold before its deadline; `lastValue` is what the last look returned. */
export class DeadlineError extends TestkitError {
  readonly lastValue: unknown;

  constructor(message: string, lastValue: unknown, options?: ErrorOptions) {
    super(TestkitErrorCode.Deadline, message, options);
    this.name = 'DeadlineError';
    this.lastValue = lastValue;
  }
}

/**
 * Looks again and again until `condition` returns something truthy, which is returned.
 *
 * A condition that throws counts as "not yet": the last error becomes the cause of the failure. The condition is looked at once more
 * after the deadline, so that a machine that stood still doesn't fail what holds by then.
 *
 * @throws {Error} The reason of the scope that the caller runs in (see `CommandScope`), once that is closed: what is waited for won't come.
 * @throws {DeadlineError} After `deadlineMs`, with what was waited for and the last value or error seen.
 */
export async function waitFor<T>(
  condition: () => T | Promise<T>,
  options: WaitOptions<T>,
): Promise<Exclude<T, undefined | null | false | 0 | ''>> {
  const deadlineMs = options.deadlineMs ?? 10_000;
  const started = performance.now();
  let last: unknown;
  for (;;) {
    options.signal?.throwIfAborted();
    CommandScope.throwIfClosed();
    const late = performance.now() - started >= deadlineMs;
    let failure: { error: unknown } | undefined;
    try {
      const value = await condition();
      if (value) return value as Exclude<T, undefined | null | false | 0 | ''>;
      last = value;
    } catch (error) {
      failure = { error };
    }
    if (late) {
      const seen = failure === undefined ? `last value ${show(last as T, options.show)}` : `last look threw ${String(failure.error)}`;
      throw new DeadlineError(
        `Waited ${deadlineMs} ms in vain for ${options.what}; ${seen}`,
        last,
        failure === undefined ? undefined : { cause: failure.error },
      );
    }
    await sleep(options.intervalMs ?? 20);
  }
}

/** Resolves after `ms` of real time. For pacing a probe; a test waits for a condition instead. */
export async function sleep(ms: number): Promise<void> {
  await new Promise<void>((resolve) => setTimeout(resolve, ms));
}

function show<T>(value: T, how: ((value: T) => string) | undefined): string {
  if (how !== undefined) return how(value);
  try {
    return JSON.stringify(value, (_, inner: unknown) => (typeof inner === 'bigint' ? String(inner) : inner)) ?? String(value);
  } catch {
    return String(value);
  }
}
