import { isInPool, type NatTenure, natTenures, whoHad } from '@weft/model';
import type { Command } from 'commander';
import { CliError, CliErrorCode, ExitCode } from '../core/errors.ts';
import { toJson } from '../format/output.ts';
import { formatCount, formatDuration, formatEpoch, formatTime, parseMoment, parseSince } from '../format/quantity.ts';
import { type Cell, formatFields, formatTable, type TableOptions } from '../format/table.ts';
import { type Catalog, readCatalog } from '../resources/catalog.ts';
import { type Deps, examples, withSession } from './deps.ts';
import { addressOf, endpoint, limitOf, type NatNames, natNames, networkIds, networkReference, portOf } from './nat-asked.ts';
import { isNoLog, type NatLogRead, RECORDS_MAX, readNatLog } from './nat-log-read.ts';

interface LogOptions {
  readonly at?: string;
  readonly address?: string;
  readonly port?: string;
  readonly tenant?: string;
  readonly network?: string;
  readonly inside?: string;
  readonly since?: string;
  readonly tolerance: string;
  readonly limit: string;
  readonly json?: boolean;
}

/** A tenure with names. */
export interface NamedTenure extends NatTenure {
  readonly network: string;
  /** The port that has the address today; empty: none. */
  readonly port: string;
  /** Name of the gateway. */
  readonly gateway: string;
}

export interface LogAnswer {
  readonly address: string;
  readonly port: number;
  readonly timeMs: number;
  readonly toleranceMs: number;
  readonly holder: NamedTenure | undefined;
  /** Within the tolerance, without the holder. */
  readonly others: readonly NamedTenure[];
  /** Of the same port, that ended last before, or began first after. */
  readonly before: NamedTenure | undefined;
  readonly after: NamedTenure | undefined;
  /** What rules say of the address or port today; empty: nothing. */
  readonly rule: string;
}

export function nameTenures(tenures: readonly NatTenure[], catalog: Pick<Catalog, 'gateways' | 'networks' | 'ports'>): NamedTenure[] {
  const names: NatNames = natNames(catalog);
  const gateways = new Map(catalog.gateways.map(({ value }) => [value.id, value.name]));
  return tenures.map((tenure) => ({
    ...tenure,
    network: names.network(tenure.networkId),
    port: names.port(tenure.networkId, tenure.ca),
    gateway: gateways.get(tenure.group) ?? tenure.group,
  }));
}

/** Answers "who had this address and port at that time". */
export function answerLog(
  tenures: readonly NamedTenure[],
  question: { readonly address: string; readonly port: number; readonly timeMs: number; readonly toleranceMs: number },
  rule: string,
): LogAnswer {
  const { port, timeMs } = question;
  const { holder, candidates } = whoHad(tenures, question) as { holder: NamedTenure | undefined; candidates: readonly NamedTenure[] };
  const ofPort = tenures.filter((one) => one.address === question.address && port >= one.firstPort && port < one.firstPort + one.portCount);
  const before = ofPort.filter(({ untilMs }) => untilMs !== undefined && untilMs <= timeMs).sort((a, b) => b.untilMs! - a.untilMs!)[0];
  const after = ofPort.filter(({ fromMs }) => fromMs !== undefined && fromMs > timeMs).sort((a, b) => a.fromMs! - b.fromMs!)[0];
  return { ...question, holder, others: candidates.filter((one) => one !== holder), before, after, rule };
}

