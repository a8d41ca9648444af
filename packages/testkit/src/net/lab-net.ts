import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { type CleanResult, cleanLab } from '../core/clean.ts';
import { type ManagedProcess, type SpawnOptions, spawnIn } from '../core/managed-process.ts';
import { LAB_STATE_DIR, Registry, readLabNote } from '../core/registry.ts';
import { ipBatch, macOf } from './ip.ts';
import { createNetns, NetnsEndpoint } from './netns.ts';
import type { NetnsWorker } from './netns-worker.ts';
import { type OffloadMode, setOffloads } from './offload.ts';
import { SwitchFaults } from './switch-faults.ts';
import { WorkerPool } from './worker-pool.ts';

/*
 *   weft-LAB-a          weft-LAB-b          weft-LAB-ctl        … one namespace each
 *  +-----------+       +-----------+       +------------+
 *  | underlay0 |       | underlay0 |       | underlay0  |  192.0.2.250/24: nats-server, CLI
 *  +-----+-----+       +-----+-----+       +-----+------+
 *        |                   |                   |            veth pairs
 *  +-----+-------------------+-------------------+------+
 *  |   port0               port1               port2    |     weft-LAB-switch
 *  |                 br0, no STP, no snooping           |
 *  +----------------------------------------------------+
 *
 *  direct: true            weft-LAB-a underlay0 ═══ underlay0 weft-LAB-b    one veth pair, nothing in between, no ctl
 *  managementSwitch: true  the same once more, with mgmt0 / mgmt br0, so that an underlay cut leaves NATS reachable
 */

export interface LabHostInit {
  /** 1 to 24 of a-z, 0-9 and "-". Not `switch`, `mgmt`, `ctl` and a number, or anything that begins with `vm-`. */
  readonly name: string;
  /** Provider address, IPv4. Default: .1, .2, … of the underlay's prefix, in the order given. */
  readonly address?: string;
  /** Second provider address, IPv6. */
  readonly address6?: string;
}

export interface LabNetInit {
  /** Name of the lab; see `Registry.create` for its form. */
  readonly name: string;
  readonly hosts: readonly LabHostInit[];
  /** Of the underlay, in bytes. Default 1500. */
  readonly mtu?: number;
  /** Default `veth`. */
  readonly mode?: OffloadMode;
  /** First three bytes of the underlay's /24. Default `192.0.2` (TEST-NET-1, RFC 5737). */
  readonly prefix?: string;
  /** One veth pair between exactly two hosts, no switch, no control node. For benchmarks. */
  readonly direct?: boolean;
  /** Namespaces for control programs (NATS, controller, CLI) on the underlay's switch: .250, .251, … Default 1; 0 with `direct`. */
  readonly controlNodeCount?: number;
  /** A second switch with `mgmt0` at each host and control node (198.51.100.0/24), which stays up when the underlay is cut. */
  readonly managementSwitch?: boolean;
}

/** A host of the lab: a namespace with the underlay's device in it. */
export class LabHost extends NetnsEndpoint {
  /** Name of the device towards the underlay. */
  readonly underlayDevice: string = 'underlay0';
  readonly underlayMac: string;
  /** Provider address, IPv4, without prefix length (/24). */
  readonly address: string;
  /** Provider address, IPv6 (/64), if the lab has any. */
  readonly address6: string | undefined;
  /** At `mgmt0`, if the lab has a management switch. */
  readonly managementAddress: string | undefined;
  /** For logs, sockets and configuration of this host's programs; removed with the lab. */
  readonly dir: string;
  readonly #registry: Registry;

  /** @internal Made by `createLabNet`. */
  constructor(init: Omit<LabHostPlan, 'portName'> & { underlayMac: string; dir: string; registry: Registry }) {
    super(init.name, init.netns);
    this.address = init.address;
    this.address6 = init.address6;
    this.managementAddress = init.managementAddress;
    this.underlayMac = init.underlayMac;
    this.dir = init.dir;
    this.#registry = init.registry;
  }

  /** Writes down a directory on a bpffs that is about to be made for this host: it goes with the lab. */
  rememberPins(path: string): void {
    this.#registry.record({ kind: 'pins', path });
  }

