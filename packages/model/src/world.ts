import type { ResourceChange } from './commands.ts';
import type { Assignment, Gateway } from './gateway-records.ts';
import type { Host, Port, PortBinding, Tenant, VirtualNetwork } from './records.ts';

/** A document as it stands in the bucket. */
export interface Stored<T> {
  readonly value: T;
  readonly revision: number;
}

/**
 * What stands, as far as a request can touch it: the tenants, networks and ports that its resources name, and all ports and bindings of
 * those networks. A read of the buckets; plans are made against it and fail by CAS if it has changed since.
 */
export interface World {
  /** By name. */
  readonly tenants: ReadonlyMap<string, Stored<Tenant>>;
  /** By `networkPath`. */
  readonly networks: ReadonlyMap<string, Stored<VirtualNetwork>>;
  /** All ports of the networks there, by `portPath`. */
  readonly ports: ReadonlyMap<string, Stored<Port>>;
  /** By port id; needed for deletions only. */
  readonly bindings: ReadonlyMap<string, PortBinding>;
  /** Networks of tenants that are to be deleted, by tenant name: names, also of networks not in `networks`. */
  readonly networkNames: ReadonlyMap<string, readonly string[]>;
  /** Who has the VSIDs that the request asks for: routing domain id. */
  readonly vsidOwners: ReadonlyMap<number, string>;
  /** Routing domain ids asked for that are taken: path of the network that has it. */
  readonly rdidOwners: ReadonlyMap<string, string>;
  /** What a request about gateways can touch. Absent: nothing of it stands. */
  readonly gateway?: GatewayWorld | undefined;
}

/** The gateways that the request's resources and networks name, and what is around them. */
export interface GatewayWorld {
  /** By name. */
  readonly gateways: ReadonlyMap<string, Stored<Gateway>>;
  /** By gateway id. */
  readonly assignments: ReadonlyMap<string, Stored<Assignment>>;
  /** Of gateways without an assignment, by id: where one that was deleted had got to. A gateway of the same name has the same id, and its voters remember. */
  readonly former: ReadonlyMap<string, FormerAssignment>;
  /** Hosts that gateways of the request name, by id. */
  readonly hosts: ReadonlyMap<string, Host>;
  /** Networks by shard. */
  readonly shardLoads: ReadonlyMap<number, number>;
  /** Networks that use a gateway that the request changes or deletes, by gateway id. */
  readonly networks: ReadonlyMap<string, readonly Stored<VirtualNetwork>[]>;
  /** Networks that connections of the request's networks peer with, by `networkPath`. */
  readonly peers: ReadonlyMap<string, Stored<VirtualNetwork>>;
  /** Claims of external addresses, prefixes and segments that are in use: key to routing domain id. */
  readonly held: ReadonlyMap<string, string>;
  /** Claims of external addresses, in use or not: where allocation looks further. */
  readonly claimed: ReadonlySet<string>;
  /** Numbers from this one on are free. */
  readonly nextNumber: number;
}

/** What is not begun anew with a gateway that is made again. */
export interface FormerAssignment {
  readonly incarnation: number;
  /** Of its list of voters. */
  readonly configId: number;
}

export const EMPTY_GATEWAY_WORLD: GatewayWorld = {
  gateways: new Map(),
  assignments: new Map(),
  former: new Map(),
  hosts: new Map(),
  shardLoads: new Map(),
  networks: new Map(),
  peers: new Map(),
  held: new Map(),
  claimed: new Set(),
  nextNumber: 1,
};

/** Makes ids of names: the same for the same name, always, so that two controllers and a resumed request agree. GUIDs. */
export interface IdMaker {
  tenant(name: string): string;
  network(tenant: string, name: string): string;
  port(rdid: string, name: string): string;
  gateway(name: string): string;
}

/** One document to be written. */
export interface PlannedWrite<T> {
  readonly before: Stored<T> | undefined;
  /** Undefined: to be deleted. A network may lack its network id (0) and VSIDs (0), a port its VSID (0): to be allocated. */
  readonly after: T | undefined;
}

export interface Plan {
  readonly tenants: readonly PlannedWrite<Tenant>[];
  readonly networks: readonly PlannedWrite<VirtualNetwork>[];
  readonly ports: readonly PlannedWrite<Port>[];
  readonly gateways: readonly PlannedWrite<Gateway>[];
  readonly assignments: readonly PlannedWrite<Assignment>[];
  /** One a resource of the request, in its order. Revisions are those before; the controller fills in those after. */
  readonly changes: readonly ResourceChange[];
}

export function networkPath(tenant: string, network: string): string {
  return `${tenant}/${network}`;
}
export function portPath(tenant: string, network: string, port: string): string {
  return `${tenant}/${network}/${port}`;
}

/** True if the plan writes nothing. */
export function isEmptyPlan(plan: Plan): boolean {
  return plan.tenants.length + plan.networks.length + plan.ports.length + plan.gateways.length + plan.assignments.length === 0;
}
