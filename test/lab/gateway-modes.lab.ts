import { readFileSync } from 'node:fs';
import { Lab, parseLabFile } from '@weft/lab';
import { DropReason, dropReasonName } from '@weft/model';
import {
  type Endpoint,
  httpGet,
  httpServe,
  type NetnsEndpoint,
  ping,
  spawnIn,
  tcpMirror,
  tcpMirrorServe,
  UdpSocket,
  uniqueName,
  waitFor,
} from '@weft/testkit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { branchBehind, farNetwork, Workers } from './gateway-modes-support.ts';
import { cacheDir, endLab, projectRoot, weft } from './support.ts';

// Everything that a gateway does for a network, from both sides, on real parts: docs/examples/gateway-modes-lab.yaml. g1 carries two gateways and
// VMs of its own beside them; who sends what is compared with what the other side sees.

const [SERVER, SERVER_B, SERVER6] = ['198.18.0.10', '198.18.0.11', '2001:db8:fffe::10'] as const;
const [SITE, SITE6] = ['192.168.50.10', '2001:db8:50::10'] as const;
const [FAR, FAR6] = ['198.18.9.10', '2001:db8:9::10'] as const;
const COKE_OWN = ['203.0.113.40', '203.0.113.41'];
const [STATIC, SERVICES, SHARED, SHARED6] = ['203.0.113.42', '203.0.113.43', '203.0.113.16', '2001:db8:ffff::100'] as const;
/** Ports of the mirrors, which say whom they see. */
const MIRROR = 7000;

let lab: Lab;
let workers: Workers;
let internet: NetnsEndpoint;
let site: NetnsEndpoint;
let far: NetnsEndpoint;
/** Behind coke-db, which routes: the way there takes 1,300 bytes. */
let cokeBranch: NetnsEndpoint;
/** Behind sprite-rt, with the same addresses. */
let spriteBranch: NetnsEndpoint;

const vm = (name: string) => lab.vm(name);
const at = (place: NetnsEndpoint | string) => workers.at(typeof place === 'string' ? lab.vm(place) : place);

beforeAll(async () => {
  const text = readFileSync(`${projectRoot}docs/examples/gateway-modes-lab.yaml`, 'utf8');
  lab = await Lab.up(parseLabFile('gateway-modes-lab.yaml', text), { name: uniqueName('t'), weft, keep: false, cacheDir });
  workers = new Workers(lab);
  internet = lab.externalNetwork('internet').outside;
  site = lab.externalNetwork('site').outside;
  [far, cokeBranch, spriteBranch] = await Promise.all([
    farNetwork(lab, internet),
    branchBehind(lab, vm('coke-db'), ['172.16.5.10', '172.16.5.11', '172.16.5.12', '172.16.5.13', '172.16.5.14', '172.16.5.15'], 1300),
    branchBehind(lab, vm('sprite-rt'), ['172.16.5.10']),
  ]);
  for (const place of [internet, site, 'coke-www', 'coke-db', 'fanta-app', 'sprite-app'] as const)
    await tcpMirrorServe(await at(place), { port: MIRROR });
  const ways = [
    ['coke-web', SERVER],
    ['pepsi-web', SERVER6],
    ['sprite-app', SITE],
    ['sprite-app', SITE6],
  ] as const;
  await waitFor(async () => (await Promise.all(ways.map(([from, to]) => ping(vm(from), to)))).every(({ received }) => received === 1), {
    what: 'both gateways to have an owner and their neighbours',
    deadlineMs: 60_000,
    intervalMs: 200,
  });
});
afterAll(() => endLab(lab));

/** Whom a mirror sees that `from` connects to. */
const seen = async (from: NetnsEndpoint | string, host: string, port = MIRROR, localPort?: number) =>
  tcpMirror(await at(from), { host, port, ...(localPort === undefined ? {} : { localPort }) });

/** Frames dropped for a reason, on both hosts. */
async function dropped(reason: DropReason): Promise<number> {
  const counters = await Promise.all(
    ['g1', 'h1'].map(async (host) => (await lab.ask(host, { kind: 'drops', value: {} }, 'drops')).counters),
  );
  return counters.flat().reduce((sum, one) => sum + (one.reason === reason ? Number(one.packets) : 0), 0);
}