  /**
   * Starts a program on this host, recorded in the lab. Its output goes to `<logName>.log` in the host's directory, or is kept in memory
   * when `logName` is absent.
   */
  spawn(argv: readonly string[], options: Omit<SpawnOptions, 'registry'> & { readonly logName?: string } = {}): Promise<ManagedProcess> {
    const { logName, ...rest } = options;
    const logFile = logName === undefined ? {} : { logFile: join(this.dir, `${logName}.log`) };
    return spawnIn(this.netns, argv, { ...logFile, ...rest, registry: this.#registry });
  }
}

/** Hosts joined by an underlay, on this machine. Made by `createLabNet`, removed by `close` or, from any process, `cleanLab(name)`. */
export class LabNet {
  readonly name: string;
  readonly registry: Registry;
  readonly mtu: number;
  readonly mode: OffloadMode;
  /** By name, in the order given. */
  readonly hosts: ReadonlyMap<string, LabHost>;
  /** `ctl`, `ctl2`, …; empty with `direct`. */
  readonly controlNodes: readonly LabHost[];
  /** Cuts, loss and repair of the hosts' links. */
  readonly faults: SwitchFaults;
  /** The same on the management switch, if the lab has one. */
  readonly managementFaults: SwitchFaults | undefined;
  /** Working directory of the lab, removed with it. */
  readonly dir: string;
  readonly #workers: WorkerPool;

  /** @internal */
  constructor(init: {
    registry: Registry;
    mtu: number;
    mode: OffloadMode;
    hosts: readonly LabHost[];
    controlNodes: readonly LabHost[];
    faults: SwitchFaults;
    managementFaults: SwitchFaults | undefined;
    dir: string;
  }) {
    this.name = init.registry.name;
    this.registry = init.registry;
    this.mtu = init.mtu;
    this.mode = init.mode;
    this.hosts = new Map(init.hosts.map((host) => [host.name, host]));
    this.controlNodes = init.controlNodes;
    this.faults = init.faults;
    this.managementFaults = init.managementFaults;
    this.dir = init.dir;
    this.#workers = new WorkerPool(init.registry);
  }

  /** @throws {RangeError} When there is no such host. */
  host(name: string): LabHost {
    const host = this.hosts.get(name) ?? this.controlNodes.find((node) => node.name === name);
    if (host === undefined) throw new RangeError(`No host "${name}" in lab "${this.name}": there are ${[...this.hosts.keys()].join(', ')}`);
    return host;
  }

  /** The first control node. @throws {RangeError} When the lab has none (`direct`). */
  get ctl(): LabHost {
    const node = this.controlNodes[0];
    if (node === undefined) throw new RangeError(`Lab "${this.name}" has no control node: it was made with direct or controlNodeCount 0`);
    return node;
  }

  /** The process that opens sockets in the namespace of a host or VM of this lab for the probes; started when first asked for. */
  worker(endpoint: { readonly netns: string }): Promise<NetnsWorker> {
    return this.#workers.get(endpoint);
  }

  /** Removes the lab and all that was recorded in it. May be called more than once. */
  async close(): Promise<CleanResult> {
    await this.#workers.close();
    return cleanLab(this.name);
  }
}

interface LabHostPlan {
  readonly name: string;
  readonly netns: string;
  readonly portName: string;
  readonly address: string;
  readonly address6?: string | undefined;
  readonly managementAddress?: string | undefined;
}

const FIRST_CONTROL_NUMBER = 250;
const MANAGEMENT_PREFIX = '198.51.100';

/**
 * Makes a lab's namespaces and the underlay between them.
 *
 * @throws {RangeError} When the plan can't be: a bad or repeated name or address, `direct` with other than two hosts, too many hosts.
 * @throws {TestkitError} `WEFT_ERR_TESTKIT_LAB` when a lab of that name is recorded already.
 * @throws {CommandError} When the system refuses; what was made until then is removed.
 */
export async function createLabNet(init: LabNetInit): Promise<LabNet> {
  const direct = init.direct === true;
  const mtu = init.mtu ?? 1500;
  const mode = init.mode ?? 'veth';
  const plans = planHosts(init, direct);
  const registry = Registry.create(init.name);
  const dir = join(LAB_STATE_DIR, `${init.name}.d`);
  try {
    return await registry.make([{ kind: 'dir', path: dir }], async () => {
      mkdirSync(dir, { recursive: true, mode: 0o755 });
      const switchNetns = `weft-${init.name}-switch`;
      const all = [...plans.hosts, ...plans.controlNodes];
      await createNetns(
        registry,
        all.map((plan) => plan.netns),
      );
      if (!direct) await createNetns(registry, [switchNetns], { ipv6: false });
      if (direct) await joinDirectly(all[0]!, all[1]!, mtu);
      else await joinBySwitch(all, switchNetns, { bridge: 'br0', device: 'underlay0', portPrefix: 'port', mtu });
      if (init.managementSwitch === true) {
        const mgmtNetns = `weft-${init.name}-mgmt`;
        await createNetns(registry, [mgmtNetns], { ipv6: false });
        await joinBySwitch(all, mgmtNetns, { bridge: 'br0', device: 'mgmt0', portPrefix: 'port', mtu: 1500 });
      }
      await Promise.all(all.map((plan) => configureHost(plan, mode)));
      const note: LabNetNote = { ...plans, mtu, mode, switchNetns: direct ? undefined : switchNetns };
      registry.note(NOTE_KEY, note);
      return await labNetOf(registry, note);
    });
  } catch (error) {
    // What went wrong first is what the caller must see.
    await cleanLab(init.name).catch(() => {});
    throw error;
  }
}

/**
 * A lab that another process made, to add to or to disturb. Faults that the other process has set are not known here: the first one set through
 * this object replaces them all.
 *
 * @returns Undefined when there is no lab of that name, or it isn't made yet.
 */
export async function openLabNet(name: string): Promise<LabNet | undefined> {
  const registry = Registry.open(name);
  const note = readLabNote(name, NOTE_KEY) as LabNetNote | undefined;
  return registry === undefined || note === undefined ? undefined : labNetOf(registry, note);
}

const NOTE_KEY = 'testkit.lab-net';

interface LabNetNote {
  readonly hosts: readonly LabHostPlan[];
  readonly controlNodes: readonly LabHostPlan[];
  readonly mtu: number;
  readonly mode: OffloadMode;
  readonly switchNetns: string | undefined;
}

async function labNetOf(registry: Registry, note: LabNetNote): Promise<LabNet> {
  const dir = join(LAB_STATE_DIR, `${registry.name}.d`);
  const all = [...note.hosts, ...note.controlNodes];
  const hosts = await Promise.all(
    all.map(async (plan) => {
      const hostDir = join(dir, plan.name);
      mkdirSync(hostDir, { recursive: true });
      return new LabHost({ ...plan, underlayMac: await macOf('underlay0', plan.netns), dir: hostDir, registry });
    }),
  );
  const ports = new Map(all.map((plan) => [plan.name, plan.portName]));
  const managed = all.some((plan) => plan.managementAddress !== undefined);
  return new LabNet({
    registry,
    mtu: note.mtu,
    mode: note.mode,
    hosts: hosts.slice(0, note.hosts.length),
    controlNodes: hosts.slice(note.hosts.length),
    faults: new SwitchFaults(note.switchNetns, ports, note.hosts),
    managementFaults: managed ? new SwitchFaults(`weft-${registry.name}-mgmt`, ports, all, 'mgmt0') : undefined,
    dir,
  });
}

function planHosts(init: LabNetInit, direct: boolean): { hosts: LabHostPlan[]; controlNodes: LabHostPlan[] } {
  const prefix = init.prefix ?? '192.0.2';
  const controlNodeCount = init.controlNodeCount ?? (direct ? 0 : 1);
  if (direct && init.hosts.length !== 2) throw new RangeError(`Cannot join ${init.hosts.length} hosts directly: direct takes exactly 2`);
  if (direct && controlNodeCount > 0) throw new RangeError('Cannot give a direct lab control nodes: there is no switch to attach them to');
  if (init.hosts.length === 0 || init.hosts.length >= FIRST_CONTROL_NUMBER) {
    throw new RangeError(`Cannot make a lab of ${init.hosts.length} hosts: must be 1 to ${FIRST_CONTROL_NUMBER - 1}`);
  }
  if (controlNodeCount > 5) throw new RangeError(`Cannot make ${controlNodeCount} control nodes: at most 5`);
  const wanted: { name: string; number: number; address: string | undefined; address6: string | undefined }[] = [
    ...init.hosts.map((host, index) => ({ name: host.name, number: index + 1, address: host.address, address6: host.address6 })),
    ...Array.from({ length: controlNodeCount }, (_, index) => ({
      name: index === 0 ? 'ctl' : `ctl${index + 1}`,
      number: FIRST_CONTROL_NUMBER + index,
      address: undefined,
      address6: undefined,
    })),
  ];
  const plans = wanted.map(
    (host, index): LabHostPlan => ({
      name: host.name,
      netns: `weft-${init.name}-${host.name}`,
      portName: `port${index}`,
      address: host.address ?? `${prefix}.${host.number}`,
      address6: host.address6,
      managementAddress: init.managementSwitch === true ? `${MANAGEMENT_PREFIX}.${host.number}` : undefined,
    }),
  );
  for (const [index, plan] of plans.entries()) {
    if (!/^[a-z0-9][a-z0-9-]{0,23}$/.test(plan.name)) {
      throw new RangeError(`Cannot name a host "${plan.name}": must be 1 to 24 of a-z, 0-9 and "-", and not begin with "-"`);
    }
    if (index < init.hosts.length && /^(switch|mgmt|ctl\d*|vm-.*)$/.test(plan.name)) {
      throw new RangeError(`Cannot name a host "${plan.name}": the lab uses that name itself`);
    }
    const twin = plans.findIndex((other) => other.name === plan.name || other.address === plan.address);
    if (twin !== index) throw new RangeError(`Cannot make host "${plan.name}" (${plan.address}): name or address is used twice`);
  }
  return { hosts: plans.slice(0, init.hosts.length), controlNodes: plans.slice(init.hosts.length) };
}

async function joinDirectly(left: LabHostPlan, right: LabHostPlan, mtu: number): Promise<void> {
  const size = ['mtu', String(mtu)];
  await ipBatch([
    ['link', 'add', 'underlay0', ...size, 'netns', left.netns, 'type', 'veth', 'peer', 'name', 'underlay0', ...size, 'netns', right.netns],
  ]);
}

/** @internal A bridge in `netns`, with a veth pair to each of the plans' namespaces. */
export async function joinBySwitch(
  plans: readonly { readonly netns: string }[],
  netns: string,
  names: { bridge: string; device: string; portPrefix: string; mtu: number },
): Promise<void> {
  const size = ['mtu', String(names.mtu)];
  await ipBatch(
    [
      ['link', 'add', names.bridge, ...size, 'type', 'bridge', 'stp_state', '0', 'forward_delay', '0', 'mcast_snooping', '0'],
      ['link', 'set', names.bridge, 'up'],
    ],
    netns,
  );
  await ipBatch(
    plans.flatMap((plan, index) => [
      [
        ...['link', 'add', names.device, ...size, 'netns', plan.netns, 'type', 'veth'],
        ...['peer', 'name', `${names.portPrefix}${index}`, ...size, 'netns', netns],
      ],
    ]),
  );
  await ipBatch(
    plans.flatMap((_, index) => [['link', 'set', `${names.portPrefix}${index}`, 'master', names.bridge, 'up']]),
    netns,
  );
}

async function configureHost(plan: LabHostPlan, mode: OffloadMode): Promise<void> {
  const management = plan.managementAddress;
  await ipBatch(
    [
      ['address', 'add', `${plan.address}/24`, 'brd', '+', 'dev', 'underlay0'],
      ...(plan.address6 === undefined ? [] : [['address', 'add', `${plan.address6}/64`, 'dev', 'underlay0', 'nodad']]),
      ['link', 'set', 'underlay0', 'up'],
      ...(management === undefined
        ? []
        : [
            ['address', 'add', `${management}/24`, 'dev', 'mgmt0'],
            ['link', 'set', 'mgmt0', 'up'],
          ]),
    ],
    plan.netns,
  );
  await setOffloads(plan.netns, 'underlay0', mode);
}
