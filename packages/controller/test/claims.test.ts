import { configKey, type PortBinding } from '@weft/model';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { manifests } from './harness.ts';
import { explore, interleave, type Outcome, type Plan, type Step, type Task, tell } from './support/interleave.ts';
import type { MemoryStore } from './support/memory-bucket.ts';
import {
  alone,
  applyCommand,
  binding,
  copyOf,
  deleteCommand,
  faultsOf,
  networksIn,
  newMemory,
  portsIn,
  put,
  request,
} from './support/world.ts';

// Requests of several controllers, in every order of their operations on the store that up to so many switches between them give. Whatever the order:
// what is unique has one holder, each holder its claim, each port its subnet, and what was answered is what stands.

// Signatures are not what is tested here, and would be nine tenths of the time.
vi.mock('node:crypto', async (original) => {
  const real = await original<typeof import('node:crypto')>();
  const cheap = (bytes: Uint8Array): Buffer => real.createHash('sha512').update(bytes).digest();
  return {
    ...real,
    sign: (_: null, bytes: Uint8Array) => cheap(bytes),
    verify: (_: null, bytes: Uint8Array, _key: unknown, signature: Uint8Array) => cheap(bytes).equals(signature),
  };
});

vi.setConfig({ testTimeout: 120_000 });
beforeAll(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] }));
afterAll(() => void vi.useRealTimers());

interface Scenario {
  readonly before?: (memory: MemoryStore) => Promise<void>;
  readonly tasks: (memory: MemoryStore) => readonly Task[];
  /** Beyond `faultsOf`. */
  readonly check?: (memory: MemoryStore, answers: ReadonlyMap<string, unknown>) => string[];
  readonly switches: number;
  readonly deaths?: number;
}

/** Switches beyond those of every run, for a long search: each costs some fifty times the time. */
const DEEPER = Number(process.env.WEFT_MORE_SWITCHES ?? 0);

async function run(scenario: Scenario): Promise<number> {
  const before = newMemory();
  await scenario.before?.(before);
  const count = await explore(
    async (plan) => {
      const memory = copyOf(before);
      const outcome = await interleave(memory, scenario.tasks(memory), plan);
      await judge(memory, outcome, plan, scenario);
      return outcome;
    },
    { switches: scenario.switches + DEEPER, deaths: scenario.deaths ?? 0 },
  );
  return count;
}

async function judge(memory: MemoryStore, { steps, answers }: Outcome, plan: Plan, scenario: Scenario): Promise<void> {
  // What the dead leave is harmless: it is taken over, or goes with what it belongs to.
  const died = [...plan.values()].some(({ dies }) => dies !== undefined);
  const faults = [...faultsOf(memory, { leftovers: died }), ...(scenario.check?.(memory, answers) ?? [])];
  if (faults.length === 0) {
    const ports = portsIn(memory).map((port) => `Port ${port.tenant}/${port.network}/${port.name}`);
    const networks = networksIn(memory);
    const subnets = networks.flatMap((network) =>
      network.subnets.map(({ name }) => `VirtualSubnet ${network.tenant}/${network.name}/${name}`),
    );
    const names = networks.map((network) => `VirtualNetwork ${network.tenant}/${network.name}`);
    const bound = memory.mapping.below('').length > 0;
    for (const [i, refs] of (bound ? [] : [ports, subnets, names]).entries()) {
      if (refs.length === 0) continue;
      const verdict = await alone(memory, `the-end-${i}`, deleteCommand(...refs));
      if (verdict !== 'ok') faults.push(`afterwards ${refs.join(', ')} can't be deleted: ${verdict}`);
    }
    if (!bound) faults.push(...faultsOf(memory, { leftovers: died }));
  }
  if (faults.length > 0) {
    const said = [...answers].map(([task, answer]) => `${task}: ${String(answer)}`).join(', ');
    throw new Error(`${faults.join('\n')}\nanswers: ${said}\n${tell(steps, plan)}`);
  }
}

const count = (answers: ReadonlyMap<string, unknown>, verdict: string): number =>
  [...answers.values()].filter((answer) => answer === verdict).length;
const network = (tenant: string, vsid = 7001, port?: string): string =>
  manifests(tenant, { subnets: { blue: `prefixes: [10.0.1.0/24], vsid: ${vsid}` }, ...(port === undefined ? {} : { ports: { a: port } }) });
