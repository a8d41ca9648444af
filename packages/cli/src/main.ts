import { connect } from './core/connect.ts';
import { processIo } from './core/io.ts';
import { reportError } from './core/report-error.ts';
import { buildProgram, RanElsewhere } from './program.ts';

/**
 * Runs the `weft` command.
 *
 * @param args What stands after the program's name.
 * @returns The exit status; see `ExitCode`.
 */
export async function main(args: readonly string[]): Promise<number> {
  const io = processIo();
  const stop = new AbortController();
  let exitCode = 0;
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.abort(signal));
  try {
    const program = buildProgram({
      io,
      now: Date.now,
      signal: stop.signal,
      connect: (options) => connect(options, io, stop.signal),
      setExitCode: (code) => {
        exitCode = code;
      },
    });
    if (args.length === 0) {
      program.outputHelp();
      return 0;
    }
    await program.parseAsync(args, { from: 'user' });
    return exitCode;
  } catch (error) {
    if (error instanceof RanElsewhere) return error.exitCode;
    return reportError(error, io);
  }
}