/** Does what must end in so many drops for that reason, and waits until they are counted. */
async function expectDropped(reason: DropReason, count: number, work: () => Promise<unknown>): Promise<void> {
  const before = await dropped(reason);
  await work();
  const more = await waitFor(async () => Math.max(0, (await dropped(reason)) - before), { what: `a drop as ${dropReasonName(reason)}` });
  expect(more, dropReasonName(reason)).toBe(count);
}

/** A ping that must not be answered: what stops it is counted, so nothing is waited for. */
const unanswered = async (from: Endpoint, to: string, source?: string): Promise<void> => {
  expect(await ping(from, to, { timeoutMs: 1, ...(source === undefined ? {} : { from: source }) })).toMatchObject({ received: 0 });
};

async function udp(from: NetnsEndpoint | string, init: Parameters<typeof UdpSocket.open>[1] = {}): Promise<UdpSocket> {
  return UdpSocket.open(await at(from), init);
}

/** The next datagram, as text with its sender. */
async function heard(socket: UdpSocket): Promise<{ from: string; port: number; text: string } | { error: string } | undefined> {
  const next = await socket.next();
  if (next === undefined || 'error' in next) return next;
  return { from: next.address, port: next.port, text: next.payload.toString() };
}

describe('port mapping', () => {
  it("gives a network its own external addresses, each source always one of them, and others the pool's", async () => {
    const sources = await Promise.all(
      ['172.16.5.10', '172.16.5.11', '172.16.5.12', '172.16.5.13', '172.16.5.14', '172.16.5.15'].map(async (host) => {
        const worker = await at(cokeBranch);
        const sockets = await Promise.all([0, 1, 2].map(() => UdpSocket.open(worker, { host })));
        const server = await udp(internet);
        const addresses = new Set<string>();
        for (const socket of sockets) {
          await socket.send('hello', { host: SERVER, port: server.port });
          const next = await heard(server);
          addresses.add(next !== undefined && 'from' in next ? next.from : 'nothing came');
          await socket.close();
        }
        await server.close();
        return [...addresses];
      }),
    );
    // Paired (RFC 4787 REQ-2), and all of the addresses are used.
    for (const addresses of sources) expect(addresses).toHaveLength(1);
    expect([...new Set(sources.flat())].sort()).toEqual(COKE_OWN);
    // A VM on the gateway's own machine, and one elsewhere; two tenants with one address at once.
    const [db, web, pepsi] = await Promise.all([seen('coke-db', SERVER), seen('coke-web', SERVER), seen('pepsi-web', SERVER)]);
    expect(COKE_OWN).toContain(db.address);
    expect(COKE_OWN).toContain(web.address);
    expect(pepsi.address).toBe(SHARED);
  });

  it('maps whatever the remote side, and lets in whom the source has sent to: address and port', async () => {
    const [inside, one, two, other] = await Promise.all([
      udp('coke-web'),
      udp(internet, { host: SERVER }),
      udp(internet, { host: SERVER_B }),
      udp(internet, { host: SERVER }),
    ]);
    await inside.send('1', { host: SERVER, port: one.port });
    const first = await heard(one);
    await inside.send('2', { host: SERVER_B, port: two.port });
    const second = await heard(two);
    expect(second).toEqual({ ...first, text: '2' });
    const mapped = first as { from: string; port: number };
    // Another port of an address that was sent to is filtered; what comes after it, from where was sent to, gets in.
    await expectDropped(DropReason.NAT_FILTERED, 1, async () => {
      await other.send('uninvited', { host: mapped.from, port: mapped.port });
      await two.send('answer', { host: mapped.from, port: mapped.port });
      expect(await heard(inside)).toEqual({ from: SERVER_B, port: two.port, text: 'answer' });
    });
    for (const socket of [inside, one, two, other]) await socket.close();
  });

  it('is what an independent tester finds: endpoint-independent mapping, address and port dependent filtering', async () => {
    const options = [
      '-n',
      '-S',
      '--no-cli',
      '--no-tls',
      '--no-dtls',
      '-l',
      'stdout',
      '--simple-log',
      '--pidfile',
      `${lab.net.dir}/turn.pid`,
    ];
    const argv = ['turnserver', ...options, '--db', `${lab.net.dir}/turn.db`, '-L', SERVER, '-L', SERVER_B];
    const server = await spawnIn(internet.netns, argv, { what: 'STUN server', registry: lab.net.registry });
    await waitFor(async () => (await internet.exec(['ss', '-Hlun', 'sport', '=', '3479'])).stdout.includes(SERVER_B), {
      what: 'the STUN server to listen',
      show: () => server.lastLines(10).join('\n'),
    });
    const found = await Promise.all(
      ['-m', '-f'].map(
        async (what) => (await vm('pepsi-web').exec(['turnutils_natdiscovery', what, SERVER], { timeoutMs: 20_000 })).stdout,
      ),
    );
    expect(found[0]).toContain('NAT with Endpoint Independent Mapping!');
    expect(found[1]).toContain('NAT with Address and Port Dependent Filtering!');
    expect(found[0]).toContain(`UDP reflexive addr: ${SHARED}:`);
    await server.stop();
  });

  it('lets two of its own talk by their external addresses, once each has sent', async () => {
    const [a, b, server] = await Promise.all([udp('coke-web'), udp('coke-db'), udp(internet)]);
    const mapped: { host: string; port: number }[] = [];
    for (const socket of [a, b]) {
      await socket.send('who am I', { host: SERVER, port: server.port });
      const { from: host, port } = (await heard(server)) as { from: string; port: number };
      mapped.push({ host, port });
    }
    await expectDropped(DropReason.NAT_FILTERED, 1, () => a.send('too early', mapped[1]));
    expect(await b.send('from b', mapped[0])).toBeUndefined();
    // The source is the external one (RFC 4787 REQ-9).
    expect(await heard(a)).toEqual({ from: mapped[1]!.host, port: mapped[1]!.port, text: 'from b' });
    await a.send('from a', mapped[1]);
    expect(await heard(b)).toEqual({ from: mapped[0]!.host, port: mapped[0]!.port, text: 'from a' });
    for (const socket of [a, b, server]) await socket.close();
  });
});