/** What is no block's: rules that stand now. */
export function ruleOf({ networks, gateways }: Pick<Catalog, 'networks' | 'gateways'>, address: string, port: number): string {
  for (const { value } of networks) {
    const external = value.gateway?.externalAddresses.find((one) => one.address === address);
    if (external === undefined) continue;
    const path = `${value.tenant}/${value.name}`;
    const rules = value.gateway!.natRules.filter((rule) => rule.externalAddress === external.name);
    const one = rules.find(({ kind }) => kind === 'static');
    if (external.use === 'static')
      return `${address} is a 1:1 address of ${path}${one === undefined ? '' : `, today of ${one.customerAddress}`}: its ports are in no log; "weft audit list --resource ${path}" tells since when`;
    const forward = rules.find(({ kind, firstPort, lastPort }) => kind === 'forward' && port >= firstPort && port <= lastPort);
    if (forward !== undefined)
      return `${endpoint(address, port)} is a port forward of ${path} to ${forward.customerAddress} today; "weft audit list --resource ${path}" tells since when`;
  }
  if (!gateways.some(({ value }) => value.pools.some((pool) => isInPool(pool, address))))
    return `no gateway has ${address} in a pool today: is it the right address?`;
  return port < 1_024 ? `ports below 1024 are in no block: nothing but a port forward uses them` : '';
}

const END_TEXT: Readonly<Record<NatTenure['end'], string>> = {
  released: 'given back',
  superseded: 'granted to somebody else: it must have been given back by then',
  open: 'not given back as far as the log tells',
};

const time = (ms: number | undefined): string => (ms === undefined ? '' : formatTime(ms));

function holderText(holder: NamedTenure): string {
  return `${holder.network}, ${holder.ca}${holder.port === '' ? '' : ` (port ${holder.port} today)`}`;
}

function describeTenure(tenure: NamedTenure, options: TableOptions): string {
  const { fromMs, untilMs, end, spreadMs, firstPort, portCount, member, epoch, gateway } = tenure;
  const fields: (readonly [string, Cell])[] = [
    ['Network', tenure.network],
    ['Address', tenure.ca],
    ['Port today', tenure.port === '' ? 'no port has that address today' : tenure.port],
    ['Block', `ports ${firstPort} to ${firstPort + portCount - 1}`],
    ['From', fromMs === undefined ? 'not known: the record of its grant is missing' : formatTime(fromMs)],
    ['Until', untilMs === undefined ? END_TEXT[end] : `${formatTime(untilMs)}, ${END_TEXT[end]}`],
    ['Told by', `${member}, epoch ${formatEpoch(epoch)}, gateway ${gateway}`],
  ];
  const apart =
    spreadMs > 1_000 ? `  the times that were told of it are ${formatDuration(spreadMs)} apart: a clock was set meanwhile\n` : '';
  return `${formatFields(fields, options).replaceAll(/^/gm, '  ').trimEnd()}\n${apart}`;
}

/** The answer for people. */
export function formatAnswer(answer: LogAnswer, options: TableOptions): string {
  const { holder, others, before, after, toleranceMs, rule } = answer;
  const what = `${endpoint(answer.address, answer.port)} at ${formatTime(answer.timeMs)}`;
  const lines: string[] = [];
  if (holder !== undefined) lines.push(`${what} was ${holderText(holder)}:\n${describeTenure(holder, options)}`);
  else if (others.length > 1) lines.push(`${what} can't be told: the log names ${others.length} who may have had it\n`);
  else if (others.length === 1) lines.push(`${what} was nobody's by the log, but may have been:\n`);
  else lines.push(`${what} was nobody's, as far as the log tells\n`);
  if (holder !== undefined && others.length > 0)
    lines.push(`Within ${formatDuration(toleranceMs)} of it, or while a clock was set, it may also have been:\n`);
  for (const one of others) lines.push(`  ${holderText(one)}:\n${describeTenure(one, options)}`);
  if (holder === undefined && rule !== '') lines.push(`${rule}\n`);
  if (holder === undefined && others.length === 0) {
    if (before !== undefined) lines.push(`Before: ${holderText(before)}, until ${time(before.untilMs)}\n`);
    if (after !== undefined) lines.push(`After: ${holderText(after)}, from ${time(after.fromMs)}\n`);
  }
  return lines.join('');
}

