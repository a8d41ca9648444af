import { existsSync, readdirSync, rmdirSync, unlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type BpfMap, BpfObject, mountBpffs, probeFeatures, type TestRunOptions, type TestRunResult } from '@weft/bpf';
import type { GatewayTableName, TableChange, TableEntry, TableName } from '@weft/forwarding';
import { formatIp, isIpv4Mapped } from '@weft/packet';
import { interfaceIndex } from '@weft/tuntap';
import type { Datapath, DatapathStatistics, DropCounter, PortDevice } from '../datapath.ts';
import { DatapathError } from '../errors.ts';
import { noDevice, requireDevice } from '../host/devices.ts';
import { protectTenantDevice } from '../host/guard.ts';
import { ensureTunnelDevice, removeTunnelDevice } from '../host/tunnel-device.ts';
import { ensureTunnelGuard, removeTunnelGuard, TUNNEL_MARK } from '../host/tunnel-guard.ts';
import { findOnLinkPrefix } from '../host/underlay.ts';
import { Attachments, type ProgramName } from './attachments.ts';
import { forgetDropCounters, readDropCounters, reserveDropCounters } from './drop-counters.ts';
import { KernelGateway } from './kernel-gateway.ts';
import { LAYOUT_VERSION, MAP_LAYOUT } from './layout.ts';
import { LeftMaps } from './left-maps.ts';
import { natMapSizes } from './nat/sizes.ts';
import { TableGeneration } from './table-generation.ts';
import { TableWriter } from './table-writer.ts';

/** Options of {@link createKernelDatapath}. */
export interface KernelDatapathOptions {
  /** Names the pins: two instances on one machine never meet. 1 to 32 of a-z, 0-9, "_" and "-". */
  readonly instance: string;
  /** This host's provider address, 16 bytes, IPv4 mapped. */
  readonly pa: Uint8Array;
  /** Name of the device that tunnels leave and arrive by. */
  readonly underlayInterface: string;
  /** Name of the VXLAN device to make. Default `weft-tun0`. */
  readonly tunnelDevice?: string;
  /** Default 4789. */
  readonly udpPort?: number;
  /** Where the bpffs is, or is to be mounted. Default /sys/fs/bpf. */
  readonly bpffs?: string;
  /** Rows by table, and of the drop counters. Pinned maps keep their size unless another is given, which is refused. */
  readonly maxEntries?: Partial<Readonly<Record<TableName | GatewayTableName | 'drops', number>>>;
  /**
   * Look up a route for every frame. Default: not for provider addresses in the underlay's own prefix, as its addresses and routes are at start;
   * a datapath created anew looks again.
   */
  readonly alwaysRoute?: boolean;
  /** Time is what {@link KernelDatapath.setTestClock} says. For tests. */
  readonly testClock?: boolean;
  /** Attach by tcx links. Default: if the kernel has them (6.6), else by clsact filters, which others' tc commands can remove. */
  readonly tcx?: boolean;
  /** Do without what came with kernels 6.2 and 6.3: slower, the same to every frame. Default: if the kernel lacks it. */
  readonly kernel61?: boolean;
  /**
   * Decisions that each CPU remembers, in either direction: a power of two up to 65,536; 0 for none. Default 1024: about 450 kB a CPU. A flow that finds its
   * place taken is judged in full, which is what happens to all without.
   */
  readonly flowSlots?: number;
  /**
   * Sessions that port mapping holds at most, of all networks: 16 or more. Default 65,536: about 10 MB before the first of them, and half a kilobyte for
   * each. Pinned maps keep their size.
   */
  readonly natSessions?: number;
  /** Path of the compiled programs. Default: those that belong to this package. */
  readonly objectFile?: string;
}

/** Programs in the kernel, and the devices that they were made for. */
interface Started {
  readonly object: BpfObject;
  readonly underlayIfindex: number;
  readonly tunnelIfindex: number;
}

