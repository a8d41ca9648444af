import type { Socket } from 'node:dgram';
import { ErrorLimit, type TableChange, type TableEntry, type TableName } from '@weft/forwarding';
import { DropReason } from '@weft/model';
import { formatIp, isIpv4Mapped, parseMac } from '@weft/packet';
import type { Datapath, DatapathStatistics, DropCounter, PortDevice } from '../datapath.ts';
import { DatapathError } from '../errors.ts';
import type { GatewayDatapath } from '../gateway-datapath.ts';
import { deviceIndexes, requireDevice } from '../host/devices.ts';
import { ensureGuard, protectTenantDevice } from '../host/guard.ts';
import { ensureTunnelGuard, removeTunnelGuard } from '../host/tunnel-guard.ts';
import { bootClock } from './boot-clock.ts';
import { DropTable } from './drop-table.ts';
import { Forwarder } from './forwarder.ts';
import { FramePort } from './frame-port.ts';
import { HomeNamespace } from './home-namespace.ts';
import { neighborCommands } from './neighbor-commands.ts';
import { NextHops } from './next-hops.ts';
import { TABLE_CAPACITY, TableStore } from './table-store.ts';
import { holdTunnelPort } from './tunnel-port.ts';
import { tunnelFilter } from './underlay-filter.ts';

//   VM ── TAP or veth ──[packet socket]── fromPort ──┬── [packet socket] ── TAP or veth ── VM
//                                                    │
//                                  NextHops, MAC addresses
//                                                    │
//   underlay ───────────[packet socket]── fromUnderlay, fromTunnel (of segments that were joined on the way)
//
// A VM holds the descriptor of its TAP, so frames are taken on the device's other side, as of a veth. Packet sockets get copies: what keeps the
// host's own stack from the originals is the guard (see host/guard.ts), which this engine sets up itself, as it has no other means.
//
// A frame is handled to its end within the call that read it. Nothing is queued but frames that wait for a MAC address, a bounded number each
// peer; what comes too fast waits in the sockets' buffers, and is dropped by the kernel when they are full.

/** Takes pino as it is. */
export interface UserDatapathLogger {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

/** Options of {@link createUserDatapath}. */
export interface UserDatapathOptions {
  /** For messages: 1 to 32 of a-z, 0-9, "_" and "-". */
  readonly instance: string;
  /** This host's provider address, 16 bytes, IPv4 mapped. */
  readonly pa: Uint8Array;
  /** Name of the device that tunnels leave and arrive by. */
  readonly underlayInterface: string;
  /** Default 4789. */
  readonly udpPort?: number;
  /** Nanoseconds of the boot clock. Default: the system's. */
  readonly nowBootNs?: () => bigint;
  /** Default: lines on the standard error output. */
  readonly logger?: UserDatapathLogger;
}

const DEFAULT_UDP_PORT = 4789;
const PORT_BUFFER_BYTES = 4 << 20;
const UNDERLAY_BUFFER_BYTES = 16 << 20;
const UNDERLAY_LOOK_MS = 5_000;
const EMPTY: Uint8Array = new Uint8Array(0);

/**
 * Starts the user-space engine in the calling thread's network namespace: the same tables and verdicts as the kernel engine, for machines that
 * refuse BPF. Each frame passes through this process: a small part of the kernel engine's speed, and nothing moves when the process is gone.
 *
 * Needs CAP_NET_RAW and CAP_NET_ADMIN, and the commands `ip` and `nft`. Of GSO frames, TCP and UDP are carried; a VM's own tunnels must send
 * theirs cut.
 *
 * @throws {DatapathError} `WEFT_ERR_DATAPATH_BAD_OPTION` (also if the UDP port is taken), `…_NO_DEVICE`, `…_COMMAND`.
 */
export function createUserDatapath(options: UserDatapathOptions): UserDatapath {
  return new UserDatapath(options);
}

/** The user-space engine: see {@link createUserDatapath}. */
export class UserDatapath implements Datapath {
  readonly engine = 'user' as const;
  readonly gateway: GatewayDatapath = noGateway();
  readonly #options: UserDatapathOptions;
  readonly #udpPort: number;
  readonly #now: () => bigint;
  readonly #errors = new ErrorLimit();
  readonly #logger: UserDatapathLogger;
  readonly #store = new TableStore();
  readonly #drops = new DropTable();
  readonly #ports = new Map<number, FramePort>();
  readonly #home: HomeNamespace;
  readonly #tunnelPort: Socket;
  readonly #guardName: string;
  readonly #underlay: FramePort;
  readonly #forwarder: Forwarder;
  readonly #nextHops: NextHops;
  readonly #underlayTimer: ReturnType<typeof setInterval>;
  #underlayMac: Uint8Array;
  #isUnderlayGone = false;
  #closed = false;

