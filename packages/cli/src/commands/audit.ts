import { type AuditEntry, type AuditFilter, auditDetails, createAuditNamer, describeAudit, listAudit, tailAudit } from '@weft/audit';
import type { AuditRecord, WeftError } from '@weft/model';
import type { Command } from 'commander';
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
  readonly resource?: string;
  readonly json?: boolean;
}

const tones: Record<AuditRecord['operation'], Tone> = { created: 'good', updated: 'warn', deleted: 'bad' };

/** A record as a program reads it: ids as they are, and their names beside them. */
export function auditJson({ sequence, record, fields, names }: AuditEntry): object {
  const { envelope: _, timeUnixMs, ...rest } = record;
  return { sequence, time: new Date(timeUnixMs).toISOString(), ...rest, ...(names === undefined ? {} : { names }), fields };
}

export function formatAudit(list: readonly AuditEntry[], options: { readonly width: number | undefined; readonly color: boolean }): string {
  return formatTable(
    [
      { title: 'TIME' },
      { title: 'AUTHOR', flexible: true },
      { title: 'WHAT' },
      { title: 'RESOURCE', flexible: true },
      { title: 'FIELDS', flexible: true },
      { title: 'REQUEST', flexible: true },
    ],
    list.map((entry): Cell[] => [
      formatTime(entry.record.timeUnixMs),
      entry.record.authorName,
      { text: entry.record.operation, tone: tones[entry.record.operation] },
      entry.names?.resource ?? entry.record.resource,
      auditDetails(entry)
        .map((field) => `${field.path}: ${field.before || '(none)'} → ${field.after || '(none)'}`)
        .join('; '),
      entry.record.requestId,
    ]),
    options,
  );
}

function filterOf(options: AuditOptions, nowMs: number): AuditFilter {
  const { tenant, resource, since } = options;
  const sinceMs = since === undefined ? undefined : parseSince(since, nowMs);
  if (since !== undefined && sinceMs === undefined) {
    throw new CliError(CliErrorCode.Usage, `Cannot read --since "${since}": write a span (30m, 2h, 7d) or a time (2026-11-22T21:00:00Z)`);
  }
  return {
    ...(tenant === undefined ? {} : { tenant }),
    ...(resource === undefined ? {} : { resource }),
    ...(sinceMs === undefined ? {} : { sinceMs }),
  };
}

export function registerAudit(program: Command, deps: Deps): void {
  const audit = program
    .command('audit')
    .summary('who changed what, and when')
    .description('Reads the audit stream: one record for each committed change, with its author, request and before/after.');
  const shared = (command: Command): Command =>
    command
      .option('--tenant <name>', 'only what belongs to this tenant')
      .option('--since <when>', 'a span before now (30m, 2h, 7d) or a time (2026-11-22T21:00:00Z)')
      .option('--resource <name>', 'only this resource and what is below it, with or without its kind: coke/net, "Port coke/net/web1"')
      .option('--json', 'print JSON');

  // One bad record hides none of the others.
  const onBad = (sequence: number, error: WeftError): void =>
    deps.io.note(`record ${sequence} of the audit stream is left out: ${error.message}`);

  shared(audit.command('list'))
    .summary('print past changes')
    .description('Prints the latest changes, oldest first.')
    .option('--limit <count>', 'at most so many', '50')
    .addHelpText('after', examples('weft audit list', 'weft audit list --tenant coke --since 2h', 'weft audit list --json --limit 1000'))
    .action(async (options: AuditOptions, command: Command) => {
      const limit = Number(options.limit);
      if (!Number.isInteger(limit) || limit < 1)
        throw new CliError(CliErrorCode.Usage, `Cannot use --limit "${options.limit}": must be a whole number, 1 or more`);
      const filter = filterOf(options, deps.now());
      await withSession(deps, command, async (session) => {
        const list = await listAudit(session.store.audit, { ...filter, limit, onBad, namer: createAuditNamer(session.store.config) });
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
      const filter = filterOf(options, deps.now());
      await withSession(deps, command, async (session) => {
        const past = options.since === undefined ? 0 : Number.POSITIVE_INFINITY;
        const namer = createAuditNamer(session.store.config);
        for await (const entry of tailAudit(session.store.audit, { ...filter, signal: deps.signal, past, onBad, namer })) {
          if (options.json === true) deps.io.out(`${JSON.stringify(auditJson(entry))}\n`);
          else deps.io.out(`${describeAudit(entry)} (request ${entry.record.requestId})\n`);
        }
      });
    });
}
