import { dropReasonName, type GatewayUseResult, type NetworkUse } from '@weft/model';
import type { Command } from 'commander';
import { CliError, CliErrorCode, ExitCode } from '../core/errors.ts';
import { toJson } from '../format/output.ts';
import { formatCount } from '../format/quantity.ts';
import { paint } from '../format/style.ts';
import { type Cell, formatTable, type TableOptions } from '../format/table.ts';
import { type Deps, examples, withSession } from './deps.ts';
import { type Asked, askHosts, type HostAnswer } from './hosts-asked.ts';
import { limitOf, type NatNames, natNames, networkIds, networkReference, readNatCatalog, SCAN_TIMEOUT_MS } from './nat-asked.ts';

/** More than one member tells at once. */
const LIMIT_MAX = 2_000;
/** Networks that are asked for, so that those that do most of all are among them whatever is shown. */
const ASKED = 500;
const INTERVAL_S = { min: 0.1, max: 10 } as const;
/** A network that does so much, and most of all that is done, is named: of new flows and drops, or of packets. */
const CULPRIT = { perSecond: 20, packetsPerSecond: 1_000, share: 0.5 } as const;

const OUTSIDE = '(outside)';

/** What one network does to one member, by the second. */
export interface TopRow {
  /** `coke/net`; `(outside)`: what came from outside for no network. */
  readonly network: string;
  readonly member: string;
  readonly blocks: number;
  readonly blocksQuota: number;
  readonly mappings: number;
  readonly sessions: number;
  readonly sessionsQuota: number;
  /** Both directions, dropped ones too; estimates. */
  readonly packetsPerSecond: number;
  readonly bytesPerSecond: number;
  readonly newFlowsPerSecond: number;
  /** Refused, by the second: no block, no session, by quota; too many new flows; no port left. */
  readonly deniedBlocksPerSecond: number;
  readonly deniedSessionsPerSecond: number;
  readonly deniedFlowsPerSecond: number;
  readonly exhaustedPerSecond: number;
  readonly droppedPerSecond: number;
  readonly droppedBytesPerSecond: number;
  /** Names of reasons, with packets by the second, most first. */
  readonly drops: readonly { readonly reason: string; readonly perSecond: number }[];
}

export interface Culprit {
  readonly network: string;
  readonly member: string;
  /** 0 to 1: of all packets, of all new flows, and of all packets dropped, at that member. */
  readonly packets: number;
  /** 0 to 1: of the packets of all members that were asked. */
  readonly packetsOfAll: number;
  readonly newFlows: number;
  readonly dropped: number;
}

export function topRows(result: GatewayUseResult, member: string, names: Pick<NatNames, 'network'>): TopRow[] {
  const rate = (count: number): number => Math.round((count * 10_000) / Math.max(1, result.intervalMs)) / 10;
  return result.networks.map((use: NetworkUse) => ({
    network: use.networkId === 0 ? OUTSIDE : names.network(use.networkId),
    member,
    blocks: use.blocks,
    blocksQuota: use.blocksQuota,
    mappings: use.mappings,
    sessions: use.sessions,
    sessionsQuota: use.sessionsQuota,
    packetsPerSecond: rate(use.packets),
    bytesPerSecond: rate(use.bytes),
    newFlowsPerSecond: rate(use.newFlows),
    deniedBlocksPerSecond: rate(use.deniedBlocks),
    deniedSessionsPerSecond: rate(use.deniedSessions),
    deniedFlowsPerSecond: rate(use.deniedFlows),
    exhaustedPerSecond: rate(use.exhausted),
    droppedPerSecond: rate(sum(use.drops.map(({ packets }) => packets))),
    droppedBytesPerSecond: rate(sum(use.drops.map(({ bytes }) => bytes))),
    drops: use.drops.map(({ reason, packets }) => ({ reason: dropReasonName(reason), perSecond: rate(packets) })),
  }));
}

function sum(values: readonly number[]): number {
  return values.reduce((total, one) => total + one, 0);
}

/** What costs more than packets that pass. */
const troubleOf = (row: TopRow): number => row.newFlowsPerSecond + row.droppedPerSecond;
const packetsOf = (row: TopRow): number => row.packetsPerSecond;
const isServedAlone = (rows: readonly TopRow[]): boolean =>
  new Set(rows.map(({ network }) => network).filter((network) => network !== OUTSIDE)).size < 2;
