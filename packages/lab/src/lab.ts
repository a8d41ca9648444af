import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  type Bus,
  connectBus,
  createIdentity,
  createTrustFollower,
  type Identity,
  putPrincipal,
  saveIdentity,
  type TrustFollower,
} from '@weft/bus';
import type { Command, ListedRecord, Port, PortBinding, Result } from '@weft/model';
import {
  cleanLab,
  createExternalNetwork,
  createLabNet,
  type ExternalNetwork,
  type ForwardedPort,
  forwardPort,
  LAB_STATE_DIR,
  type LabHost,
  type LabNet,
  type ManagedProcess,
  NatsCluster,
  NatsServer,
  NetnsWorker,
  type RunResult,
  run,
  waitFor,
} from '@weft/testkit';
import { LabError } from './errors.ts';
import type { LabFile, LabSpec, LabVmSpec } from './lab-file.ts';
import { LabVm, type LabVmNote } from './lab-vm.ts';

/*
 *   weft-LAB-h1 … hN      a host each: underlay0, `weft agent`, the VMs' devices
 *   weft-LAB-ctl          nats-server and controllers, on the same underlay (or on a management network beside it)
 *   weft-LAB-vm-NAME      a VM of kind netns
 *
 * The lab's own process talks to NATS through a relay, as a process can't be in two namespaces.
 */

export interface LabInit {
  /** Default: the lab file's name. */
  readonly name?: string;
  /** How to run the `weft` command: program and first arguments. */
  readonly weft: readonly string[];
  /** The lab stays when this process ends. */
  readonly keep: boolean;
  /** For what is the same in every lab, such as the guests' initramfs. */
  readonly cacheDir: string;
  readonly progress?: (text: string) => void;
  /** For `weft agent`'s and `weft controller`'s logs. Default info. */
  readonly logLevel?: string;
}

const NATS_PORT = 4222;

type ResultOf<K extends Result['kind']> = (Result & { readonly kind: K })['value'];

/** A running lab, made by this process. */
export class Lab {
  readonly name: string;
  readonly spec: LabSpec;
  readonly net: LabNet;
  readonly vms: ReadonlyMap<string, LabVm>;
  /** The physical networks beyond the gateways, by name. */
  readonly externalNetworks: ReadonlyMap<string, ExternalNetwork>;
  /** The NATS servers: one, or the three of a cluster. */
  readonly natsServers: readonly NatsServer[];
  /** A connection of the lab's own, as its admin. */
  readonly bus: Bus;
  readonly admin: Identity;
  readonly trust: TrustFollower;
  readonly #init: LabInit;
  readonly #relays: readonly ForwardedPort[];
  readonly #worker: NetnsWorker;
  readonly #agents = new Map<string, ManagedProcess>();
  readonly #controllers: ManagedProcess[] = [];

  private constructor(parts: {
    init: LabInit;
    spec: LabSpec;
    net: LabNet;
    vms: Map<string, LabVm>;
    externalNetworks: ReadonlyMap<string, ExternalNetwork>;
    natsServers: readonly NatsServer[];
    bus: Bus;
    admin: Identity;
    trust: TrustFollower;
    relays: readonly ForwardedPort[];
    worker: NetnsWorker;
  }) {
    this.name = parts.net.name;
    this.spec = parts.spec;
    this.net = parts.net;
    this.vms = parts.vms;
    this.externalNetworks = parts.externalNetworks;
    this.natsServers = parts.natsServers;
    this.bus = parts.bus;
    this.admin = parts.admin;
    this.trust = parts.trust;
    this.#init = parts.init;
    this.#relays = parts.relays;
    this.#worker = parts.worker;
  }

