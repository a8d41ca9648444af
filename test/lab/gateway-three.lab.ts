import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { cutPower, restorePower } from '@weft/lab';
import type { Assignment } from '@weft/model';
import { waitFor } from '@weft/testkit';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { assignmentOf, Connections, GatewayLab, TAKEOVER_MS, TENANTS } from './gateway-support.ts';
import { endLab } from './support.ts';

// Three gateways that vote themselves: what two and a witness can't show. gateway-failures.lab.ts has the rest.

let group: GatewayLab;
let connections: Connections;
beforeAll(async () => {
  group = await GatewayLab.start(['g1', 'g2', 'g3']);
  connections = await Connections.start(group.lab, 5, 50);
});
afterAll(async () => {
  await group?.stop();
  await endLab(group?.lab);
});
afterEach(({ task }) => group.afterCase(task.result?.state === 'fail'));

const others = (host: string): readonly string[] => group.gateways.filter((name) => name !== host);

describe('three gateways', () => {
  it('keep their owners when one of them is frozen that owns nothing, or does not hear one of the others', async () => {
    const { lab } = group;
    const owners = new Set([group.ownerOf('coke'), group.ownerOf('pepsi')]);
    const idle = group.gateways.find((name) => !owners.has(name))!;
    const owner = group.ownerOf('coke');
    await group.window();
    const moves = await group.movesDuring(async () => {
      lab.agent(idle).kill('SIGSTOP');
      await group.answered(400);
      lab.agent(idle).kill('SIGCONT');
      await lab.net.faults.separate(owner, others(owner)[0]!);
      await group.answered(400);
      await lab.net.faults.join(owner, others(owner)[0]!);
      await group.answered(50);
    });
    expect(moves).toBe(0);
    await group.expectNothingLost();
  });

  it('replace an owner that both others hear no more, though it hears them, and it obeys at once', async () => {
    const { lab, watcher } = group;
    const owner = group.ownerOf('coke');
    const tenants = group.tenantsOf(owner);
    await group.untilProtected();
    await group.window();
    for (const other of others(owner)) await lab.net.faults.block(owner, other);
    await watcher.untilMovedFrom(owner, group.shardOf('coke'));
    // The certificate comes by NATS, and by the way that is open: its deadline is not waited for.
    await waitFor(() => !watcher.isOpen(owner, group.shardOf('coke')), {
      what: 'the replaced owner to close',
      deadlineMs: 2_000,
      intervalMs: 5,
    });
    await group.answered(100);
    await group.expectOnlyTheseWaited(tenants, TAKEOVER_MS);
    for (const other of others(owner)) await lab.net.faults.join(owner, other);
    await group.answered(100);
    await group.expectNothingLost();
    await connections.expectNoneBroken();
  });

  it('lose one by a power cut, and then have one that no minority can replace', async () => {
    const { lab, watcher } = group;
    const first = group.ownerOf('coke');
    const tenants = group.tenantsOf(first);
    await group.untilProtected();
    await group.window();
    await cutPower(lab, first);
    await watcher.untilMovedFrom(first, group.shardOf('coke'));
    await group.answered(100);
    await group.expectOnlyTheseWaited(tenants, TAKEOVER_MS);
    // So far none may be lost; the state of what is taken next has nobody to go to.
    await connections.expectNoneLost();

    // Two of three are gone: the last one is a minority, renews nothing and takes nothing.
    const second = others(first).find((name) => name !== group.ownerOf('pepsi')) ?? others(first)[0]!;
    const last = others(first).find((name) => name !== second)!;
    await cutPower(lab, second);
    const moves = await group.movesDuring(async () => {
      await waitFor(() => !watcher.isOpen(last, group.shardOf('coke')) && !watcher.isOpen(last, group.shardOf('pepsi')), {
        what: 'the last one to close by its deadline',
      });
    });
    expect(moves).toBe(0);
    await waitFor(async () => (await group.conditions(last)).some((text) => text.includes('Nobody is known to serve shard')), {
      what: 'the last one to say that nobody serves',
      deadlineMs: 20_000,
      intervalMs: 100,
    });

    await restorePower(lab, second);
    await restorePower(lab, first);
    await watcher.untilAtRest();
    await group.answered(100);
    await group.window();
    await group.answered(200);
    await group.expectNothingLost();
  });

  it('begin anew by `weft gateway recover` when a majority has lost its memory; the former owner, who has his, comes back and obeys', async () => {
    const { lab, watcher } = group;
    const kept = group.ownerOf('coke');
    const lost = others(kept);
    const open = (): readonly string[] =>
      group.gateways.filter((host) => TENANTS.some((tenant) => watcher.isOpen(host, group.shardOf(tenant))));
    const before = await assignmentOf(lab);
    const epochs = TENANTS.map((tenant) => watcher.epoch(group.shardOf(tenant)));
    await Promise.all(group.gateways.map((host) => cutPower(lab, host)));
    for (const host of lost) {
      const state = join(lab.net.host(host).dir, 'state');
      const files = readdirSync(state).filter((name) => /^ownership-.*\.bin$/.test(name));
      expect(files).toHaveLength(1);
      for (const file of files) rmSync(join(state, file));
    }
    await waitFor(() => open().length === 0, { what: 'every shard to close by its deadline' });
    await Promise.all(lost.map((host) => restorePower(lab, host)));
    // Controllers name the new memories; but what the former list has promised two of three can't say, so theirs is no majority.
    const memoryOf = ({ voters }: Assignment, host: string): number => voters.voters.find(({ hostId }) => hostId === host)!.instance;
    await waitFor(
      async () => {
        const now = await assignmentOf(lab);
        return lost.every((host) => ![0, memoryOf(before, host)].includes(memoryOf(now, host)));
      },
      { what: 'the new memories to be named', deadlineMs: 30_000, intervalMs: 100, show: () => group.story() },
    );
    expect((await assignmentOf(lab)).previousVoters).toBeDefined();
    expect((await lab.weft(['gateway', 'status', 'edge'], { allowFailure: true })).code).toBe(1);
    expect(open()).toEqual([]);

    expect((await lab.weft(['gateway', 'recover', 'edge'])).stdout).toContain('gateway edge begins anew');
    await group.answered(50, { deadlineMs: 60_000 });
    expect(lost).toContain(group.ownerOf('coke'));
    const incarnation = BigInt(before.incarnation + 1);
    for (const [index, tenant] of TENANTS.entries()) {
      const epoch = watcher.epoch(group.shardOf(tenant));
      expect(epoch).toBeGreaterThan(epochs[index]!);
      expect(epoch >> 32n).toBe(incarnation);
    }

    // The third has voted, and owned, in the incarnation before: it goes by the new one, and no packet is lost by its coming back.
    await group.answered(100);
    await group.window();
    await restorePower(lab, kept);
    await waitFor(
      async () => {
        const { groups } = await lab.ask(kept, { kind: 'gatewayStatus', value: { gatewayId: '' } }, 'gatewayStatus');
        const shards = groups.flatMap(({ incarnation: of, shards: all }) => (BigInt(of) === incarnation ? all : []));
        return TENANTS.every((tenant) =>
          shards.some(({ shard, epoch }) => shard === group.shardOf(tenant) && epoch >> 32n === incarnation),
        );
      },
      { what: 'the third to know the owners of the new incarnation', deadlineMs: 30_000, intervalMs: 100, show: () => group.story() },
    );
    await group.answered(100);
    await group.expectNothingLost();
  });
});
