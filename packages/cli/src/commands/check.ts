import type { ConsistencyResult } from '@weft/model';
import type { Command } from 'commander';
import { ExitCode } from '../core/errors.ts';
import { toJson } from '../format/output.ts';
import { formatCount } from '../format/quantity.ts';
import { type Cell, formatTable } from '../format/table.ts';
import { type Deps, examples, withSession } from './deps.ts';
import { askHosts, type HostAnswer, listHosts } from './hosts-asked.ts';

/** The verdicts as a table, and below it what differs. */
export function formatCheck(
  answers: readonly HostAnswer<ConsistencyResult>[],
  options: { readonly width: number | undefined; readonly color: boolean },
): string {
  const table = formatTable(
    [{ title: 'HOST' }, { title: 'ROWS', align: 'right' }, { title: 'TABLES' }],
    answers.map((answer): Cell[] => {
      if (!answer.ok) return [answer.host.id, '', { text: 'no answer', tone: 'bad' }];
      const { rows, consistent, differences } = answer.result;
      return [
        answer.host.id,
        formatCount(rows),
        consistent ? { text: 'consistent', tone: 'good' } : { text: `${differences.length} differences`, tone: 'bad' },
      ];
    }),
    options,
  );
  const details = answers.flatMap((answer) =>
    answer.ok
      ? answer.result.differences.map((difference) => `${answer.host.id}: ${difference}\n`)
      : [`${answer.host.id}: ${answer.error}\n`],
  );
  return details.length === 0 ? table : `${table}\n${details.join('')}`;
}

export function registerCheck(program: Command, deps: Deps): void {
  program
    .command('check')
    .summary("compare each host's records, tables and kernel maps")
    .description(
      'Lets each host compare its tables rebuilt from zero, the tables it keeps up to date, and what the datapath holds. They must be equal. Exit status 1 when they are not, or a host does not answer.',
    )
    .option('--host <id>', 'only this host')
    .option('--json', 'print JSON')
    .addHelpText('after', examples('weft check', 'weft check --host host-a --json'))
    .action(async (options: { host?: string; json?: boolean }, command: Command) => {
      await withSession(deps, command, async (session) => {
        const answers = await askHosts(
          session,
          await listHosts(session, options.host),
          { kind: 'consistency', value: {} },
          'consistency',
          30_000,
        );
        const ok = answers.every((answer) => answer.ok && answer.result.consistent);
        if (options.json === true) {
          const hosts = answers.map((answer) =>
            answer.ok ? { answered: true, ...answer.result } : { answered: false, hostId: answer.host.id, error: answer.error },
          );
          deps.io.out(toJson({ ok, hosts }));
        } else deps.io.out(formatCheck(answers, deps.io));
        if (!ok) deps.setExitCode(ExitCode.failed);
      });
    });
}
