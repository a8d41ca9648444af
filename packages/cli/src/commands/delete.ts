import { lastNameOf, type Resource, type ResourceRef } from '@weft/model';
import type { Command } from 'commander';
import { CliError, CliErrorCode } from '../core/errors.ts';
import { ask } from '../core/session.ts';
import { manifestKinds, namesOf, parseKind } from '../resources/kinds.ts';
import { parseReference } from '../resources/reference.ts';
import { changesJson, formatChanges, loadResources, summarizeChanges } from './apply.ts';
import { type Deps, examples, withSession } from './deps.ts';

/** What manifests name, as references. */
export function refOf(resource: Resource): ResourceRef {
  switch (resource.kind) {
    case 'tenant':
      return { kind: 'Tenant', tenant: '', network: '', name: resource.value.name };
    case 'network':
      return { kind: 'VirtualNetwork', tenant: resource.value.tenant, network: '', name: resource.value.name };
    case 'subnet':
      return { kind: 'VirtualSubnet', tenant: resource.value.tenant, network: resource.value.network, name: resource.value.name };
    case 'port':
      return { kind: 'Port', tenant: resource.value.tenant, network: resource.value.network, name: resource.value.name };
    case 'gateway':
      return { kind: 'Gateway', tenant: '', network: '', name: resource.value.name };
    case 'connection':
      return { kind: 'GatewayConnection', tenant: resource.value.tenant, network: resource.value.network, name: resource.value.name };
    case 'externalAddress':
      return { kind: 'ExternalAddress', tenant: resource.value.tenant, network: resource.value.network, name: resource.value.name };
    case 'natRule':
      return { kind: 'NatRule', tenant: resource.value.tenant, network: resource.value.network, name: resource.value.rule.name };
    case 'route':
      return { kind: 'CustomerRoute', tenant: resource.value.tenant, network: resource.value.network, name: lastNameOf(resource) };
  }
}

interface DeleteOptions {
  readonly filename?: readonly string[];
  readonly tenant?: string;
  readonly network?: string;
  readonly dryRun?: boolean;
  readonly json?: boolean;
}

export function registerDelete(program: Command, deps: Deps): void {
  program
    .command('delete')
    .summary('delete resources by name, or all that manifests name')
    .description(
      'Deletes what has manifests. What is still used is refused, and the users are named; with -f all of them go together or none.',
    )
    .argument('[kind]', `one of ${manifestKinds.map((kind) => namesOf(kind).plural).join(', ')}`)
    .argument('[names...]', 'for example coke/net/web1')
    .option('-f, --filename <path...>', 'delete what these manifests name (file, directory or -)')
    .option('--tenant <name>', 'tenant, when names leave it out')
    .option('--network <name>', 'network, when names leave it out')
    .option('--dry-run', 'only say what would be deleted')
    .option('--json', 'print JSON')
    .addHelpText('after', examples('weft delete port coke/net/web1', 'weft delete network coke/net', 'weft delete -f net.yaml --dry-run'))
    .action(async (word: string | undefined, names: string[], options: DeleteOptions, command: Command) => {
      let refs: ResourceRef[];
      if (options.filename !== undefined) {
        if (word !== undefined) throw new CliError(CliErrorCode.Usage, 'Cannot take both -f and a kind with names: give one of them');
        refs = (await loadResources(options.filename, deps.io)).resources.map(refOf);
      } else {
        if (word === undefined || names.length === 0)
          throw new CliError(CliErrorCode.Usage, 'Nothing to delete: give a kind and names (weft delete port coke/net/web1), or -f FILE');
        const kind = parseKind(word);
        if (!manifestKinds.includes(kind)) {
          const instead =
            kind === 'PortBinding' ? 'use "weft port unbind"' : kind === 'Host' ? 'use "weft host remove"' : 'use "weft principal remove"';
          throw new CliError(CliErrorCode.Usage, `Cannot delete ${namesOf(kind).plural} this way: ${instead}`);
        }
        refs = names.map((name) => {
          const { tenant, network, name: last } = parseReference(kind, name, options);
          return { kind, tenant, network, name: last };
        });
      }
      const dryRun = options.dryRun === true;
      await withSession(deps, command, async (session) => {
        const { changes } = await ask(session, 'controller', { kind: 'delete', value: { refs, dryRun } }, 'apply');
        if (options.json === true) deps.io.out(changesJson(changes, dryRun));
        else {
          deps.io.out(formatChanges(changes, { color: deps.io.color, fields: false }));
          deps.io.note(`${dryRun ? 'would be: ' : ''}${summarizeChanges(changes)}`);
        }
      });
    });
}