describe('addresses that lead inside', () => {
  it('1:1: every protocol and port, both ways', async () => {
    expect(await ping(internet, STATIC)).toMatchObject({ received: 1 });
    expect(await seen(internet, STATIC)).toMatchObject({ address: '203.0.113.1' });
    expect(await seen('coke-www', SERVER, MIRROR, 40_001)).toEqual({ address: STATIC, port: 40_001 });
    // The VM's own ICMP error comes out as if it were the address.
    const asker = await udp(internet, { connect: { host: STATIC, port: 9 } });
    await asker.send('anyone?');
    expect(await heard(asker)).toEqual({ error: 'ECONNREFUSED' });
    await asker.close();
  });

  it('port forwards: one TCP port, a range of UDP ports, and nothing beside', async () => {
    await tcpMirrorServe(await at('coke-web'), { port: 8080 });
    expect(await seen(internet, SERVICES, 80)).toMatchObject({ address: '203.0.113.1' });
    const [echo, asker] = await Promise.all([udp('coke-db', { port: 6003, echo: true }), udp(internet)]);
    await asker.send('to the fourth', { host: SERVICES, port: 5003 });
    expect(await heard(asker)).toEqual({ from: SERVICES, port: 5003, text: 'to the fourth' });
    const refused = await udp(internet, { connect: { host: SERVICES, port: 5004 } });
    await refused.send('nobody listens there');
    expect(await heard(refused)).toEqual({ error: 'ECONNREFUSED' });
    await expectDropped(DropReason.NAT_NO_MAPPING, 1, () => asker.send('beside', { host: SERVICES, port: 5010 }));
    for (const socket of [echo, asker, refused]) await socket.close();
  });

  it('port forwards and 1:1 addresses from inside: by another VM of the network, by the target itself, by another tenant', async () => {
    const [db, self, pepsi] = await Promise.all([
      seen('coke-db', SERVICES, 80),
      seen('coke-web', SERVICES, 80),
      seen('pepsi-web', SERVICES, 80),
    ]);
    expect(COKE_OWN).toContain(db.address);
    expect(COKE_OWN).toContain(self.address);
    expect(pepsi.address).toBe(SHARED);
    expect(COKE_OWN).toContain((await seen('coke-web', STATIC)).address);
    expect((await seen('coke-www', STATIC)).address).toBe(STATIC);
    const [echo, asker] = await Promise.all([udp('coke-db', { port: 6003, echo: true }), udp('coke-db')]);
    await asker.send('myself', { host: SERVICES, port: 5003 });
    expect(await heard(asker)).toEqual({ from: SERVICES, port: 5003, text: 'myself' });
    for (const socket of [echo, asker]) await socket.close();
  });
});

