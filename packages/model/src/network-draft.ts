import type { FieldChange } from './commands.ts';
import type { ResourceProblems } from './problems.ts';
import type { Port, VirtualNetwork } from './records.ts';
import { networkPath, type Stored, type World } from './world.ts';

/** A network while it is being put together: what stands, and upon it what resources of the request say, one after the other. */
export interface NetworkDraft {
  readonly path: string;
  readonly before: Stored<VirtualNetwork> | undefined;
  network: VirtualNetwork;
  /** Subnets whose prefixes or gateways broke a rule: ports in them are not judged by them. */
  readonly broken: Set<string>;
  readonly ports: Map<string, Port>;
  /** Names of ports the request speaks of. */
  readonly touched: Set<string>;
}

/** A resource that has been put into its place. */
export interface PlannedItem {
  readonly exists: boolean;
  /** What changes. Asked when the whole request is planned. */
  readonly fields: () => FieldChange[];
}

/** The networks that a request speaks of. */
export class NetworkDrafts {
  readonly #world: World;
  readonly #drafts = new Map<string, NetworkDraft>();

  constructor(world: World) {
    this.#world = world;
  }

  get byPath(): ReadonlyMap<string, NetworkDraft> {
    return this.#drafts;
  }

  get all(): readonly NetworkDraft[] {
    return [...this.#drafts.values()];
  }

  begin(path: string, before: Stored<VirtualNetwork> | undefined, network: VirtualNetwork): NetworkDraft {
    const ports = new Map<string, Port>();
    for (const [portKey, { value }] of this.#world.ports) if (portKey.startsWith(`${path}/`)) ports.set(value.name, value);
    const draft: NetworkDraft = { path, before, network, broken: new Set(), ports, touched: new Set() };
    this.#drafts.set(path, draft);
    return draft;
  }

  /** The network that a resource is for. */
  of({ tenant, network }: { readonly tenant: string; readonly network: string }, problems: ResourceProblems): NetworkDraft | undefined {
    const path = networkPath(tenant, network);
    const draft = this.#drafts.get(path);
    if (draft !== undefined) return draft;
    const before = this.#world.networks.get(path);
    if (before !== undefined) return this.begin(path, before, before.value);
    problems.add(
      'WEFT_ERR_RULE_NETWORK_UNKNOWN',
      'metadata.network',
      network,
      `must be a virtual network of tenant ${tenant} that exists, or is in the same manifests`,
      'add the VirtualNetwork',
    );
    return undefined;
  }
}

/** The list with `after` in the place of `before`, or at its end. */
export function replaced<T>(list: readonly T[], before: T | undefined, after: T): T[] {
  return before === undefined ? [...list, after] : list.map((one) => (one === before ? after : one));
}
