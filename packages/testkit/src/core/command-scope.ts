import { AsyncLocalStorage } from 'node:async_hooks';

/** A command under way, as a scope needs it. */
export interface CommandUnderWay {
  /** Resolves (never rejects) once it has ended. */
  readonly ended: Promise<unknown>;
  kill(signal: NodeJS.Signals): void;
}

export interface SettleTimes {
  /** How long commands may take to come to their own end. Default 2,000. */
  readonly waitMs?: number;
  /** Time between SIGTERM and SIGKILL for those that didn't. Default 500. */
  readonly graceMs?: number;
}

/** The scopes that the caller runs in, outermost first. */
const entered = new AsyncLocalStorage<readonly CommandScope[]>();

/**
 * Commands that belong together, because one clean-up removes what they make: those of a lab, those of a body under `withCleanup`.
 *
 * A clean-up that runs beside a command comes too early for what the command is about to make. So it closes the scope first, after which
 * nothing is started in it any more, and lets it settle: waits for what is under way, and ends what stays.
 *
 * A scope is entered with `run` and holds for all that is called from there, through every `await`. Scopes nest: a command belongs to all that
 * it is started in.
 */
export class CommandScope {
  readonly #environment: Readonly<Record<string, string>>;
  readonly #underWay = new Set<CommandUnderWay>();
  #closed: Error | undefined;

  /** @param environment Added to the environment of the commands, so that another process finds them. */
  constructor(environment: Readonly<Record<string, string>> = {}) {
    this.#environment = environment;
  }

  /** Throws the reason when one of the scopes that the caller runs in is closed. */
  static throwIfClosed(): void {
    for (const scope of entered.getStore() ?? []) scope.throwIfClosed();
  }

  /** What the scopes that the caller runs in add to the environment of commands. */
  static get environment(): Record<string, string> {
    return Object.assign({}, ...(entered.getStore() ?? []).map((scope) => scope.#environment)) as Record<string, string>;
  }

  /** Counts a command as under way, in the scopes that the caller runs in, until it has ended. */
  static add(command: CommandUnderWay): void {
    for (const scope of entered.getStore() ?? []) {
      scope.#underWay.add(command);
      void command.ended.then(() => scope.#underWay.delete(command));
    }
  }

  /** Runs `body` in no scope: what a clean-up starts must run when all else may not. */
  static outside<T>(body: () => T): T {
    return entered.run([], body);
  }

  /** Runs `body` and all it calls in this scope, inside those that the caller is in. */
  run<T>(body: () => T): T {
    const around = entered.getStore() ?? [];
    return around.includes(this) ? body() : entered.run([...around, this], body);
  }

  /** From now on nothing is started in this scope: whoever tries is given the reason as an error. The first reason stays. */
  close(reason: Error): void {
    this.#closed ??= reason;
  }

  throwIfClosed(): void {
    if (this.#closed !== undefined) throw this.#closed;
  }

  /**
   * Returns once no command of this (closed) scope is under way: most come to their end by themselves, those that don't are ended by SIGTERM
   * and then SIGKILL. One that even that doesn't end is not waited for longer than `graceMs`.
   */
  async settle(times: SettleTimes = {}): Promise<void> {
    const graceMs = times.graceMs ?? 500;
    for (const [signal, waitMs] of [
      [undefined, times.waitMs ?? 2_000],
      ['SIGTERM', graceMs],
      ['SIGKILL', graceMs],
    ] as const) {
      const left = [...this.#underWay];
      if (left.length === 0) return;
      if (signal !== undefined) for (const command of left) command.kill(signal);
      await endsWithin(Promise.all(left.map((command) => command.ended)), waitMs);
    }
  }
}

/** Waits for `work`, whatever comes of it, but not longer than `ms`. */
export async function endsWithin(work: Promise<unknown>, ms: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  await Promise.race([work.catch(() => {}), late]);
  clearTimeout(timer);
}
