/** Thrown into (as the reason of the signal given to) the body of `withCleanup` when the process is asked to end. */
export class Interrupted extends Error {
  readonly signalName: NodeJS.Signals;

  constructor(signalName: NodeJS.Signals) {
    super(`Interrupted by ${signalName}`);
    this.name = 'Interrupted';
    this.signalName = signalName;
  }
}

const EXIT_STATUS = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const;

/**
 * Runs `body`, then `cleanup`, exactly once, whatever ends the body: its return, an error, SIGINT, SIGTERM, SIGHUP, or an error nobody
 * caught. SIGKILL can't be caught: for that there is the registry and `cleanLab` of the next run.
 *
 * On a signal the body's `signal` is aborted with `Interrupted`, the clean-up runs and the process exits with 128 + the signal's number. A
 * second signal during the clean-up is ignored, a third ends the process at once. On an uncaught error the error is printed and the process
 * exits with 1 after the clean-up.
 */
export async function withCleanup<T>(cleanup: () => Promise<void>, body: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const abort = new AbortController();
  let cleaning: Promise<void> | undefined;
  const cleanOnce = (): Promise<void> => {
    cleaning ??= cleanup();
    return cleaning;
  };
  const leave = (status: number): void => {
    cleanOnce().then(
      () => process.exit(status),
      (error: unknown) => {
        process.stderr.write(`Clean-up failed: ${error instanceof Error ? error.message : String(error)}\n`);
        process.exit(status);
      },
    );
  };

  let signalCount = 0;
  const onSignal = (name: NodeJS.Signals): void => {
    const status = EXIT_STATUS[name as keyof typeof EXIT_STATUS] ?? 1;
    signalCount += 1;
    if (signalCount >= 3) process.exit(status);
    if (signalCount > 1) return;
    abort.abort(new Interrupted(name));
    leave(status);
  };
  const onUncaught = (error: unknown): void => {
    process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
    leave(1);
  };
  const signals = Object.keys(EXIT_STATUS) as (keyof typeof EXIT_STATUS)[];
  for (const name of signals) process.on(name, onSignal);
  process.on('uncaughtException', onUncaught);
  process.on('unhandledRejection', onUncaught);
  try {
    return await body(abort.signal);
  } finally {
    try {
      await cleanOnce();
    } finally {
      // After a signal nothing must come back to the caller, who would go on or print an error: the process is about to exit.
      if (signalCount > 0) await new Promise<never>(() => {});
      for (const name of signals) process.off(name, onSignal);
      process.off('uncaughtException', onUncaught);
      process.off('unhandledRejection', onUncaught);
    }
  }
}
