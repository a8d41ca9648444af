import { type Assignment, BLOCKS_PER_ADDRESS, type Gateway } from '@weft/model';
import { type Command, Option } from 'commander';
import { ExitCode } from '../core/errors.ts';
import { type OutputFormat, outputFormats, show } from '../format/output.ts';
import { formatCount, formatDuration, formatEpoch } from '../format/quantity.ts';
import { paint, type Tone } from '../format/style.ts';
import { type Cell, formatTable, type TableOptions } from '../format/table.ts';
import { type Catalog, notFound, readCatalog } from '../resources/catalog.ts';
import { type Deps, examples, withSession } from './deps.ts';
import { type GatewayAnswer, type GatewaySummary, type MemberRow, type ShardSummary, summarize } from './gateway-shards.ts';
import { askHosts } from './hosts-asked.ts';

/** Members and voters of assignments, and whoever else is named, each once. */
export function machinesOf(assignments: readonly Assignment[], others: readonly string[] = []): { readonly id: string }[] {
  const ids = assignments.flatMap(({ members, voters, previousVoters }) => [
    ...members.map(({ hostId }) => hostId),
    ...[...voters.voters, ...(previousVoters?.voters ?? [])].map(({ hostId }) => hostId),
  ]);
  return [...new Set([...ids, ...others])].map((id) => ({ id }));
}

const right = (title: string) => ({ title, align: 'right' as const });

function memberTable(members: readonly MemberRow[], options: TableOptions): string {
  return formatTable(
    [
      { title: 'MEMBER' },
      { title: 'PROVIDER ADDRESS' },
      { title: 'STATE' },
      right('OWNS'),
      right('PREFERRED'),
      right('STANDBY'),
      right('NETWORKS'),
      right('BLOCKS'),
      right('FREE'),
      right('HELD'),
      right('MAPPINGS'),
      right('SESSIONS'),
      { title: 'EXTERNAL', flexible: true },
      { title: 'MOVING', flexible: true },
    ],
    members.map((row): Cell[] => {
      const { use } = row;
      const counted = (value: number | undefined): string => (value === undefined ? '' : formatCount(value));
      return [
        row.host,
        row.providerAddress,
        row.answered ? { text: row.state, tone: row.state === 'active' ? 'good' : 'warn' } : { text: 'no answer', tone: 'bad' },
        row.answered ? String(row.owns) : '',
        String(row.preferred),
        String(row.standby),
        row.networks === undefined ? '' : String(row.networks),
        formatCount(row.blocks),
        counted(use?.blocksFree),
        counted(use?.blocksHeld),
        counted(use?.mappings),
        counted(use?.sessions),
        externalCell(row),
        [row.leaving > 0 ? `${row.leaving} leave` : '', row.coming > 0 ? `${row.coming} come` : '']
          .filter((part) => part !== '')
          .join(', '),
      ];
    }),
    options,
  );
}

function externalCell({ use }: MemberRow): Cell {
  if (use === undefined) return '';
  const text = use.interfaces
    .map(({ name, isPresent, hasCarrier }) => `${name} ${!isPresent ? 'missing' : hasCarrier ? 'up' : 'no carrier'}`)
    .join(', ');
  return { text, tone: use.interfaces.every(({ hasCarrier }) => hasCarrier) ? 'good' : 'bad' };
}

function shardTable(shards: readonly ShardSummary[], options: TableOptions): string {
  return formatTable(
    [
      right('SHARD'),
      { title: 'OWNER' },
      { title: 'EPOCH' },
      right('SINCE'),
      right('NETWORKS'),
      { title: 'AT MEMBERS', flexible: true },
      { title: 'STATE TO' },
      right('LAG P99'),
      { title: 'FLOWS' },
    ],
    shards.map((shard): Cell[] => [
      String(shard.shard),
      ownerCell(shard),
      shard.owner === '' ? '' : formatEpoch(shard.epoch),
      shard.owner === '' ? '' : formatDuration(shard.sinceMs),
      shard.networks === undefined ? '' : String(shard.networks),
      shard.members.map(({ host, state }) => `${host} ${state}`).join(', '),
      shard.lag?.standby ?? '',
      shard.lag === undefined ? '' : `${formatCount(shard.lag.lagMsP99)}ms`,
      shard.lag === undefined
        ? { text: 'not protected', tone: 'warn' }
        : shard.lag.isProtected
          ? { text: 'protected', tone: 'good' }
          : { text: 'catching up', tone: 'warn' },
    ]),
    options,
  );
}

