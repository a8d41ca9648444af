import { createIdentity, loadIdentity, signEnvelope } from '@weft/bus';
import { boundD, makeEpoch, TIMING } from '@weft/election';
import { cutPower, restorePower } from '@weft/lab';
import { ownershipMessageCodec } from '@weft/model';
import { buildAnnouncement } from '@weft/packet';
import { startCapture, waitFor } from '@weft/testkit';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { GrantRecorder, lateAnswer, putOnWire } from './gateway-forgeries.ts';
import { Connections, GatewayLab, TAKEOVER_MS } from './gateway-support.ts';
import { endLab } from './support.ts';

// Two gateways and a witness, and what may befall them. Probes of both tenants run through all of it, and the same TCP connections from the first case to the
// last; the watcher reads every host's shard map and every member's fences meanwhile. Each case brings the lab back.

let group: GatewayLab;
let grants: GrantRecorder;
let connections: Connections;
beforeAll(async () => {
  group = await GatewayLab.start(['g1', 'g2'], 'w');
  grants = new GrantRecorder(group);
  connections = await Connections.start(group.lab, 5, 50);
});
afterAll(async () => {
  await grants?.stop();
  await group?.stop();
  await endLab(group?.lab);
});
afterEach(async ({ task }) => {
  await group.afterCase(task.result?.state === 'fail');
  await connections.expectNoneBroken();
});

/** Source of forged claims. */
const IMPOSTOR = '02:66:66:66:66:66';
const other = (host: string): string => group.gateways.find((name) => name !== host)!;

describe('what moves nothing, and loses nothing', () => {
  it('one way between the gateways closed, the other way, both', async () => {
    const { faults } = group.lab.net;
    await group.window();
    const moves = await group.movesDuring(async () => {
      for (const close of [() => faults.block('g1', 'g2'), () => faults.block('g2', 'g1'), () => faults.separate('g1', 'g2')]) {
        await close();
        await group.answered(400);
        await faults.join('g1', 'g2');
        await group.answered(50);
      }
    });
    expect(moves).toBe(0);
    await group.expectNothingLost();
  });

  it('a gateway cut off from NATS, NATS gone for all, and gone while the gateways do not hear each other', async () => {
    const { lab } = group;
    const management = lab.net.managementFaults!;
    await group.window();
    const moves = await group.movesDuring(async () => {
      const owner = group.ownerOf('coke');
      await management.cut(owner);
      await group.answered(400);
      await management.restore(owner);
      await lab.nats.kill();
      await group.answered(200);
      await lab.net.faults.separate('g1', 'g2');
      await group.answered(400);
      await lab.net.faults.join('g1', 'g2');
      await lab.nats.restart();
      for (const host of ['g1', 'g2', 'w', 'h1']) await lab.untilAgentAnswers(host);
    });
    expect(moves).toBe(0);
    await group.expectNothingLost();
  });
});

