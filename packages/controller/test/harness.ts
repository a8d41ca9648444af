import {
  type Bus,
  commitRecord,
  connectBus,
  createIdentity,
  createTrustFollower,
  getRecord,
  type Identity,
  putPrincipal,
  type RecordEntry,
  type Store,
  type TrustFollower,
} from '@weft/bus';
import {
  type Command,
  type Host,
  hostKey,
  type ListedValue,
  type Problem,
  parseManifests,
  type Resource,
  type ResourceChange,
  type Role,
  type TrustStore,
} from '@weft/model';
import { NatsServer, tempDir, waitFor } from '@weft/testkit';
import { type Controller, type ControllerInit, createController, systemClock } from '../src/index.ts';

// A real nats-server, an installation on it, and as many controllers as a test wants, each with a bus of its own.

export interface Harness {
  readonly server: NatsServer;
  readonly bus: Bus;
  readonly store: Store;
  readonly admin: Identity;
  addController(init?: ControllerInit & { wrapStore?: (store: Store) => Store }): Promise<RunningController>;
  /** Hosts that have registered themselves, with provider addresses 198.51.100.1 and on. */
  addHosts(...ids: string[]): Promise<void>;
  /** Keys of those. */
  readonly hosts: ReadonlyMap<string, Identity>;
  /** What the host says of itself from now on. */
  changeHost(id: string, change: Partial<Host>): Promise<void>;
  addPrincipal(role: Role, name: string, tenants?: string[]): Promise<Identity>;
  ask(
    command: Command,
    options?: { as?: Identity; requestId?: string },
  ): Promise<{ problems: readonly Problem[]; changes: readonly ResourceChange[]; records: readonly ListedValue[] }>;
  apply(
    yaml: string,
    options?: { as?: Identity; requestId?: string; dryRun?: boolean },
  ): Promise<{ problems: readonly Problem[]; changes: readonly ResourceChange[] }>;
  remove(
    refs: readonly string[],
    options?: { as?: Identity; dryRun?: boolean },
  ): Promise<{ problems: readonly Problem[]; changes: readonly ResourceChange[] }>;
  close(): Promise<void>;
}

export interface RunningController {
  readonly controller: Controller;
  readonly bus: Bus;
  readonly identity: Identity;
  readonly trust: TrustFollower;
  stop(): Promise<void>;
  /** For one that is as good as dead: cuts its connection and forgets it. */
  abandon(): void;
}

