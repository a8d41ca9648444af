import { spawn } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { type Target, TargetKind } from '@weft/forwarding';
import { parseIp } from '@weft/packet';
import { createVmNetns, run, waitFor } from '@weft/testkit';
import { inNetns, openPacketSocket } from '@weft/tuntap';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { datagram } from '../conformance/frames.ts';
import { ConformanceLab } from '../conformance/lab.ts';
import { datapathConformance } from '../conformance/suite.ts';
import { PA, PORTS, portRow, recordsOf, targetOf, type WorldPort } from '../conformance/world.ts';
import { hasGuard, protectTenantDevice, removeGuard, TENANT_DEVICE_GROUP } from '../src/host/guard.ts';
import { createUserDatapath } from '../src/user/index.ts';

type Options = Parameters<typeof createUserDatapath>[0];

const said: string[] = [];
const logger = { info: (_: object, message: string) => said.push(message), warn: (_: object, message: string) => said.push(message) };
const user = (options: Options) => createUserDatapath({ ...options, logger });

datapathConformance('user-space engine', { a: user, b: user });

describe('user-space engine', () => {
  let lab: ConformanceLab;
  beforeAll(async () => {
    lab = await ConformanceLab.create({ a: user, b: user });
    lab.begin();
    await lab.flush();
  });
  afterAll(() => lab?.close());
  beforeEach(() => lab.begin());

  test('says aloud what it is', () => {
    expect(said.join('\n')).toMatch(/User-space engine: every frame passes through this process/);
  });

  test('refuses options that make no sense, and a port that is taken', () => {
    const options = { instance: 'x', pa: PA.a, underlayInterface: 'underlay0', logger };
    const make = (changes: Partial<Options>) => () => lab.a.in(() => createUserDatapath({ ...options, ...changes }));
    const fdCount = readdirSync('/proc/self/fd').length;
    expect(make({ instance: 'No Name' })).toThrow(/Cannot name an instance "No Name"/);
    expect(make({ pa: parseIp('2001:db8::1') })).toThrow(/Cannot use provider address 2001:db8::1/);
    expect(make({ udpPort: 0 })).toThrow(/Cannot use UDP port 0/);
    expect(make({ underlayInterface: 'nowhere' })).toThrow(expect.objectContaining({ code: 'WEFT_ERR_DATAPATH_NO_DEVICE' }));
    expect(make({})).toThrow(/Cannot hold UDP 192.0.2.1:4789: EADDRINUSE; it is taken/);
    expect(make({ pa: parseIp('192.0.2.200') })).toThrow(/Cannot hold UDP 192.0.2.200:4789: EADDRNOTAVAIL/);
    expect(readdirSync('/proc/self/fd').length).toBe(fdCount);
  });

  test('closes the host to its devices by itself: it has no program that would', async () => {
    const { netns } = lab.a;
    lab.a.in(() => {
      lab.a.datapath.close();
      removeGuard();
    });
    await run('ip', ['-n', netns, 'link', 'set', 'red5', 'group', 'default', 'arp', 'on']);
    lab.a.makeAnew();
    expect(lab.a.in(hasGuard)).toBe(true);
    lab.a.apply(lab.rows(lab.a));
    for (const name of lab.portsOf(lab.a)) lab.attach(name);
    const { stdout } = await run('ip', ['-n', netns, '-j', 'link', 'show', 'dev', 'red5']);
    expect(JSON.parse(stdout)).toMatchObject([{ flags: expect.arrayContaining(['NOARP']), group: String(TENANT_DEVICE_GROUP) }]);
    await lab.flush();
  });

  test('counts what nobody on the underlay takes, and holds little of it', async () => {
    const { red3 } = PORTS;
    const gone: Partial<Target> = { kind: TargetKind.PEER, pa: parseIp('192.0.2.77') };
    lab.a.apply(recordsOf(red3, targetOf(red3, 'a', 0, gone)));
    // 1,024 wait until the kernel gives up, the others are dropped at once. In parts that the TAP's queue holds.
    for (let i = 0; i < 1_160; i++) {
      lab.vm('red1').send(datagram('red1', 'red3', `unanswered ${i}`));
      if (i % 100 === 99) await new Promise((resolve) => setImmediate(resolve));
    }
    await waitFor(() => lab.dropsSince().a['underlay KERNEL_REFUSED'] === 136, { what: '136 frames to be dropped' });
    await waitFor(() => lab.dropsSince().a['underlay KERNEL_REFUSED'] === 1_160, { what: '1,160 frames to be dropped' });
    lab.restoreTables();
    lab.begin();
    await lab.expectReceived();
  });

  test('counts what the underlay is too small for', async () => {
    const [row] = [portRow(PORTS.red1, lab.ifindex('red1'))];
    lab.a.apply([{ ...row, value: { ...(row as { value: object }).value, mtuBytes: 9000 } } as never]);
    lab.vm('red1').send(datagram('red1', 'red3', new Uint8Array(3000)));
    await lab.expectDrops(lab.a, { 'underlay KERNEL_REFUSED': 1 });
    lab.restoreTables();
  });

  test('goes on when its devices go down and up', async () => {
    await run('ip', ['-n', lab.a.netns, 'link', 'set', 'underlay0', 'down']);
    await run('ip', ['-n', lab.a.netns, 'link', 'set', 'red5', 'down']);
    await run('ip', ['-n', lab.a.netns, 'link', 'set', 'underlay0', 'up']);
    await run('ip', ['-n', lab.a.netns, 'link', 'set', 'red5', 'up']);
    await expect
      .poll(
        async () =>
          lab.flush().then(
            () => true,
            () => false,
          ),
        { timeout: 20_000 },
      )
      .toBe(true);
  });

  test('follows the MAC address of a peer, and its own', async () => {
    await run('ip', ['-n', lab.b.netns, 'link', 'set', 'underlay0', 'address', '02:00:00:aa:bb:01']);
    await run('ip', ['-n', lab.a.netns, 'link', 'set', 'underlay0', 'address', '02:00:00:aa:bb:02']);
    await expect
      .poll(
        async () =>
          lab.flush().then(
            () => true,
            () => false,
          ),
        { timeout: 30_000 },
      )
      .toBe(true);
  });

  test('lives when a device disappears, and no longer counts it', async () => {
    const { stdout } = await run('ip', ['-n', lab.a.netns, '-j', 'link', 'show', 'dev', 'blue1']);
    expect(JSON.parse(stdout)).toHaveLength(1);
    await run('ip', ['-n', lab.a.netns, 'link', 'del', 'blue1']);
    expect(lab.a.in(() => lab.a.datapath.attachedDevices())).not.toContain(lab.ifindex('blue1'));
    // To a device that is gone: dropped, counted, and nobody else gets it.
    lab.vm('blue3').send(datagram('blue3', 'blue1', 'to nobody'));
    await lab.expectDrops(lab.a, { 'underlay KERNEL_REFUSED': 1 });
    const frame = datagram('red1', 'red3', 'all is well');
    lab.vm('red1').send(frame);
    await lab.expectArrival('red3', frame);
  });

  test('close() ends it: silence, also from the stack of the host, and no descriptor is left', async () => {
    const { red1, red5 } = PORTS;
    lab.a.in(() => lab.a.datapath.close());
    lab.a.in(() => lab.a.datapath.close());
    expect(() => lab.a.in(() => lab.a.datapath.entries())).toThrow(expect.objectContaining({ code: 'WEFT_ERR_DATAPATH_CLOSED' }));
    // The host's stack has the very address that the VM speaks to, and would forward.
    await run('sysctl', ['-q', '-w', 'net.ipv4.ip_forward=1'], { netns: lab.a.netns });
    await run('ip', ['-n', lab.a.netns, 'address', 'add', `${red1.gateway4}/32`, 'dev', 'lo']);
    await run('ip', ['-n', lab.a.netns, 'route', 'add', '10.0.1.0/24', 'dev', 'red5']);
    for (let i = 0; i < 20; i++) {
      lab.vm('red1').send(datagram('red1', 'red5', `unheard ${i}`));
      lab.vm('red1').send(datagram('red1', 'red5', `unheard ${i}`, { destination: red1.gateway4 }));
      lab.vm('red5').send(datagram('red5', 'red1', `unheard ${i}`));
    }
    await run('ping', ['-c', '1', '-W', '1', red5.ca4], { netns: lab.a.netns, allowFailure: true });
    expect([lab.vm('red1').received, lab.vm('red5').received]).toEqual([[], []]);

    const fdCount = readdirSync('/proc/self/fd').length;
    for (let i = 0; i < 5; i++) {
      lab.a.makeAnew();
      lab.a.apply(lab.rows(lab.a));
      for (const name of ['red1', 'red2', 'red5'] as const) lab.attach(name);
      lab.vm('red1').send(datagram('red1', 'red5', `heard ${i}`));
      await waitFor(() => lab.vm('red5').received.length === i + 1, { what: 'a frame through the new engine' });
      lab.a.in(() => lab.a.datapath.close());
    }
    await expect.poll(() => readdirSync('/proc/self/fd').length).toBe(fdCount);
    lab.a.makeAnew();
  });
});