  constructor(options: UserDatapathOptions) {
    checkOptions(options);
    const { pa, underlayInterface: name } = options;
    this.#options = options;
    this.#udpPort = options.udpPort ?? DEFAULT_UDP_PORT;
    this.#now = options.nowBootNs ?? bootClock();
    this.#logger = options.logger ?? standardErrorLogger;
    const { ifindex, address } = requireDevice(name);
    this.#underlayMac = parseMac(address);
    ensureGuard();
    // Only who has the port guards it: before, it may be another engine's.
    this.#tunnelPort = holdTunnelPort(formatIp(pa), this.#udpPort);
    this.#guardName = `${formatIp(pa)}:${this.#udpPort}`;
    this.#home = new HomeNamespace();
    this.#nextHops = new NextHops(neighborCommands(this.#home, name, formatIp(pa)), {
      send: (mac, frame) => this.#sendToUnderlay(mac, frame),
      drop: (frame) => this.#count(ifindex, 0, DropReason.KERNEL_REFUSED, frame),
    });
    this.#forwarder = this.#makeForwarder(ifindex);
    try {
      ensureTunnelGuard(this.#guardName, pa, this.#udpPort);
      this.#underlay = new FramePort(
        { name, ifindex, receiveBufferBytes: UNDERLAY_BUFFER_BYTES, filter: tunnelFilter(this.#udpPort) },
        {
          onFrame: (frame, offload) => this.#forwarder.fromUnderlay(frame, offload),
          onUnreadable: () => this.#count(ifindex, 0, DropReason.KERNEL_REFUSED, EMPTY),
          onGone: () => this.#underlayGone(),
        },
      );
    } catch (error) {
      this.#tunnelPort.close();
      this.#home.close();
      throw error;
    }
    this.#underlayTimer = setInterval(() => void this.#lookAtUnderlay(), UNDERLAY_LOOK_MS).unref();
    this.#logger.warn(
      { instance: options.instance, pa: formatIp(pa), underlay: name },
      'User-space engine: every frame passes through this process. Much slower than the kernel engine, and traffic stops when the process ends',
    );
  }

  apply(changes: readonly TableChange[]): void {
    this.#check('write to');
    this.#store.apply(changes);
  }

  entries(table?: TableName): TableEntry[] {
    this.#check('read');
    return this.#store.entries(table);
  }

  rows(table?: TableName): TableEntry[] {
    return this.entries(table);
  }