const TABLES: readonly TableName[] = ['port', 'subnet', 'lookup', 'l2', 'route', 'speaker', 'shard'];
const PROGRAMS: readonly ProgramName[] = ['from_port', 'from_underlay', 'from_tunnel', 'from_external'];
const GATEWAY_PROGRAMS = ['to_gateway', 'gateway_in', 'gateway_error'] as const;
const DEFAULT_TUNNEL_DEVICE = 'weft-tun0';
const DEFAULT_UDP_PORT = 4789;
const DEFAULT_FLOW_SLOTS = 1024;
const FLOW_SLOTS_MAX = 65_536;
const DEFAULT_NAT_SESSIONS = 65_536;
/** What was decided before; of no worth to other programs than those that decided it, so never pinned. */
const FLOW_MAPS = ['map_flow', 'map_tunnel_flow', 'map_gateway_out', 'map_gateway_in'] as const;
/** With those that hold nothing longer than a program runs. */
const UNPINNED_MAPS: readonly string[] = [...FLOW_MAPS, 'map_icmp_error', 'map_gateway_scratch', 'map_nat_work'];
const DEFAULT_BPFFS = '/sys/fs/bpf';
const ADDRESS_BYTES = 16;

/** The compiled programs of this package: beside `src` and `dist` alike. */
export const DEFAULT_OBJECT_FILE: string = fileURLToPath(new URL('../../dist-bpf/weft.bpf.o', import.meta.url));

/**
 * Starts the kernel engine in the calling thread's network namespace, or takes over the one that a former process of this instance left
 * working: pinned maps are reused with all their rows, and in each pinned link the program is replaced in one step, so that no frame is lost
 * over a restart or an upgrade.
 *
 * Makes the tunnel device and attaches the programs of tunnel and underlay; ports follow by `attachDevice`. Until tables are filled, every
 * tunnel frame is dropped.
 *
 * @throws {DatapathError} `WEFT_ERR_DATAPATH_BAD_OPTION`, `…_NO_DEVICE`, `…_NO_OBJECT` (not built), `…_COMMAND`.
 * @throws {BpfError} If the kernel refuses: no permission, a program rejected, pins of another shape.
 */
export function createKernelDatapath(options: KernelDatapathOptions): KernelDatapath {
  return new KernelDatapath(options, undefined);
}

/**
 * Takes over the tables that a former process of this instance left at work, and nothing else yet: rows can be read and written at once, by which the programs that
 * are attached go on judging, while loading this version's takes hundreds of ms. {@link KernelDatapath.start} does that; until then nothing can be attached.
 *
 * @returns Undefined: there are no such tables, or they are not all of this version's shapes; {@link createKernelDatapath} says what is wrong with them.
 * @throws {DatapathError} `WEFT_ERR_DATAPATH_BAD_OPTION`.
 */
export function resumeKernelDatapath(options: KernelDatapathOptions): KernelDatapath | undefined {
  checkOptions(options);
  const maps = LeftMaps.open(pinDirectoryOf(options));
  return maps && new KernelDatapath(options, maps);
}

/** The kernel engine: see {@link createKernelDatapath}, {@link resumeKernelDatapath}. */
export class KernelDatapath implements Datapath {
  readonly engine = 'kernel' as const;
  /** Folder of this instance's pins. */
  readonly pinDirectory: string;
  readonly gateway: KernelGateway;
  readonly #options: KernelDatapathOptions;
  /** What a former process left at work, by which the tables are written. Undefined: they are those of `#object`. */
  readonly #left: LeftMaps | undefined;
  readonly #generation: TableGeneration;
  readonly #tables: TableWriter;
  readonly #attachments: Attachments;
  readonly #tunnelDevice: string;
  #started: Started | undefined;
  #closed = false;

  /** @param left Taken over, closed with the datapath. */
  constructor(options: KernelDatapathOptions, left: LeftMaps | undefined) {
    checkOptions(options);
    this.#options = options;
    this.#left = left;
    this.pinDirectory = pinDirectoryOf(options);
    this.#tunnelDevice = options.tunnelDevice ?? DEFAULT_TUNNEL_DEVICE;
    this.#attachments = new Attachments(this.pinDirectory, options.tcx);
    if (left === undefined) this.#started = this.#load();
    try {
      const map = (name: string): BpfMap => this.#map(name);
      this.#generation = new TableGeneration(map('map_generation'));
      this.#tables = new TableWriter(
        Object.fromEntries(TABLES.map((table) => [table, map(MAP_LAYOUT[table].map)])) as Record<TableName, BpfMap>,
        this.#generation,
      );
      this.gateway = new KernelGateway(
        { map, program: (name) => this.#loaded('use').program(name) },
        this.#attachments,
        this.#generation,
        (action) => this.#check(action),
      );
      if (left === undefined) this.#putToWork();
    } catch (error) {
      this.#started?.object.close();
      left?.close();
      throw error;
    }
  }