function ownerCell({ owner, forwards, disagree }: ShardSummary): Cell {
  if (owner === '') return { text: 'nobody', tone: 'bad' };
  if (forwards === undefined) return { text: `${owner} (no answer)`, tone: 'bad' };
  if (!forwards) return { text: `${owner} (does not forward)`, tone: 'bad' };
  return { text: owner, tone: disagree.length > 0 ? 'warn' : 'good' };
}

const severityTones: Readonly<Record<string, Tone>> = { info: 'dim', warning: 'warn', critical: 'bad' };

/** What stands below the tables: who is silent, who disagrees, what is alarmed. */
function notes(summary: GatewaySummary, options: TableOptions): string[] {
  return [
    ...summary.silent.map(({ host, error }) => `${host}: ${paint('no answer', 'bad', options.color)}: ${error}`),
    ...summary.shards.flatMap(({ shard, alsoForward, disagree, owner }) => [
      ...alsoForward.map((host) => `${host}: ${paint('forwards', 'bad', options.color)} for shard ${shard}, too, which is ${owner}'s`),
      ...disagree.map(
        ({ host, owner: whom, epoch }) =>
          `${host}: ${paint('disagrees', 'warn', options.color)}: it believes shard ${shard} to be ${whom}'s, epoch ${formatEpoch(epoch)}`,
      ),
    ]),
    ...summary.alarms.map(
      ({ host, severity, code, count, sinceMs, message }) =>
        `${host}: ${paint(severity, severityTones[severity] ?? 'plain', options.color)} ${code}${count > 1 ? ` (${formatCount(count)} times)` : ''}, ${formatDuration(sinceMs)}: ${message}`,
    ),
  ];
}

/** A gateway on one page. */
export function formatGateway(
  gateway: Gateway,
  assignment: Assignment | undefined,
  summary: GatewaySummary | undefined,
  options: TableOptions,
): string {
  const head = paint(`Gateway ${gateway.name}`, 'strong', options.color);
  if (assignment === undefined || summary === undefined) return `${head}: not assigned yet\n`;
  const { voters, previousVoters, addresses, shards, incarnation } = assignment;
  const names = voters.voters.map(({ hostId, instance }) => (instance === 0 ? `${hostId} (has not answered yet)` : hostId)).join(', ');
  const shared = addresses.filter(({ pool }) => pool !== 0).length;
  const lines = [
    `${head}: ${shards.length} shards, ${shared} shared and ${addresses.length - shared} own external addresses, incarnation ${incarnation}`,
    `Voters (list ${voters.configId}): ${names}`,
    ...(previousVoters === undefined
      ? []
      : [`  list ${previousVoters.configId} still votes, too: ${previousVoters.voters.map(({ hostId }) => hostId).join(', ')}`]),
    ...(voters.voters.length < 3
      ? ['  no automatic failover: with fewer than three voters nobody has a majority alone; add a witness']
      : []),
  ];
  const below = notes(summary, options);
  return `${lines.join('\n')}\n\n${memberTable(summary.members, options)}\n${shardTable(summary.shards, options)}${below.length === 0 ? '' : `\n${below.join('\n')}\n`}`;
}

interface StatusOptions {
  readonly hosts?: boolean;
  readonly json?: boolean;
  readonly output: OutputFormat;
}

