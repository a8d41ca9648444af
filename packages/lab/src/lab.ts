import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Bus, type Identity, loadIdentity, type TrustFollower } from '@weft/bus';
import type { Command, PortBinding, Result } from '@weft/model';
import {
  cleanLab,
  createExternalNetwork,
  createLabNet,
  type ExternalNetwork,
  type LabHost,
  type LabNet,
  type ManagedProcess,
  type NatsServer,
  type RunResult,
  run,
  waitFor,
} from '@weft/testkit';
import { LabClient, type ResultOf } from './client.ts';
import { type ControlPlane, seedFile, startControlPlane } from './control-plane.ts';
import { Daemons } from './daemons.ts';
import { LabError } from './errors.ts';
import { pinDirectory } from './instance-name.ts';
import type { LabFile, LabSpec } from './lab-file.ts';
import type { LabVm } from './lab-vm.ts';
import { makeVms, migrateVm } from './lab-vms.ts';

/*
 *   weft-LAB-h1 … hN      a host each: underlay0, `weft agent`, the VMs' devices
 *   weft-LAB-ctl          nats-server and controllers, on the same underlay (or on a management network beside it)
 *   weft-LAB-vm-NAME      a VM of kind netns
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

/** A running lab, made by this process. */
export class Lab {
  readonly name: string;
  readonly spec: LabSpec;
  readonly net: LabNet;
  /** The physical networks beyond the gateways, by name. */
  readonly externalNetworks: ReadonlyMap<string, ExternalNetwork>;
  readonly #init: LabInit;
  readonly #plane: ControlPlane;
  readonly #client: LabClient;
  readonly #daemons: Daemons;
  #vms: ReadonlyMap<string, LabVm> = new Map();

  private constructor(parts: {
    init: LabInit;
    spec: LabSpec;
    net: LabNet;
    externalNetworks: ReadonlyMap<string, ExternalNetwork>;
    plane: ControlPlane;
    client: LabClient;
    daemons: Daemons;
  }) {
    this.name = parts.net.name;
    this.spec = parts.spec;
    this.net = parts.net;
    this.externalNetworks = parts.externalNetworks;
    this.#init = parts.init;
    this.#plane = parts.plane;
    this.#client = parts.client;
    this.#daemons = parts.daemons;
  }

  get vms(): ReadonlyMap<string, LabVm> {
    return this.#vms;
  }

  /** The NATS servers: one, or the three of a cluster. */
  get natsServers(): readonly NatsServer[] {
    return this.#plane.natsServers;
  }

  /** The key of a daemon: `controller1`, or a host's name. */
  identity(of: string): Identity {
    return loadIdentity(seedFile(this.net, of));
  }

  /** A connection of the lab's own, as its admin. */
  get bus(): Bus {
    return this.#plane.bus;
  }

  get admin(): Identity {
    return this.#plane.admin;
  }

