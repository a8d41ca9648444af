import { ExitCode } from '../core/errors.ts';
import { toJson } from '../format/output.ts';
import { formatCount } from '../format/quantity.ts';
import { type Cell, type Column, formatTable } from '../format/table.ts';
import type { Deps } from './deps.ts';
import type { Asked, HostAnswer } from './hosts-asked.ts';
import { cutToLimit, type NatOptions } from './nat-asked.ts';

/** What several members have told, to be shown: the names of a row are put to it, the rows are in their order. */
export interface ToldRows<Row> {
  readonly rows: readonly Row[];
  readonly answers: readonly HostAnswer<{ readonly leftOut: number }, Asked>[];
  readonly limit: number;
  /** What is said instead of an empty table. */
  readonly none: string;
  readonly columns: readonly Column[];
  readonly cells: (row: Row) => readonly Cell[];
}

/** Every row that members have told, with who told it. */
export function rowsOf<Row>(
  answers: readonly HostAnswer<{ readonly rows: readonly Row[] }, Asked>[],
): (Row & { readonly member: string })[] {
  return answers.flatMap((answer) => (answer.ok ? answer.result.rows.map((row) => ({ member: answer.host.id, ...row })) : []));
}

/** Shows rows up to the limit, who has told nothing, and how many are left out: as a table, or as JSON. A member that is silent makes the command fail. */
export function showToldRows<Row>(deps: Deps, { json }: NatOptions, { answers, none, columns, cells, ...told }: ToldRows<Row>): void {
  const { rows, leftOut, silent } = cutToLimit(told.rows, answers, told.limit);
  for (const { host, error } of silent) deps.io.note(`${host}: no answer: ${error}`);
  if (silent.length > 0) {
    deps.io.note('rows of the shards that they own are missing; see "weft gateway status"');
    deps.setExitCode(ExitCode.failed);
  }
  if (json === true) {
    deps.io.out(toJson({ rows, leftOut, silent }));
    return;
  }
  if (rows.length === 0) deps.io.note(answers.length === 0 ? 'no gateways yet' : none);
  else deps.io.out(formatTable(columns, rows.map(cells), deps.io));
  if (leftOut > 0)
    deps.io.note(
      `${formatCount(leftOut)} more are left out: ask for less by --network, --inside, --address or --protocol, or raise --limit`,
    );
}

/** The port's own name: its network stands in a column of its own. */
export function lastName(port: string): string {
  return port.slice(port.lastIndexOf('/') + 1);
}