describe('an owner that is lost', () => {
  it('is replaced with NATS gone in the same moment, and comes back as the other', async () => {
    const { lab, watcher } = group;
    const owner = group.ownerOf('coke');
    const tenants = group.tenantsOf(owner);
    const { outside } = lab.externalNetwork('internet');
    const mac = await group.externalMac(other(owner));
    const [addresses, addresses6] = await Promise.all([group.externalAddresses('coke', 4), group.externalAddresses('coke', 6)]);
    const [address, address6] = [addresses[0]!, addresses6[0]!];
    await group.untilNeighborIs(address6, await group.externalMac(owner));
    await group.untilProtected();
    const capture = await startCapture({
      netns: outside.netns,
      device: 'eth0',
      direction: 'in',
      needles: { arp: buildAnnouncement(mac, address)[0]!, nd: buildAnnouncement(mac, address6)[0]! },
      registry: lab.net.registry,
    });
    await group.window();
    await Promise.all([lab.nats.kill(), cutPower(lab, owner)]);
    await watcher.untilMovedFrom(owner, group.shardOf('coke'));
    await group.answered(100);
    await group.expectOnlyTheseWaited(tenants, TAKEOVER_MS);
    // One lost announcement would leave a neighbour with the old owner for minutes: it is repeated, in both families.
    await waitFor(() => Math.min(capture.read().matches.arp, capture.read().matches.nd) >= 4, {
      what: 'announcements to be repeated',
      show: () => JSON.stringify(capture.read()),
    });
    await capture.stop();
    expect(await group.neighborOf(address6)).toBe(mac);
    await lab.nats.restart();
    await restorePower(lab, owner);
    await group.answered(100);
    expect(group.ownerOf('coke')).toBe(other(owner));
    await group.expectNothingLost();
  });

  it('closes by its own deadline when it is frozen, and is obeyed by nobody when it wakes', async () => {
    const { lab, watcher } = group;
    const owner = group.ownerOf('coke');
    const tenants = group.tenantsOf(owner);
    const shard = group.shardOf('coke');
    await group.untilProtected();
    const overlapMs = watcher.overlapMs;
    await group.window();
    const frozenMs = watcher.now();
    lab.agent(owner).kill('SIGSTOP');
    await watcher.untilMovedFrom(owner, shard);
    // No certificate has closed it: its process stands still. The other could only begin when the packet path had closed by itself.
    expect(watcher.overlapMs).toBe(overlapMs);
    await waitFor(() => watcher.now() - frozenMs > TIMING.leaseMs, { what: 'the freeze to have lasted a lease' });
    const replaced = watcher.epoch(shard);
    lab.agent(owner).kill('SIGCONT');
    await waitFor(() => watcher.sample().fences.every((fence) => fence.host !== owner || fence.shard !== shard || fence.deadlineMs === 0), {
      what: 'the owner to have heard that it was replaced',
    });
    await group.answered(200);
    expect(watcher.epoch(shard)).toBe(replaced);
    expect(group.ownerOf('coke')).toBe(other(owner));
    await group.expectOnlyTheseWaited(tenants, TAKEOVER_MS);
  });

  it('closes within D when voters and NATS are out of its reach, though hosts and the outside are not', async () => {
    const { lab, watcher } = group;
    const owner = group.ownerOf('coke');
    const tenants = group.tenantsOf(owner);
    await group.untilProtected();
    await group.window();
    await lab.net.managementFaults!.cut(owner);
    await lab.net.faults.separate(owner, 'w');
    await lab.net.faults.separate(owner, other(owner));
    await watcher.untilMovedFrom(owner, group.shardOf('coke'));
    // That it did so in time is the watcher's to say.
    await waitFor(() => !watcher.isOpen(owner, group.shardOf('coke')), { what: 'the old owner to close by itself' });
    await group.answered(200);
    await group.expectOnlyTheseWaited(tenants, boundD(TIMING) + TAKEOVER_MS);
    await lab.net.faults.join(owner, 'w');
    await lab.net.faults.join(owner, other(owner));
    await lab.net.managementFaults!.restore(owner);
    await lab.untilAgentAnswers(owner);
  });
});

