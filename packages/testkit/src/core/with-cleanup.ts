import { CommandScope, endsWithin } from './command-scope.ts';

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

/** How long an interrupted body may take to notice: all that it starts or waits for is refused by then. */
const BODY_END_MS = 5_000;

/**
 * Runs `body`, then `cleanup`, whatever ends the body: its return, an error, SIGINT, SIGTERM, SIGHUP, or an error nobody caught. SIGKILL can't
 * be caught: for that there is the registry and `cleanLab` of the next run.
 *
 * On a signal the body's `signal` is aborted with `Interrupted`, and the body, which runs on, can start no command, process or lab any more
 * (see `CommandScope`): it is given that error instead. The commands under way are waited for, or ended; then the clean-up runs, and once more
 * after the body has ended (or has had 5 s for it), for what the body has made in between. The process exits with 128 + the signal's number. A
 * second signal is ignored meanwhile, a third ends the process at once. On an uncaught error the error is printed and the same happens,
 * with exit status 1.
 *
 * @param cleanup Called once, or twice after an interruption, never beside itself.
 */
export async function withCleanup<T>(cleanup: () => Promise<void>, body: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const abort = new AbortController();
  const scope = new CommandScope();
  let finalCleaning: Promise<void> | undefined;
  let leaving = false;

  const leave = (reason: Error, status: number): void => {
    if (leaving) return;
    leaving = true;
    abort.abort(reason);
    scope.close(reason);
    void CommandScope.outside(async () => {
      if (finalCleaning === undefined) {
        await scope.settle();
        // What fails now is tried again below; this one is for a body that doesn't come to its end.
        await cleanup().catch(() => {});
        await endsWithin(running, BODY_END_MS);
        finalCleaning = cleanup();
      }
      await finalCleaning.catch((error: unknown) => {
        process.stderr.write(`Clean-up failed: ${error instanceof Error ? error.message : String(error)}\n`);
      });
      process.exit(status);
    });
  };

  let signalCount = 0;
  const onSignal = (name: NodeJS.Signals): void => {
    const status = EXIT_STATUS[name as keyof typeof EXIT_STATUS] ?? 1;
    signalCount += 1;
    if (signalCount >= 3) process.exit(status);
    leave(new Interrupted(name), status);
  };
  const onUncaught = (error: unknown): void => {
    // After an interruption the body's parts fail one after the other, some with nobody to catch it.
    if (leaving) return;
    process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
    leave(error instanceof Error ? error : new Error(String(error)), 1);
  };
  const signals = Object.keys(EXIT_STATUS) as (keyof typeof EXIT_STATUS)[];
  for (const name of signals) process.on(name, onSignal);
  process.on('uncaughtException', onUncaught);
  process.on('unhandledRejection', onUncaught);
  const running = scope.run(async () => await body(abort.signal));
  try {
    return await running;
  } finally {
    try {
      if (!leaving) {
        finalCleaning = CommandScope.outside(cleanup);
        await finalCleaning;
      }
    } finally {
      // After a signal nothing must come back to the caller, who would go on or print an error: the process is about to exit.
      if (leaving) await new Promise<never>(() => {});
      for (const name of signals) process.off(name, onSignal);
      process.off('uncaughtException', onUncaught);
      process.off('unhandledRejection', onUncaught);
    }
  }
}
