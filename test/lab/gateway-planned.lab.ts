import { buildUdpFrame } from '@weft/packet';
import { startCapture, UdpSocket, waitFor } from '@weft/testkit';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { lateRequest, putOnWire } from './gateway-forgeries.ts';
import { Connections, GatewayLab, gatewayText, macOf, SERVER, type Tenant, untilPlaced } from './gateway-support.ts';
import { endLab } from './support.ts';

// Moves that somebody wants, under traffic. In a lab of its own: they count as moves, so those of failures would be damped after them.

let group: GatewayLab;
/** The one whose shard is moved once, and the one whose shard moves three times: a minute sees no more than three moves of a shard, and placing it at the start was one. */
let once: Tenant;
let thrice: Tenant;
beforeAll(async () => {
  // g3 votes only, at first.
  group = await GatewayLab.start(['g1', 'g2', 'g3'], 'g3', ['g1', 'g2']);
  const { watcher } = group;
  const moves = (tenant: Tenant): number => watcher.moves.filter(({ shard }) => shard === group.shardOf(tenant)).length;
  [once, thrice] = moves('coke') > moves('pepsi') ? ['coke', 'pepsi'] : ['pepsi', 'coke'];
});
afterAll(async () => {
  await group?.stop();
  await endLab(group?.lab);
});
afterEach(({ task }) => group.afterCase(task.result?.state === 'fail'));

describe('by plan', () => {
  it('what still comes to the former owner goes on to the new one, once, from either side', async () => {
    const { lab, watcher } = group;
    const shard = group.shardOf(once);
    const internet = lab.externalNetwork('internet');
    const [server, vm] = await Promise.all([
      UdpSocket.open(await lab.net.worker(internet.outside), { host: SERVER, port: 7_009 }),
      UdpSocket.open(await lab.net.worker(lab.vm(`${once}-web`).netns)),
    ]);
    await vm.send('who am I', { host: SERVER, port: 7_009 });
    const mapped = await server.next();
    if (mapped === undefined || 'error' in mapped) throw new Error('Nothing came to the server');
    const was = lab.host(group.ownerOf(once));
    const is = lab.host(was.name === 'g1' ? 'g2' : 'g1');
    await lab.weft(['gateway', 'move', 'edge', String(shard), '--to', is.name]);
    await waitFor(() => watcher.isOpen(is.name, shard) && watcher.owner(shard) === is.name, {
      what: 'the other to have the shard',
      deadlineMs: 60_000,
      show: () => group.story(),
    });

    // Put on the wire by who has not heard of it yet: the router sends to the former owner's MAC address, h1 to its provider address.
    const [wasMac, isMac] = await Promise.all([group.externalMac(was.name), group.externalMac(is.name)]);
    const needles = { answer: 'late-answer', request: 'late-request' };
    const watch = async (netns: string, device: string, filter: readonly string[] = []) =>
      startCapture({ netns, device, direction: 'in', needles, filter, registry: lab.net.registry });
    const [atVm, outside, atNew] = await Promise.all([
      watch(lab.vm(`${once}-web`).netns.netns, 'eth0'),
      watch(internet.outside.netns, 'eth0'),
      watch(is.netns, 'ext-internet', ['ether', 'src', wasMac, 'and', 'ether', 'dst', isMac]),
    ]);
    const router = { source: SERVER, sourcePort: 7_009, sourceMac: await macOf(internet.outside.netns, 'eth0') };
    const answer = buildUdpFrame(
      { ...router, destinationMac: wasMac, destination: mapped.address.replace('::ffff:', ''), destinationPort: mapped.port },
      new TextEncoder().encode(needles.answer),
    );
    putOnWire(internet.outside.netns, 'eth0', Array<Uint8Array>(10).fill(answer));
    const request = lateRequest(group, once, was, [vm.port, 7_009], needles.request);
    putOnWire(lab.host('h1').netns, 'underlay0', Array<Uint8Array>(10).fill(request));
    await waitFor(() => atVm.read().matches.answer >= 10 && outside.read().matches.request >= 10, {
      what: 'what was late to arrive',
      show: () => JSON.stringify([atVm.read(), outside.read(), atNew.read()]),
    });
    // A while, in which a frame that was passed on twice would have come again.
    await group.answered(30);
    expect((await atNew.stop()).matches.answer).toBe(10);
    expect((await atVm.stop()).matches.answer).toBe(10);
    expect((await outside.stop()).matches.request).toBe(10);
    for (let i = 0; i < 10; i++) expect(await server.next()).toMatchObject({ address: mapped.address, port: mapped.port });
    await Promise.all([server.close(), vm.close()]);
  });

  it('two gateways become three, one is drained and taken back: no packet and no connection is lost', async () => {
    const { lab, watcher } = group;
    const shard = group.shardOf(thrice);
    const connections = await Connections.start(lab, 10);
    await group.window();
    await lab.weft(['apply', '-f', '-'], { input: gatewayText(['g1', 'g2', 'g3'], undefined) });
    await lab.weft(['gateway', 'move', 'edge', String(shard), '--to', 'g3']);
    await waitFor(() => watcher.owner(shard) === 'g3', {
      what: 'the new member to have the shard',
      deadlineMs: 60_000,
      show: () => group.story(),
    });
    await group.answered(100);
    await lab.weft(['gateway', 'drain', 'edge', 'g3']);
    await waitFor(() => !watcher.isOpen('g3', shard) && watcher.owner(shard) !== undefined, {
      what: 'the drained member to be rid of the shard',
      deadlineMs: 60_000,
      show: () => group.story(),
    });
    // Whoever has it now says how it came there.
    const { groups } = await lab.ask(watcher.owner(shard)!, { kind: 'gatewayStatus', value: { gatewayId: '' } }, 'gatewayStatus');
    const { takeover, epoch } = groups.flatMap(({ shards }) => shards).find((one) => one.shard === shard)!;
    expect(takeover).toMatchObject({ kind: 'handover', from: 'g3', epoch });
    expect(takeover!.steps.map(({ step }) => step)).toEqual(
      expect.arrayContaining(['answered', 'ballot', 'vote', 'opened', 'told', 'done']),
    );
    await group.answered(100);
    await lab.weft(['gateway', 'undrain', 'edge', 'g3']);
    await untilPlaced(lab, watcher);
    await connections.expectAlive();
    await connections.expectNoneLost();
    await group.expectNothingLost();
  });
});
