import { type Bus, commitRecord, createIdentity, openChange, type Store, signEnvelope } from '@weft/bus';
import {
  type Claim,
  type Command,
  configKey,
  configPrefix,
  mappingKey,
  type Port,
  type PortBinding,
  parseManifests,
  type Request,
  requestCodec,
  type TrustStore,
  type VirtualNetwork,
  type WeftRecord,
} from '@weft/model';
import type { ControllerComponents } from '../../src/index.ts';
import { Records } from '../../src/records.ts';
import { RequestHandler } from '../../src/requests.ts';
import { interleave, type Task } from './interleave.ts';
import { gatedStore, MemoryBucket, type MemoryStore } from './memory-bucket.ts';

// Requests as tasks, each with a controller of its own, over a store in memory; and what must hold of the store when all have ended.

const identity = createIdentity('controller');
const RESUME_AFTER_MS = 3_600_000;
const bus = { publishCommitted() {} } as unknown as Bus;
const trust = {
  mayWrite: () => undefined,
  mayAct: () => undefined,
  principal: () => ({ key: '', name: 'root', role: 'admin', tenants: [] }),
  roleOf: () => 'controller',
} as unknown as TrustStore;

function components(store: Store): ControllerComponents {
  return {
    bus,
    store,
    identity,
    trust,
    logger: { debug() {}, info() {}, warn() {}, error: (fields, message) => console.error(message, fields) },
    clock: { now: () => 1_000, monotonic: () => 0 },
    random: () => 0,
  };
}

export function newMemory(): MemoryStore {
  return { config: new MemoryBucket(), mapping: new MemoryBucket() };
}
export function copyOf(memory: MemoryStore): MemoryStore {
  return { config: new MemoryBucket(memory.config), mapping: new MemoryBucket(memory.mapping) };
}
const atOnce = (memory: MemoryStore): Store => gatedStore(memory, async (_operation, run) => run());

export function applyCommand(yaml: string): Command {
  return { kind: 'apply', value: { resources: parseManifests([{ name: 'test.yaml', text: yaml }]).resources, dryRun: false } };
}
export function deleteCommand(...refs: string[]): Command {
  return {
    kind: 'delete',
    value: {
      dryRun: false,
      refs: refs.map((ref) => {
        const [kind = '', path = ''] = ref.split(' ');
        const parts = path.split('/');
        const [tenant, network] = kind === 'Tenant' ? ['', ''] : kind === 'VirtualNetwork' ? [parts[0]!, ''] : [parts[0]!, parts[1]!];
        return { kind, tenant, network, name: parts.at(-1)! };
      }),
    },
  };
}

/** Codes of the problems that a request was answered with; `ok` for none, the code of what was thrown otherwise. */
export type Verdict = string;

function verdictOf(answer: Promise<{ problems: readonly { code: string }[] }>): Promise<Verdict> {
  return answer.then(
    ({ problems }) => (problems.length === 0 ? 'ok' : [...new Set(problems.map(({ code }) => code))].join(' ')),
    (error: { code?: string; stack?: string }) => error.code ?? String(error.stack),
  );
}

/** A request to a controller of its own; another one takes it over when it dies. */
export function request(name: string, command: Command): Task {
  const requestId = `request-${name}`;
  const asked: Request = { requestId, target: 'controller', timeUnixMs: 1_000, command } as Request;
  const envelope = signEnvelope(identity, 'request', requestCodec.encode(asked));
  const resume = (generation: number): Task => ({
    name: `${name}${"'".repeat(generation)}`,
    async run(store) {
      const intent = await new Records(components(store)).get(store.config, configKey.intent(requestId));
      if (intent !== undefined) await new RequestHandler(components(store), RESUME_AFTER_MS).resume(intent);
      return 'resumed';
    },
    heir: () => resume(generation + 1),
  });
  return {
    name,
    run: (store) =>
      verdictOf(new RequestHandler(components(store), RESUME_AFTER_MS).handle({ request: asked, signer: identity.publicKey, envelope })),
    heir: () => resume(1),
  };
}

