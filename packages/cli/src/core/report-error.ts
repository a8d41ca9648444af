import { ManifestError, WeftError } from '@weft/model';
import { CommanderError } from 'commander';
import { formatProblems } from '../format/problems.ts';
import { CliError, ExitCode, NotComparedError } from './errors.ts';
import type { Io } from './io.ts';
import { RefusedError } from './session.ts';

/** Codes that mean: nobody answered. */
const unreachableCodes: ReadonlySet<string> = new Set([
  'WEFT_ERR_BUS_DISCONNECTED',
  'WEFT_ERR_BUS_TIMEOUT',
  'WEFT_ERR_BUS_NO_RESPONDER',
  'WEFT_ERR_BUS_BUCKET_MISSING',
]);

/** What to look at, where the message can't know. */
const HINTS: Readonly<Record<string, string>> = {
  WEFT_ERR_BUS_TIMEOUT:
    '(does it run, and is its machine busy? "weft status" shows who answers. Of a change it is not known whether it was made: look before you repeat it)',
  WEFT_ERR_BUS_NO_RESPONDER: '(it does not run, or has no connection to NATS: "weft status" shows who has; nothing was changed)',
};

/**
 * Tells a person on standard error what went wrong, and gives the exit status. Stack traces only with `WEFT_DEBUG=1`.
 */
export function reportError(error: unknown, io: Pick<Io, 'note' | 'env'>): ExitCode {
  if (error instanceof NotComparedError) {
    const code = reportError(error.cause, io);
    return code === ExitCode.failed ? ExitCode.usage : code;
  }
  // Commander has printed its own message, or the help asked for.
  if (error instanceof CommanderError) return error.exitCode === 0 ? ExitCode.ok : ExitCode.usage;
  if (io.env.WEFT_DEBUG === '1' && error instanceof Error) io.note(error.stack ?? '');
  if (error instanceof RefusedError) {
    io.note(formatProblems(error.problems));
    return error.exitCode;
  }
  if (error instanceof ManifestError) {
    io.note(formatProblems(error.problems));
    return ExitCode.failed;
  }
  if (error instanceof CliError) {
    io.note(`weft: ${error.message} [${error.code}]`);
    return error.exitCode;
  }
  if (error instanceof WeftError) {
    io.note(`weft: ${error.message} [${error.code}]`);
    const hint = HINTS[error.code];
    if (hint !== undefined) io.note(hint);
    return unreachableCodes.has(error.code) ? ExitCode.unreachable : ExitCode.failed;
  }
  // Errors of the other packages have codes, too; anything else is a fault of this program.
  const code = (error as { code?: unknown } | undefined)?.code;
  const message = error instanceof Error ? error.message : String(error);
  if (typeof code === 'string' && code.startsWith('WEFT_ERR_')) io.note(`weft: ${message} [${code}]`);
  else io.note(`weft: ${message}\n(set WEFT_DEBUG=1 for the stack trace)`);
  return ExitCode.failed;
}
