import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { nearest } from '@weft/model';
import type { Catalog } from '../resources/catalog.ts';
import { CliError, CliErrorCode } from './errors.ts';

/** Where agents of this machine say who they are. */
export const RUN_DIR = '/run/weft';

/** The host ids of the agents on this machine: each keeps `/run/weft/<instance>/host-id`. */
export function localHostIds(runDir: string = RUN_DIR): string[] {
  let names: string[];
  try {
    names = readdirSync(runDir);
  } catch {
    return [];
  }
  const ids = names.flatMap((name) => {
    try {
      const id = readFileSync(join(runDir, name, 'host-id'), 'utf8').trim();
      return id === '' ? [] : [id];
    } catch {
      return [];
    }
  });
  return [...new Set(ids)].sort();
}

/**
 * The host a command is about: the one named; or the one whose agent runs on this machine; or the only one there is.
 *
 * @throws {CliError} `WEFT_ERR_CLI_USAGE` when that is not one host, `WEFT_ERR_CLI_NOT_FOUND` when the named one is not registered.
 */
export function chooseHost(catalog: Pick<Catalog, 'hosts'>, named: string | undefined, local: readonly string[]): string {
  const registered = catalog.hosts.map(({ value }) => value.id);
  if (named !== undefined) {
    if (registered.includes(named)) return named;
    const near = nearest(named, registered);
    throw new CliError(
      CliErrorCode.NotFound,
      registered.length === 0
        ? `There is no host "${named}": none is registered yet; "weft host add ${named}" makes its key, then start "weft agent" there`
        : `There is no host "${named}": ${near === undefined ? '' : `did you mean "${near}"? `}Registered are ${registered.join(', ')}; a new one registers when its agent first runs`,
    );
  }
  const here = local.filter((id) => registered.includes(id));
  if (here.length === 1) return here[0]!;
  if (here.length === 0 && registered.length === 1) return registered[0]!;
  if (registered.length === 0) throw new CliError(CliErrorCode.NotFound, 'No host is registered yet: start "weft agent" on one first');
  throw new CliError(
    CliErrorCode.Usage,
    here.length > 1
      ? `Several agents run on this machine (${here.join(', ')}): say which with --host`
      : `No agent of this machine is known and there are several hosts (${registered.join(', ')}): say which with --host`,
  );
}