  attachDevice(device: PortDevice): void {
    this.#check('attach to');
    const { name, ifindex } = device;
    if (this.#ports.get(ifindex)?.closed === false && this.attachedDevices().includes(ifindex)) return;
    this.detachDevice(ifindex);
    this.#home.run(() => {
      protectTenantDevice(name);
      const port = new FramePort(
        { name, ifindex, receiveBufferBytes: PORT_BUFFER_BYTES },
        {
          onFrame: (frame, offload) => this.#forwarder.fromPort(ifindex, frame, offload),
          onUnreadable: () => this.#count(ifindex, this.#vsidOf(ifindex), DropReason.KERNEL_REFUSED, EMPTY),
          onGone: () => this.#ports.delete(ifindex),
        },
      );
      this.#ports.set(ifindex, port);
    });
  }

  /** Nothing to wait for here. */
  async attachDeviceAsync(device: PortDevice): Promise<void> {
    this.attachDevice(device);
  }

  detachDevice(ifindex: number): void {
    this.#check('detach from');
    this.#ports.get(ifindex)?.close();
    this.#ports.delete(ifindex);
  }

  attachedDevices(): number[] {
    this.#check('read');
    const present = this.#home.run(deviceIndexes);
    for (const [ifindex, port] of this.#ports) {
      if (present.has(ifindex)) continue;
      // A packet socket outlives its device, deaf.
      port.close();
      this.#ports.delete(ifindex);
    }
    return [...this.#ports.keys()].sort((a, b) => a - b);
  }

  drops(): DropCounter[] {
    this.#check('read');
    return this.#drops.read();
  }

  forgetDrops(ifindex: number): void {
    this.#check('write to');
    this.#drops.forget(ifindex);
  }

  statistics(): DatapathStatistics {
    this.#check('read');
    return {
      capacity: TABLE_CAPACITY,
      attachedDeviceCount: this.attachedDevices().length,
      droppedPackets: this.#drops.packets,
      programs: {},
    };
  }

  /** Stops. The tenants' devices stay closed towards the host's stack, and the tunnel's port to its processes: peers still believe this address. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearInterval(this.#underlayTimer);
    for (const port of this.#ports.values()) port.close();
    this.#ports.clear();
    this.#underlay.close();
    this.#nextHops.close();
    this.#tunnelPort.close();
    this.#home.close();
  }

  /** As {@link close}, and opens the tunnel's port to the host's processes. The guard of tenants' devices is the host's and stays. */
  destroy(): void {
    const home = this.#closed ? undefined : this.#home;
    if (home === undefined) removeTunnelGuard(this.#guardName);
    else home.run(() => removeTunnelGuard(this.#guardName));
    this.close();
  }

  #makeForwarder(underlayIfindex: number): Forwarder {
    const underlayMac = (): Uint8Array => this.#underlayMac;
    return new Forwarder({
      tables: this.#store.tables,
      underlayIfindex,
      get underlayMac() {
        return underlayMac();
      },
      context: () => ({ pa: this.#options.pa, udpPort: this.#udpPort, nowBootNs: this.#now(), errors: this.#errors }),
      deliver: (ifindex, frame, offload) => this.#ports.get(ifindex)?.send(frame, offload) ?? false,
      tunnel: (pa, frame) => this.#nextHops.send(pa, frame),
      drop: (ifindex, vsid, reason, frame) => this.#count(ifindex, vsid, reason, frame),
    });
  }

  #sendToUnderlay(mac: Uint8Array, frame: Uint8Array): void {
    frame.set(mac, 0);
    frame.set(this.#underlayMac, 6);
    if (!this.#underlay.send(frame)) this.#count(this.#underlay.ifindex, 0, DropReason.KERNEL_REFUSED, frame);
  }

  #count(ifindex: number, vsid: number, reason: DropReason, frame: Uint8Array): void {
    this.#drops.count(ifindex, vsid, reason, frame, this.#now());
  }

  #vsidOf(ifindex: number): number {
    return this.#store.tables.port(ifindex)?.vsid ?? 0;
  }

  /** The underlay's MAC address may change: a bond takes that of its first member. */
  async #lookAtUnderlay(): Promise<void> {
    const text = await this.#home.command('ip', ['-json', 'link', 'show', 'dev', this.#underlay.name]);
    const address = text === undefined ? undefined : (JSON.parse(text) as { address?: string }[])[0]?.address;
    if (address !== undefined) this.#underlayMac = parseMac(address);
    else this.#underlayGone();
  }

  #underlayGone(): void {
    if (this.#closed || this.#isUnderlayGone) return;
    this.#isUnderlayGone = true;
    this.#logger.warn({ device: this.#underlay.name }, 'The underlay device is gone: no tunnel works until the engine is started anew');
  }

  #check(action: string): void {
    if (!this.#closed) return;
    throw new DatapathError(
      'WEFT_ERR_DATAPATH_CLOSED',
      `Cannot ${action} the user-space datapath "${this.#options.instance}": it is closed; create it anew`,
    );
  }
}

/** Refuses each call: a gateway must work on when its process is gone. */
function noGateway(): GatewayDatapath {
  const refuse = (): never => {
    throw new DatapathError(
      'WEFT_ERR_DATAPATH_NO_GATEWAY',
      'Cannot be a gateway with the user-space engine: the gateway role needs the kernel engine; start the agent with it, or without that role',
    );
  };
  return {
    apply: refuse,
    entries: refuse,
    rows: refuse,
    setDeadline: refuse,
    attachExternal: refuse,
    detachExternal: refuse,
    externalDevices: refuse,
    probeStamps: refuse,
    get nat(): never {
      return refuse();
    },
    sweepNat: refuse,
    sliceNat: refuse,
    watchNat: refuse,
    natEventsLost: refuse,
    traffic: refuse,
    natSessionsMax: refuse,
    shareNatSessions: refuse,
  };
}

const standardErrorLogger: UserDatapathLogger = {
  info: (fields, message) => console.error(message, fields),
  warn: (fields, message) => console.error(message, fields),
};

function checkOptions({ instance, pa, udpPort = DEFAULT_UDP_PORT }: UserDatapathOptions): void {
  const refuse = (message: string): never => {
    throw new DatapathError('WEFT_ERR_DATAPATH_BAD_OPTION', message);
  };
  if (!/^[a-z0-9_-]{1,32}$/.test(instance)) refuse(`Cannot name an instance "${instance}": must be 1 to 32 of a-z, 0-9, "_" and "-"`);
  if (pa.length !== 16 || !isIpv4Mapped(pa)) {
    refuse(`Cannot use provider address ${pa.length === 16 ? formatIp(pa) : `${pa.length} bytes`}: must be 16 bytes, IPv4 mapped`);
  }
  if (!(Number.isInteger(udpPort) && udpPort > 0 && udpPort < 65_536)) {
    refuse(`Cannot use UDP port ${udpPort}: must be an integer from 1 to 65535`);
  }
}
