import { join } from 'node:path';
import type { LabNet } from '../net/lab-net.ts';
import { NatsCluster } from './nats-cluster.ts';
import { NatsServer } from './nats-server.ts';

/** Port of NATS clients in a lab, the usual one: each control node has an address of its own. */
export const LAB_NATS_PORT = 4222;

/** NATS at the first control node of a lab, at its address, port 4222. Recorded in the lab, and removed with it. */
export function startLabNats(lab: LabNet, options: { readonly outlive?: boolean } = {}): Promise<NatsServer> {
  const { ctl } = lab;
  return NatsServer.start({
    ...options,
    dir: join(ctl.dir, 'nats'),
    netns: ctl.netns,
    host: ctl.address,
    port: LAB_NATS_PORT,
    registry: lab.registry,
  });
}

/** A NATS cluster with one member at each control node of a lab. */
export function startLabNatsCluster(lab: LabNet, options: { readonly outlive?: boolean } = {}): Promise<NatsCluster> {
  const members = lab.controlNodes.map((node) => ({ netns: node.netns, host: node.address, port: LAB_NATS_PORT }));
  return NatsCluster.start({ ...options, dir: join(lab.ctl.dir, 'nats'), name: lab.name, members, registry: lab.registry });
}
