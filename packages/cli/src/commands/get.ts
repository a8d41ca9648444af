import type { Command } from 'commander';
import { Option } from 'commander';
import type { Io } from '../core/io.ts';
import { type OutputFormat, outputFormats, show } from '../format/output.ts';
import { formatDuration } from '../format/quantity.ts';
import { type Cell, type Column, formatTable } from '../format/table.ts';
import { bindingOf, type Catalog, type Listed, notFound, portName, readCatalog } from '../resources/catalog.ts';
import {
  bindingDocument,
  manifestOf,
  networkDocument,
  portDocument,
  type ResourceDocument,
  subnetDocument,
  tenantDocument,
} from '../resources/display.ts';
import { type Kind, kinds, manifestKinds, namesOf, parseKind } from '../resources/kinds.ts';
import { formatReference, parseReference, type Reference } from '../resources/reference.ts';
import { type Deps, examples, withSession } from './deps.ts';
import { gatewayViews } from './get-gateway.ts';

/** A resource found: its name for people, its document for programs, its cells for the table. */
export interface Row {
  readonly name: string;
  readonly document: ResourceDocument;
  readonly cells: readonly Cell[];
  readonly wide: readonly Cell[];
}

export interface View {
  readonly kinds: readonly string[];
  readonly columns: readonly Column[];
  readonly wideColumns: readonly Column[];
  /** Rows say something of others, too: all are read, whatever is shown. */
  readonly whole?: true;
  rows(catalog: Catalog, age: (listed: Listed<unknown>) => string): Row[];
}

const text = (title: string): Column => ({ title });
const flexible = (title: string): Column => ({ title, flexible: true });
const right = (title: string): Column => ({ title, align: 'right' });
const authored = [right('REVISION'), flexible('BY')];
const authoredCells = (listed: Listed<unknown>): Cell[] => [String(listed.revision), listed.authorName];