describe('IPv6', () => {
  it('port mapping (nat66), prefix translation (nptv6), and as it is', async () => {
    expect(await seen('pepsi-web', SERVER6)).toMatchObject({ address: SHARED6 });
    const translated = await seen('coke-db', SERVER6, MIRROR, 40_002);
    expect(translated).toMatchObject({ address: expect.stringMatching(/^2001:db8:aa00:/), port: 40_002 });
    expect(await seen('fanta-app', SERVER6, MIRROR, 40_003)).toEqual({ address: '2001:db8:aa00:100::10', port: 40_003 });
    // What is translated without state is reached from outside, too.
    expect(await seen(internet, translated.address)).toMatchObject({ address: '2001:db8:ffff::1' });
    expect(await seen(internet, '2001:db8:aa00:100::10')).toMatchObject({ address: '2001:db8:ffff::1' });
    await expectDropped(DropReason.NAT_NO_MAPPING, 1, () => unanswered(internet, SHARED6));
  });
});

describe('without NAT', () => {
  it('forwards a network to a physical segment, with what lies behind a router VM of its own, both ways', async () => {
    expect(await seen('sprite-app', SITE, MIRROR, 40_004)).toEqual({ address: '10.9.0.10', port: 40_004 });
    expect(await seen('sprite-app', SITE6, MIRROR, 40_005)).toEqual({ address: '2001:db8:d9::10', port: 40_005 });
    expect(await seen(site, '10.9.0.10')).toMatchObject({ address: '192.168.210.1' });
    expect(await seen(site, '2001:db8:d9::10')).toMatchObject({ address: '2001:db8:210::1' });
    await tcpMirrorServe(await at(spriteBranch), { port: MIRROR });
    expect(await seen(spriteBranch, SITE)).toMatchObject({ address: '172.16.5.10' });
    expect(await seen(site, '172.16.5.10')).toMatchObject({ address: '192.168.210.1' });
    // Inside the network, and the router's own address is no one else's to use.
    expect(await seen(spriteBranch, '10.9.0.10')).toMatchObject({ address: '172.16.5.10' });
    expect(await seen('sprite-app', '172.16.5.10')).toMatchObject({ address: '10.9.0.10' });
  });

  it('lets a router VM send what its routes lead to, and nothing else', async () => {
    // Of no route of the router's, of another port, of nobody in a subnet.
    for (const source of ['172.16.6.10', '10.9.0.10', '10.9.0.77']) {
      await spriteBranch.exec(['ip', 'address', 'add', `${source}/32`, 'dev', 'eth0']);
      await expectDropped(DropReason.SOURCE_ADDRESS_SPOOFED, 1, () => unanswered(spriteBranch, SITE, source));
    }
    // A port that no route leads to may send its own only.
    await vm('sprite-app').exec(['ip', 'address', 'add', '172.16.5.99/32', 'dev', 'eth0']);
    await expectDropped(DropReason.SOURCE_ADDRESS_SPOOFED, 1, () => unanswered(vm('sprite-app'), SITE, '172.16.5.99'));
  });

  it('peers two networks for what both sides say, and drops the rest by name', async () => {
    expect(await seen('coke-web', '10.7.0.10')).toMatchObject({ address: '10.0.1.10' });
    expect(await seen('coke-db', '10.7.0.10')).toMatchObject({ address: '10.0.1.11' });
    expect(await seen('fanta-app', '10.0.1.12')).toMatchObject({ address: '10.7.0.10' });
    // pepsi has asked; fanta has not.
    await expectDropped(DropReason.PEERING_NOT_ACCEPTED, 1, () => unanswered(vm('pepsi-web'), '10.7.0.10'));
    // It can't, as long as it reaches coke by the same addresses.
    const manifest = (accepts: string): string =>
      `apiVersion: weft/v1\nkind: GatewayConnection\nmetadata: { tenant: fanta, network: net, name: pepsi }\n` +
      `spec: { gateway: edge, mode: peering, peer: pepsi/net, offers: [10.7.0.0/25], accepts: [${accepts}] }\n`;
    const refused = await lab.weft(['apply', '-f', '-'], { input: manifest('10.0.1.0/26, 10.7.0.128/25'), allowFailure: true });
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain('WEFT_ERR_RULE_PEERING');
    expect(refused.stderr).toContain('must not overlap 10.0.1.0/25 accepted from coke/net');
    expect(refused.stderr).toContain('must not overlap 10.7.0.0/24 of subnet app');
    // One side takes its word back; then it can give it to another.
    await lab.weft(['delete', 'connection', 'fanta/net/coke']);
    await waitFor(async () => (await ping(vm('coke-web'), '10.7.0.10', { timeoutMs: 100 })).received === 0, { what: 'the peering to end' });
    await expectDropped(DropReason.PEERING_NOT_ACCEPTED, 1, () => unanswered(vm('coke-web'), '10.7.0.10'));
    await lab.weft(['apply', '-f', '-'], { input: manifest('10.0.1.0/25') });
    await waitFor(async () => (await ping(vm('pepsi-web'), '10.7.0.10', { timeoutMs: 100 })).received === 1, {
      what: 'the peering to begin',
    });
    await expectDropped(DropReason.PEERING_NOT_ACCEPTED, 1, () => unanswered(vm('coke-web'), '10.7.0.10'));
  });
});

