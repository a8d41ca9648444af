import { BpfMap } from '@weft/bpf';
import { type Bus, commitRecord, type Identity, type Store } from '@weft/bus';
import { ids } from '@weft/controller';
import { LAYOUT_VERSION } from '@weft/datapath';
import { type Lab, pinDirectory } from '@weft/lab';
import { configKey, type VirtualNetwork, type WeftRecord } from '@weft/model';
import { waitFor } from '@weft/testkit';
import { GATEWAYS } from './failover-lab.ts';

/** Networks that are written at once. */
const PARALLEL = 24;
/** VSIDs from here on; the two networks that a controller made have theirs by chance. */
const FIRST_VSID = 8_000_000;
/** Progress is told after so many. */
const TELL = 500;

/**
 * Makes networks that are connected to the gateway, without ports, until there are `count` in all: copies of the one that a controller made, with names, claims and numbers of their own, in
 * the order in which a controller writes them and signed by its key, but without asking it, which would plan and look at each of them again and again.
 *
 * @param of Path of the network to copy: `tenant/name`.
 */
export async function makeNetworks(lab: Lab, of: string, count: number, progress: (done: number) => void): Promise<void> {
  const model = await networkOf(lab, of);
  const writer: Writer = { bus: lab.bus, store: await lab.bus.open({ replicas: 1, create: false }), identity: lab.identity('controller1') };
  const number = model.gateway!.ownPool;
  let next = 1;
  let done = 1;
  const make = async (): Promise<void> => {
    while (next < count) {
      await write(writer, copyOf(model, next++, number));
      if (++done % TELL === 0) progress(done);
    }
  };
  await Promise.all(Array.from({ length: PARALLEL }, make));
}

/** Waits until the packet paths of both gateways serve so many: their agents have read each. Seen past the agents, which have enough to do. @throws {DeadlineError} */
export async function untilServed(lab: Lab, count: number): Promise<void> {
  let last = '';
  await waitFor(
    async () => {
      const counts = GATEWAYS.map((host) => servedAt(lab, host));
      last = counts.join(' and ');
      return counts.every((one) => one === count);
    },
    { what: `gateways to serve ${count} networks`, deadlineMs: 120_000, intervalMs: 1_000, show: () => last },
  );
}

function servedAt(lab: Lab, host: string): number {
  const map = BpfMap.fromPin(`${pinDirectory(lab.name, host)}/v${LAYOUT_VERSION}/map_gateway_network`);
  try {
    return [...map.entries()].length;
  } finally {
    map.close();
  }
}

interface Writer {
  readonly bus: Bus;
  readonly store: Store;
  readonly identity: Identity;
}

/** @param number Of the copied network's own pool, the highest that is claimed. */
function copyOf(model: VirtualNetwork, index: number, number: number): VirtualNetwork {
  const name = `n${index}`;
  return {
    ...model,
    name,
    id: ids.network(model.tenant, name),
    networkId: model.networkId + index,
    subnets: model.subnets.map((subnet, i) => ({ ...subnet, vsid: FIRST_VSID + index * model.subnets.length + i })),
    gateway: { ...model.gateway!, ownPool: number + index },
  };
}

async function write(writer: Writer, network: VirtualNetwork): Promise<void> {
  const { id, tenant, name, networkId, subnets, gateway } = network;
  const ownerKey = configKey.network(id);
  const claim: WeftRecord = { kind: 'claim', value: { owner: id, ownerKey, requestId: 'bench-many-networks' } };
  const claims = [
    configKey.networkNameClaim(ids.tenant(tenant), ids.network(tenant, name)),
    configKey.networkIdClaim(networkId),
    configKey.numberClaim(gateway!.ownPool),
    ...subnets.map(({ vsid }) => configKey.vsidClaim(vsid)),
  ];
  for (const key of claims) await commit(writer, key, tenant, claim);
  await commit(writer, ownerKey, tenant, { kind: 'network', value: network });
  // What makes a gateway follow the network: last, so that it finds the others.
  await commit(writer, configKey.shardClaim(gateway!.shard, id), tenant, claim);
}

async function commit({ bus, store, identity }: Writer, key: string, tenant: string, after: WeftRecord): Promise<void> {
  const { outcome } = await commitRecord({
    ...{ bus, bucket: store.config, identity, key, tenant, after },
    ...{ current: undefined, authorKey: identity.publicKey, authorName: 'bench', requestId: 'bench-many-networks', nowMs: Date.now() },
  });
  if (outcome.status !== 'committed') throw new Error(`${key} was not written: ${outcome.status}`);
}

async function networkOf(lab: Lab, path: string): Promise<VirtualNetwork> {
  const [tenant = '', name = ''] = path.split('/');
  const list = { kinds: ['VirtualNetwork'], tenant, network: '', name };
  const { records } = await lab.ask('controller', { kind: 'list', value: list }, 'list');
  for (const { record } of records) if (record?.kind === 'network' && record.value.name === name) return record.value;
  throw new Error(`there is no network ${path} in this lab`);
}
