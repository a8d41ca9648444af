import type { Bus, HandlerResult, Identity, IncomingRequest, Store } from '@weft/bus';
import type { PortStatus, TrustStore } from '@weft/model';
import type { AgentClock, AgentDatapath, AgentLogger, HostAgentInit } from './components.ts';
import type { Conditions } from './conditions.ts';
import type { Gateways } from './gateway/gateways.ts';
import type { NetworkSession } from './network-session.ts';
import type { Networks } from './networks.ts';
import type { OwnPort, SavedState } from './state-store.ts';

// An agent is one process with one connection, one identity and one packet path; what it is for is its roles. The agent reads the store,
// follows networks, keeps tables and state; a role says which networks it needs, owns devices, and serves commands.
//
//   bus ─► agent: connection ─► trust, registration ─► networks ─► tables ─► packet path
//                    │ onStore            start, onRecords │           ▲ devices
//                    └──────────────► role: host, gateway ◄┘───────────┘

export type RoleName = 'host' | 'gateway';

/** What all roles of an agent share. */
export interface AgentParts {
  readonly init: HostAgentInit;
  readonly bus: Bus;
  readonly identity: Identity;
  readonly trust: TrustStore;
  readonly datapath: AgentDatapath;
  readonly networks: Networks;
  readonly gateways: Gateways;
  readonly clock: AgentClock;
  readonly random: () => number;
  readonly logger: AgentLogger;
  readonly conditions: Conditions;
  /** The store, for writing. @throws {AgentError} `WEFT_ERR_AGENT_NATS_DOWN`, `WEFT_ERR_AGENT_NOT_ADMITTED`. */
  readonly requireStore: () => Store;
  /** What `uses` or `saved` say has changed: networks are taken in or let go, the state is saved at once. */
  readonly onChange: () => void;
}

/** The devices of a role in the packet path. */
export interface RoleDevices {
  /** Indexes of those that are, are about to be, or just were in use: what is attached to others is detached. */
  readonly used: ReadonlySet<number>;
  /** Indexes of those that are wanted and there, but could not be taken up (yet): the last run's work goes on on them. */
  readonly untaken: ReadonlySet<number>;
}

export interface RoleStatus {
  readonly ports: readonly PortStatus[];
}

/** One of the things an agent is. Made with the parts; does nothing before `start`. */
export interface Role {
  readonly name: RoleName;
  /** Takes up what the last run left (undefined: nothing is known), without NATS. Networks are restored by then, and give out no rows yet. */
  start(saved: SavedState | undefined): Promise<void>;
  /** With `purge` what the role made is taken down; else the packet path goes on. The agent serves no command any more. */
  stop(options: { readonly purge: boolean }): Promise<void>;
  status(): RoleStatus;
  /** After each connection: trust is fresh and the host registered, the networks are read next. What is thrown is tried again. */
  onStore(store: Store): Promise<void>;
  /** Records of a network changed. @param portId The port they are about; undefined: any. */
  onRecords(session: NetworkSession, portId: string | undefined): Promise<void>;
  /** Gateway groups, or what this machine is in them, have changed. */
  onGateways?(): void;
  /** Shards of gateway groups have other owners. Hosts of a new owner are waiting: returns soon. */
  onOwnership?(): void;
  /** Once a second. */
  poll(): Promise<void>;
  /** Whether the role needs the network. */
  uses(rdid: string): boolean;
  devices(): RoleDevices;
  /** The port at a device. */
  portAt(ifindex: number): OwnPort | undefined;
  /** What must not be lost. */
  saved(): Partial<SavedState>;
  /** Carries a command out; undefined: it is none of this role's. @throws What becomes a problem in the answer. */
  handle(incoming: Pick<IncomingRequest, 'request' | 'signer'>): Promise<Pick<HandlerResult, 'result'>> | undefined;
}

export type MakeRole = (parts: AgentParts) => Role;