describe('ICMP errors', () => {
  it('show each hop of the way', async () => {
    const hops = await Promise.all([1, 2, 3, 4].map((ttl) => ping(vm('coke-web'), FAR, { ttl })));
    const from = hops.map(({ errors }) => /^From (\S+) icmp_seq=1 Time to live exceeded/.exec(errors[0] ?? '')?.[1]);
    expect(from).toEqual(['10.0.1.1', '100.127.255.250', '203.0.113.1', '198.18.8.2']);
    const hops6 = await Promise.all([2, 3, 4].map((ttl) => ping(vm('pepsi-web'), FAR6, { ttl })));
    const from6 = hops6.map(({ errors }) => /^From (\S+) icmp_seq=1 Time exceeded/.exec(errors[0] ?? '')?.[1]);
    expect(from6).toEqual(['fd57:4546:5447::2', '2001:db8:ffff::1', '2001:db8:8::2']);
    // From outside, as the address that was asked.
    expect((await ping(far, STATIC, { ttl: 3 })).errors[0]).toMatch(/^From 203\.0\.113\.42 icmp_seq=1 Time to live exceeded/);
  });

  it('tell a VM of a narrow link outside, by every way out', async () => {
    for (const [from, to] of [
      ['coke-web', FAR],
      ['coke-www', FAR],
      ['pepsi-web', FAR6],
      ['coke-web', FAR6],
      ['fanta-app', FAR6],
    ] as const) {
      const { errors } = await ping(vm(from), to, { size: 1_350, dontFragment: true });
      expect(errors.join('\n'), `${from} to ${to}`).toMatch(/^From (203\.0\.113\.1|2001:db8:ffff::1) icmp_seq=1 .*\(?mtu ?= ?1300\)?/);
    }
    // A TCP connection through a port forward, whose ends both think of 1,500.
    const server = await httpServe(await at('coke-www'), { port: 8000 });
    expect(await httpGet(await at(far), `http://${STATIC}:8000/5/1000000`)).toMatchObject({ ok: true });
    await server.close();
  });

  it('tell the outside of what a tunnel can not carry, and of a narrow link behind a VM', async () => {
    expect((await ping(far, STATIC, { size: 1_200, dontFragment: true })).received).toBe(1);
    expect((await ping(internet, STATIC, { size: 1_440, dontFragment: true })).errors.join('\n')).toMatch(
      /^From 203\.0\.113\.42 icmp_seq=1 Frag needed and DF set \(mtu = 1450\)/,
    );
    // From a server to a client behind coke-db: 1,450 by the gateway, then 1,300 by the VM that routes, whose error goes through the mapping.
    const server = await httpServe(await at(internet), { port: 8001 });
    expect(await httpGet(await at(cokeBranch), `http://${SERVER}:8001/6/1000000`)).toMatchObject({ ok: true });
    await server.close();
    const learned = await Promise.all(COKE_OWN.map(async (to) => (await internet.exec(['ip', 'route', 'get', to])).stdout));
    expect(learned.join('\n')).toMatch(/mtu 1300/);
  });

  it('end a UDP question that nobody hears', async () => {
    for (const [from, host] of [
      ['coke-web', SERVER],
      ['pepsi-web', SERVER6],
    ] as const) {
      const socket = await udp(from, { connect: { host, port: 9 } });
      await socket.send('anyone?');
      expect(await heard(socket), from).toEqual({ error: 'ECONNREFUSED' });
      await socket.close();
    }
  });
});

