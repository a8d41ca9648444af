import type { RecordEntry } from '@weft/bus';
import {
  addressToken,
  type Claim,
  configKey,
  configPrefix,
  type GatewayWorld,
  isGuid,
  isName,
  MAX_VSID,
  MIN_VSID,
  mappingKey,
  networkPath,
  type Port,
  type PortBinding,
  parseKey,
  portPath,
  type Resource,
  type ResourceRef,
  type Stored,
  type Tenant,
  type VirtualNetwork,
  type WeftRecord,
  type World,
} from '@weft/model';
import { type Author, type ControllerComponents, mapLimit, plannedFrom } from './components.ts';
import { type GatewayScope, loadGateways, scopeOfMembers, scopeOfRefs, scopeOfResources } from './gateway-loader.ts';
import { ids } from './ids.ts';
import type { Records } from './records.ts';

const PARALLEL = 16;

/** The world, and the entries it was read from: what writes replace. */
export interface LoadedWorld extends World {
  readonly entries: ReadonlyMap<string, RecordEntry>;
}

/** Reads what a request's resources can touch. All through the stream's leader. */
export class WorldLoader {
  readonly #records: Records;
  readonly #components: ControllerComponents;

  constructor(records: Records, components: ControllerComponents) {
    this.#records = records;
    this.#components = components;
  }

  async forResources(resources: readonly Resource[], author: Author): Promise<LoadedWorld> {
    const names = new Scope();
    for (const resource of resources) {
      if (resource.kind === 'tenant') names.tenant(resource.value.name);
      else if (resource.kind === 'gateway') continue;
      else names.network(resource.value.tenant, resource.kind === 'network' ? resource.value.name : resource.value.network);
    }
    const vsids = resources.flatMap((resource) =>
      resource.kind === 'subnet' && resource.value.vsid >= MIN_VSID && resource.value.vsid <= MAX_VSID ? [resource.value.vsid] : [],
    );
    const rdids = resources.flatMap((resource) =>
      resource.kind === 'network' && isGuid(resource.value.routingDomainId) ? [resource.value.routingDomainId] : [],
    );
    const draft = await this.#load(names, author);
    await mapLimit([...new Set(vsids)], PARALLEL, async (vsid) => {
      const claim = await this.#records.value(configKey.vsidClaim(vsid), 'claim');
      // A claim whose document does not hold it is a leftover, or under way: taking it decides, not the plan.
      if (claim !== undefined && (await this.holds(configKey.vsidClaim(vsid), claim.value))) draft.vsidOwners.set(vsid, claim.value.owner);
    });
    await mapLimit([...new Set(rdids)], PARALLEL, async (rdid) => {
      const network = await this.#records.value(configKey.network(rdid), 'network');
      if (network !== undefined) draft.rdidOwners.set(rdid, networkPath(network.value.tenant, network.value.name));
    });
    await this.#loadGateways(draft, scopeOfResources(resources), author);
    return draft;
  }

  async forRefs(refs: readonly ResourceRef[], author: Author): Promise<LoadedWorld> {
    const names = new Scope();
    for (const ref of refs) {
      if (ref.kind === 'Tenant') names.tenant(ref.name);
      else if (ref.kind === 'Gateway') continue;
      else names.network(ref.tenant, ref.kind === 'VirtualNetwork' ? ref.name : ref.network);
    }
    const draft = await this.#load(names, author);
    await mapLimit(refs, PARALLEL, async (ref) => {
      if (ref.kind === 'Port') {
        const port = draft.ports.get(portPath(ref.tenant, ref.network, ref.name));
        const binding = port === undefined ? undefined : await this.bindingOf(port.value);
        if (binding !== undefined) draft.bindings.set(binding.portId, binding);
      } else if (ref.kind === 'Tenant' && isName(ref.name)) {
        draft.networkNames.set(
          ref.name,
          (await this.networksOf(ref.name)).map((network) => network.name),
        );
      }
    });
    await this.#loadGateways(draft, scopeOfRefs(refs), author);
    return draft;
  }

  /** A gateway and its assignment, for a change of its members only. */
  async forMembers(gateway: string, author: Author): Promise<LoadedWorld> {
    const draft = new Draft();
    await this.#loadGateways(draft, scopeOfMembers(gateway), author);
    return draft;
  }