const ownViews: Record<Exclude<Kind, keyof typeof gatewayViews>, View> = {
  Tenant: {
    kinds: ['Tenant'],
    columns: [text('TENANT'), right('CHANGED')],
    wideColumns: [text('ID'), ...authored],
    rows: ({ tenants }, age) =>
      tenants.map((listed) => ({
        name: listed.value.name,
        document: tenantDocument(listed),
        cells: [listed.value.name, age(listed)],
        wide: [listed.value.id, ...authoredCells(listed)],
      })),
  },
  VirtualNetwork: {
    kinds: ['VirtualNetwork'],
    columns: [text('NETWORK'), flexible('SUBNETS'), right('ROUTES'), right('CHANGED')],
    wideColumns: [text('ROUTING DOMAIN ID'), right('NETWORK ID'), ...authored],
    rows: ({ networks }, age) =>
      networks.map((listed) => {
        const { tenant, name, subnets, routes, id, networkId } = listed.value;
        return {
          name: `${tenant}/${name}`,
          document: networkDocument(listed),
          cells: [`${tenant}/${name}`, subnets.map((subnet) => subnet.name).join(', '), String(routes.length), age(listed)],
          wide: [id, String(networkId), ...authoredCells(listed)],
        };
      }),
  },
  VirtualSubnet: {
    kinds: ['VirtualSubnet'],
    columns: [text('SUBNET'), right('VSID'), flexible('PREFIXES'), flexible('GATEWAYS')],
    wideColumns: [text('ROUTING DOMAIN ID'), ...authored],
    rows: ({ networks }) =>
      networks.flatMap((listed) =>
        listed.value.subnets.map((subnet) => {
          const name = `${listed.value.tenant}/${listed.value.name}/${subnet.name}`;
          return {
            name,
            document: subnetDocument(listed, subnet),
            cells: [name, String(subnet.vsid), subnet.prefixes.join(', '), subnet.gateways.join(', ')],
            wide: [listed.value.id, ...authoredCells(listed)],
          };
        }),
      ),
  },
  Port: {
    kinds: ['Port', 'PortBinding'],
    columns: [text('PORT'), flexible('SUBNET'), text('MAC'), flexible('ADDRESSES'), text('HOST'), text('DEVICE')],
    wideColumns: [text('ID'), right('VSID'), flexible('PLACEMENT'), right('GENERATION'), ...authored],
    rows: (catalog) =>
      catalog.ports.map((listed) => {
        const { value: port } = listed;
        const binding = bindingOf(catalog, port);
        const { mode, hosts } = port.placement;
        return {
          name: portName(port),
          document: portDocument(listed, binding),
          cells: [
            portName(port),
            port.subnet,
            port.mac,
            port.addresses.join(', '),
            binding === undefined ? { text: 'unbound', tone: 'dim' } : binding.value.hostId,
            binding?.value.device ?? '',
          ],
          wide: [
            port.id,
            String(port.vsid),
            mode === 'list' ? hosts.join(', ') : mode,
            String(binding?.value.generation ?? ''),
            ...authoredCells(listed),
          ],
        };
      }),
  },
  PortBinding: {
    kinds: ['PortBinding', 'Port'],
    columns: [
      flexible('PORT'),
      text('HOST'),
      text('PROVIDER ADDRESS'),
      text('DEVICE'),
      text('STATE'),
      right('GENERATION'),
      right('CHANGED'),
    ],
    wideColumns: [text('PORT ID'), text('ROUTING DOMAIN ID'), right('VSID'), flexible('MOVED FROM'), right('REVISION')],
    rows: ({ bindings, ports }, age) =>
      bindings.map((listed) => {
        const { value } = listed;
        const port = ports.find(({ value: p }) => p.id === value.portId && p.routingDomainId === value.routingDomainId)?.value;
        const name = port === undefined ? `${value.routingDomainId}/${value.portId}` : portName(port);
        const bound = value.state === 'bound';
        return {
          name,
          document: bindingDocument(listed, port),
          cells: [
            name,
            value.hostId,
            value.providerAddress,
            value.device,
            { text: value.state, tone: bound ? 'good' : 'dim' },
            String(value.generation),
            age(listed),
          ],
          wide: [value.portId, value.routingDomainId, String(value.vsid), value.previousHostId, String(listed.revision)],
        };
      }),
  },
  Host: {
    kinds: ['Host'],
    columns: [text('HOST'), text('PROVIDER ADDRESS'), text('ENGINE'), right('UNDERLAY MTU'), flexible('ROLES'), text('VERSION')],
    wideColumns: [flexible('ENCAPSULATIONS'), text('PUBLIC KEY'), text('BOOT ID'), right('REVISION')],
    rows: ({ hosts }) =>
      hosts.map((listed) => {
        const { id, providerAddress, engine, underlayMtu, roles, version, encapsulations, publicKey, bootId } = listed.value;
        return {
          name: id,
          document: {
            apiVersion: 'weft/v1',
            kind: 'Host',
            metadata: { name: id },
            status: { providerAddress, engine, underlayMtu, roles, version, encapsulations, publicKey, bootId, revision: listed.revision },
          },
          cells: [id, providerAddress, engine, String(underlayMtu), roles.join(', '), version],
          wide: [encapsulations.join(', '), publicKey, bootId, String(listed.revision)],
        };
      }),
  },
  Principal: {
    kinds: ['Principal'],
    columns: [text('NAME'), text('ROLE'), flexible('TENANTS'), text('PUBLIC KEY')],
    wideColumns: [...authored],
    rows: ({ principals }) =>
      principals.map((listed) => {
        const { name, role, tenants, key } = listed.value;
        return {
          name,
          document: {
            apiVersion: 'weft/v1',
            kind: 'Principal',
            metadata: { name },
            status: { role, tenants, publicKey: key, revision: listed.revision },
          },
          cells: [name, role, tenants.join(', '), key],
          wide: authoredCells(listed),
        };
      }),
  },
};

const views: Record<Kind, View> = { ...ownViews, ...gatewayViews };

export interface GetOptions {
  readonly tenant?: string;
  readonly network?: string;
  readonly output: OutputFormat;
  readonly json?: boolean;
}

