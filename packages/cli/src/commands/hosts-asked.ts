import { type Command, type Host, type Result, WeftError } from '@weft/model';
import { messageOf } from '../core/errors.ts';
import { chooseHost } from '../core/local-host.ts';
import { ask, type ResultOf, type Session } from '../core/session.ts';
import { readCatalog } from '../resources/catalog.ts';

/** What one host answered, or why it did not. */
export type HostAnswer<T, H extends Asked = Host> =
  | { readonly host: H; readonly ok: true; readonly result: T }
  | { readonly host: H; readonly ok: false; readonly error: string };

/** Who is asked: a host, of which only the id has to be known. */
export interface Asked {
  readonly id: string;
}

/** A host that is asked in a round has less time than one that is asked alone: the dead ones should not hold up the table. */
const ROUND_TIMEOUT_MS = 3_000;

/** The registered hosts; with a name only that one. */
export async function listHosts(session: Session, named: string | undefined): Promise<Host[]> {
  const catalog = await readCatalog(session, ['Host']);
  const hosts = catalog.hosts.map(({ value }) => value);
  if (named === undefined) return hosts;
  const id = chooseHost(catalog, named, []);
  return hosts.filter((host) => host.id === id);
}

/** A person who has waited for so long is told for whom. */
const SLOW_MS = 3_000;

/**
 * Asks hosts at once; none that fails keeps the others' answers away.
 * @param note Is told for whom it waits, when that takes long.
 */
export async function askHosts<K extends Result['kind'], H extends Asked = Host>(
  session: Session,
  hosts: readonly H[],
  command: Command,
  kind: K,
  timeoutMs: number = ROUND_TIMEOUT_MS,
  note: (line: string) => void = () => {},
): Promise<HostAnswer<ResultOf<K>, H>[]> {
  const pending = new Set(hosts.map(({ id }) => id));
  const slow = setTimeout(() => note(`waiting for ${[...pending].sort().join(', ')}, ${seconds(timeoutMs)} at most`), SLOW_MS);
  try {
    return await Promise.all(
      hosts.map(async (host): Promise<HostAnswer<ResultOf<K>, H>> => {
        try {
          return { host, ok: true, result: await ask(session, host.id, command, kind, { timeoutMs }) };
        } catch (error) {
          return { host, ok: false, error: reasonOf(error, timeoutMs) };
        } finally {
          pending.delete(host.id);
        }
      }),
    );
  } finally {
    clearTimeout(slow);
  }
}

/** Why a host did not answer, and what to look at. */
function reasonOf(error: unknown, timeoutMs: number): string {
  const code = error instanceof WeftError ? error.code : undefined;
  if (code === 'WEFT_ERR_BUS_TIMEOUT') return `none within ${seconds(timeoutMs)}; does its agent run there, and is the machine busy?`;
  if (code === 'WEFT_ERR_BUS_NO_RESPONDER') return 'its agent is not connected to NATS; does it run there?';
  return messageOf(error);
}

function seconds(ms: number): string {
  return `${Math.round(ms / 1_000)} s`;
}