/** The same for programs. */
function documentOf(gateway: Gateway, assignment: Catalog['assignments'][number] | undefined, summary: GatewaySummary | undefined): object {
  return {
    gateway: gateway.name,
    ok: summary?.ok ?? false,
    revision: assignment?.revision ?? null,
    incarnation: assignment?.value.incarnation ?? null,
    members: (summary?.members ?? []).map((member) => ({ ...member, networks: member.networks ?? null })),
    shards: (summary?.shards ?? []).map((shard) => ({
      ...shard,
      epoch: formatEpoch(shard.epoch),
      forwards: shard.forwards ?? null,
      networks: shard.networks ?? null,
      lag: shard.lag ?? null,
      takeover: shard.takeover === undefined ? null : { ...shard.takeover, epoch: formatEpoch(shard.takeover.epoch) },
      disagree: shard.disagree.map((one) => ({ ...one, epoch: formatEpoch(one.epoch) })),
    })),
    alarms: summary?.alarms ?? [],
    silent: summary?.silent ?? [],
    assignment: assignment?.value ?? null,
  };
}

export function registerGatewayStatus(gateway: Command, deps: Deps): void {
  gateway
    .command('status')
    .summary('who owns which shard now, members, voters, blocks of ports, alarms')
    .description(
      `Asks the members and voters of each gateway: who owns each shard now and since when, what state it is in at each member, how far its standby is behind; for each member its shards, its blocks of 64 ports (an address has ${BLOCKS_PER_ADDRESS}; BLOCKS: that it grants from, FREE: that are left of them, HELD: that networks of its shards hold), mappings and sessions, and whether its external interfaces are up. An epoch is incarnation.ballot and only rises. Exit status 1 when one of them does not answer, a shard has no owner that forwards, somebody disagrees, or a critical alarm stands.`,
    )
    .argument('[name]', 'only this gateway')
    .option('--hosts', 'ask all other hosts, too, whom they obey')
    .option('--json', 'print JSON')
    .addOption(new Option('-o, --output <format>', 'how to show it').choices(outputFormats).default('table'))
    .addHelpText(
      'after',
      examples('weft gateway status', 'weft gateway status edge --json', 'weft gateway status edge --hosts', 'weft gateway status -o yaml'),
    )
    .action(async (name: string | undefined, options: StatusOptions, command: Command) => {
      await withSession(deps, command, async (session) => {
        // Not the networks, of which there may be ten thousand: members know how many they serve.
        const kinds = ['Gateway', 'Assignment', ...(options.hosts === true ? ['Host'] : [])];
        const catalog = await readCatalog(session, kinds);
        const found = catalog.gateways.filter(({ value }) => name === undefined || value.name === name).map(({ value }) => value);
        if (name !== undefined && found.length === 0) throw unknownGateway(catalog, name);
        const format = options.json === true ? 'json' : options.output;
        if (found.length === 0 && format !== 'json' && format !== 'yaml') return deps.io.note('no gateways yet');
        const assigned = found.map((one) => catalog.assignments.find(({ value }) => value.gatewayId === one.id));
        const machines = machinesOf(
          assigned.flatMap((one) => one?.value ?? []),
          catalog.hosts.map(({ value }) => value.id),
        );
        const gatewayId = found.length === 1 ? found[0]!.id : '';
        const answers = await askHosts(session, machines, { kind: 'gatewayStatus', value: { gatewayId } }, 'gatewayStatus');
        const summaries = assigned.map((one) =>
          one === undefined ? undefined : summarize(one.value, answersFor(one.value, answers, options.hosts === true)),
        );
        const documents = found.map((one, i) => documentOf(one, assigned[i], summaries[i]));
        show(deps.io, format, documents, (wide) =>
          found
            .map((one, i) => formatGateway(one, assigned[i]?.value, summaries[i], wide ? { ...deps.io, width: undefined } : deps.io))
            .join('\n'),
        );
        if (!summaries.every((one) => one?.ok === true)) deps.setExitCode(ExitCode.failed);
      });
    });
}

/** Of all machines that were asked, those that this gateway is about; with `--hosts` all. */
function answersFor(assignment: Assignment, answers: readonly GatewayAnswer[], all: boolean): readonly GatewayAnswer[] {
  if (all) return answers;
  const own = new Set(machinesOf([assignment]).map(({ id }) => id));
  return answers.filter(({ host }) => own.has(host.id));
}

export function unknownGateway(catalog: Pick<Catalog, 'gateways'>, name: string): ReturnType<typeof notFound> {
  return notFound(
    'Gateway',
    name,
    catalog.gateways.map(({ value }) => value.name),
  );
}