const port = (tenant: string, name: string, spec: string): string =>
  `apiVersion: weft/v1\nkind: Port\nmetadata: {tenant: ${tenant}, network: net, name: ${name}}\nspec: {subnet: blue, ${spec}}`;
const made =
  (yaml: string) =>
  async (memory: MemoryStore): Promise<void> => {
    expect(await alone(memory, 'set-up', applyCommand(yaml))).toBe('ok');
  };
const oneWins = (_memory: MemoryStore, answers: ReadonlyMap<string, unknown>): string[] =>
  count(answers, 'ok') === 1 ? [] : ['not exactly one won'];

describe('claims: two requests for one VSID', () => {
  const bare = `${manifests('a', { subnets: {} })}\n---\n${manifests('b', { subnets: {} })}\n---\n${manifests('c', { subnets: {} })}`;
  const one = () => request('one', applyCommand(network('a')));
  const two = () => request('two', applyCommand(network('b')));
  const three = () => request('three', applyCommand(network('c')));
  /** Of a request that ended without its document, and without giving back: what a death can leave. */
  const leftover = async (memory: MemoryStore): Promise<void> => {
    await made(bare)(memory);
    const rdid = networksIn(memory).find(({ tenant }) => tenant === 'c')!.id;
    await put(memory, 'config', configKey.vsidClaim(7001), {
      kind: 'claim',
      value: { owner: rdid, ownerKey: configKey.network(rdid), requestId: 'long-gone' },
    });
  };

  it('one asks about the claim while the other, its request, ends: it has it all the same', async () => {
    // The very order in which two won once: asked whether the document holds it (not yet), then whether its request is under way (no more).
    const memory = newMemory();
    await made(bare)(memory);
    const questions = (steps: readonly Step[]): number => {
      const read = steps.findIndex(
        ({ task, operation }) => task === 'two' && operation.what === 'put' && operation.key === configKey.vsidClaim(7001),
      );
      return read < 0 ? 0 : steps.slice(read + 1).filter(({ task, operation }) => task === 'two' && operation.what === 'get').length;
    };
    const claimed = (steps: readonly Step[]): boolean =>
      steps.some(({ operation }) => operation.what === 'put' && operation.key === configKey.vsidClaim(7001));
    // Two's claim is refused, it reads whose it is, and asks its first question; then one ends; then two asks its second.
    const { steps, answers } = await interleave(memory, [one(), two()], (done) => (!claimed(done) || questions(done) >= 2 ? 'one' : 'two'));
    const asked = steps.slice(
      steps.findIndex(({ operation }) => operation.key === configKey.vsidClaim(7001) && operation.what === 'put') + 1,
    );
    const between = asked.findIndex(({ task }) => task === 'one');
    expect(asked.slice(0, between).at(-1)).toMatchObject({ task: 'two', operation: { what: 'get' } });
    expect(asked.slice(between).find(({ task }) => task === 'two')?.operation.what).toBe('get');
    expect([answers.get('one'), answers.get('two')], tell(steps, new Map())).toEqual(['ok', 'WEFT_ERR_RULE_VSID_USED']);
    expect(faultsOf(memory, { leftovers: false })).toEqual([]);
  });
  it('one has it', async () => {
    await run({ before: made(bare), tasks: () => [one(), two()], check: oneWins, switches: 2 });
  });
  it('one has it, of three', async () => {
    await run({ before: made(bare), tasks: () => [one(), two(), three()], check: oneWins, switches: 2 });
  });
  it('one has it where a leftover stood, taken over by two', async () => {
    await run({ before: leftover, tasks: () => [one(), two()], check: oneWins, switches: 2 });
  });
  it('one has it, also when controllers die', async () => {
    await run({ before: made(bare), tasks: () => [one(), two()], switches: 2, deaths: 1 });
    await run({ before: leftover, tasks: () => [one(), two()], switches: 2, deaths: 1 });
  });
  it('whoever finds it while the other gives it up', async () => {
    await run({ before: made(network('a')), tasks: () => [request('one', deleteCommand('VirtualSubnet a/net/blue')), two()], switches: 2 });
    await run({
      before: made(network('a')),
      tasks: () => [request('one', deleteCommand('VirtualSubnet a/net/blue')), two()],
      switches: 2,
      deaths: 1,
    });
  });
  it('whoever finds it while the other gives it up, and takes it back as a port is being made there', async () => {
    await run({
      before: made(network('a')),
      tasks: () => [
        request('port', applyCommand(port('a', 'p', 'addresses: [10.0.1.10]'))),
        request('one', deleteCommand('VirtualSubnet a/net/blue')),
        two(),
      ],
      switches: 2,
    });
  });
});