  async #loadGateways(draft: Draft, scope: GatewayScope, author: Author): Promise<void> {
    const reads = {
      author,
      records: this.#records,
      components: this.#components,
      networkEntry: (tenant: string, name: string) => this.#networkEntry(tenant, name),
      holds: (key: string, claim: Claim) => this.holds(key, claim),
    };
    draft.gateway = await loadGateways(reads, scope, [...draft.networks.values()], (entry) => draft.entries.set(entry.key, entry));
  }

  /** Who has the port, as far as it may be believed. */
  async bindingOf(port: Port): Promise<PortBinding | undefined> {
    const entry = await this.#records
      .get(this.#components.store.mapping, mappingKey(port.routingDomainId, port.vsid, port.id))
      .catch(() => undefined);
    return entry?.record?.kind === 'binding' ? entry.record.value : undefined;
  }

  /** Names of a tenant's networks, those included that are being made. */
  async networksOf(tenant: string): Promise<{ readonly name: string; readonly claimKey: string }[]> {
    const claims = await this.#records.all(this.#records.config, configPrefix.networkNameClaims(ids.tenant(tenant)));
    return await mapLimit(claims, PARALLEL, async (entry) => {
      const rdid = entry.record?.kind === 'claim' ? entry.record.value.owner : '';
      const network = isGuid(rdid) ? await this.#records.value(configKey.network(rdid), 'network') : undefined;
      return { name: network?.value.name ?? '(being made)', claimKey: entry.key };
    });
  }

  /** The network of that name, by the claim of its name. */
  async network(tenant: string, name: string): Promise<(Stored<VirtualNetwork> & { readonly entry: RecordEntry }) | undefined> {
    const entry = await this.#networkEntry(tenant, name);
    const network = networkOfName(entry?.record, tenant, name);
    return entry === undefined || network === undefined ? undefined : { value: network, revision: entry.revision, entry };
  }

  /** What stands, or stood, where the claim of the name points. */
  async #networkEntry(tenant: string, name: string): Promise<RecordEntry | undefined> {
    if (!isName(tenant) || !isName(name)) return undefined;
    const claim = await this.#records.value(configKey.networkNameClaim(ids.tenant(tenant), ids.network(tenant, name)), 'claim');
    if (claim === undefined || !isGuid(claim.value.owner)) return undefined;
    return await this.#records.get(this.#records.config, configKey.network(claim.value.owner));
  }

  /** Whether the document that a claim names holds what is claimed. */
  async holds(claimKey: string, claim: Claim): Promise<boolean> {
    const [, what, first, second] = claimKey.split('.') as [string, string, string, string | undefined];
    if (what === 'ca' || what === 'mac') {
      const port = await this.#records.value(claim.ownerKey, 'port').catch(() => undefined);
      if (port === undefined || port.value.id !== claim.owner) return false;
      if (what === 'mac') return port.value.vsid === Number(first) && port.value.mac.replaceAll(':', '') === second;
      return port.value.routingDomainId === first && port.value.addresses.some((address) => addressToken(address) === second);
    }
    // Numbers are never used again, whatever becomes of what had them.
    if (what === 'number') return true;
    const network = await this.#records.value(claim.ownerKey, 'network').catch(() => undefined);
    if (network === undefined || network.value.id !== claim.owner) return false;
    if (gatewayClaims(network.value).includes(claimKey)) return true;
    if (what !== 'vsid' && what !== 'network-id' && what !== 'network-name') return false;
    if (what === 'vsid') return network.value.subnets.some((subnet) => subnet.vsid === Number(first));
    if (what === 'network-id') return network.value.networkId === Number(first);
    return ids.tenant(network.value.tenant) === first && ids.network(network.value.tenant, network.value.name) === second;
  }

  async #load(names: Scope, author: Author): Promise<Draft> {
    const draft = new Draft();
    await mapLimit([...names.tenants], PARALLEL, async (name) => {
      if (!isName(name)) return;
      const entry = await this.#records.get(this.#records.config, configKey.tenant(ids.tenant(name)));
      if (entry === undefined) return;
      draft.entries.set(entry.key, entry);
      const record = plannedFrom(author, entry);
      if (record?.kind === 'tenant') draft.tenants.set(name, { value: record.value, revision: entry.revision });
    });
    await mapLimit([...names.networks.values()], 4, async ([tenant, name]) => {
      const network = await this.#networkEntry(tenant, name);
      const parsed = network && parseKey('config', network.key);
      if (network === undefined || parsed?.kind !== 'network') return;
      draft.entries.set(network.key, network);
      const value = networkOfName(plannedFrom(author, network), tenant, name);
      if (value !== undefined) draft.networks.set(networkPath(tenant, name), { value, revision: network.revision });
      for (const entry of await this.#records.allWithTombstones(this.#records.config, configPrefix.ports(parsed.routingDomainId))) {
        draft.entries.set(entry.key, entry);
        const port = plannedFrom(author, entry);
        if (value !== undefined && port?.kind === 'port')
          draft.ports.set(portPath(tenant, name, port.value.name), { value: port.value, revision: entry.revision });
      }
    });
    return draft;
  }
}

function networkOfName(record: WeftRecord | undefined, tenant: string, name: string): VirtualNetwork | undefined {
  return record?.kind === 'network' && record.value.tenant === tenant && record.value.name === name ? record.value : undefined;
}

/** Claims of what the network has of its gateway. */
export function gatewayClaims(network: VirtualNetwork): string[] {
  const of = network.gateway;
  if (of === undefined) return [];
  return [
    configKey.shardClaim(of.shard, network.id),
    ...of.externalAddresses.map((one) => configKey.externalClaim(one.segmentId, one.address)),
    ...of.connections.flatMap((one) => [
      ...(one.mode === 'forward' ? [configKey.forwardClaim(one.segmentId)] : []),
      ...(one.ipv6Prefix === '' ? [] : [configKey.externalPrefixClaim(one.segmentId, one.ipv6Prefix)]),
    ]),
  ];
}

class Scope {
  readonly tenants = new Set<string>();
  readonly networks = new Map<string, readonly [string, string]>();

  tenant(name: string): void {
    this.tenants.add(name);
  }
  network(tenant: string, name: string): void {
    this.tenants.add(tenant);
    this.networks.set(networkPath(tenant, name), [tenant, name]);
  }
}

class Draft implements LoadedWorld {
  readonly tenants = new Map<string, Stored<Tenant>>();
  readonly networks = new Map<string, Stored<VirtualNetwork>>();
  readonly ports = new Map<string, Stored<Port>>();
  readonly bindings = new Map<string, PortBinding>();
  readonly networkNames = new Map<string, readonly string[]>();
  readonly vsidOwners = new Map<number, string>();
  readonly rdidOwners = new Map<string, string>();
  readonly entries = new Map<string, RecordEntry>();
  gateway: GatewayWorld | undefined;
}