describe('who is not, or not any more, the owner', () => {
  it('sends late: a host drops it by name, and takes the same from the owner', async () => {
    const { lab } = group;
    const owner = group.ownerOf('coke');
    const capture = await startCapture({
      netns: lab.vm('coke-web').netns.netns,
      device: 'eth0',
      direction: 'in',
      needles: { late: 'from-who-was-owner', live: 'from-who-is-owner' },
      registry: lab.net.registry,
    });
    const before = await group.drops('h1', 'SOURCE_NOT_AT_THIS_PEER');
    const [was, is] = [lab.host(other(owner)), lab.host(owner)];
    putOnWire(
      was.netns,
      was.underlayDevice,
      Array.from({ length: 10 }, () => lateAnswer(group, 'coke', was, 'from-who-was-owner')),
    );
    putOnWire(is.netns, is.underlayDevice, [lateAnswer(group, 'coke', is, 'from-who-is-owner')]);
    await waitFor(async () => (await group.drops('h1', 'SOURCE_NOT_AT_THIS_PEER')) - before >= 10, { what: 'h1 to count the late frames' });
    await waitFor(() => capture.read().matches.live === 1, { what: "the owner's frame to arrive" });
    expect((await capture.stop()).matches.late).toBe(0);
  });

  it('repeats a grant that was good once: refused on both paths, and answered with the better one', async () => {
    const { lab, watcher } = group;
    const shard = group.shardOf('coke');
    const epoch = watcher.epoch(shard);
    // Of the list of voters that is in force: of an earlier one, which the first grants of a new group may be of, nobody answers any more.
    const { config } = grants.newestOf(shard, epoch).certificate.ballot;
    const old = grants.heard.find(
      ({ certificate: { ballot } }) => ballot.shards.includes(shard) && ballot.config === config && ballot.epoch < epoch,
    )!;
    const answers = (): string[] =>
      grants.heard
        .slice(known)
        .filter(({ certificate: { ballot } }) => ballot.shards.includes(shard) && ballot.epoch === epoch)
        .map(({ from }) => from);
    const known = grants.heard.length;
    lab.bus.publishOwnership('grants', group.networks.get('coke')!.gateway!.gatewayId, old.bytes);
    await waitFor(() => answers().includes('h1'), {
      what: 'h1 to answer the old grant that came over NATS',
      show: () => grants.story(),
    });
    const worker = await lab.net.worker(lab.net.ctl);
    const heard = answers().length;
    for (const { address } of lab.net.hosts.values())
      await worker.request('udpSend', { host: address, port: 4790, payload: Buffer.from(old.bytes).toString('base64'), count: 1 });
    await waitFor(() => answers().length > heard, { what: 'a host to answer the old grant that came over the underlay' });
    expect(watcher.epoch(shard)).toBe(epoch);
    await group.expectNothingLost();
  });

  it('claims external addresses, several at once: alarmed, answered, and obeyed by no gateway', async () => {
    const { lab, watcher } = group;
    const owner = group.ownerOf('coke');
    const epoch = watcher.epoch(group.shardOf('coke'));
    const outsider = lab.host(other(owner));
    const [addresses, mac] = await Promise.all([group.externalAddresses('coke', 4), group.externalMac(owner)]);
    const believed = async (): Promise<(string | undefined)[]> => await Promise.all(addresses.map((one) => group.neighborOf(one)));
    expect(await believed()).toContain(mac);
    const forged = addresses.flatMap((address) => buildAnnouncement(IMPOSTOR, address));
    let wasBelieved = false;
    await waitFor(
      async () => {
        // From another machine of the segment: the router hears it as well as the owner. The packet path keeps the last claim alone.
        putOnWire(outsider.netns, 'ext-internet', forged);
        // Until the owner says whose they are, which may be at once.
        wasBelieved ||= (await believed()).includes(IMPOSTOR);
        return wasBelieved && (await group.conditions(owner)).some((text) => /Another machine claims the external address/.test(text));
      },
      { what: 'the router to believe it, and the owner to raise the alarm', intervalMs: 500 },
    );
    // It does so of its own accord: the router's cache would need 8 to 45 s to find out.
    await waitFor(async () => !(await believed()).includes(IMPOSTOR), { what: 'the router to know the owner again', deadlineMs: 5_000 });
    expect(watcher.epoch(group.shardOf('coke'))).toBe(epoch);
    await group.window();
    await group.answered(100);
    await group.expectNothingLost();
  });

  it('claims an external IPv6 address by an advertisement that nobody asked for: the same', async () => {
    const { lab, watcher } = group;
    const owner = group.ownerOf('coke');
    const epoch = watcher.epoch(group.shardOf('coke'));
    const outsider = lab.host(other(owner));
    const [[address], mac] = await Promise.all([group.externalAddresses('coke', 6), group.externalMac(owner)]);
    await group.untilNeighborIs(address!, mac);
    const claims = async (): Promise<number> => await group.drops(owner, 'EXTERNAL_ADDRESS_CONFLICT');
    const before = await claims();
    let wasBelieved = false;
    await waitFor(
      async () => {
        putOnWire(outsider.netns, 'ext-internet', buildAnnouncement(IMPOSTOR, address!));
        // The router believes it, for a moment: until the owner says whose it is.
        wasBelieved ||= (await group.neighborOf(address!)) === IMPOSTOR;
        const conditions = await group.conditions(owner);
        return wasBelieved && conditions.some((text) => text.includes(`Another machine claims the external address ${address}`));
      },
      { what: 'the router to believe it, and the owner to raise the alarm', intervalMs: 500 },
    );
    expect(await claims()).toBeGreaterThan(before);
    await waitFor(async () => (await group.neighborOf(address!)) === mac, { what: 'the router to know the owner again', intervalMs: 100 });
    expect(watcher.epoch(group.shardOf('coke'))).toBe(epoch);
    await group.expectNothingLost();
  });

  it('forges a certificate: refused by all and alarmed, whoever signs the message', async () => {
    const { lab, watcher } = group;
    const shard = group.shardOf('coke');
    const { ballot, votes } = grants.newestOf(shard, watcher.epoch(shard)).certificate;
    const gatewayId = group.networks.get('coke')!.gateway!.gatewayId;
    const accepted = (): string[] => watcher.sample().accepted.map(({ host, shard, epoch }) => `${host} ${shard} ${epoch}`);
    const before = accepted().sort();
    const standby = other(group.ownerOf('coke'));
    const candidate = { candidate: standby, providerAddress: lab.host(standby).address };
    const certificate = { ballot: { ...ballot, ...candidate, epoch: makeEpoch(1, 0x7fff_ffff) }, votes };
    const worker = await lab.net.worker(lab.net.ctl);
    for (const identity of [loadIdentity(`${lab.net.dir}/keys/w.seed`), createIdentity('host')]) {
      const message = { group: gatewayId, from: 'w', to: '', body: { kind: 'certificate' as const, value: certificate } };
      const bytes = signEnvelope(identity, 'ownership', ownershipMessageCodec.encode(message));
      lab.bus.publishOwnership('grants', gatewayId, bytes);
      for (const { address } of lab.net.hosts.values())
        await worker.request('udpSend', { host: address, port: 4790, payload: Buffer.from(bytes).toString('base64'), count: 1 });
    }
    for (const host of ['h1', 'g1', 'g2']) {
      await waitFor(async () => (await group.conditions(host)).some((text) => /A certificate that w sent is refused/.test(text)), {
        what: `${host} to raise the alarm`,
        show: () => grants.story(),
      });
      await lab.agent(host).waitForLine(/message of group .* signed by .*: host w has another key/);
    }
    expect(accepted().sort()).toEqual(before);
    await group.expectNothingLost();
  });
});

