/** Codes of the errors that the test kit throws; each names what could not be done, never who is to blame. */
export const TestkitErrorCode = {
  Command: 'WEFT_ERR_TESTKIT_COMMAND',
  Deadline: 'WEFT_ERR_TESTKIT_DEADLINE',
  Process: 'WEFT_ERR_TESTKIT_PROCESS',
  Lab: 'WEFT_ERR_TESTKIT_LAB',
  Missing: 'WEFT_ERR_TESTKIT_MISSING',
  Guest: 'WEFT_ERR_TESTKIT_GUEST',
  Worker: 'WEFT_ERR_TESTKIT_WORKER',
} as const;

export type TestkitErrorCode = (typeof TestkitErrorCode)[keyof typeof TestkitErrorCode];

/** Base of the test kit's errors. `message` says the action, the value, the rule and, where there is one, what to do. */
export class TestkitError extends Error {
  readonly code: TestkitErrorCode;

  constructor(code: TestkitErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'TestkitError';
    this.code = code;
  }
}

export interface CommandFailure {
  /** The command as started, including the `nsenter` in front of it. */
  readonly argv: readonly string[];
  /** Exit status, or null when a signal ended the command or it could not be started. */
  readonly exitCode: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
  /** True when the deadline of the caller ended the command. */
  readonly timedOut: boolean;
}

/** A command that could not be started, ended with a status other than 0, or ran into its deadline. */
export class CommandError extends TestkitError implements CommandFailure {
  readonly argv: readonly string[];
  readonly exitCode: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly timedOut: boolean;

  constructor(failure: CommandFailure, options?: ErrorOptions) {
    super(TestkitErrorCode.Command, describe(failure), options);
    this.name = 'CommandError';
    this.argv = failure.argv;
    this.exitCode = failure.exitCode;
    this.signal = failure.signal;
    this.stdout = failure.stdout;
    this.stderr = failure.stderr;
    this.timedOut = failure.timedOut;
  }
}

function describe(failure: CommandFailure): string {
  const ending = failure.timedOut
    ? 'ran into its deadline'
    : failure.signal !== null
      ? `was ended by ${failure.signal}`
      : failure.exitCode !== null
        ? `exited with ${failure.exitCode}`
        : 'could not be started';
  const said = failure.stderr.trim() || failure.stdout.trim();
  return `Command "${failure.argv.join(' ')}" ${ending}${said === '' ? '' : `: ${said.slice(0, 2000)}`}`;
}