export async function startHarness(): Promise<Harness> {
  const dir = tempDir('weft-controller-');
  const server = await NatsServer.start({ dir: dir.path });
  const bus = connectBus({ servers: server.url, name: 'test', reconnectWaitMs: 50 });
  const store = await bus.open({ replicas: 1 });
  const admin = createIdentity('user');
  const controllers: RunningController[] = [];
  const trusts = new Set<TrustStore>();

  const addIdentity = async (identity: Identity, role: Role, name: string, tenants: string[] = []): Promise<void> => {
    await putPrincipal({
      bus,
      store,
      admin,
      adminName: 'root',
      principal: { key: identity.publicKey, name, role, tenants },
      requestId: 'set-up-01',
      nowMs: Date.now(),
    });
  };
  const hosts = new Map<string, Identity>();
  const writeHost = async (identity: Identity, current: RecordEntry | undefined, value: Host): Promise<void> => {
    await commitRecord({
      bus,
      bucket: store.hosts,
      identity,
      key: hostKey(value.id),
      tenant: '',
      current,
      after: { kind: 'host', value },
      authorKey: identity.publicKey,
      authorName: value.id,
      requestId: 'register-01',
      nowMs: Date.now(),
    });
  };
  const harness: Harness = {
    server,
    bus,
    store,
    admin,
    async addController(init = {}) {
      const identity = createIdentity('controller');
      await addIdentity(identity, 'controller', `controller-${controllers.length + 1}`);
      const ownBus = connectBus({ servers: server.url, name: 'controller', reconnectWaitMs: 50 });
      const ownStore = await ownBus.open({ replicas: 1 });
      const trust = await createTrustFollower({ bus: ownBus, store: ownStore, anchors: [admin.publicKey] });
      trusts.add(trust.trust);
      const controller = createController(
        {
          bus: ownBus,
          store: init.wrapStore?.(ownStore) ?? ownStore,
          identity,
          trust: trust.trust,
          refreshTrust: trust.refresh,
          logger: { debug() {}, info() {}, warn() {}, error: (fields, message) => console.error(message, fields) },
          clock: systemClock,
          random: Math.random,
        },
        init,
      );
      controller.start();
      let stopped = false;
      const running: RunningController = {
        controller,
        bus: ownBus,
        identity,
        trust,
        async stop() {
          if (stopped) return;
          stopped = true;
          await controller.stop();
          trusts.delete(trust.trust);
          await trust.stop();
          await ownBus.close();
        },
        abandon() {
          stopped = true;
          void controller.stop();
          trusts.delete(trust.trust);
          void trust.stop();
          void ownBus.close();
        },
      };
      controllers.push(running);
      return running;
    },
    async addPrincipal(role, name, tenants) {
      const identity = createIdentity(role === 'host' ? 'host' : 'user');
      await addIdentity(identity, role, name, tenants);
      // A controller reads the principal when its event comes; one asked before that refuses, and looks for strangers' keys once a second at most.
      await waitFor(() => [...trusts].every((trust) => trust.roleOf(identity.publicKey) === role), { what: `controllers to know ${name}` });
      return identity;
    },
    hosts,
    async addHosts(...hostIds) {
      for (const [i, id] of hostIds.entries()) {
        const identity = await harness.addPrincipal('host', id);
        hosts.set(id, identity);
        const value: Host = {
          id,
          providerAddress: `198.51.100.${i + 1}`,
          publicKey: identity.publicKey,
          encapsulations: ['vxlan'],
          engine: 'kernel',
          underlayMtu: 1600,
          version: '0',
          roles: ['host', 'gateway'],
          bootId: 'boot',
          memories: [],
          externalLinks: [],
        };
        await writeHost(identity, undefined, value);
        await waitFor(() => [...trusts].every((trust) => trust.host(id) !== undefined), { what: `controllers to know ${id}` });
      }
    },
    async changeHost(id, change) {
      const current = (await getRecord(store.hosts, hostKey(id)))!;
      const value = { ...(current.record!.value as Host), ...change };
      await writeHost(hosts.get(id)!, current, value);
    },
    async ask(command, options = {}) {
      for (let attempt = 0; ; attempt++) {
        try {
          const { response } = await bus.request('controller', command, {
            identity: options.as ?? admin,
            timeoutMs: 30_000,
            ...(options.requestId === undefined ? {} : { requestId: options.requestId }),
          });
          const { problems, result } = response;
          return {
            problems,
            changes: result?.kind === 'apply' ? result.value.changes : [],
            records: result?.kind === 'list' ? result.value.records.map(({ record }) => record) : [],
          };
        } catch (error) {
          // The subscription of a controller just started may still be on its way.
          if ((error as { code?: string }).code !== 'WEFT_ERR_BUS_NO_RESPONDER' || attempt > 50) throw error;
          await new Promise((resolve) => setTimeout(resolve, 20));
        }
      }
    },
    async apply(yaml, options = {}) {
      const resources: readonly Resource[] = parseManifests([{ name: 'test.yaml', text: yaml }]).resources;
      return await harness.ask({ kind: 'apply', value: { resources, dryRun: options.dryRun ?? false } }, options);
    },
    async remove(refs, options = {}) {
      const value = {
        dryRun: options.dryRun ?? false,
        refs: refs.map((ref) => {
          const [kind = '', path = ''] = ref.split(' ');
          const parts = path.split('/');
          const [tenant, network, name] =
            kind === 'Tenant' || kind === 'Gateway'
              ? ['', '', parts[0]!]
              : kind === 'VirtualNetwork'
                ? [parts[0]!, '', parts[1]!]
                : [parts[0]!, parts[1]!, parts[2]!];
          return { kind, tenant: tenant!, network: network!, name: name! };
        }),
      };
      return await harness.ask({ kind: 'delete', value }, options);
    },
    async close() {
      for (const controller of controllers) await controller.stop();
      await bus.close();
      await server.close();
      dir.remove();
    },
  };
  return harness;
}

/** Manifests of a tenant with a network, subnets and ports. */
export function manifests(
  tenant: string,
  options: { subnets?: Record<string, string>; ports?: Record<string, string>; network?: string } = {},
): string {
  const network = options.network ?? 'net';
  const documents = [
    `apiVersion: weft/v1\nkind: Tenant\nmetadata: {name: ${tenant}}`,
    `apiVersion: weft/v1\nkind: VirtualNetwork\nmetadata: {tenant: ${tenant}, name: ${network}}`,
    ...Object.entries(options.subnets ?? { blue: 'prefixes: [10.0.1.0/24]' }).map(
      ([name, spec]) =>
        `apiVersion: weft/v1\nkind: VirtualSubnet\nmetadata: {tenant: ${tenant}, network: ${network}, name: ${name}}\nspec: {${spec}}`,
    ),
    ...Object.entries(options.ports ?? {}).map(
      ([name, spec]) =>
        `apiVersion: weft/v1\nkind: Port\nmetadata: {tenant: ${tenant}, network: ${network}, name: ${name}}\nspec: {${spec}}`,
    ),
  ];
  return documents.join('\n---\n');
}