  /**
   * Puts this version's programs to work, where only tables were taken over. Idempotent. When it throws, the programs of before are still at work, and it may be tried again.
   *
   * @throws As {@link createKernelDatapath}.
   */
  start(): void {
    this.#check('start');
    if (this.#started !== undefined) return;
    this.#started = this.#load();
    try {
      this.#putToWork();
    } catch (error) {
      this.#started.object.close();
      this.#started = undefined;
      throw error;
    }
  }

  get underlayIfindex(): number {
    return this.#ends('read').underlayIfindex;
  }

  get tunnelIfindex(): number {
    return this.#ends('read').tunnelIfindex;
  }

  apply(changes: readonly TableChange[]): void {
    this.#check('write to');
    this.#tables.apply(changes);
  }

  entries(table?: TableName): TableEntry[] {
    return [...this.rows(table)];
  }

  *rows(table?: TableName): Generator<TableEntry> {
    for (const name of table === undefined ? TABLES : [table]) {
      this.#check('read');
      yield* this.#tables.rows(name);
    }
  }

  attachDevice(device: PortDevice): void {
    const ifindex = this.#checkDevice(device);
    this.#attachments.attach('from_port', this.#loaded('use').program('from_port'), ifindex);
  }

  async attachDeviceAsync(device: PortDevice): Promise<void> {
    const ifindex = this.#checkDevice(device);
    await this.#attachments.attachAsync('from_port', this.#loaded('use').program('from_port'), ifindex);
  }

  #checkDevice(device: PortDevice): number {
    this.#check('attach to');
    const ifindex = interfaceIndex(device.name);
    if (ifindex === undefined) throw noDevice(device.name);
    if (ifindex !== device.ifindex) {
      throw new DatapathError(
        'WEFT_ERR_DATAPATH_NO_DEVICE',
        `Cannot attach to "${device.name}": its index is ${ifindex}, not ${device.ifindex}; it was made anew, look again`,
      );
    }
    return ifindex;
  }

  detachDevice(ifindex: number): void {
    this.#check('detach from');
    this.#attachments.detach('from_port', ifindex);
  }

  attachedDevices(): number[] {
    this.#check('read');
    return this.#attachments.attached('from_port', this.#portIndexes());
  }

