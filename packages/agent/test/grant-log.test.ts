import { createIdentity, getRecord, type Identity } from '@weft/bus';
import { makeEpoch } from '@weft/election';
import { grantKey, type OwnershipCertificate, TrustStore } from '@weft/model';
import { beforeEach, describe, expect, it } from 'vitest';
import { GrantLog } from '../src/gateway/grant-log.ts';
import { Lab } from './harness.ts';
import type { MemoryBus } from './memory-bus.ts';

// Two members that write their grants of shard 7 into one store: one was the owner and comes back late, the other is its successor.

const GROUP = '22222222-2222-4222-8222-222222222222';
const SHARD = 7;

interface Member {
  readonly id: string;
  readonly bus: MemoryBus;
  readonly log: GrantLog;
}

let lab: Lab;
/** Candidates whose certificates do not verify. */
let forgers: Set<string>;

beforeEach(async () => {
  lab = new Lab();
  forgers = new Set();
  await lab.init();
});

async function member(id: string, identity: Identity = createIdentity('host')): Promise<Member> {
  await lab.admit(id, identity);
  const bus = lab.store.connect(id);
  bus.setConnected(true);
  const log = new GrantLog({
    hostId: id,
    bus,
    identity,
    trust: new TrustStore([lab.admin.publicKey]),
    clock: {
      now: () => lab.clock.now(),
      unixMs: () => Math.floor(lab.clock.now()),
      setTimeout: (callback: () => void, ms: number) => lab.clock.setTimeout(callback, ms),
      clearTimeout: (handle: unknown) => lab.clock.clearTimeout(handle),
    },
    logger: { debug() {}, info() {}, warn() {}, error() {} },
    isGenuine: (_, { ballot }) => !forgers.has(ballot.candidate),
  });
  return { id, bus, log };
}

function grant(candidate: string, ballot: number, config = 1): OwnershipCertificate {
  return {
    ballot: {
      config,
      epoch: makeEpoch(1, ballot),
      shards: [SHARD],
      candidate,
      providerAddress: '192.0.2.1',
      round: 1,
      leaseMs: 5_000,
      kind: 'takeover',
      consent: undefined,
    },
    votes: [{ voter: 0, instance: 1, signature: new Uint8Array(64) }],
  };
}

async function recorded(by: Member): Promise<OwnershipCertificate['ballot'] | undefined> {
  const entry = await getRecord((await by.bus.open()).gateways, grantKey(GROUP, SHARD));
  return entry?.record?.kind === 'grant' ? entry.record.value.certificate.ballot : undefined;
}

describe('GrantLog', () => {
  it('writes no grant over a later one, however long its own has waited', async () => {
    const [was, is] = [await member('g1'), await member('g2')];
    // Cut off from NATS with a grant to write down.
    was.log.record(GROUP, grant('g1', 4));
    is.log.setStore(await is.bus.open());
    is.log.record(GROUP, grant('g2', 5));
    await lab.settle(10);
    was.log.setStore(await was.bus.open());
    await lab.settle(20_000);
    expect(await recorded(is)).toMatchObject({ candidate: 'g2', epoch: makeEpoch(1, 5) });
    // Nothing waits any more: the next one is written.
    was.log.record(GROUP, grant('g1', 6));
    await lab.settle(10);
    expect(await recorded(is)).toMatchObject({ candidate: 'g1', epoch: makeEpoch(1, 6) });
  });

  it('loses a race for the same revision, and then leaves what is later', async () => {
    const [was, is] = [await member('g1'), await member('g2')];
    for (const { log, bus } of [was, is]) log.setStore(await bus.open());
    // Both read that nothing is there, and write.
    was.log.record(GROUP, grant('g1', 4));
    is.log.record(GROUP, grant('g2', 5));
    await lab.settle(20_000);
    expect(await recorded(is)).toMatchObject({ candidate: 'g2', epoch: makeEpoch(1, 5) });
  });

  it('writes one of a later list over an equal epoch, and a true one over what does not hold', async () => {
    const is = await member('g2');
    is.log.setStore(await is.bus.open());
    is.log.record(GROUP, grant('g2', 5));
    await lab.settle(10);
    is.log.record(GROUP, grant('g2', 5, 2));
    await lab.settle(10);
    expect(await recorded(is)).toMatchObject({ config: 2 });
    is.log.record(GROUP, grant('g3', 900));
    await lab.settle(10);
    forgers.add('g3');
    is.log.record(GROUP, grant('g2', 6));
    await lab.settle(10);
    expect(await recorded(is)).toMatchObject({ candidate: 'g2', epoch: makeEpoch(1, 6) });
  });
});
