import type { Command } from 'commander';
import type { Io } from '../core/io.ts';
import type { Session } from '../core/session.ts';
import type { GlobalOptions } from '../core/settings.ts';

/** What commands get from outside. */
export interface Deps {
  readonly io: Io;
  /** Unix ms. */
  readonly now: () => number;
  /** Connects as the options, the environment and the context file say. The caller closes. */
  connect(options: GlobalOptions): Promise<Session>;
  /** Aborted by SIGINT and SIGTERM, for commands that run until told to stop. */
  readonly signal: AbortSignal;
  /** Exit status that is not an error: a comparison that found differences. */
  setExitCode(code: number): void;
}

/** Connects, runs, and closes whatever happened. */
export async function withSession<T>(deps: Deps, command: Command, run: (session: Session) => Promise<T>): Promise<T> {
  const session = await deps.connect(command.optsWithGlobals<GlobalOptions>());
  try {
    return await run(session);
  } finally {
    await session.close();
  }
}

/** Examples at the end of a command's help. */
export function examples(...lines: readonly string[]): string {
  return `\nExamples:\n${lines.map((line) => `  ${line}`).join('\n')}\n`;
}
