import { createIdentity } from '@weft/bus';
import type { ListedRecord, ListedValue, Problem, Result, Command as WeftCommand } from '@weft/model';
import { TrustStore } from '@weft/model';
import { reportError } from '../../src/core/report-error.ts';
import type { Session } from '../../src/core/session.ts';
import { buildProgram } from '../../src/program.ts';

/** What a fake controller or host answers: a result, or problems. */
export type Answerer = (target: string, command: WeftCommand) => Result | readonly Problem[] | undefined;

export interface Ran {
  readonly out: string;
  readonly err: string;
  readonly code: number;
  /** Commands sent, with their targets. */
  readonly sent: readonly (readonly [target: string, command: WeftCommand])[];
}

export interface RunOptions {
  readonly env?: Record<string, string>;
  readonly stdin?: string;
  readonly width?: number;
  /** What a command finds in the store, and whom it believes; commands that should not look get neither. */
  readonly store?: Partial<Session['store']>;
  readonly trust?: Session['trust'];
  /** Stands for a connection that can't be made. */
  readonly connectError?: Error;
}

export const NOW: number = Date.parse('2026-11-22T21:00:00Z');

/** Runs the command in this process against fake answers. */
export async function run(args: readonly string[], answer: Answerer = () => undefined, options: RunOptions = {}): Promise<Ran> {
  let out = '';
  let err = '';
  let exitCode = 0;
  const sent: [string, WeftCommand][] = [];
  const identity = createIdentity('user');
  const session: Session = {
    identity,
    trust: options.trust ?? new TrustStore([identity.publicKey]),
    bus: { state: { state: 'connected', sinceMs: 0, reason: '', server: '127.0.0.1:4222', serverVersion: '2.9.10' } } as Session['bus'],
    get store(): Session['store'] {
      if (options.store !== undefined) return options.store as Session['store'];
      throw new Error('this command is not expected to use the store');
    },
    async request(target, command) {
      sent.push([target, command]);
      const answered = answer(target, command);
      const problems = Array.isArray(answered) ? (answered as readonly Problem[]) : [];
      return {
        response: { requestId: 'r', problems, result: Array.isArray(answered) ? undefined : (answered as Result | undefined) },
        signer: 'C',
      };
    },
    close: async () => {},
  };
  const io = {
    out: (text: string) => {
      out += text;
    },
    note: (line: string) => {
      err += `${line}\n`;
    },
    env: { HOME: '/nonexistent', ...options.env },
    width: options.width,
    color: false,
    readStdin: async () => options.stdin ?? '',
  };
  let code: number;
  try {
    const program = buildProgram({
      io,
      now: () => NOW,
      signal: new AbortController().signal,
      connect: async () => {
        if (options.connectError !== undefined) throw options.connectError;
        return session;
      },
      setExitCode: (set) => {
        exitCode = set;
      },
    });
    await program.parseAsync(args, { from: 'user' });
    code = exitCode;
  } catch (error) {
    code = reportError(error, io);
  }
  return { out, err, code, sent };
}

/** A listed record, changed one minute ago by ann. */
export function listed(record: ListedValue): ListedRecord {
  return { bucket: 'config', key: 'k', revision: 12, timeUnixMs: NOW - 60_000, authorName: 'ann', record };
}
