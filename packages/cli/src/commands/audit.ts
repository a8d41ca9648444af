import type { AuditRecord } from '@weft/model';
import type { Command } from 'commander';
import type { ListedAudit } from '../core/audit-source.ts';
import { followAudit, readAudit } from '../core/audit-source.ts';
import { CliError, CliErrorCode } from '../core/errors.ts';
import { toJson } from '../format/output.ts';
import { formatTime, parseSince } from '../format/quantity.ts';
import type { Tone } from '../format/style.ts';
import { type Cell, formatTable } from '../format/table.ts';
import { type Deps, examples, withSession } from './deps.ts';

interface AuditOptions {
  readonly tenant?: string;
  readonly since?: string;
  readonly limit: string;
  readonly all?: boolean;
  readonly json?: boolean;
}

const tones: Record<AuditRecord['operation'], Tone> = { created: 'good', updated: 'warn', deleted: 'bad' };

/** A record as a program reads it. */
export function auditJson({ sequence, record, fields }: ListedAudit): object {
  const { envelope: _, timeUnixMs, ...rest } = record;
  return { sequence, time: new Date(timeUnixMs).toISOString(), ...rest, fields };
}

export function formatAudit(
  list: readonly ListedAudit[],
  options: { readonly width: number | undefined; readonly color: boolean },
): string {
  return formatTable(
    [
      { title: 'TIME' },
      { title: 'AUTHOR', flexible: true },
      { title: 'WHAT' },
      { title: 'RESOURCE', flexible: true },
      { title: 'FIELDS', flexible: true },
      { title: 'REQUEST', flexible: true },
    ],
    list.map(({ record, fields }): Cell[] => [
      formatTime(record.timeUnixMs),
      record.authorName,
      { text: record.operation, tone: tones[record.operation] },
      record.resource,
      record.operation === 'updated'
        ? fields.map((field) => `${field.path}: ${field.before || '(none)'} → ${field.after || '(none)'}`).join('; ')
        : '',
      record.requestId,
    ]),
    options,
  );
}

function sinceMs(options: AuditOptions, nowMs: number): number {
  if (options.since === undefined) return 0;
  const time = parseSince(options.since, nowMs);
  if (time !== undefined) return time;
  throw new CliError(
    CliErrorCode.Usage,
    `Cannot read --since "${options.since}": write a span (30m, 2h, 7d) or a time (2026-11-22T21:00:00Z)`,
  );
}

/** Claims and intents are Weft's own book-keeping: the request that made them is told by its other records. */
const isOwnBookkeeping = (record: AuditRecord): boolean => record.key.startsWith('claim.') || record.key.startsWith('intent.');

export function registerAudit(program: Command, deps: Deps): void {
  const audit = program
    .command('audit')
    .summary('who changed what, and when')
    .description('Reads the audit stream: one record for each committed change, with its author, request and before/after.');
  const shared = (command: Command): Command =>
    command
      .option('--tenant <name>', 'only what belongs to this tenant')
      .option('--since <when>', 'a span before now (30m, 2h, 7d) or a time (2026-11-22T21:00:00Z)')
      .option('--all', "also Weft's own claims and intents")
      .option('--json', 'print JSON');

  const wanted =
    (options: AuditOptions, fromMs: number) =>
    ({ record }: ListedAudit): boolean =>
      record.timeUnixMs >= fromMs &&
      (options.tenant === undefined || record.tenant === options.tenant) &&
      (options.all === true || !isOwnBookkeeping(record));

  shared(audit.command('list'))
    .summary('print past changes')
    .description('Prints the latest changes, oldest first.')
    .option('--limit <count>', 'at most so many', '50')
    .addHelpText('after', examples('weft audit list', 'weft audit list --tenant coke --since 2h', 'weft audit list --json --limit 1000'))
    .action(async (options: AuditOptions, command: Command) => {
      const limit = Number(options.limit);
      if (!Number.isInteger(limit) || limit < 1)
        throw new CliError(CliErrorCode.Usage, `Cannot use --limit "${options.limit}": must be a whole number, 1 or more`);
      const keep = wanted(options, sinceMs(options, deps.now()));
      await withSession(deps, command, async (session) => {
        const list: ListedAudit[] = [];
        for await (const entry of readAudit(session)) {
          if (!keep(entry)) continue;
          list.push(entry);
          if (list.length > limit) list.shift();
        }
        if (options.json === true) deps.io.out(toJson(list.map(auditJson)));
        else if (list.length === 0) deps.io.note('no changes recorded');
        else deps.io.out(formatAudit(list, deps.io));
      });
    });

  shared(audit.command('tail'))
    .summary('print changes as they happen')
    .description('Prints changes as they happen, until Ctrl-C; with --since also those before. JSON is one object a line.')
    .addHelpText('after', examples('weft audit tail', 'weft audit tail --since 10m --json'))
    .action(async (options: AuditOptions, command: Command) => {
      const keep = wanted(options, sinceMs(options, deps.now()));
      await withSession(deps, command, async (session) => {
        for await (const entry of followAudit(session, { past: options.since !== undefined, signal: deps.signal })) {
          if (!keep(entry)) continue;
          if (options.json === true) deps.io.out(`${JSON.stringify(auditJson(entry))}\n`);
          else {
            const { record } = entry;
            deps.io.out(
              `${formatTime(record.timeUnixMs)}  ${record.authorName}  ${record.operation}  ${record.resource}  (request ${record.requestId})\n`,
            );
          }
        }
      });
    });
}
