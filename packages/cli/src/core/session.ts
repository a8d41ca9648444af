import type { Answer, Bus, Identity, Store } from '@weft/bus';
import type { Command, Result, TrustStore } from '@weft/model';
import type { LocatedProblem } from '../format/problems.ts';
import { ExitCode } from './errors.ts';

/** What a command asks a controller or a host; made by `connect`, faked by tests. */
export interface Session {
  /** The connection, and below the store: for what is not asked but read or written (audit, principals). */
  readonly bus: Bus;
  readonly store: Store;
  /** Whose key the requests are signed with. */
  readonly identity: Identity;
  readonly trust: TrustStore;
  /** Sends a command and gives the verified answer. */
  request(target: string, command: Command, options?: { readonly timeoutMs?: number }): Promise<Answer>;
  close(): Promise<void>;
}

export type ResultOf<K extends Result['kind']> = Extract<Result, { kind: K }>['value'];

/** A controller or host refused; nothing was changed. */
export class RefusedError extends Error {
  override readonly name = 'RefusedError';
  readonly problems: readonly LocatedProblem[];
  readonly exitCode: ExitCode = ExitCode.failed;

  constructor(target: string, problems: readonly LocatedProblem[]) {
    super(`${target} refused: ${problems[0]?.rule ?? 'no reason given'}`);
    this.problems = problems;
  }
}

/**
 * Sends a command and gives the result of the kind that answers it.
 *
 * @throws {RefusedError} With the problems, when it was refused.
 * @throws {WeftError} As `Bus.request`.
 */
export async function ask<K extends Result['kind']>(
  session: Session,
  target: string,
  command: Command,
  kind: K,
  options?: { readonly timeoutMs?: number },
): Promise<ResultOf<K>> {
  const { response } = await session.request(target, command, options);
  if (response.problems.length > 0) throw new RefusedError(target, response.problems);
  const { result } = response;
  if (result?.kind !== kind)
    throw new Error(`${target} answered "${command.kind}" with "${result?.kind ?? 'nothing'}": is it of another Weft version?`);
  return result.value as ResultOf<K>;
}

/** Sends a command that is answered without a result. */
export async function tell(session: Session, target: string, command: Command, options?: { readonly timeoutMs?: number }): Promise<void> {
  const { response } = await session.request(target, command, options);
  if (response.problems.length > 0) throw new RefusedError(target, response.problems);
}