  /**
   * Brings a lab up: namespaces, underlay, NATS, identities, controllers, agents, resources, VMs.
   *
   * @throws {LabError} With what could not be started and the end of its log. What was made is removed.
   */
  static async up(file: LabFile, init: LabInit): Promise<Lab> {
    const { spec } = file;
    const name = init.name ?? spec.name;
    if (name === undefined)
      throw new LabError('WEFT_ERR_LAB_STATE', 'The lab has no name: give one with --name, or metadata.name in the lab file');
    const say = init.progress ?? (() => {});
    say(
      `${spec.hosts.length} hosts on one underlay (MTU ${spec.underlay.mtuBytes}${spec.underlay.segmentationOffload ? '' : ', no segmentation offload'})`,
    );
    const net = await createLabNet({
      name,
      hosts: spec.hosts.map((host) => ({ name: host.name, ...(host.address === undefined ? {} : { address: host.address }) })),
      mtu: spec.underlay.mtuBytes,
      mode: spec.underlay.segmentationOffload ? 'veth' : 'wire',
      managementSwitch: spec.underlay.managementNetwork,
      controlNodeCount: spec.natsServers,
    });
    try {
      if (init.keep) net.registry.keep();
      for (const host of net.hosts.values()) net.registry.record({ kind: 'pins', path: pinDirectory(name, host.name) });
      const externalNetworks = new Map<string, ExternalNetwork>();
      for (const { name: network, members, servers } of spec.externalNetworks) {
        say(`an external network, ${network}`);
        const init = { name: network, members: members.map((member) => net.host(member)), ...(servers.length === 0 ? {} : { servers }) };
        externalNetworks.set(network, await createExternalNetwork(net.registry, init));
      }
      say(spec.natsServers === 1 ? 'NATS with JetStream' : 'three NATS servers, one JetStream cluster');
      const natsServers = await startNats(net, spec, init.keep);
      const urls = natsServers.map((server) => server.url).join(',');
      const worker = await NetnsWorker.start(net.ctl.netns, { registry: net.registry });
      const relays = await Promise.all(natsServers.map((server) => forwardPort(worker, server.host, server.port)));

      say('identities: one key each for the admin, the controllers and the hosts');
      const keys = join(net.dir, 'keys');
      mkdirSync(keys, { recursive: true, mode: 0o700 });
      const keep = (kind: Parameters<typeof createIdentity>[0], id: string): Identity => {
        const identity = createIdentity(kind);
        saveIdentity(join(keys, `${id}.seed`), identity);
        return identity;
      };
      const admin = keep('user', 'admin');
      writeFileSync(
        join(LAB_STATE_DIR, `${name}.context.json`),
        JSON.stringify({ netns: net.ctl.netns, nats: urls, identity: join(keys, 'admin.seed'), trust: admin.publicKey }),
      );
      net.registry.record({ kind: 'dir', path: join(LAB_STATE_DIR, `${name}.context.json`) });
      const bus = connectBus({ servers: relays.map((relay) => `nats://127.0.0.1:${relay.port}`), name: `weft lab ${name}` });
      await bus.whenConnected({ signal: AbortSignal.timeout(15_000) });
      const store = await bus.open({ replicas: spec.natsServers });
      const principal = async (identity: Identity, id: string, role: 'controller' | 'host'): Promise<void> => {
        await putPrincipal({
          bus,
          store,
          admin,
          adminName: 'lab',
          principal: { key: identity.publicKey, name: id, role, tenants: [] },
          requestId: `lab-${name}`,
          nowMs: Date.now(),
        });
      };
      for (let index = 1; index <= spec.controllers; index++)
        await principal(keep('controller', `controller${index}`), `controller${index}`, 'controller');
      for (const host of spec.hosts) await principal(keep('host', host.name), host.name, 'host');
      const trust = await createTrustFollower({ bus, store, anchors: [admin.publicKey] });

      const lab = new Lab({ init, spec, net, vms: new Map(), externalNetworks, natsServers, bus, admin, trust, relays, worker });
      say(`${spec.controllers === 1 ? 'a controller' : `${spec.controllers} controllers`} and ${spec.hosts.length} host agents`);
      for (let index = 1; index <= spec.controllers; index++) await lab.startController(index);
      await Promise.all(spec.hosts.map((host) => lab.startAgent(host.name)));
      if (file.manifests.trim() !== '') {
        say('tenants, networks, subnets and ports');
        const path = join(net.dir, 'resources.yaml');
        writeFileSync(path, file.manifests);
        await lab.weft(['apply', '-f', path]);
      }
      if (spec.vms.length > 0) {
        say(`${spec.vms.length} VMs`);
        await lab.#makeVms(spec.vms);
      }
      net.registry.note('spec', spec);
      net.registry.note('complete', true);
      return lab;
    } catch (error) {
      await cleanLab(name);
      throw error;
    }
  }