  drops(): DropCounter[] {
    this.#check('read');
    return readDropCounters(this.#map('map_drops'));
  }

  forgetDrops(ifindex: number): void {
    this.#check('write to');
    forgetDropCounters(this.#map('map_drops'), ifindex);
  }

  statistics(): DatapathStatistics {
    this.#check('read');
    const capacity = Object.fromEntries(TABLES.map((table) => [table, this.#map(MAP_LAYOUT[table].map).maxEntries]));
    const programs = [...PROGRAMS, ...GATEWAY_PROGRAMS].map((name) => {
      const { runCount, runTimeNs } = this.#loaded('use').program(name).info();
      return [name, { runCount, runTimeNs }] as const;
    });
    return {
      capacity: capacity as Record<TableName, number>,
      attachedDeviceCount: this.attachedDevices().length,
      droppedPackets: this.drops().reduce((sum, { packets }) => sum + packets, 0n),
      programs: Object.fromEntries(programs),
    };
  }

  /** Sets what the programs take for the boot clock, and forgets what errors were told by it. Only with `testClock`. */
  setTestClock(nowBootNs: bigint): void {
    this.#check('set the clock of');
    this.forgetToldErrors();
    const value = new Uint8Array(8);
    new DataView(value.buffer).setBigUint64(0, nowBootNs, true);
    this.#map('map_clock').update(new Uint8Array(4), value);
  }

  /** Lets senders be told of errors as if none had been told yet. For tests. */
  forgetToldErrors(): void {
    const told = this.#map('map_sender_error');
    for (const [key] of told.entries()) told.delete(key);
  }

  /** Runs one of the programs on a frame, off every device. For tests. */
  testRun(program: ProgramName | 'to_gateway', options: TestRunOptions): TestRunResult {
    this.#check('run a program of');
    return this.#loaded('use').program(program).testRun(options);
  }

  /** Closes this process's descriptors; tables and programs stay at work, pinned. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#attachments.close();
    this.#started?.object.close();
    this.#left?.close();
  }

  /** Ports first: what no program judges any more goes nowhere, since tenant devices are closed towards the host's stack. */
  destroy(): void {
    for (const name of PROGRAMS) {
      for (const ifindex of this.#attachments.attached(name, this.#candidates(name))) this.#attachments.detach(name, ifindex);
    }
    this.close();
    for (const pin of existsSync(this.pinDirectory) ? readdirSync(this.pinDirectory) : []) unlinkSync(join(this.pinDirectory, pin));
    for (const folder of [this.pinDirectory, dirname(this.pinDirectory)]) removeEmpty(folder);
    removeTunnelDevice(this.#tunnelDevice);
    removeTunnelGuard(this.#tunnelDevice);
  }

  /** The devices that the programs need, and the programs, in the kernel but at no device yet. */
  #load(): Started {
    const options = this.#options;
    const { pa, udpPort = DEFAULT_UDP_PORT } = options;
    mountBpffs(options.bpffs ?? DEFAULT_BPFFS);
    const underlayIfindex = requireDevice(options.underlayInterface).ifindex;
    const tunnelIfindex = ensureTunnelDevice(this.#tunnelDevice, udpPort).ifindex;
    protectTenantDevice(this.#tunnelDevice);
    ensureTunnelGuard(this.#tunnelDevice, pa, udpPort);
    const onLink = options.alwaysRoute ? { prefix: 0, mask: 0 } : findOnLinkPrefix(options.underlayInterface, pa);
    const object = openPrograms(options, this.pinDirectory, {
      cfg_pa: pa,
      cfg_underlay_ifindex: underlayIfindex,
      cfg_tunnel_ifindex: tunnelIfindex,
      cfg_test_clock: options.testClock ? 1 : 0,
      cfg_udp_port: udpPort,
      cfg_mark: TUNNEL_MARK,
      // Its flags came one release after its bpf_cast_to_kern_ctx, so one question answers for both.
      cfg_kernel_61: (options.kernel61 ?? probeFeatures().adjustRoomDecapL3Ipv6 === undefined) ? 1 : 0,
      cfg_onlink_prefix: onLink.prefix,
      cfg_onlink_mask: onLink.mask,
      cfg_flow_slots: options.flowSlots ?? DEFAULT_FLOW_SLOTS,
    });
    object.load();
    return { object, underlayIfindex, tunnelIfindex };
  }

  /** From here on frames are judged by the programs that were loaded. */
  #putToWork(): void {
    reserveDropCounters(this.#map('map_drops'));
    // While programs of two versions hand frames to one another nothing is remembered: an older one need not know what ends a decision.
    this.#generation.end();
    this.#attachPrograms();
    // Also if a former process was killed while it wrote.
    this.#generation.begin();
  }

  /** From the inside out: what a program hands on must find the next one in place. */
  #attachPrograms(): void {
    const { object, underlayIfindex, tunnelIfindex } = this.#ends('start');
    this.gateway.start();
    this.#attachments.replaceAll('from_port', object.program('from_port'), this.#portIndexes());
    this.#attachments.attach('from_tunnel', object.program('from_tunnel'), tunnelIfindex);
    this.#attachments.attach('from_underlay', object.program('from_underlay'), underlayIfindex);
    // The underlay may have changed since the last start.
    for (const name of ['from_tunnel', 'from_underlay'] as const) {
      const own = name === 'from_tunnel' ? tunnelIfindex : underlayIfindex;
      for (const ifindex of this.#attachments.attached(name, [own])) if (ifindex !== own) this.#attachments.detach(name, ifindex);
    }
  }

  /** Where the kernel without links keeps no list of its own: devices that may carry a program. */
  #candidates(name: ProgramName): number[] {
    if (name === 'from_port') return this.#closed ? [] : this.#portIndexes();
    if (name === 'from_external') return this.#closed ? [] : this.gateway.externalIndexes();
    if (this.#started === undefined) return [];
    return [name === 'from_tunnel' ? this.#started.tunnelIfindex : this.#started.underlayIfindex];
  }

  #portIndexes(): number[] {
    return this.#tables.entries('port').flatMap((row) => (row.table === 'port' ? [row.key.ifindex] : []));
  }

  #ends(action: string): Started {
    this.#check(action);
    if (this.#started !== undefined) return this.#started;
    throw new DatapathError(
      'WEFT_ERR_DATAPATH_NOT_STARTED',
      `Cannot ${action} the programs of the datapath at ${this.pinDirectory}: only its tables were taken over yet; call start()`,
    );
  }

  #loaded(action: string): BpfObject {
    return this.#ends(action).object;
  }

  #map(name: string): BpfMap {
    return this.#left?.map(name) ?? this.#loaded('read').map(name);
  }

  #check(action: string): void {
    if (this.#closed) {
      throw new DatapathError(
        'WEFT_ERR_DATAPATH_CLOSED',
        `Cannot ${action} the datapath at ${this.pinDirectory}: it is closed; create it anew`,
      );
    }
  }
}

function pinDirectoryOf({ instance, bpffs = DEFAULT_BPFFS }: KernelDatapathOptions): string {
  return join(bpffs, 'weft', instance, `v${LAYOUT_VERSION}`);
}

function openPrograms(
  options: KernelDatapathOptions,
  pinDirectory: string,
  rodata: Readonly<Record<string, Uint8Array | number>>,
): BpfObject {
  const file = options.objectFile ?? DEFAULT_OBJECT_FILE;
  if (!existsSync(file)) {
    throw new DatapathError(
      'WEFT_ERR_DATAPATH_NO_OBJECT',
      `Cannot load the programs from ${file}: no such file; build it by "npm run build:bpf -w @weft/datapath" (needs clang and libbpf-dev)`,
    );
  }
  const wanted = Object.entries(options.maxEntries ?? {}).map(([table, count]) => [`map_${table}`, count] as const);
  const flowSizes = FLOW_MAPS.map((name) => [name, Math.max(1, options.flowSlots ?? DEFAULT_FLOW_SLOTS)] as const);
  const maxEntries = { ...natMapSizes(options.natSessions ?? DEFAULT_NAT_SESSIONS), ...Object.fromEntries([...wanted, ...flowSizes]) };
  // Another version's sizes are no reason to refuse its maps; and a later one's maps, which this one doesn't know, stay as they are.
  return BpfObject.open(file, { rodata, pinMapsUnder: pinDirectory, unpinnedMaps: UNPINNED_MAPS, keepPinnedSizes: true, maxEntries });
}

function checkOptions({ instance, pa, udpPort, flowSlots = 0 }: KernelDatapathOptions): void {
  const refuse = (message: string): never => {
    throw new DatapathError('WEFT_ERR_DATAPATH_BAD_OPTION', message);
  };
  if (!/^[a-z0-9_-]{1,32}$/.test(instance)) refuse(`Cannot name an instance "${instance}": must be 1 to 32 of a-z, 0-9, "_" and "-"`);
  if (pa.length !== ADDRESS_BYTES || !isIpv4Mapped(pa)) {
    const shown = pa.length === ADDRESS_BYTES ? formatIp(pa) : `${pa.length} bytes`;
    refuse(`Cannot use provider address ${shown}: must be 16 bytes, IPv4 mapped`);
  }
  if (udpPort !== undefined && !(Number.isInteger(udpPort) && udpPort > 0 && udpPort < 65_536))
    refuse(`Cannot use UDP port ${udpPort}: must be an integer from 1 to 65535`);
  if (!Number.isInteger(flowSlots) || flowSlots < 0 || flowSlots > FLOW_SLOTS_MAX || (flowSlots & (flowSlots - 1)) !== 0)
    refuse(`Cannot remember ${flowSlots} decisions: must be 0 or a power of two up to ${FLOW_SLOTS_MAX}`);
}

function removeEmpty(folder: string): void {
  try {
    rmdirSync(folder);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    // Another layout version's pins may be there, or the folder was never made.
    if (code !== 'ENOTEMPTY' && code !== 'ENOENT') throw error;
  }
}