describe('links that come and go', () => {
  it('move a shard three times a minute at most; then it is held, and an alarm says so', async () => {
    const { lab, watcher } = group;
    const shard = group.shardOf('coke');
    const startedMs = watcher.now();
    const moves = () => watcher.moves.filter((move) => move.shard === shard && move.atMs > startedMs);
    const moved = (): number => moves().length;
    // A voter's minute begins when it hears of a move, which is not the moment in which the first host obeys.
    const minuteMs = TIMING.movesWindowMs - 1_000;
    const movedInAMinute = (): number =>
      Math.max(0, ...moves().map((first) => moves().filter(({ atMs }) => atMs >= first.atMs && atMs < first.atMs + minuteMs).length));
    let held = false;
    while (!held) {
      await group.untilProtected();
      const owner = group.ownerOf('coke');
      const before = moved();
      await lab.net.faults.cut(owner);
      await waitFor(
        async () => {
          held = (await group.conditions(other(owner))).some((text) => text.includes(`Shard ${shard} has moved 3 times`));
          return held || moved() > before;
        },
        { what: 'the shard to move, or to be held', deadlineMs: 20_000, intervalMs: 50 },
      );
      await lab.net.faults.restore(owner);
      if (held) expect(group.ownerOf('coke')).toBe(owner);
      expect(movedInAMinute()).toBeLessThanOrEqual(TIMING.movesMax);
      await group.answered(50);
      await watcher.untilAtRest();
    }
    const owner = group.ownerOf('coke');
    await group.window();
    await group.answered(400);
    expect(group.ownerOf('coke')).toBe(owner);
    await group.expectNothingLost();
  });
});

describe('through all of it', () => {
  it('no TCP connection was lost, changed or left without an answer', async () => {
    await connections.expectAlive();
    await connections.expectNoneLost();
  });
});
