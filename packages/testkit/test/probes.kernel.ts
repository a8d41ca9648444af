import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  captureCount,
  createLabNet,
  forwardPort,
  httpGet,
  httpServe,
  type LabHost,
  type LabNet,
  mustPing,
  ping,
  run,
  sendUdp,
  startCapture,
  startPingStream,
  startTcpStream,
  tcpEchoServe,
  tcpMirror,
  tcpMirrorServe,
  UdpSocket,
  uniqueName,
  waitFor,
} from '../src/index.ts';

describe('probes over an underlay', () => {
  let lab: LabNet;
  let a: LabHost;
  let b: LabHost;
  beforeAll(async () => {
    lab = await createLabNet({ name: uniqueName('tk-'), hosts: [{ name: 'a' }, { name: 'b' }] });
    a = lab.host('a');
    b = lab.host('b');
  });
  afterAll(async () => {
    await lab.close();
  });

  it('a ping stream counts nothing lost while the link holds', async () => {
    const stream = await startPingStream(a, b.address, { intervalMs: 1, registry: lab.registry });
    await stream.answered(200);
    const result = await stream.stop();
    expect(result).toMatchObject({ lost: 0, duplicates: 0, lostRuns: [] });
    expect(result.received).toBeGreaterThanOrEqual(200);
  });

  it('a ping stream counts what a cut link loses, and how long', async () => {
    /** Frames that a has sent. */
    const sent = async (): Promise<number> => {
      const { stdout } = await run('ip', ['-j', '-s', 'link', 'show', 'dev', 'underlay0'], { netns: a.netns });
      return (JSON.parse(stdout) as { stats64: { tx: { packets: number } } }[])[0]!.stats64.tx.packets;
    };
    const stream = await startPingStream(a, b.address, { intervalMs: 5, registry: lab.registry });
    await stream.answered(10);
    expect(await stream.takeWindow()).toMatchObject({ lost: 0 });
    await lab.faults.cut('b');
    const cutAt = performance.now();
    let before = await sent();
    await expect(stream.takeWindow(300)).rejects.toThrow(/to be answered/);
    await waitFor(async () => (await sent()) > before + 25, { what: 'requests into the cut link' });
    await lab.faults.restore('b');
    const cutMs = performance.now() - cutAt;
    await stream.answered(10);
    const window = await stream.takeWindow();
    expect(window.lost).toBeGreaterThan(20);
    expect(window.lostRuns).toHaveLength(1);
    expect(window.longestGapMs).toBeGreaterThan(cutMs * 0.9);
    expect(window.longestGapMs).toBeLessThan(cutMs + 1_000);
    await lab.faults.cut('b');
    before = await sent();
    await waitFor(async () => (await sent()) > before + 15, { what: 'requests into the cut link' });
    const end = await stream.stop(200);
    await lab.faults.restore('b');
    expect(end.lost).toBeGreaterThan(10);
    expect(end.longestGapMs).toBeGreaterThan(150);
  });

  it('says when a ping stream is never answered', async () => {
    await expect(startPingStream(a, '192.0.2.77', { deadlineMs: 200 })).rejects.toThrow(/Waited 200 ms in vain for ping from a/);
    expect(await ping(a, '203.0.113.1')).toMatchObject({ sent: 1, received: 0 });
  });

  it('fetches over HTTP and knows a body that is not the right one', async () => {
    const served = await httpServe(await lab.worker(b), { host: b.address, text: 'hello' });
    const worker = await lab.worker(a);
    const big = await httpGet(worker, `http://${b.address}/some-seed/20000000`);
    expect(big).toMatchObject({ ok: true, status: 200, size: 20_000_000 });
    const other = await httpGet(worker, `http://${b.address}/other-seed/20000000`);
    expect(other.sha256).not.toBe(big.sha256);
    expect(await httpGet(worker, `http://${b.address}/`, { keepText: true })).toMatchObject({ ok: true, text: 'hello' });
    await served.close();
    await expect(httpGet(worker, `http://${b.address}/`)).rejects.toMatchObject({ socketCode: 'ECONNREFUSED' });

    const liar = await httpServe(await lab.worker(b), { host: b.address, port: 81, text: 'not it' });
    // A query makes the server take the path for an unknown one, while the fetcher expects the body.
    expect(await httpGet(worker, `http://${b.address}:81/some-seed/6?x`)).toMatchObject({ ok: false, size: 6 });
    await liar.close();
  });

  it('a TCP stream outlives a short cut and reports the stall, and a connection that breaks', async () => {
    const served = await tcpEchoServe(await lab.worker(b), { host: b.address });
    const stream = await startTcpStream(await lab.worker(a), { host: b.address, connections: 3 });
    await lab.faults.cut('b');
    await expect.poll(async () => (await stream.read()).longestStallMs, { timeout: 5_000 }).toBeGreaterThan(250);
    await lab.faults.restore('b');
    const result = await stream.stop(20_000);
    expect(result).toMatchObject({ connections: 3, broken: [], corrupt: 0 });
    expect(result.echoed).toBe(result.sent);
    expect(result.sent).toBeGreaterThan(30);
    expect(result.longestStallMs).toBeGreaterThan(250);

    const doomed = await startTcpStream(await lab.worker(a), { host: b.address, connections: 2 });
    await served.close();
    await expect.poll(async () => (await doomed.read()).broken.length, { timeout: 5_000 }).toBe(2);
    await doomed.stop(0);
  });

  it('counts every marked frame at a device, and none where none pass', async () => {
    const atB = await startCapture({
      netns: b.netns,
      device: 'underlay0',
      needles: { mark: 'WEFT-MARK-1', other: 'WEFT-MARK-2' },
      registry: lab.registry,
    });
    const atCtl = await captureCount(lab.ctl.netns, 'underlay0', 'WEFT-MARK', { registry: lab.registry });
    const worker = await lab.worker(a);
    // Until b's MAC address is known the kernel keeps some 256 frames for it, and no more.
    await mustPing(a, b.address);
    await sendUdp(worker, { host: b.address, port: 9, payload: 'x WEFT-MARK-1 x', count: 500 });
    await sendUdp(worker, { host: b.address, port: 9, payload: 'WEFT-MARK-3', count: 10 });
    const counted = await atB.stop();
    // ICMP "port unreachable" brings some of them back, marked: count what arrives only in the next test.
    expect(counted.matches.mark).toBeGreaterThanOrEqual(500);
    expect(counted.matches.other).toBe(0);
    expect(counted.missed).toBe(0);
    expect(await atCtl.stop()).toBe(0);

    const inward = await captureCount(b.netns, 'underlay0', Buffer.from('c0ffee', 'hex'), { direction: 'in', filter: ['icmp'] });
    expect(await ping(a, b.address, { count: 7, intervalMs: 5, patternHex: 'c0ffee' })).toMatchObject({ received: 7 });
    expect(await inward.stop()).toBe(7);
    await expect(captureCount(b.netns, 'no-such-dev', 'x')).rejects.toThrow(/No such device/);
  });

  it('sockets on both sides tell whom they hear, and what ICMP says', async () => {
    const [from, to] = [await lab.worker(a), await lab.worker(b)];
    const mirror = await tcpMirrorServe(to, { port: 7000 });
    expect(await tcpMirror(from, { host: b.address, port: 7000, localPort: 40_001 })).toEqual({ address: a.address, port: 40_001 });
    await mirror.close();
    await expect(tcpMirror(from, { host: b.address, port: 7000 })).rejects.toMatchObject({ socketCode: 'ECONNREFUSED' });

    const echo = await UdpSocket.open(to, { port: 7001, echo: true });
    const asker = await UdpSocket.open(from, { connect: { host: b.address, port: 7001 } });
    const payload = Buffer.alloc(5_000, 'fragments');
    expect(await asker.send(payload)).toBeUndefined();
    expect(await asker.next()).toEqual({ address: b.address, port: 7001, payload });
    expect(await asker.next(1)).toBeUndefined();
    await echo.close();
    // Of these errors the kernel sends one a second to a host, and the tests before have used up what it had saved.
    const refused = await waitFor(
      async () => {
        await asker.send('nobody');
        return asker.next(200);
      },
      { what: 'to hear that nobody listens', deadlineMs: 10_000 },
    );
    expect(refused).toEqual({ error: 'ECONNREFUSED' });
    await asker.close();
  });

  it('makes a port inside a namespace reachable from the test process', async () => {
    const served = await tcpEchoServe(await lab.worker(lab.ctl), { host: lab.ctl.address, port: 4222 });
    const forwarded = await forwardPort(await lab.worker(a), lab.ctl.address, 4222);
    const socket = connect({ host: '127.0.0.1', port: forwarded.port });
    const echoed = new Promise((resolve) => socket.once('data', (data: Buffer) => resolve(data.toString())));
    socket.write('through');
    expect(await echoed).toBe('through');
    const closed = new Promise((resolve) => socket.once('close', resolve));
    await forwarded.close();
    await closed;
    await served.close();
  });
});
