import type { NatMappingKind, NatMappingRow } from '@weft/model';
import type { Command } from 'commander';
import { formatCount } from '../format/quantity.ts';
import { compareNames } from '../resources/catalog.ts';
import { type Deps, examples, withSession } from './deps.ts';
import { askHosts } from './hosts-asked.ts';
import {
  endpoint,
  type NatOptions,
  natNames,
  networkIds,
  protocolName,
  readNatCatalog,
  readQuery,
  rowOptions,
  SCAN_TIMEOUT_MS,
} from './nat-asked.ts';
import { lastName, rowsOf, showToldRows } from './nat-rows.ts';

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
      const wanted = readQuery(options);
      await withSession(deps, command, async (session) => {
        const { catalog, members } = await readNatCatalog(session, options.gateway);
        const query = { ...wanted, networkIds: networkIds(catalog, options) };
        const names = natNames(catalog);
        const answers = await askHosts(
          session,
          members,
          { kind: 'natMappings', value: query },
          'natMappings',
          SCAN_TIMEOUT_MS,
          deps.io.note,
        );
        const named = rowsOf(answers).map((row) => ({
          ...row,
          protocol: row.protocol === 0 ? 'all' : protocolName(row.protocol),
          network: names.network(row.networkId),
          port: names.port(row.networkId, row.customerAddress),
        }));
        named.sort((a, b) => compareNames(a.network, b.network) || compareNames(placeOf(a), placeOf(b)));
        showToldRows(deps, options, {
          rows: named,
          answers,
          limit: query.limit,
          none: 'no mappings',
          columns: [
            { title: 'NETWORK', flexible: true },
            { title: 'PORT', flexible: true },
            { title: 'INSIDE' },
            { title: 'PROTOCOL' },
            { title: 'OUTSIDE' },
            { title: 'KIND' },
            { title: 'SESSIONS', align: 'right' },
            { title: 'MEMBER' },
          ],
          cells: (row) => [
            row.network,
            lastName(row.port),
            endpoint(row.customerAddress, row.customerPort),
            row.protocol,
            endpoint(row.externalAddress, row.externalPort),
            KIND_NAMES[row.kind],
            row.kind === 'mapping' ? formatCount(row.sessions) : '',
            row.member,
          ],
        });
      });
    });
}

/** Rules before mappings, then by inside. */
function placeOf(row: Pick<NatMappingRow, 'kind' | 'customerAddress' | 'customerPort'>): string {
  return `${row.kind === 'mapping' ? 1 : 0} ${row.customerAddress} ${row.customerPort}`;
}
