/** What the command's exit status says. */
export const ExitCode = {
  ok: 0,
  /** Refused, or failed on the way. */
  failed: 1,
  /** The command line itself is wrong; nothing was tried. Of `diff`, whose 1 means a difference: also refused, or failed. */
  usage: 2,
  /** NATS, a controller or a host did not answer. */
  unreachable: 3,
} as const;

export type ExitCode = (typeof ExitCode)[keyof typeof ExitCode];

/** Codes of the errors that the command makes itself. */
export const CliErrorCode = {
  Usage: 'WEFT_ERR_CLI_USAGE',
  Setting: 'WEFT_ERR_CLI_SETTING',
  File: 'WEFT_ERR_CLI_FILE',
  Refused: 'WEFT_ERR_CLI_REFUSED',
  NotFound: 'WEFT_ERR_CLI_NOT_FOUND',
  Unreachable: 'WEFT_ERR_CLI_UNREACHABLE',
  Process: 'WEFT_ERR_CLI_PROCESS',
  NatsServer: 'WEFT_ERR_CLI_NATS_SERVER',
  AlreadyRunning: 'WEFT_ERR_CLI_ALREADY_RUNNING',
} as const;

export type CliErrorCode = (typeof CliErrorCode)[keyof typeof CliErrorCode];

/** Code to what it means and what to do: a source of `docs/errors.md`. */
export const CLI_ERRORS: Readonly<Record<CliErrorCode, string>> = {
  WEFT_ERR_CLI_USAGE: 'The command line is wrong; nothing was tried. See `--help` of the command.',
  WEFT_ERR_CLI_SETTING: 'A setting is missing or unusable: NATS URL, identity, trust anchor, context file or lab.',
  WEFT_ERR_CLI_FILE: 'A file can not be read or written, is not what it should be, or lets others read a secret.',
  WEFT_ERR_CLI_REFUSED: 'What was asked can not be done as things stand. The message says why.',
  WEFT_ERR_CLI_NOT_FOUND: 'There is nothing of that name; the nearest one is named.',
  WEFT_ERR_CLI_UNREACHABLE: 'NATS or a host does not answer. Traffic that flows is not affected.',
  WEFT_ERR_CLI_PROCESS: 'A program could not be started, or ended before it was ready. Its last words stand above.',
  WEFT_ERR_CLI_NATS_SERVER: 'No usable nats-server (2.9.10 or newer) was found on this machine.',
  WEFT_ERR_CLI_ALREADY_RUNNING: 'It runs already. Use it, or stop it first.',
};

/** An error meant for the person at the terminal: its message is complete and is printed as it is, without a stack trace. */
export class CliError extends Error {
  override readonly name = 'CliError';
  readonly code: CliErrorCode;
  readonly exitCode: ExitCode;

  constructor(code: CliErrorCode, message: string, options: { readonly cause?: unknown; readonly exitCode?: ExitCode } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.exitCode =
      options.exitCode ??
      (code === CliErrorCode.Usage ? ExitCode.usage : code === CliErrorCode.Unreachable ? ExitCode.unreachable : ExitCode.failed);
  }
}

/** A comparison that came to no result: 1 would say that it found a difference, so what is refused or fails ends with 2. */
export class NotComparedError extends Error {
  override readonly name = 'NotComparedError';
  override readonly cause: unknown;

  constructor(cause: unknown) {
    super(messageOf(cause));
    this.cause = cause;
  }
}

/** The error's text: `message`, or what else was thrown as text. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
