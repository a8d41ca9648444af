import type { Condition, StatusResult } from '@weft/model';
import type { Command } from 'commander';
import { ExitCode } from '../core/errors.ts';
import { toJson } from '../format/output.ts';
import { formatCount, formatDuration } from '../format/quantity.ts';
import { paint, type Tone } from '../format/style.ts';
import { type Cell, formatTable } from '../format/table.ts';
import { type Deps, examples, withSession } from './deps.ts';
import { askHosts, type HostAnswer, listHosts } from './hosts-asked.ts';

const severityTones: Readonly<Record<string, Tone>> = { info: 'dim', warning: 'warn', critical: 'bad' };

/** The worst thing a host says of itself, in one cell. */
function conditionCell(conditions: readonly Condition[]): Cell {
  for (const severity of ['critical', 'warning']) {
    const count = conditions.filter((condition) => condition.severity === severity).length;
    if (count > 0) return { text: `${count} ${severity}`, tone: severityTones[severity]! };
  }
  return { text: 'ok', tone: 'good' };
}

/** Whether nothing here needs an operator: all hosts answered, none is cut off from NATS, no critical condition. */
export function allWell(answers: readonly HostAnswer<StatusResult>[]): boolean {
  return answers.every(
    (answer) =>
      answer.ok &&
      answer.result.natsState === 'connected' &&
      !answer.result.conditions.some((condition) => condition.severity === 'critical'),
  );
}

/** The hosts' table, and below it what they complain about. */
export function formatStatus(
  answers: readonly HostAnswer<StatusResult>[],
  options: { readonly width: number | undefined; readonly color: boolean },
): string {
  const table = formatTable(
    [
      { title: 'HOST' },
      { title: 'PROVIDER ADDRESS' },
      { title: 'ENGINE' },
      { title: 'NATS', flexible: true },
      { title: 'NETWORKS', align: 'right' },
      { title: 'PORTS', align: 'right' },
      { title: 'MAPPINGS', align: 'right' },
      { title: 'UP', align: 'right' },
      { title: 'CONDITION' },
    ],
    answers.map((answer): Cell[] => {
      if (!answer.ok)
        return [answer.host.id, answer.host.providerAddress, answer.host.engine, '', '', '', '', '', { text: 'no answer', tone: 'bad' }];
      const { hostId, providerAddress, engine, natsState, natsStateSinceMs, networks, ports, mappings, uptimeMs, conditions } =
        answer.result;
      return [
        hostId,
        providerAddress,
        engine,
        { text: `${natsState} ${formatDuration(natsStateSinceMs)}`, tone: natsState === 'connected' ? 'plain' : 'bad' },
        formatCount(networks),
        formatCount(ports),
        formatCount(mappings),
        formatDuration(uptimeMs),
        conditionCell(conditions),
      ];
    }),
    options,
  );
  const notes = answers.flatMap((answer) =>
    answer.ok
      ? answer.result.conditions.map(
          (condition) =>
            `${answer.host.id}: ${paint(condition.severity, severityTones[condition.severity] ?? 'plain', options.color)} ${condition.code}${condition.count > 1 ? ` (${formatCount(condition.count)} times)` : ''}, ${formatDuration(condition.sinceMs)}: ${condition.message}`,
        )
      : [`${answer.host.id}: ${paint('no answer', 'bad', options.color)}: ${answer.error}`],
  );
  return notes.length === 0 ? table : `${table}\n${notes.join('\n')}\n`;
}

export function registerStatus(program: Command, deps: Deps): void {
  program
    .command('status')
    .summary('how the installation is: NATS, controllers, hosts')
    .description(
      'Asks a controller for the hosts and each host how it is. Exit status 1 when a host does not answer, has lost NATS or has a critical condition.',
    )
    .option('--host <id>', 'only this host')
    .option('--json', 'print JSON')
    .addHelpText('after', examples('weft status', 'weft status --host host-b --json', 'weft --lab demo status'))
    .action(async (options: { host?: string; json?: boolean }, command: Command) => {
      await withSession(deps, command, async (session) => {
        const { state } = session.bus;
        const hosts = await listHosts(session, options.host);
        const answers = await askHosts(session, hosts, { kind: 'status', value: {} }, 'status');
        const ok = allWell(answers);
        if (options.json === true) {
          const nats = { state: state.state, server: state.server, serverVersion: state.serverVersion };
          const list = answers.map((answer) =>
            answer.ok ? { answered: true, ...answer.result } : { answered: false, hostId: answer.host.id, error: answer.error },
          );
          deps.io.out(toJson({ ok, nats, controller: { answered: true }, hosts: list }));
        } else {
          deps.io.out(
            `NATS ${state.server} (${state.serverVersion}), controller answers, ${answers.length} host${answers.length === 1 ? '' : 's'}\n\n`,
          );
          deps.io.out(answers.length === 0 ? 'no hosts yet: start "weft agent" on one\n' : formatStatus(answers, deps.io));
        }
        if (!ok) deps.setExitCode(ExitCode.failed);
      });
    });
}