function tenureJson({ fromMs, untilMs, epoch, ...rest }: NamedTenure): object {
  const iso = (ms: number | undefined): string | null => (ms === undefined ? null : new Date(ms).toISOString());
  return { ...rest, epoch: formatEpoch(epoch), from: iso(fromMs), until: iso(untilMs) };
}

function answerJson({ timeMs, holder, others, before, after, ...rest }: LogAnswer): object {
  const one = (tenure: NamedTenure | undefined): object | null => (tenure === undefined ? null : tenureJson(tenure));
  return {
    ...rest,
    time: new Date(timeMs).toISOString(),
    holder: one(holder),
    others: others.map(tenureJson),
    before: one(before),
    after: one(after),
  };
}

function tenureTable(tenures: readonly NamedTenure[], options: TableOptions): string {
  return formatTable(
    [
      { title: 'FROM' },
      { title: 'UNTIL' },
      { title: 'NETWORK', flexible: true },
      { title: 'PORT', flexible: true },
      { title: 'INSIDE' },
      { title: 'OUTSIDE' },
      { title: 'ENDED' },
      { title: 'TOLD BY' },
      { title: 'EPOCH' },
    ],
    tenures.map((one): Cell[] => [
      time(one.fromMs),
      time(one.untilMs),
      one.network,
      one.port.slice(one.port.lastIndexOf('/') + 1),
      one.ca,
      `${endpoint(one.address, one.firstPort)}-${one.firstPort + one.portCount - 1}`,
      one.end === 'open' ? { text: 'held', tone: 'good' } : one.end,
      one.member,
      formatEpoch(one.epoch),
    ]),
    options,
  );
}

export function registerNatLog(nat: Command, deps: Deps): void {
  nat
    .command('log')
    .summary('who had which external address and port, and when')
    .description(
      'Reads the NAT log: one record for each block of 64 external ports that was granted or given back; no destinations. With --address, --port and --at it answers who had that port then; else it lists who had blocks, the latest last. Times are UTC unless they say otherwise; a time without a date is the last time it was so. Records that are not signed by the gateway they name are left out. Exit status 1 when nobody, or not one alone, had it.',
    )
    .option('--at <time>', 'when: now, 14:03, 14:03:05, "2026-11-22 14:03:05", or ISO 8601')
    .option('--address <address>', 'the external address')
    .option('--port <port>', 'the external port')
    .option('--tenant <name>', 'only networks of this tenant')
    .option('--network <name>', 'only this network (TENANT/NETWORK, or NETWORK with --tenant)')
    .option('--inside <address>', 'only this customer address')
    .option('--since <when>', 'only what was held since: a span before now (30m, 2h, 7d) or a time')
    .option('--tolerance <seconds>', 'how far clocks may be apart', '1')
    .option('--limit <count>', 'of a list at most so many, the latest', '50')
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      examples(
        'weft nat log --at 14:03:05 --address 203.0.113.7 --port 40112',
        'weft nat log --at "2026-11-22 14:03:05" --address 203.0.113.7 --port 40112 --tolerance 5 --json',
        'weft nat log --network coke/shop --since 2h',
        'weft nat log --at 14:03 --address 203.0.113.7',
      ),
    )
    .action(async (options: LogOptions, command: Command) => {
      const now = deps.now();
      const place = { address: addressOf('--address', options.address), port: portOf('--port', options.port) };
      const inside = addressOf('--inside', options.inside);
      networkReference(options);
      const atMs = options.at === undefined ? undefined : momentOf('--at', options.at, parseMoment(options.at, now), now);
      const sinceMs = options.since === undefined ? undefined : momentOf('--since', options.since, parseSince(options.since, now), now);
      const toleranceMs = toleranceOf(options.tolerance);
      const limit = limitOf(options.limit, 100_000);
      if (place.port !== 0 && place.address === '')
        throw new CliError(CliErrorCode.Usage, 'Cannot look for --port alone: say --address, too');
      await withSession(deps, command, async (session) => {
        const catalog = await readCatalog(session, ['Gateway', 'VirtualNetwork', 'Port']);
        const ids = networkIds(catalog, options);
        const read = await readLog(() => readNatLog(session.store.natLog, session.trust, place));
        const wanted = (one: NatTenure): boolean =>
          (ids.length === 0 || ids.includes(one.networkId)) && (inside === '' || one.ca === inside);
        const tenures = nameTenures(natTenures(read.records), catalog);
        if (read.unbelieved > 0)
          deps.io.note(
            `${formatCount(read.unbelieved)} records are left out: they are not signed by the host that they name, or it is no host of the installation any more`,
          );
        if (read.isCut) deps.io.note(`only the latest ${formatCount(RECORDS_MAX)} records were read; with --address and --port all are`);
        if (atMs !== undefined && place.address !== '' && place.port !== 0) {
          const rule = ruleOf(catalog, place.address, place.port);
          const answer = answerLog(tenures.filter(wanted), { ...place, timeMs: atMs, toleranceMs }, rule);
          deps.io.out(options.json === true ? toJson(answerJson(answer)) : formatAnswer(answer, deps.io));
          if (answer.holder === undefined) deps.setExitCode(ExitCode.failed);
          return;
        }
        const held = tenures
          .filter((one) => wanted(one) && (place.address === '' || one.address === place.address))
          .filter((one) => place.port === 0 || (place.port >= one.firstPort && place.port < one.firstPort + one.portCount))
          .filter(
            (one) => touches(one, atMs, toleranceMs) && (sinceMs === undefined || one.untilMs === undefined || one.untilMs >= sinceMs),
          )
          .sort((a, b) => (a.fromMs ?? 0) - (b.fromMs ?? 0));
        const shown = held.slice(-limit);
        if (options.json === true) deps.io.out(toJson({ tenures: shown.map(tenureJson), leftOut: held.length - shown.length }));
        else if (shown.length === 0)
          deps.io.note(`nothing in the log${atMs === undefined ? '' : ` of what was held at ${formatTime(atMs)}`}`);
        else deps.io.out(tenureTable(shown, deps.io));
        if (held.length > shown.length)
          deps.io.note(`${formatCount(held.length - shown.length)} earlier ones are left out; raise --limit to see them`);
      });
    });
}