  /** The first (or only) NATS server. */
  get nats(): NatsServer {
    return this.natsServers[0]!;
  }

  /** As `--nats` takes them. */
  get natsUrls(): string {
    return this.natsServers.map((server) => server.url).join(',');
  }

  host(name: string): LabHost {
    return this.net.host(name);
  }

  vm(name: string): LabVm {
    const vm = this.vms.get(name);
    if (vm === undefined) throw new RangeError(`No VM "${name}" in lab "${this.name}": there are ${[...this.vms.keys()].join(', ')}`);
    return vm;
  }

  /** @throws {RangeError} When the lab file names no such network. */
  externalNetwork(name: string): ExternalNetwork {
    const network = this.externalNetworks.get(name);
    if (network === undefined)
      throw new RangeError(
        `No external network "${name}" in lab "${this.name}": there are ${[...this.externalNetworks.keys()].join(', ')}`,
      );
    return network;
  }

  /** Runs the `weft` command as the lab's admin, as a person in the lab would. @throws {CommandError} When it fails. */
  async weft(
    args: readonly string[],
    options: { readonly timeoutMs?: number; readonly allowFailure?: boolean; readonly input?: string } = {},
  ): Promise<RunResult> {
    const [program, ...first] = [...this.#init.weft, ...args];
    return run(program!, first, {
      env: { WEFT_LAB: this.name },
      timeoutMs: options.timeoutMs ?? 60_000,
      allowFailure: options.allowFailure ?? false,
      ...(options.input === undefined ? {} : { input: options.input }),
    });
  }

  /** The same, for read commands: what `--json` gives, parsed. */
  async weftJson<T>(args: readonly string[]): Promise<T> {
    const { stdout } = await this.weft([...args, '--json']);
    return JSON.parse(stdout) as T;
  }

  agent(host: string): ManagedProcess {
    const agent = this.#agents.get(host);
    if (agent === undefined) throw new RangeError(`No agent on host "${host}"`);
    return agent;
  }

  controller(number = 1): ManagedProcess {
    const controller = this.#controllers[number - 1];
    if (controller === undefined) throw new RangeError(`No controller ${number}`);
    return controller;
  }

  async startController(number: number): Promise<void> {
    const process = await this.net.ctl.spawn(
      [
        ...[...this.#init.weft, 'controller', '--nats', this.natsUrls, '--replicas', String(this.spec.natsServers)],
        ...['--identity', join(this.net.dir, 'keys', `controller${number}.seed`), '--trust', this.admin.publicKey],
      ],
      { logName: `controller${number}`, what: `controller ${number}`, outlive: this.#init.keep, env: this.#environment() },
    );
    this.#controllers[number - 1] = process;
    await this.#until(process, `controller ${number}`, async () => (await this.#list()).length >= 0);
  }

  /** Starts a host's agent (again) and waits until it answers. */
  async startAgent(host: string, options: { readonly wait?: boolean } = {}): Promise<void> {
    const at = this.host(host);
    const spec = this.spec.hosts.find((one) => one.name === host)!;
    const process = await at.spawn(
      [
        ...[...this.#init.weft, 'agent', '--nats', this.natsUrls, '--host-id', host],
        ...['--provider-address', at.address, '--underlay', at.underlayDevice, '--engine', spec.engine],
        ...['--identity', join(this.net.dir, 'keys', `${host}.seed`), '--trust', this.admin.publicKey],
        ...['--instance', instanceName(this.name, host), '--state-dir', join(at.dir, 'state')],
      ],
      { logName: 'agent', what: `agent of ${host}`, outlive: this.#init.keep, env: this.#environment() },
    );
    this.#agents.set(host, process);
    if (options.wait !== false) await this.untilAgentAnswers(host);
  }

  async untilAgentAnswers(host: string): Promise<void> {
    await this.#until(this.agent(host), `agent of ${host}`, async () => {
      await this.trust.refresh();
      return (await this.ask(host, { kind: 'status', value: {} }, 'status', 1_000)).natsState === 'connected';
    });
  }

  /** Asks a controller or a host and gives the answer. @throws {LabError} When it refuses, with the problems. */
  async ask<K extends Result['kind']>(target: string, command: Command, kind: K, timeoutMs = 10_000): Promise<ResultOf<K>> {
    const { response } = await this.bus.request(target, command, { identity: this.admin, timeoutMs });
    const [problem] = response.problems;
    if (problem !== undefined) {
      throw new LabError(
        'WEFT_ERR_LAB_REFUSED',
        `${target} refused ${command.kind}: ${problem.code} ${problem.resource} ${problem.path} ${problem.value}: ${problem.rule}`,
      );
    }
    if (response.result?.kind !== kind)
      throw new LabError('WEFT_ERR_LAB_REFUSED', `${target} answered ${command.kind} with ${response.result?.kind ?? 'nothing'}`);
    return response.result.value as ResultOf<K>;
  }

  /** Tables rebuilt from zero, the agent's own and the datapath's, compared on every host. Returns the differences found. */
  async differences(): Promise<string[]> {
    const found: string[] = [];
    for (const { name } of this.spec.hosts) {
      const result = await this.ask(name, { kind: 'consistency', value: {} }, 'consistency');
      if (!result.consistent) found.push(...result.differences.map((difference) => `${name}: ${difference}`));
    }
    return found;
  }

  /** Waits until no host finds a difference: what is under way has arrived. */
  async untilConsistent(deadlineMs = 15_000): Promise<void> {
    await waitFor(async () => (await this.differences()).length === 0, {
      what: 'tables and datapath of every host to agree',
      deadlineMs,
      intervalMs: 50,
    });
  }

  /**
   * Moves a VM of kind netns to another host as a live migration does: everything is made there first, then the host claims the port and the VM's NIC
   * is switched over. Returns when the new host has the port.
   */
  async migrate(vmName: string, toHost: string): Promise<PortBinding> {
    const vm = this.vm(vmName);
    const port = await this.#port(vm.spec.port);
    const host = this.host(toHost);
    const device = vm.device;
    await vm.prepareNic(host, device);
    const place = { routingDomainId: port.routingDomainId, portId: port.id, device, deviceKind: 'netdev' as const };
    await this.bus.request(toHost, { kind: 'preparePort', value: place }, { identity: this.admin });
    const bound = await this.ask(toHost, { kind: 'bindPort', value: { ...place, expectedGeneration: 0, move: true } }, 'bindPort');
    await vm.switchNic(host, device);
    return bound.binding;
  }

  async #makeVms(specs: readonly LabVmSpec[]): Promise<void> {
    const vms = this.vms as Map<string, LabVm>;
    const records = await this.#list();
    const networks = new Map(records.flatMap(({ record }) => (record?.kind === 'network' ? [[record.value.id, record.value]] : [])));
    await eachAtMost(specs, 4, async (spec) => {
      const port = await this.#port(spec.port, records);
      const subnet = networks.get(port.routingDomainId)?.subnets.find((one) => one.vsid === port.vsid);
      if (subnet === undefined)
        throw new LabError('WEFT_ERR_LAB_START', `Port ${spec.port} lies in VSID ${port.vsid}, which its network lacks`);
      const lengths = new Map(subnet.prefixes.map((prefix) => [prefix.includes(':'), prefix.split('/')[1]!]));
      const note: LabVmNote = {
        spec,
        host: spec.host,
        device: `vm-${spec.name}`,
        nic: {
          mac: port.mac,
          addresses: port.addresses.map(
            (address) => `${address}/${lengths.get(address.includes(':')) ?? (address.includes(':') ? '128' : '32')}`,
          ),
          gateways: subnet.gateways.filter((gateway) => port.addresses.some((address) => address.includes(':') === gateway.includes(':'))),
          mtu: this.spec.underlay.mtuBytes - 50,
        },
      };
      const vm = new LabVm(note, this.net.registry);
      this.net.registry.note(`vm.${spec.name}`, note);
      const host = this.host(spec.host);
      await vm.create(host);
      await this.ask(
        spec.host,
        {
          kind: 'bindPort',
          value: {
            routingDomainId: port.routingDomainId,
            portId: port.id,
            device: note.device,
            deviceKind: spec.kind === 'qemu' ? 'tap' : 'netdev',
            expectedGeneration: 0,
            move: false,
          },
        },
        'bindPort',
      );
      vms.set(spec.name, vm);
      if (spec.kind === 'qemu') await vm.boot(host, this.#init.cacheDir, this.#init.keep);
    });
  }

  async #list(): Promise<readonly ListedRecord[]> {
    return (await this.ask('controller', { kind: 'list', value: { kinds: [], tenant: '', network: '', name: '' } }, 'list', 3_000)).records;
  }

  async #port(path: string, known?: readonly ListedRecord[]): Promise<Port> {
    const records = known ?? (await this.#list());
    for (const { record } of records) {
      if (record?.kind === 'port' && `${record.value.tenant}/${record.value.network}/${record.value.name}` === path) return record.value;
    }
    throw new LabError('WEFT_ERR_LAB_START', `There is no port ${path}: the lab file must have a Port document for it`);
  }

  /** Repeats `ready` until it is true; an error counts as "not yet" while the process lives. */
  async #until(process: ManagedProcess, what: string, ready: () => Promise<boolean>): Promise<void> {
    let last = '';
    await waitFor(
      async () => {
        if (!process.alive) throw new LabError('WEFT_ERR_LAB_START', `The ${what} ended:\n${logEnd(process)}`);
        try {
          return await ready();
        } catch (error) {
          last = (error as Error).message;
          return false;
        }
      },
      { what: `the ${what} to answer`, deadlineMs: 30_000, intervalMs: 50, show: () => `${last}; end of its log:\n${logEnd(process)}` },
    );
  }

  #environment(): Record<string, string> {
    return { WEFT_LOG_LEVEL: this.#init.logLevel ?? 'info' };
  }

  /** Leaves the lab running and lets go of it. */
  async detach(): Promise<void> {
    for (const vm of this.vms.values()) await vm.close();
    await this.trust.stop();
    await this.bus.close();
    for (const relay of this.#relays) await relay.close();
    await this.#worker.stop();
  }

  /** Removes the lab and all that belongs to it. */
  async down(): Promise<void> {
    await this.detach().catch(() => {});
    await cleanLab(this.name);
  }
}

/** One server at the first control node, or a cluster with one at each. */
async function startNats(net: LabNet, spec: LabSpec, outlive: boolean): Promise<readonly NatsServer[]> {
  const members = net.controlNodes.map((node) => ({ netns: node.netns, host: node.managementAddress ?? node.address, port: NATS_PORT }));
  const shared = { dir: join(net.ctl.dir, 'nats'), registry: net.registry, outlive };
  if (spec.natsServers === 1) return [await NatsServer.start({ ...shared, ...members[0]! })];
  return (await NatsCluster.start({ ...shared, name: net.name, members })).servers;
}

/** Name of a lab host's agent instance: all hosts of a machine share one bpffs, so it holds the lab's name. */
export function instanceName(lab: string, host: string): string {
  return `${lab}-${host}`;
}

/** Where a lab host's pins are. */
export function pinDirectory(lab: string, host: string): string {
  return `/sys/fs/bpf/weft/${instanceName(lab, host)}`;
}

function logEnd(process: ManagedProcess): string {
  if (process.logFile === undefined || !existsSync(process.logFile)) return process.lastLines(15).join('\n');
  return readFileSync(process.logFile, 'utf8').split('\n').slice(-15).join('\n');
}

async function eachAtMost<T>(items: readonly T[], limit: number, work: (item: T) => Promise<void>): Promise<void> {
  const queue = [...items];
  await Promise.all(
    Array.from({ length: limit }, async () => {
      for (let item = queue.shift(); item !== undefined; item = queue.shift()) await work(item);
    }),
  );
}
