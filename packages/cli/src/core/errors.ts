/** What the command's exit status says. */
export const ExitCode = {
  ok: 0,
  /** Refused, or failed on the way. */
  failed: 1,
  /** The command line itself is wrong; nothing was tried. */
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
  Answer: 'WEFT_ERR_CLI_ANSWER',
  Process: 'WEFT_ERR_CLI_PROCESS',
  NatsServer: 'WEFT_ERR_CLI_NATS_SERVER',
  AlreadyRunning: 'WEFT_ERR_CLI_ALREADY_RUNNING',
} as const;

export type CliErrorCode = (typeof CliErrorCode)[keyof typeof CliErrorCode];

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

/** The error's text: `message`, or what else was thrown as text. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
