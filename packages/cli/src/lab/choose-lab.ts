import { CliError, CliErrorCode } from '../core/errors.ts';

export const DEFAULT_LAB_NAME = 'lab';

/**
 * The lab that a command means: the one named, else the only one there is, else the one of the default name.
 *
 * @param there Names of the labs on this machine.
 * @throws {CliError} `WEFT_ERR_CLI_USAGE` when several are there, none is named and none has the default name.
 */
export function chooseLab(named: string | undefined, there: readonly string[]): string {
  if (named !== undefined) return named;
  if (there.length === 1) return there[0]!;
  if (there.length === 0 || there.includes(DEFAULT_LAB_NAME)) return DEFAULT_LAB_NAME;
  throw new CliError(CliErrorCode.Usage, `Several labs are on this machine (${there.join(', ')}): say which with --name`);
}