const activityOf = (row: TopRow): number => row.packetsPerSecond + troubleOf(row);

/** Who does most first: packets, new flows and refusals; then who has most. */
export function byActivity(a: TopRow, b: TopRow): number {
  return activityOf(b) - activityOf(a) || b.sessions - a.sessions || b.blocks - a.blocks || (a.network < b.network ? -1 : 1);
}

/**
 * Networks that alone do most of what is done at a member, or send and get most of its packets. Of a network that its member serves alone,
 * having all packets there says nothing: it is held against those of the other members.
 */
export function culprits(rows: readonly TopRow[]): Culprit[] {
  const members = new Set(rows.map(({ member }) => member));
  return [...members].flatMap((member) => {
    const here = rows.filter((row) => row.member === member);
    const most = (of: (row: TopRow) => number, least: number, among: readonly TopRow[]): TopRow[] =>
      here.filter((row) => of(row) >= least && of(row) > sum(among.map(of)) * CULPRIT.share);
    const beside = isServedAlone(here) ? rows : here;
    const found = new Set([
      ...most(troubleOf, CULPRIT.perSecond, here),
      ...(isServedAlone(beside) ? [] : most(packetsOf, CULPRIT.packetsPerSecond, beside)),
    ]);
    const share = (of: (row: TopRow) => number, row: TopRow, among: readonly TopRow[] = here): number =>
      of(row) / Math.max(of(row), sum(among.map(of)), Number.MIN_VALUE);
    return [...found].map((row) => ({
      network: row.network,
      member,
      packets: share(packetsOf, row),
      packetsOfAll: share(packetsOf, row, rows),
      newFlows: share((one) => one.newFlowsPerSecond, row),
      dropped: share((one) => one.droppedPerSecond, row),
    }));
  });
}

/** @param named Those that alone do most. */
export function formatTop(rows: readonly TopRow[], named: readonly Culprit[], options: TableOptions): string {
  const right = (title: string) => ({ title, align: 'right' as const });
  const of = (value: number, quota: number): Cell =>
    quota === 0
      ? formatCount(value)
      : { text: `${formatCount(value)}/${formatCount(quota)}`, tone: value >= quota ? 'bad' : value >= quota * 0.8 ? 'warn' : 'plain' };
  const rate = (value: number, tone: 'plain' | 'bad' = 'plain'): Cell =>
    value === 0 ? '' : { text: formatCount(value >= 10 ? Math.round(value) : value), tone };
  const table = formatTable(
    [
      { title: 'NETWORK', flexible: true },
      { title: 'MEMBER' },
      right('BLOCKS'),
      right('MAPPINGS'),
      right('SESSIONS'),
      right('PACKETS/S'),
      right('BIT/S'),
      right('NEW FLOWS/S'),
      right('DENIED/S'),
      right('DROPPED/S'),
      { title: 'WHY', flexible: true },
    ],
    rows.map((row): Cell[] => [
      row.network,
      row.member,
      of(row.blocks, row.blocksQuota),
      formatCount(row.mappings),
      of(row.sessions, row.sessionsQuota),
      rate(row.packetsPerSecond),
      rate(row.bytesPerSecond * 8),
      rate(row.newFlowsPerSecond),
      rate(row.deniedBlocksPerSecond + row.deniedSessionsPerSecond + row.deniedFlowsPerSecond + row.exhaustedPerSecond, 'bad'),
      rate(row.droppedPerSecond),
      row.drops
        .slice(0, 3)
        .map(({ reason, perSecond }) => `${reason} ${perSecond}`)
        .join(', '),
    ]),
    options,
  );
  const percent = (share: number): string => `${Math.round(share * 100)} %`;
  const lines = named.map(({ network, member, packets, packetsOfAll, newFlows, dropped }) => {
    const does = [
      ...(packets > 0
        ? [`has ${percent(packets)} of the packets${packets === 1 ? ` (${percent(packetsOfAll)} of all members’)` : ''}`]
        : []),
      ...(newFlows > 0 ? [`makes ${percent(newFlows)} of the new flows`] : []),
      ...(dropped > 0 ? [`causes ${percent(dropped)} of the drops`] : []),
    ];
    const said = does.length > 2 ? `${does.slice(0, -1).join(', ')} and ${does.at(-1)}` : does.join(' and ');
    return `${paint(network, 'warn', options.color)} ${said} at ${member}`;
  });
  return lines.length === 0 ? table : `${lines.join('\n')}\n\n${table}`;
}

