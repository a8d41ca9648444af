import {
  type Assignment,
  type Gateway,
  type Host,
  type ListedRecord,
  type ListedValue,
  type ListRequest,
  nearest,
  type Port,
  type PortBinding,
  type Principal,
  type Tenant,
  type VirtualNetwork,
} from '@weft/model';
import { CliError, CliErrorCode } from '../core/errors.ts';
import { ask, type Session } from '../core/session.ts';
import { formatReference, type Reference } from './reference.ts';

/** A record with who wrote it last, and when. */
export interface Listed<T> {
  readonly value: T;
  readonly revision: number;
  readonly timeUnixMs: number;
  readonly authorName: string;
}

/** Records as a controller listed them, by kind, each kind sorted by name. */
export interface Catalog {
  readonly tenants: readonly Listed<Tenant>[];
  readonly networks: readonly Listed<VirtualNetwork>[];
  readonly ports: readonly Listed<Port>[];
  readonly bindings: readonly Listed<PortBinding>[];
  readonly hosts: readonly Listed<Host>[];
  readonly principals: readonly Listed<Principal>[];
  readonly gateways: readonly Listed<Gateway>[];
  readonly assignments: readonly Listed<Assignment>[];
}

type ValueOf<K extends ListedValue['kind']> = Extract<ListedValue, { kind: K }>['value'];

/** Sorts what a controller listed into kinds. */
export function catalogOf(records: readonly ListedRecord[]): Catalog {
  const of = <K extends ListedValue['kind']>(kind: K, name: (value: ValueOf<K>) => string): Listed<ValueOf<K>>[] => {
    const found: Listed<ValueOf<K>>[] = [];
    for (const { record, revision, timeUnixMs, authorName } of records) {
      if (record.kind === kind) found.push({ value: record.value as ValueOf<K>, revision, timeUnixMs, authorName });
    }
    return found.sort((a, b) => compareNames(name(a.value), name(b.value)));
  };
  return {
    tenants: of('tenant', (tenant) => tenant.name),
    networks: of('network', (network) => `${network.tenant}/${network.name}`),
    ports: of('port', portName),
    bindings: of('binding', (binding) => `${binding.routingDomainId}/${binding.portId}`),
    hosts: of('host', (host) => host.id),
    principals: of('principal', (principal) => principal.name),
    gateways: of('gateway', (gateway) => gateway.name),
    assignments: of('assignment', (assignment) => assignment.gateway),
  };
}

const collator = new Intl.Collator('en', { numeric: true });

/** Order for people: `web2` comes before `web10`. */
export function compareNames(a: string, b: string): number {
  return collator.compare(a, b);
}

/** `coke/net/web1` */
export function portName(port: Pick<Port, 'tenant' | 'network' | 'name'>): string {
  return `${port.tenant}/${port.network}/${port.name}`;
}

/** Asks a controller for records of the kinds given, page by page. */
export async function readCatalog(
  session: Session,
  kinds: readonly string[],
  filter: { readonly tenant?: string | undefined; readonly network?: string | undefined; readonly name?: string | undefined } = {},
): Promise<Catalog> {
  const value: ListRequest = { kinds, tenant: filter.tenant ?? '', network: filter.network ?? '', name: filter.name ?? '' };
  const records: ListedRecord[] = [];
  let after: string | undefined;
  do {
    const page = await ask(session, 'controller', { kind: 'list', value: after === undefined ? value : { ...value, after } }, 'list');
    records.push(...page.records);
    after = page.next;
  } while (after !== undefined);
  return catalogOf(records);
}

/** The standing binding of a port; undefined when nobody has it. */
export function bindingOf(catalog: Pick<Catalog, 'bindings'>, port: Pick<Port, 'id' | 'routingDomainId'>): Listed<PortBinding> | undefined {
  return catalog.bindings.find(
    ({ value }) => value.portId === port.id && value.routingDomainId === port.routingDomainId && value.state === 'bound',
  );
}

/**
 * The port of that name.
 *
 * @throws {CliError} `WEFT_ERR_CLI_NOT_FOUND` with the names nearest to it.
 */
export function requirePort(catalog: Pick<Catalog, 'ports'>, reference: Reference): Port {
  const wanted = formatReference(reference);
  const found = catalog.ports.find(({ value }) => portName(value) === wanted);
  if (found !== undefined) return found.value;
  throw notFound(
    'Port',
    wanted,
    catalog.ports.map(({ value }) => portName(value)),
  );
}

/** A "not found" that names what is there. */
export function notFound(kind: string, wanted: string, there: readonly string[]): CliError {
  const near = nearest(wanted, there);
  const hint =
    near !== undefined ? `did you mean "${near}"?` : there.length === 0 ? 'there is none yet' : `see "weft get ${kind.toLowerCase()}"`;
  return new CliError(CliErrorCode.NotFound, `There is no ${kind} "${wanted}": ${hint}`);
}