describe('the tunnel guard of the user-space engine', () => {
  test('stays when the engine is closed, is renewed by the next one, and goes when it is destroyed', async () => {
    const lab = await ConformanceLab.create({ a: user, b: user });
    try {
      const tables = async (): Promise<number> => {
        const { stdout } = await run('nft', ['list', 'tables', 'ip'], { netns: lab.a.netns });
        return (stdout.match(/weft_tunnel_/g) ?? []).length;
      };
      expect(await tables()).toBe(1);
      lab.a.in(() => lab.a.datapath.close());
      expect(await tables()).toBe(1);
      lab.a.makeAnew();
      expect(await tables()).toBe(1);
      lab.a.in(() => lab.a.datapath.destroy());
      expect(await tables()).toBe(0);
      // In the right namespace, wherever it is called.
      lab.b.datapath.destroy();
      expect((await run('nft', ['list', 'tables', 'ip'], { netns: lab.b.netns })).stdout).not.toContain('weft_tunnel_');
    } finally {
      await lab.close();
    }
  });
});

describe('user-space engine under VMs with stacks of their own', () => {
  let lab: ConformanceLab;
  const stacks: WorldPort[] = (['a', 'b'] as const).map((host, i) => ({
    ...PORTS.red1,
    host,
    kind: 'veth',
    mac: `02:00:00:00:01:5${i}`,
    ca4: `10.0.1.5${i}`,
    ca6: `2001:db8:1::5${i}`,
  }));
  const vmNetns: string[] = [];
  beforeAll(async () => {
    lab = await ConformanceLab.create({ a: user, b: user });
    const ifindexes: number[] = [];
    for (const [i, stack] of stacks.entries()) {
      const host = lab[stack.host as 'a' | 'b'];
      const netns = `weft-${lab.net.name}-stack${i}`;
      vmNetns.push(netns);
      await createVmNetns({
        name: `stack${i}`,
        netns,
        hostNetns: host.netns,
        hostDevice: 'stack',
        registry: lab.net.registry,
        mac: stack.mac,
        addresses: [`${stack.ca4}/24`, `${stack.ca6}/64`],
        gateways: [stack.gateway4, stack.gateway6],
      });
      host.in(() => protectTenantDevice('stack'));
      const { stdout } = await run('ip', ['-n', host.netns, '-j', 'link', 'show', 'dev', 'stack']);
      ifindexes.push((JSON.parse(stdout) as { ifindex: number }[])[0]!.ifindex);
    }
    for (const at of [lab.a, lab.b]) {
      for (const [i, stack] of stacks.entries()) {
        at.apply(recordsOf(stack, targetOf(stack, at.name, ifindexes[i]!)));
        if (stack.host === at.name) at.apply([portRow(stack, ifindexes[i]!)]);
      }
      const own = stacks.findIndex(({ host }) => host === at.name);
      at.in(() => at.datapath.attachDevice({ name: 'stack', ifindex: ifindexes[own]!, kind: 'veth' }));
    }
  });
  afterAll(() => lab?.close());

  /** Runs a command in a VM; the event loop, which is what moves the frames, goes on. */
  const inVm = (i: number, command: string, ...args: string[]): Promise<{ status: number | null; output: string }> =>
    new Promise((resolve) => {
      const child = inNetns(`/run/netns/${vmNetns[i]}`, () => spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], timeout: 60_000 }));
      let output = '';
      for (const stream of [child.stdout, child.stderr])
        stream.on('data', (data: Buffer) => {
          output += data.toString();
        });
      child.on('close', (status) => resolve({ status, output }));
    });

  test.each([stacks[1]!.ca4, stacks[1]!.ca6, stacks[0]!.gateway4, stacks[0]!.gateway6, PORTS.red4.gateway4])(
    'pings %s',
    async (address) => {
      const { status, output } = await inVm(0, 'ping', '-c', '3', '-i', '0.1', '-W', '3', address);
      expect(status, output).toBe(0);
    },
  );

  /** Streams from each of both VMs to the other at once, which compare what they get with what they sent themselves. */
  const carryTcp = async (target: string, bytes: number): Promise<string[]> => {
    const script = `
      const net = require('net'), crypto = require('crypto');
      const data = Buffer.alloc(${bytes}); for (let i = 0; i < data.length; i++) data[i] = (i * 31 + (i >> 8) * 7) & 255;
      const hash = (bytes) => crypto.createHash('sha256').update(bytes).digest('hex');
      const use = (socket) => {
        const parts = []; let got = 0;
        socket.on('data', (part) => {
          parts.push(part); got += part.length;
          if (got < data.length) return;
          console.log(hash(Buffer.concat(parts)) === hash(data) ? 'SAME' : 'DIFFERENT');
          socket.end();
        });
        socket.write(data);
      };
      if (process.argv[1] === 'serve') {
        const server = net.createServer((socket) => { server.close(); use(socket); });
        server.listen(5999, () => console.log('READY'));
      } else { const socket = net.connect(5999, process.argv[1], () => use(socket)); }
    `;
    const server = inNetns(`/run/netns/${vmNetns[1]}`, () =>
      spawn(process.execPath, ['-e', script, 'serve'], { stdio: ['ignore', 'pipe', 'inherit'], timeout: 60_000 }),
    );
    let serverSaid = '';
    server.stdout.on('data', (data: Buffer) => {
      serverSaid += data.toString();
    });
    const ended = new Promise((resolve) => server.on('close', resolve));
    await waitFor(() => serverSaid.includes('READY'), { what: 'the server in the VM' });
    const { output } = await inVm(0, process.execPath, '-e', script, target);
    await ended;
    return [output.trim(), serverSaid.trim().split('\n').at(-1)!];
  };

  test.each([4, 6] as const)('carries TCP over IPv%i, both ways, unharmed', async (family) => {
    lab.begin();
    const results = await carryTcp(family === 4 ? stacks[1]!.ca4 : stacks[1]!.ca6, 8 << 20);
    expect(results, JSON.stringify(lab.dropsSince())).toEqual(['SAME', 'SAME']);
  });

  test('learns the path MTU: a large datagram is refused with it', async () => {
    await run('ip', ['-n', lab.a.netns, 'link', 'set', 'stack', 'mtu', '2000']);
    await run('ip', ['-n', vmNetns[0]!, 'link', 'set', 'eth0', 'mtu', '2000']);
    const { status, output } = await inVm(0, 'ping', '-c', '1', '-M', 'do', '-s', '1800', '-W', '3', stacks[1]!.ca4);
    expect(status).not.toBe(0);
    expect(output).toMatch(/mtu ?= ?1450/);
    await run('ip', ['-n', vmNetns[0]!, 'link', 'set', 'eth0', 'mtu', '1450']);
  });

  test('what it puts on the underlay is no larger than the underlay', async () => {
    const wire = lab.b.in(() => openPacketSocket({ interfaceName: 'underlay0' }));
    let largest = 0;
    wire.start((batch) => {
      for (const frame of batch) largest = Math.max(largest, frame.length);
    });
    await carryTcp(stacks[1]!.ca4, 1 << 20);
    wire.close();
    expect(largest).toBeGreaterThan(1400);
    expect(largest).toBeLessThanOrEqual(1450 + 64);
  });
});
