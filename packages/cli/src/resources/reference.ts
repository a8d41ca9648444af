import { CliError, CliErrorCode } from '../core/errors.ts';
import { type Kind, namesOf } from './kinds.ts';

/** A resource as people name it; the parts that its kind does not have are empty. */
export interface Reference {
  readonly kind: Kind;
  readonly tenant: string;
  readonly network: string;
  readonly name: string;
}

/** What `--tenant` and `--network` say, for names that leave them out. */
export interface Defaults {
  readonly tenant?: string | undefined;
  readonly network?: string | undefined;
}

const depth: Record<Kind, 1 | 2 | 3> = {
  Tenant: 1,
  Host: 1,
  Principal: 1,
  Gateway: 1,
  VirtualNetwork: 2,
  VirtualSubnet: 3,
  Port: 3,
  PortBinding: 3,
  GatewayConnection: 3,
  ExternalAddress: 3,
  NatRule: 3,
  CustomerRoute: 3,
};

/**
 * Reads a name such as `coke/net/web1`. Leading parts may be left out when `--tenant` and `--network` give them.
 *
 * @throws {CliError} `WEFT_ERR_CLI_USAGE` when parts are missing, empty or too many.
 */
export function parseReference(kind: Kind, text: string, defaults: Defaults = {}): Reference {
  const parts = text.split('/');
  const wanted = depth[kind];
  const { naming } = namesOf(kind);
  const bad = (why: string): CliError => new CliError(CliErrorCode.Usage, `Cannot read ${kind} "${text}": ${why}; write ${naming}`);
  if (parts.some((part) => part === '')) throw bad('a part of the name is empty');
  if (parts.length > wanted) throw bad(`${parts.length} parts are too many`);
  const given = [defaults.tenant, defaults.network].slice(0, wanted - 1);
  const missing = wanted - parts.length;
  const lead = given.slice(0, missing);
  if (lead.some((part) => part === undefined)) throw bad(`${wanted} parts are needed (or --tenant${wanted === 3 ? ' and --network' : ''})`);
  const all = [...(lead as string[]), ...parts];
  const name = all[wanted - 1]!;
  return { kind, name, tenant: wanted > 1 ? all[0]! : '', network: wanted > 2 ? all[1]! : '' };
}

/** The name as people write it: `coke/net/web1`. */
export function formatReference(reference: Pick<Reference, 'tenant' | 'network' | 'name'>): string {
  return [reference.tenant, reference.network, reference.name].filter((part) => part !== '').join('/');
}