describe('fragments', () => {
  it.each([
    ['by port mapping', 'coke-web', SERVER, 4_000],
    ['by 1:1', 'coke-www', SERVER, 9_000],
    ['by IPv6 port mapping', 'pepsi-web', SERVER6, 4_000],
    ['by IPv6 prefix translation', 'coke-db', SERVER6, 9_000],
    ['without translation', 'sprite-app', SITE, 9_000],
  ])('of a large datagram go out and come back %s', async (_, from, host, size) => {
    const place = host === SITE ? site : internet;
    const [echo, asker] = await Promise.all([udp(place, { host, echo: true }), udp(from, { host: host.includes(':') ? '::' : '0.0.0.0' })]);
    const payload = Buffer.alloc(size, 'weft');
    // The first answer may be too big for the tunnel: its sender is told, and knows it from then on.
    await waitFor(
      async () => {
        await asker.send(payload, { host, port: echo.port });
        const next = await asker.next(300);
        return next !== undefined && 'payload' in next && next.payload.equals(payload);
      },
      { what: `${size} bytes to come back`, deadlineMs: 5_000, intervalMs: 1 },
    );
    await echo.close();
    await asker.close();
  });

  it('of a large datagram come in by a port forward, and pings of many fragments go both ways', async () => {
    const [echo, asker] = await Promise.all([udp('coke-db', { port: 6005, echo: true }), udp(internet)]);
    const payload = Buffer.alloc(4_000, 'weft');
    await waitFor(
      async () => {
        await asker.send(payload, { host: SERVICES, port: 5005 });
        const next = await asker.next(300);
        return next !== undefined && 'payload' in next && next.payload.equals(payload);
      },
      { what: '4,000 bytes to come back', deadlineMs: 5_000, intervalMs: 1 },
    );
    await echo.close();
    await asker.close();
    await waitFor(async () => (await ping(vm('coke-web'), SERVER, { size: 3_000, timeoutMs: 300 })).received === 1, {
      what: 'a large ping to be answered',
      deadlineMs: 5_000,
      intervalMs: 1,
    });
  });
});

describe('two gateways on one machine', () => {
  it('have a subnet each in every network of theirs, and keep tables that agree', async () => {
    const subnets = await lab.weftJson<readonly { readonly metadata: { readonly name: string; readonly tenant: string } }[]>([
      'get',
      'subnets',
    ]);
    const own = subnets.flatMap(({ metadata: { name, tenant } }) => (name === 'weft-gateway' ? [tenant] : []));
    expect(own.sort()).toEqual(['coke', 'fanta', 'pepsi', 'sprite']);
    await lab.untilConsistent();
  });
});

describe('a network that is disconnected', () => {
  it('leaves no flow behind: connected anew it has none of before', async () => {
    const flows = async (): Promise<number> => {
      const { rows } = await lab.weftJson<{ readonly rows: readonly unknown[] }>(['flows', '--network', 'pepsi/net', '--protocol', 'tcp']);
      return rows.length;
    };
    expect((await seen('pepsi-web', SERVER)).address).toBe(SHARED);
    expect(await flows()).toBeGreaterThan(0);
    const connections = await lab.weft(['get', 'connections', '-o', 'yaml', '--tenant', 'pepsi']);
    await lab.weft(['delete', 'GatewayConnection', 'pepsi/net/internet', 'pepsi/net/fanta']);
    await waitFor(async () => (await flows()) === 0, { what: 'the flows of pepsi/net to be over', deadlineMs: 30_000 });
    await lab.weft(['apply', '-f', '-'], { input: connections.stdout });
    await waitFor(async () => (await ping(vm('pepsi-web'), SERVER)).received === 1, {
      what: 'pepsi to be connected again',
      deadlineMs: 20_000,
      intervalMs: 50,
    });
    // Only networks that are connected are listed: what stayed would be seen now.
    expect(await flows()).toBe(0);
  });
});
