import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  type Bus,
  commitRecord,
  connectBus,
  createIdentity,
  getRecord,
  type Identity,
  putPrincipal,
  type Store,
  saveIdentity,
} from '@weft/bus';
import { type BucketName, type Command, configKey, type Response, type StatusResult, type WeftRecord } from '@weft/model';
import { createLabNet, forwardPort, type LabNet, type ManagedProcess, NatsServer, NetnsWorker, waitFor } from '@weft/testkit';
import { network, port, portId, RDID } from '../harness.ts';

// Real agents, each a process in its host's network namespace, a real NATS at the control node, and a network with ports 1 and 2:
//
//   [ host a: agent, eBPF ] underlay0 ══ underlay0 [ host b: agent, eBPF ]
//             └───────── NATS at the control node ─────────┘

/** The agent as built in this repository. */
export const MAIN: string = fileURLToPath(new URL('../../dist/main.js', import.meta.url));

export interface AgentOptions {
  readonly engine?: 'kernel' | 'user' | 'auto';
  readonly flags?: readonly string[];
}

let made = 0;

export class AgentLab {
  readonly name: string;
  readonly net: LabNet;
  readonly nats: NatsServer;
  readonly bus: Bus;
  readonly store: Store;
  readonly agents: Map<string, ManagedProcess> = new Map();
  readonly #admin: Identity;
  readonly #controller = createIdentity('controller');

  private constructor(init: { name: string; net: LabNet; nats: NatsServer; bus: Bus; store: Store; admin: Identity }) {
    this.name = init.name;
    this.net = init.net;
    this.nats = init.nats;
    this.bus = init.bus;
    this.store = init.store;
    this.#admin = init.admin;
  }

  static async create(): Promise<AgentLab> {
    const name = `al${process.pid % 100_000}${String.fromCharCode(97 + made++)}`;
    const net = await createLabNet({ name, hosts: [{ name: 'a' }, { name: 'b' }] });
    for (const host of net.hosts.values()) net.registry.record({ kind: 'pins', path: `/sys/fs/bpf/weft/${name}-${host.name}` });
    const { netns, address, dir } = net.ctl;
    const nats = await NatsServer.start({ netns, host: address, port: 4222, dir: join(dir, 'nats'), registry: net.registry });
    const relay = await forwardPort(await NetnsWorker.start(netns, { registry: net.registry }), address, 4222);
    const bus = connectBus({ servers: `nats://127.0.0.1:${relay.port}`, name: 'test' });
    await bus.whenConnected({ signal: AbortSignal.timeout(15_000) });
    const store = await bus.open({ replicas: 1 });
    const lab = new AgentLab({ name, net, nats, bus, store, admin: createIdentity('user') });
    await lab.#principal(lab.#controller, 'controller', 'controller');
    for (const host of ['a', 'b']) {
      const identity = createIdentity('host');
      saveIdentity(join(net.host(host).dir, 'host.seed'), identity);
      await lab.#principal(identity, host, 'host');
    }
    for (const vsid of [5001, 5002]) {
      const value = { owner: RDID, requestId: 'request-1', ownerKey: configKey.network(RDID) };
      await lab.commit('config', configKey.vsidClaim(vsid), { kind: 'claim', value });
    }
    await lab.commit('config', configKey.network(RDID), { kind: 'network', value: network() });
    for (const n of [1, 2]) await lab.commit('config', configKey.port(RDID, portId(n)), { kind: 'port', value: port(n) });
    return lab;
  }

  async close(): Promise<void> {
    await this.bus.close();
    for (const agent of this.agents.values()) await agent.stop();
    await this.net.close();
  }

  /** Folder of a host's pins, one below for each layout version. */
  pins(host: string): string {
    return `/sys/fs/bpf/weft/${this.name}-${host}`;
  }

  /** Runs an agent until it has read everything from the store. @param main Another build's `main.js`. */
  async start(name: string, main: string = MAIN, options: AgentOptions = {}): Promise<void> {
    await this.spawn(name, main, options);
    await this.answers(name);
  }

  /** Connected, and everything read from the store. */
  async answers(name: string): Promise<void> {
    await waitFor(
      async () => {
        const answer = await this.ask(name, { kind: 'status', value: {} }).catch(() => undefined);
        return answer?.result?.kind === 'status' && answer.result.value.natsState === 'connected';
      },
      { what: `agent ${name} to answer`, deadlineMs: 30_000 },
    );
    await this.agents.get(name)!.waitForLine(/tables complete/, 30_000);
  }

  async spawn(name: string, main: string = MAIN, { engine = 'kernel', flags = [] }: AgentOptions = {}): Promise<ManagedProcess> {
    const host = this.net.host(name);
    const file = join(host.dir, 'agent.yaml');
    const lines = [
      `nats: [${this.nats.url}]`,
      `hostId: ${name}`,
      `identity: ${join(host.dir, 'host.seed')}`,
      `trust: [${this.#admin.publicKey}]`,
      `underlay: ${host.underlayDevice}`,
      `instance: ${this.name}-${name}`,
      `stateDirectory: ${join(host.dir, 'state')}`,
      `runDirectory: ${join(host.dir, 'run')}`,
      'logLevel: debug',
      `engine: ${engine}`,
    ];
    writeFileSync(file, lines.join('\n'));
    const agent = await host.spawn([process.execPath, main, '--config', file, ...flags], { what: `agent ${name}` });
    this.agents.set(name, agent);
    return agent;
  }

  async ask(host: string, command: Command): Promise<Response> {
    return (await this.bus.request(host, command, { identity: this.#admin, timeoutMs: 5_000 })).response;
  }

  async bind(host: string, n: number, device: string, deviceKind: 'tap' | 'netdev' = 'tap'): Promise<Response> {
    const value = { routingDomainId: RDID, portId: portId(n), device, deviceKind, expectedGeneration: 0, move: false };
    return await this.ask(host, { kind: 'bindPort', value });
  }

  async status(host: string): Promise<StatusResult> {
    const { result } = await this.ask(host, { kind: 'status', value: {} });
    if (result?.kind !== 'status') throw new Error(`host ${host} has no status`);
    return result.value;
  }

  /** What differs between records, incremental tables and the packet path. */
  async differences(host: string): Promise<readonly string[]> {
    const { result, problems } = await this.ask(host, { kind: 'consistency', value: {} });
    if (result?.kind !== 'consistency') throw new Error(`host ${host} does not say: ${problems.map(({ rule }) => rule).join('; ')}`);
    return result.value.differences;
  }

  /** Until no host has a difference, so that each knows where the others' ports are. */
  async converged(): Promise<void> {
    for (const host of this.agents.keys()) {
      await waitFor(async () => (await this.differences(host)).length === 0, { what: `host ${host} to know all records` });
    }
  }

  async commit(bucket: BucketName, key: string, after: WeftRecord): Promise<void> {
    await commitRecord({
      bus: this.bus,
      bucket: this.store.bucket(bucket),
      identity: this.#controller,
      key,
      tenant: '',
      current: await getRecord(this.store.bucket(bucket), key),
      after,
      authorKey: this.#controller.publicKey,
      authorName: 'test',
      requestId: 'request-1',
      nowMs: Date.now(),
    });
  }

  async #principal(identity: Identity, name: string, role: 'controller' | 'host'): Promise<void> {
    const { bus, store } = this;
    const principal = { key: identity.publicKey, name, role, tenants: [] };
    await putPrincipal({ bus, store, admin: this.#admin, adminName: 'test', principal, requestId: 'request-1', nowMs: Date.now() });
  }
}
