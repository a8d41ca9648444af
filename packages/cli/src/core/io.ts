import { text } from 'node:stream/consumers';

/** What a command sees of its terminal and environment; tests give their own. */
export interface Io {
  /** Writes to standard output, as is. */
  out(text: string): void;
  /** Writes a line to standard error: progress, hints, errors. */
  note(line: string): void;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Characters in a line of the terminal; undefined when standard output is none, and then nothing is shortened. */
  readonly width: number | undefined;
  /** Whether standard output may carry colour. */
  readonly color: boolean;
  readStdin(): Promise<string>;
}

/** Whether a stream gets colour: a terminal does unless `NO_COLOR` (https://no-color.org) is set to anything or `TERM` is `dumb`. */
export function wantsColor(isTerminal: boolean, env: Readonly<Record<string, string | undefined>>): boolean {
  if (env.NO_COLOR !== undefined && env.NO_COLOR !== '') return false;
  if (env.FORCE_COLOR !== undefined && env.FORCE_COLOR !== '' && env.FORCE_COLOR !== '0') return true;
  return isTerminal && env.TERM !== 'dumb';
}

/** The process's own terminal. */
export function processIo(): Io {
  const { stdout, stderr, stdin, env } = process;
  // `weft get … | head` closes the pipe early; that is no error.
  stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0);
    throw error;
  });
  return {
    out: (text) => void stdout.write(text),
    note: (line) => void stderr.write(`${line}\n`),
    env,
    width: stdout.isTTY === true ? stdout.columns : undefined,
    color: wantsColor(stdout.isTTY === true, env),
    readStdin: () => text(stdin),
  };
}