  get trust(): TrustFollower {
    return this.#plane.trust;
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
    let daemons: Daemons | undefined;
    try {
      if (init.keep) net.registry.keep();
      for (const host of net.hosts.values()) net.registry.record({ kind: 'pins', path: pinDirectory(name, host.name) });
      const externalNetworks = new Map<string, ExternalNetwork>();
      for (const { members, servers, ...place } of spec.externalNetworks) {
        say(`an external network, ${place.name}`);
        const init = { ...place, members: members.map((member) => net.host(member)), ...(servers.length === 0 ? {} : { servers }) };
        externalNetworks.set(place.name, await createExternalNetwork(net.registry, init));
      }
      const plane = await startControlPlane(net, spec, init.keep, say);
      const client = new LabClient(plane.bus, plane.admin);
      daemons = new Daemons(net, spec, plane, client, init);
      say(`${spec.controllers === 1 ? 'a controller' : `${spec.controllers} controllers`} and ${spec.hosts.length} host agents`);
      for (let index = 1; index <= spec.controllers; index++) await daemons.startController(index);
      const all = daemons;
      await Promise.all(spec.hosts.map((host) => all.startAgent(host.name)));
      const lab = new Lab({ init, spec, net, externalNetworks, plane, client, daemons });
      if (file.manifests.trim() !== '') {
        say('tenants, networks, subnets and ports');
        const path = join(net.dir, 'resources.yaml');
        writeFileSync(path, file.manifests);
        await lab.weft(['apply', '-f', path]);
      }
      if (spec.vms.length > 0) {
        say(`${spec.vms.length} VMs`);
        lab.#vms = await makeVms(net, spec, client, init);
      }
      net.registry.note('spec', spec);
      net.registry.note('complete', true);
      return lab;
    } catch (error) {
      // Before the clean-up, which ends the others and takes the logs away.
      if (daemons !== undefined) tellDeaths(error, daemons.deaths());
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
    return this.#daemons.natsUrls;
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
    return this.tellingDeaths(() =>
      run(program!, first, {
        env: { WEFT_LAB: this.name },
        timeoutMs: options.timeoutMs ?? 60_000,
        allowFailure: options.allowFailure ?? false,
        ...(options.input === undefined ? {} : { input: options.input }),
      }),
    );
  }

  /** The same, for read commands: what `--json` gives, parsed. */
  async weftJson<T>(args: readonly string[]): Promise<T> {
    const { stdout } = await this.weft([...args, '--json']);
    return JSON.parse(stdout) as T;
  }

  agent(host: string): ManagedProcess {
    return this.#daemons.agent(host);
  }

  controller(number = 1): ManagedProcess {
    return this.#daemons.controller(number);
  }

  async startController(number: number): Promise<void> {
    await this.#daemons.startController(number);
  }

  /** Controllers and agents that ended though nobody here told them to: how each did, and the end of its log. */
  deaths(): string[] {
    return this.#daemons.deaths();
  }

  /** Does `work`. The message of an error also tells of controllers and agents that died: often they are why. */
  async tellingDeaths<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      tellDeaths(error, this.deaths());
      throw error;
    }
  }

  /** Starts a host's agent (again) and waits until it answers. */
  async startAgent(host: string, options: { readonly wait?: boolean } = {}): Promise<void> {
    await this.#daemons.startAgent(host, options);
  }

  async untilAgentAnswers(host: string): Promise<void> {
    await this.#daemons.untilAgentAnswers(host);
  }

  /** Asks a controller or a host and gives the answer. @throws {LabError} When it refuses, with the problems. */
  async ask<K extends Result['kind']>(target: string, command: Command, kind: K, timeoutMs = 10_000): Promise<ResultOf<K>> {
    return await this.tellingDeaths(() => this.#client.ask(target, command, kind, timeoutMs));
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
    await this.tellingDeaths(() =>
      waitFor(async () => (await this.differences()).length === 0, {
        what: 'tables and datapath of every host to agree',
        deadlineMs,
        intervalMs: 50,
      }),
    );
  }

  /** Moves a VM of kind netns to another host, as a live migration does. Returns when the new host has the port. */
  async migrate(vmName: string, toHost: string): Promise<PortBinding> {
    return await this.tellingDeaths(() => migrateVm(this.net, this.#client, this.vm(vmName), toHost));
  }

  /** Leaves the lab running and lets go of it. */
  async detach(): Promise<void> {
    for (const vm of this.vms.values()) await vm.close();
    await this.trust.stop();
    await this.bus.close();
    for (const relay of this.#plane.relays) await relay.close();
    await this.#plane.worker.stop();
  }

  /** Removes the lab and all that belongs to it. */
  async down(): Promise<void> {
    await this.detach().catch(() => {});
    await cleanLab(this.name);
  }
}

/** Adds to an error's message what died meanwhile, once. */
function tellDeaths(error: unknown, deaths: readonly string[]): void {
  if (!(error instanceof Error)) return;
  for (const death of deaths) if (!error.message.includes(death)) error.message += `\n${death}`;
}
