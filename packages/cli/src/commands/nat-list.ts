import type { NatMappingKind, NatMappingRow } from '@weft/model';
import type { Command } from 'commander';
import { ExitCode } from '../core/errors.ts';
import { toJson } from '../format/output.ts';
import { formatCount } from '../format/quantity.ts';
import { formatTable } from '../format/table.ts';
import { compareNames } from '../resources/catalog.ts';
import { type Deps, examples, withSession } from './deps.ts';
import { askHosts } from './hosts-asked.ts';
import {
  cutToLimit,
  endpoint,
  type NatOptions,
  natNames,
  protocolName,
  queryOf,
  readNatCatalog,
  rowOptions,
  SCAN_TIMEOUT_MS,
} from './nat-asked.ts';

const KIND_NAMES: Readonly<Record<NatMappingKind, string>> = { mapping: 'mapping', static: '1:1 rule', forward: 'port forward' };

export function registerNatList(nat: Command, deps: Deps): void {
  rowOptions(nat.command('list'))
    .summary('which external address and port stands for whom')
    .description(
      'Asks the members of gateways for the mappings of the shards that each owns now: customer address and port, external address and port, protocol, and how many sessions use it. Rules (1:1, port forwards) are listed, too. What is forwarded or peered without translation has no mapping.',
    )
    .addHelpText(
      'after',
      examples(
        'weft nat list',
        'weft nat list --network coke/shop --protocol udp',
        'weft nat list --address 203.0.113.16 --port 40112',
        'weft nat list --tenant coke --limit 4000 --json',
      ),
    )
    .action(async (options: NatOptions, command: Command) => {
      await withSession(deps, command, async (session) => {
        const { catalog, members } = await readNatCatalog(session, options.gateway);
        const query = queryOf(catalog, options);
        const names = natNames(catalog);
        const answers = await askHosts(session, members, { kind: 'natMappings', value: query }, 'natMappings', SCAN_TIMEOUT_MS);
        const all = answers.flatMap((answer) => (answer.ok ? answer.result.rows.map((row) => ({ member: answer.host.id, ...row })) : []));
        const named = all.map((row) => ({
          ...row,
          protocol: row.protocol === 0 ? 'all' : protocolName(row.protocol),
          network: names.network(row.networkId),
          port: names.port(row.networkId, row.customerAddress),
        }));
        named.sort((a, b) => compareNames(a.network, b.network) || compareNames(placeOf(a), placeOf(b)));
        const { rows, leftOut, silent } = cutToLimit(named, answers, query.limit);
        for (const { host, error } of silent) deps.io.note(`${host}: no answer: ${error}`);
        if (silent.length > 0) deps.setExitCode(ExitCode.failed);
        if (options.json === true) {
          deps.io.out(toJson({ rows, leftOut, silent }));
          return;
        }
        if (rows.length === 0) deps.io.note(members.length === 0 ? 'no gateways yet' : 'no mappings');
        else
          deps.io.out(
            formatTable(
              [
                { title: 'NETWORK', flexible: true },
                { title: 'PORT', flexible: true },
                { title: 'INSIDE' },
                { title: 'PROTOCOL' },
                { title: 'OUTSIDE' },
                { title: 'KIND' },
                { title: 'SESSIONS', align: 'right' },
                { title: 'MEMBER' },
              ],
              rows.map((row) => [
                row.network,
                row.port.slice(row.port.lastIndexOf('/') + 1),
                endpoint(row.customerAddress, row.customerPort),
                row.protocol,
                endpoint(row.externalAddress, row.externalPort),
                KIND_NAMES[row.kind],
                row.kind === 'mapping' ? formatCount(row.sessions) : '',
                row.member,
              ]),
              deps.io,
            ),
          );
        if (leftOut > 0) deps.io.note(leftOutNote(leftOut));
      });
    });
}

/** Rules before mappings, then by inside. */
function placeOf(row: Pick<NatMappingRow, 'kind' | 'customerAddress' | 'customerPort'>): string {
  return `${row.kind === 'mapping' ? 1 : 0} ${row.customerAddress} ${row.customerPort}`;
}

export function leftOutNote(leftOut: number): string {
  return `${formatCount(leftOut)} more are left out: ask for less by --network, --inside, --address or --protocol, or raise --limit`;
}