/** Carries a request out with nobody else about. */
export async function alone(memory: MemoryStore, name: string, command: Command): Promise<Verdict> {
  const { answers } = await interleave(memory, [request(name, command)], new Map());
  return answers.get(name) as Verdict;
}

/** Writes a record as if it had always been there. */
export async function put(
  memory: MemoryStore,
  bucket: 'config' | 'mapping',
  key: string,
  record: WeftRecord,
  requestId = 'long-gone',
): Promise<void> {
  await commitRecord({
    bus,
    bucket: atOnce(memory)[bucket],
    identity,
    key,
    tenant: '',
    current: undefined,
    after: record,
    authorKey: identity.publicKey,
    authorName: '',
    requestId,
    nowMs: 1,
  });
}

/** A host that binds a port, once the store has it. */
export function binding(port: Port, value: PortBinding): Task {
  return {
    name: 'host',
    async run(store) {
      await commitRecord({
        bus,
        bucket: store.mapping,
        identity,
        key: mappingKey(port.routingDomainId, port.vsid, port.id),
        tenant: port.tenant,
        current: undefined,
        after: { kind: 'binding', value },
        authorKey: identity.publicKey,
        authorName: '',
        requestId: 'host-made',
        nowMs: 1,
      });
      return 'bound';
    },
  };
}

function records<T>(memory: MemoryStore, prefix: string): { key: string; value: T }[] {
  return memory.config.below(prefix).flatMap((entry) => {
    const { change } = openChange(entry.value);
    return change.operation === 'put' ? [{ key: entry.key, value: change.after!.value as T }] : [];
  });
}
export const networksIn = (memory: MemoryStore): VirtualNetwork[] =>
  records<VirtualNetwork>(memory, configPrefix.networks).map(({ value }) => value);
export const portsIn = (memory: MemoryStore): Port[] => records<Port>(memory, configPrefix.allPorts).map(({ value }) => value);
export const claimsIn = (memory: MemoryStore): { key: string; value: Claim }[] => records<Claim>(memory, configPrefix.claims);

/** What is wrong with the store when nobody is at work: empty if all is well. */
export function faultsOf(memory: MemoryStore, options: { readonly leftovers: boolean }): string[] {
  const faults: string[] = [];
  const wanted = new Map<string, string>();
  const claim = (key: string, owner: string, what: string): void => {
    if (wanted.has(key)) faults.push(`${key} is held twice, the second time by ${what}`);
    wanted.set(key, owner);
  };
  const networks = new Map(networksIn(memory).map((network) => [network.id, network]));
  for (const network of networks.values()) {
    claim(configKey.networkIdClaim(network.networkId), network.id, `network ${network.tenant}/${network.name}`);
    for (const { vsid, name } of network.subnets)
      claim(configKey.vsidClaim(vsid), network.id, `subnet ${network.tenant}/${network.name}/${name}`);
  }
  for (const port of portsIn(memory)) {
    const what = `port ${port.tenant}/${port.network}/${port.name}`;
    claim(configKey.macClaim(port.vsid, port.mac), port.id, what);
    for (const address of port.addresses) claim(configKey.addressClaim(port.routingDomainId, address), port.id, what);
    const subnet = networks.get(port.routingDomainId)?.subnets.find(({ name }) => name === port.subnet);
    if (subnet?.vsid !== port.vsid) faults.push(`${what} has no subnet`);
  }
  const claims = new Map(claimsIn(memory).map(({ key, value }) => [key, value]));
  for (const [key, owner] of wanted)
    if (claims.get(key)?.owner !== owner)
      faults.push(`${key} is claimed by ${claims.get(key)?.owner ?? 'nobody'}, not by ${owner}, who holds it`);
  if (!options.leftovers)
    for (const key of claims.keys())
      if (!wanted.has(key) && !key.startsWith('claim.network-')) faults.push(`${key} is claimed, and held by nobody`);
  for (const { key } of records(memory, configPrefix.intents)) faults.push(`${key} is still open`);
  return faults;
}
