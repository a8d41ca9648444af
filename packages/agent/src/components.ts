import type { Bus, Identity } from '@weft/bus';
import type { Datapath } from '@weft/datapath';
import type { DeviceKind, TrustStore } from '@weft/model';

// What the agent stands on, as interfaces: a test hands in memory, a machine the real things. Dependencies come in, options come in.

/** Time. `now` is the boot clock (CLOCK_BOOTTIME) in ms, the clock of the datapath; `unixMs` is for people and requests. */
export interface AgentClock {
  now(): number;
  unixMs(): number;
  setTimeout(callback: () => void, delayMs: number): unknown;
  clearTimeout(handle: unknown): void;
}

/** Takes pino as it is. Field vocabulary: host (this one: pino's base), peer (another host), network, port, rdid, revision, generation, reason, durationMs. */
export interface AgentLogger {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

export type Awaitable<T> = T | Promise<T>;

/** The packet path as the agent uses it. Calls are synchronous, but for the attach. */
export type AgentDatapath = Pick<
  Datapath,
  | 'engine'
  | 'gateway'
  | 'apply'
  | 'entries'
  | 'rows'
  | 'attachDeviceAsync'
  | 'detachDevice'
  | 'attachedDevices'
  | 'drops'
  | 'close'
  | 'destroy'
>;

/** A network device of this host. */
export interface DeviceInfo {
  readonly name: string;
  readonly ifindex: number;
  /** `veth`: frames may be handed to its peer directly, which lives in another network namespace. */
  readonly kind: 'tap' | 'veth';
  readonly isTap: boolean;
  readonly isUp: boolean;
  /** Why it can't be a tenant's port: it is the host's own (it has addresses, or belongs to a bridge). Undefined: it can. */
  readonly ownUse: string | undefined;
}

/** The host's devices. */
export interface Devices {
  /** Reads a device; undefined if there is none of that name. */
  inspect(name: string): Awaitable<DeviceInfo | undefined>;
  /** Index of a device, cheaply: for polling. */
  ifindex(name: string): number | undefined;
  /** Makes the persistent TAP if it is not there. */
  createTap(name: string): Awaitable<DeviceInfo>;
  /** Puts the device into the guarded group, ARP and IPv6 off. Idempotent. */
  protect(name: string): Awaitable<void>;
  /** @param mtuBytes Set along with it; undefined: left as it is. */
  bringUp(name: string, mtuBytes?: number): Awaitable<void>;
  /** Removes a TAP. `held`: a VM has it open. */
  removeTap(name: string): Awaitable<'removed' | 'absent' | 'held'>;
}

export interface HostAgentComponents {
  readonly bus: Bus;
  readonly trust: TrustStore;
  readonly identity: Identity;
  readonly datapath: AgentDatapath;
  /** Where `datapath` has only taken over the tables of a former process: puts programs to work. Called once, when leases have been renewed by those tables. */
  readonly startDatapath?: () => void;
  readonly devices: Devices;
  readonly clock: AgentClock;
  /** 0 up to 1. */
  readonly random: () => number;
  readonly logger: AgentLogger;
}

export interface HostAgentInit {
  readonly hostId: string;
  /** IPv4 text. */
  readonly providerAddress: string;
  readonly engine: 'kernel' | 'user';
  readonly underlayMtu: number;
  readonly bootId: string;
  readonly version: string;
  /** Where own bindings and last records are kept. */
  readonly stateDirectory: string;
  /** Believe a store that is another one than before, or lost records: a person's decision, for this start only. Default false. */
  readonly acceptNewStore?: boolean;
  /** How long a network without ports here is still followed. Default 600,000 ms. */
  readonly lingerMs?: number;
  /** Devices that are never a port's: the underlay, the tunnel. */
  readonly reservedDevices?: readonly string[];
  /** Full resync of each network, at random in between. Default 300,000 to 600,000 ms. */
  readonly resyncMs?: { readonly min: number; readonly max: number };
}

/** A device as asked for. */
export interface WantedDevice {
  readonly name: string;
  readonly kind: DeviceKind;
}