/** The rows of a kind that the filters and the name leave. */
export function selectRows(kind: Kind, catalog: Catalog, nowMs: number, filter: GetFilter): Row[] {
  const age = (listed: Listed<unknown>): string => `${formatDuration(nowMs - listed.timeUnixMs)} ago`;
  const prefix =
    filter.tenant === undefined ? '' : filter.network === undefined ? `${filter.tenant}/` : `${filter.tenant}/${filter.network}/`;
  const scoped = !['Tenant', 'Host', 'Principal', 'Gateway'].includes(kind);
  return views[kind].rows(catalog, age).filter((row) => {
    if (filter.reference !== undefined) return row.name === formatReference(filter.reference);
    if (!scoped) return true;
    return (
      `${row.name}/`.startsWith(prefix) &&
      (filter.network === undefined || filter.tenant !== undefined || row.name.split('/')[1] === filter.network)
    );
  });
}

interface GetFilter {
  readonly tenant?: string | undefined;
  readonly network?: string | undefined;
  readonly reference?: Reference | undefined;
}

/** Shows what was found in the format asked. One resource by name is one JSON object, otherwise an array. */
export function showRows(io: Io, format: OutputFormat, kind: Kind, rows: readonly Row[], single: boolean): void {
  const { columns, wideColumns } = views[kind];
  // What has a manifest is shown as one, so that it can be applied again; the rest keeps its facts.
  const isManifest = format === 'yaml' && manifestKinds.includes(kind);
  // The gateway's own subnet comes with the first connection.
  const shown = isManifest ? rows.filter(({ document }) => document.status?.['role'] !== 'gateway') : rows;
  const documents = shown.map((row) => (isManifest ? manifestOf(row.document) : row.document));
  show(io, format, single ? documents[0] : documents, (wide) => {
    if (rows.length === 0) return '';
    return formatTable(
      wide ? [...columns, ...wideColumns] : columns,
      rows.map((row) => (wide ? [...row.cells, ...row.wide] : row.cells)),
      // Wide means: I will scroll.
      { width: wide ? undefined : io.width, color: io.color },
    );
  });
}

export function registerGet(program: Command, deps: Deps): void {
  program
    .command('get')
    .summary('list tenants, networks, subnets, ports, gateways and all else there is')
    .description(
      `Lists resources of one kind, or shows one by name. Kinds and how one is named:\n${kinds.map((k) => `  ${k.plural.padEnd(20)}${k.naming}`).join('\n')}`,
    )
    .argument('<kind>', 'what to list (singular, plural or short)')
    .argument('[name]', 'one resource, for example coke/net/web1')
    .option('--tenant <name>', 'only what belongs to this tenant')
    .option('--network <name>', 'only what belongs to this network')
    .addOption(new Option('-o, --output <format>', 'how to show it').choices(outputFormats).default('table'))
    .option('--json', 'the same as -o json')
    .addHelpText(
      'after',
      examples(
        'weft get ports',
        'weft get ports --tenant coke -o wide',
        'weft get port coke/net/web1 --json',
        'weft get networks -o yaml | weft apply -f -',
      ),
    )
    .action(async (word: string, name: string | undefined, options: GetOptions, command: Command) => {
      const kind = parseKind(word);
      const reference = name === undefined ? undefined : parseReference(kind, name, options);
      const catalog = await withSession(deps, command, (session) =>
        readCatalog(session, views[kind].kinds, {
          ...(views[kind].whole ? {} : { tenant: reference?.tenant || options.tenant, network: reference?.network || options.network }),
        }),
      );
      const rows = selectRows(kind, catalog, deps.now(), { tenant: options.tenant, network: options.network, reference });
      if (reference !== undefined && rows.length === 0) {
        const there = selectRows(kind, catalog, deps.now(), {});
        throw notFound(
          kind,
          formatReference(reference),
          there.map((row) => row.name),
        );
      }
      const format = options.json === true ? 'json' : options.output;
      showRows(deps.io, format, kind, rows, reference !== undefined);
      if (rows.length === 0 && (format === 'table' || format === 'wide')) deps.io.note(`no ${namesOf(kind).plural} yet`);
    });
}