interface TopOptions {
  readonly tenant?: string;
  readonly network?: string;
  readonly interval: string;
  readonly limit: string;
  readonly json?: boolean;
}

export function registerGatewayTop(gateway: Command, deps: Deps): void {
  gateway
    .command('top')
    .summary('which network uses and does how much, the busiest first')
    .description(
      'Asks the members of gateways twice, with an interval between, what each network of the shards they own has (blocks of 64 ports, mappings, sessions, with its quotas) and did in the interval: new flows, what was refused (DENIED: by the quotas of blocks, sessions and new flows a second, and as no port was left), packets dropped and why; packets and bits a second are estimates (one packet of 64 is counted). Sorted by packets, new flows and drops; who alone makes most of the new flows and drops, or has most of the packets, is named above the table.',
    )
    .argument('[name]', 'only this gateway')
    .option('--tenant <name>', 'only networks of this tenant')
    .option('--network <name>', 'only this network (TENANT/NETWORK, or NETWORK with --tenant)')
    .option('--interval <seconds>', 'between the readings', '2')
    .option('--limit <count>', `at most so many networks, up to ${LIMIT_MAX}`, '20')
    .option('--json', 'print JSON')
    .addHelpText('after', examples('weft gateway top', 'weft gateway top edge --interval 5', 'weft gateway top --network coke/shop --json'))
    .action(async (name: string | undefined, options: TopOptions, command: Command) => {
      networkReference(options);
      const limit = limitOf(options.limit, LIMIT_MAX);
      const seconds = Number(options.interval);
      if (!(seconds >= INTERVAL_S.min && seconds <= INTERVAL_S.max))
        throw new CliError(
          CliErrorCode.Usage,
          `Cannot use --interval "${options.interval}": must be seconds, ${INTERVAL_S.min} to ${INTERVAL_S.max}`,
        );
      await withSession(deps, command, async (session) => {
        const { catalog, members } = await readNatCatalog(session, name);
        const request = {
          networkIds: networkIds(catalog, options),
          intervalMs: Math.round(seconds * 1_000),
          limit: Math.max(limit, ASKED),
        };
        const timeoutMs = request.intervalMs + SCAN_TIMEOUT_MS;
        const answers: HostAnswer<GatewayUseResult, Asked>[] = await askHosts(
          session,
          members,
          { kind: 'gatewayUse', value: request },
          'gatewayUse',
          timeoutMs,
          deps.io.note,
        );
        const names = natNames(catalog);
        const all = answers.flatMap((answer) => (answer.ok ? topRows(answer.result, answer.host.id, names) : [])).sort(byActivity);
        const rows = all.slice(0, limit);
        const leftOut = all.length - rows.length + sum(answers.map((answer) => (answer.ok ? answer.result.leftOut : 0)));
        const silent = answers.flatMap((answer) => (answer.ok ? [] : [{ host: answer.host.id, error: answer.error }]));
        for (const { host, error } of silent) deps.io.note(`${host}: no answer: ${error}`);
        if (silent.length > 0) deps.setExitCode(ExitCode.failed);
        const lost = answers.flatMap((answer) =>
          answer.ok && answer.result.eventsLost > 0 ? [{ host: answer.host.id, events: answer.result.eventsLost }] : [],
        );
        if (options.json === true) {
          deps.io.out(toJson({ intervalSeconds: seconds, culprits: culprits(all), networks: rows, leftOut, eventsLost: lost, silent }));
          return;
        }
        if (rows.length === 0) deps.io.note(members.length === 0 ? 'no gateways yet' : 'no networks on shards that have an owner');
        else deps.io.out(formatTop(rows, culprits(all), deps.io));
        for (const { host, events } of lost)
          deps.io.note(`${host}: ${formatCount(events)} events were lost in the interval: there were more new flows than are shown`);
        if (leftOut > 0) deps.io.note(`${formatCount(leftOut)} networks that do less are left out; raise --limit to see them`);
      });
    });
}