describe('claims: two requests for one address', () => {
  const p = 'addresses: [10.0.1.10]';
  it('one has it', async () => {
    await run({
      before: made(network('a')),
      tasks: () => [request('one', applyCommand(port('a', 'p', p))), request('two', applyCommand(port('a', 'q', p)))],
      check: oneWins,
      switches: 2,
    });
  });
  it('one has it, also when controllers die', async () => {
    await run({
      before: made(network('a')),
      tasks: () => [request('one', applyCommand(port('a', 'p', p))), request('two', applyCommand(port('a', 'q', p)))],
      switches: 2,
      deaths: 1,
    });
  });
  it('whoever finds it while a port with it is deleted, which is bound meanwhile', async () => {
    await run({
      before: made(network('a', 7001, `subnet: blue, ${p}`)),
      tasks: (memory) => [
        request('one', deleteCommand('Port a/net/a')),
        request('two', applyCommand(port('a', 'q', p))),
        binding(portsIn(memory)[0]!, boundAt(memory)),
      ],
      switches: 2,
    });
  });
  it('two ports exchange theirs while a third asks for one', async () => {
    const swapped = `${port('a', 'p', 'addresses: [10.0.1.11]')}\n---\n${port('a', 'q', 'addresses: [10.0.1.10]')}`;
    const scenario: Scenario = {
      before: made(`${network('a')}\n---\n${port('a', 'p', 'addresses: [10.0.1.10]')}\n---\n${port('a', 'q', 'addresses: [10.0.1.11]')}`),
      tasks: () => [request('one', applyCommand(swapped)), request('two', applyCommand(port('a', 'r', 'addresses: [10.0.1.10]')))],
      switches: 2,
    };
    await run(scenario);
    await run({ ...scenario, deaths: 1 });
  });
});

describe('claims: documents half done', () => {
  it('a port is made in a subnet that is deleted', async () => {
    await run({
      before: made(network('a')),
      tasks: () => [
        request('one', deleteCommand('VirtualSubnet a/net/blue')),
        request('two', applyCommand(port('a', 'p', 'addresses: [10.0.1.10]'))),
      ],
      switches: 2,
    });
    await run({
      before: made(network('a')),
      tasks: () => [
        request('one', deleteCommand('VirtualSubnet a/net/blue')),
        request('two', applyCommand(port('a', 'p', 'addresses: [10.0.1.10]'))),
      ],
      switches: 2,
      deaths: 1,
    });
  });
  it('a port and a subnet are added to a network that is being made, and taken back', async () => {
    // One makes a subnet and a port whose address another port takes meanwhile.
    await run({
      before: made(network('a')),
      tasks: () => [
        request(
          'one',
          applyCommand(
            `${manifests('a', { subnets: { red: 'prefixes: [10.0.2.0/24], vsid: 7002' } })}\n---\n${port('a', 'p', 'addresses: [10.0.1.10]')}`,
          ),
        ),
        request('two', applyCommand(port('a', 'p', 'addresses: [10.0.1.11]'))),
        request('three', applyCommand(manifests('a', { subnets: { green: 'prefixes: [10.0.3.0/24], vsid: 7003' } }))),
      ],
      switches: 2,
    });
  });
  it('a network is made in a tenant that is deleted', async () => {
    await run({
      before: made('apiVersion: weft/v1\nkind: Tenant\nmetadata: {name: a}'),
      tasks: () => [
        request('one', deleteCommand('Tenant a')),
        request('two', applyCommand('apiVersion: weft/v1\nkind: VirtualNetwork\nmetadata: {tenant: a, name: net}')),
      ],
      switches: 2,
    });
  });
});

function boundAt(memory: MemoryStore): PortBinding {
  const { id: portId, routingDomainId, vsid } = portsIn(memory)[0]!;
  return {
    portId,
    routingDomainId,
    vsid,
    hostId: 'host-a',
    providerAddress: '192.0.2.1',
    generation: 1,
    state: 'bound',
    device: 'tap0',
    deviceKind: 'tap',
    previousHostId: '',
    previousProviderAddress: '',
  };
}
