import { mkdirSync, writeFileSync } from 'node:fs';
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
import { type ForwardedPort, forwardPort, LAB_STATE_DIR, type LabNet, NatsCluster, NatsServer, NetnsWorker } from '@weft/testkit';
import type { LabSpec } from './lab-file.ts';

const NATS_PORT = 4222;

/** What a lab's daemons talk over, and as whom. */
export interface ControlPlane {
  readonly natsServers: readonly NatsServer[];
  readonly relays: readonly ForwardedPort[];
  readonly worker: NetnsWorker;
  readonly bus: Bus;
  readonly admin: Identity;
  readonly trust: TrustFollower;
}

/** Where a daemon's seed is. */
export function seedFile(net: LabNet, id: string): string {
  return join(net.dir, 'keys', `${id}.seed`);
}

/**
 * NATS, a key for each daemon, the principals, the context file that `weft --lab NAME` reads, and a connection of this process: through a relay, as a
 * process can't be in two namespaces.
 */
export async function startControlPlane(net: LabNet, spec: LabSpec, keepUp: boolean, say: (text: string) => void): Promise<ControlPlane> {
  const { name } = net;
  say(spec.natsServers === 1 ? 'NATS with JetStream' : 'three NATS servers, one JetStream cluster');
  const natsServers = await startNats(net, spec, keepUp);
  const urls = natsServers.map((server) => server.url).join(',');
  const worker = await NetnsWorker.start(net.ctl.netns, { registry: net.registry });
  const relays = await Promise.all(natsServers.map((server) => forwardPort(worker, server.host, server.port)));

  say('identities: one key each for the admin, the controllers and the hosts');
  mkdirSync(join(net.dir, 'keys'), { recursive: true, mode: 0o700 });
  const keep = (kind: Parameters<typeof createIdentity>[0], id: string): Identity => {
    const identity = createIdentity(kind);
    saveIdentity(seedFile(net, id), identity);
    return identity;
  };
  const admin = keep('user', 'admin');
  writeFileSync(
    join(LAB_STATE_DIR, `${name}.context.json`),
    JSON.stringify({ netns: net.ctl.netns, nats: urls, identity: seedFile(net, 'admin'), trust: admin.publicKey }),
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
  return { natsServers, relays, worker, bus, admin, trust };
}

/** One server at the first control node, or a cluster with one at each. */
async function startNats(net: LabNet, spec: LabSpec, outlive: boolean): Promise<readonly NatsServer[]> {
  const members = net.controlNodes.map((node) => ({ netns: node.netns, host: node.managementAddress ?? node.address, port: NATS_PORT }));
  const shared = { dir: join(net.ctl.dir, 'nats'), registry: net.registry, outlive };
  if (spec.natsServers === 1) return [await NatsServer.start({ ...shared, ...members[0]! })];
  return (await NatsCluster.start({ ...shared, name: net.name, members })).servers;
}
