import type { Command } from 'commander';
import { ExitCode } from '../core/errors.ts';
import { toJson } from '../format/output.ts';
import { formatTable } from '../format/table.ts';
import { compareNames, notFound, readCatalog } from '../resources/catalog.ts';
import { parseReference } from '../resources/reference.ts';
import { type Deps, examples, withSession } from './deps.ts';
import { askHosts, listHosts } from './hosts-asked.ts';

export function registerMappings(program: Command, deps: Deps): void {
  program
    .command('mappings')
    .summary('which customer address each host believes to be where')
    .description(
      'Shows the lookup records that hosts hold: customer address to MAC, subnet and place (local device, or the provider address of another host).',
    )
    .option('--network <name>', 'only this network (TENANT/NETWORK)')
    .option('--tenant <name>', 'tenant, when --network leaves it out')
    .option('--host <id>', 'only what this host holds')
    .option('--json', 'print JSON')
    .addHelpText('after', examples('weft mappings --network coke/net', 'weft mappings --network coke/net --host host-a --json'))
    .action(async (options: { network?: string; tenant?: string; host?: string; json?: boolean }, command: Command) => {
      await withSession(deps, command, async (session) => {
        const { networks } = await readCatalog(session, ['VirtualNetwork']);
        const name = (id: number): string => {
          const found = networks.find(({ value }) => value.networkId === id)?.value;
          return found === undefined ? `#${id}` : `${found.tenant}/${found.name}`;
        };
        let routingDomainId = '';
        if (options.network !== undefined) {
          const reference = parseReference('VirtualNetwork', options.network, { tenant: options.tenant });
          const found = networks.find(({ value }) => value.tenant === reference.tenant && value.name === reference.name);
          if (found === undefined) {
            throw notFound(
              'VirtualNetwork',
              `${reference.tenant}/${reference.name}`,
              networks.map(({ value }) => `${value.tenant}/${value.name}`),
            );
          }
          routingDomainId = found.value.id;
        }
        const hosts = await listHosts(session, options.host);
        const answers = await askHosts(session, hosts, { kind: 'mappings', value: { routingDomainId } }, 'mappings');
        const rows = answers
          .flatMap((answer) =>
            answer.ok
              ? answer.result.mappings.map((mapping) => ({ host: answer.host.id, network: name(mapping.networkId), ...mapping }))
              : [],
          )
          .sort(
            (a, b) =>
              compareNames(a.network, b.network) || compareNames(a.customerAddress, b.customerAddress) || compareNames(a.host, b.host),
          );
        for (const answer of answers) if (!answer.ok) deps.io.note(`${answer.host.id}: no answer: ${answer.error}`);
        if (answers.some((answer) => !answer.ok)) deps.setExitCode(ExitCode.failed);
        if (options.json === true) deps.io.out(toJson(rows));
        else if (rows.length === 0) deps.io.note('no mappings');
        else {
          deps.io.out(
            formatTable(
              [
                { title: 'NETWORK', flexible: true },
                { title: 'CUSTOMER ADDRESS' },
                { title: 'MAC' },
                { title: 'VSID', align: 'right' },
                { title: 'ON HOST' },
                { title: 'KIND' },
                { title: 'WHERE', flexible: true },
                { title: 'GENERATION', align: 'right' },
              ],
              rows.map((row) => [
                row.network,
                row.customerAddress,
                row.mac,
                String(row.vsid),
                row.host,
                row.kind,
                row.kind === 'local' ? row.device : row.providerAddress,
                String(row.generation),
              ]),
              deps.io,
            ),
          );
        }
      });
    });
}