function touches({ fromMs, untilMs, spreadMs }: NatTenure, atMs: number | undefined, toleranceMs: number): boolean {
  if (atMs === undefined) return true;
  const slack = toleranceMs + spreadMs;
  return (fromMs ?? 0) - slack <= atMs && (untilMs === undefined || atMs < untilMs + slack);
}

async function readLog(read: () => Promise<NatLogRead>): Promise<NatLogRead> {
  try {
    return await read();
  } catch (error) {
    if (!isNoLog(error)) throw error;
    throw new CliError(
      CliErrorCode.NotFound,
      'There is no NAT log yet: a controller makes it when it starts; is one of this version running?',
      { cause: error },
    );
  }
}

function momentOf(option: string, text: string, ms: number | undefined, now: number): number {
  if (ms === undefined)
    throw new CliError(
      CliErrorCode.Usage,
      `Cannot read ${option} "${text}": write now, 14:03:05, "2026-11-22 14:03:05" or 2026-11-22T14:03:05+01:00${option === '--since' ? ', or a span (30m, 2h, 7d)' : ''}`,
    );
  if (ms > now + 60_000) throw new CliError(CliErrorCode.Usage, `Cannot look at ${option} "${text}": ${formatTime(ms)} is yet to come`);
  return ms;
}

function toleranceOf(text: string): number {
  const seconds = Number(text.replace(/s$/, ''));
  if (text !== '' && seconds >= 0 && seconds <= 86_400) return Math.round(seconds * 1_000);
  throw new CliError(CliErrorCode.Usage, `Cannot use --tolerance "${text}": must be seconds, 0 to 86400`);
}
