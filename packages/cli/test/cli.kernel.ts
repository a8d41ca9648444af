import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { connectBus } from '@weft/bus';
import { subjects } from '@weft/model';
import { type ManagedProcess, NatsServer, type RunResult, run, spawnIn, waitFor } from '@weft/testkit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

// The real command (dist), a real nats-server on loopback, two real controllers:
//
//   weft … ──► nats-server ◄── controller 1
//                   ▲───────── controller 2

const bin = fileURLToPath(new URL('../bin/weft.js', import.meta.url));
const dir = mkdtempSync(join(tmpdir(), 'weft-cli-e2e-'));
const etc = join(dir, 'etc');
const context = join(etc, 'context.yaml');
let nats: NatsServer;
const controllers: ManagedProcess[] = [];

const weft = (
  args: readonly string[],
  options: { readonly input?: string; readonly env?: Record<string, string> } = {},
): Promise<RunResult> =>
  run(process.execPath, [bin, ...args], {
    allowFailure: true,
    timeoutMs: 60_000,
    ...(options.input === undefined ? {} : { input: options.input }),
    env: { WEFT_CONTEXT: context, WEFT_LAB: '', WEFT_NATS: '', WEFT_IDENTITY: '', WEFT_TRUST: '', ...options.env },
  });
const file = (name: string, text: string): string => {
  const path = join(dir, name);
  writeFileSync(path, text);
  return path;
};

const document = (kind: string, metadata: object, spec?: object): string =>
  `${JSON.stringify({ apiVersion: 'weft/v1', kind, metadata, ...(spec === undefined ? {} : { spec }) })}\n`;
const tenant = (name: string) => document('Tenant', { name });
const network = (of: string, name = 'net') => document('VirtualNetwork', { tenant: of, name });
const subnet = (of: string, name: string, spec: object, net = 'net') => document('VirtualSubnet', { tenant: of, network: net, name }, spec);
const port = (of: string, name: string, spec: object, net = 'net') => document('Port', { tenant: of, network: net, name }, spec);
const yaml = (...documents: string[]): string => documents.join('---\n');

const base = yaml(
  tenant('coke'),
  network('coke'),
  subnet('coke', 'web', { prefixes: ['10.0.0.0/24'], vsid: 5001 }),
  subnet('coke', 'db', { prefixes: ['10.0.1.0/24'] }),
  port('coke', 'web1', { subnet: 'web', addresses: ['10.0.0.11'], mac: '02:00:00:00:00:11' }),
  port('coke', 'web2', { subnet: 'web', addresses: ['10.0.0.12'] }),
);

beforeAll(async () => {
  nats = await NatsServer.start({ dir: join(dir, 'nats') });
  const init = await weft(['init', '--dir', etc, '--nats', nats.url, '--host', 'host-a']);
  expect(init.stderr + init.stdout).toContain('weft controller');
  expect(init.code).toBe(0);
  for (let i = 0; i < 2; i++) {
    controllers.push(
      await spawnIn(undefined, [process.execPath, bin, 'controller', '--context', context, '--identity', join(etc, 'controller.seed')], {
        env: { WEFT_LAB: '' },
      }),
    );
  }
  await waitFor(async () => (await weft(['get', 'tenants', '--timeout', '2'])).code === 0, {
    what: 'a controller to answer',
    deadlineMs: 60_000,
    show: () => controllers.flatMap((controller) => controller.lastLines()).join('\n'),
  });
  const applied = await weft(['apply', '-f', file('base.yaml', base)]);
  expect(applied.stderr).toBe('6 created\n');
});

afterAll(async () => {
  await Promise.all(controllers.map((controller) => controller.stop()));
  await nats?.close();
  rmSync(dir, { recursive: true, force: true });
});

describe('weft init', () => {
  it('writes secrets for the owner only, and changes nothing when repeated', async () => {
    const files = ['admin.seed', 'controller.seed', 'host-a.bundle.json'].map((name) => join(etc, name));
    for (const path of files) expect(statSync(path).mode & 0o777, path).toBe(0o600);
    const before = files.map((path) => readFileSync(path, 'utf8'));
    expect((await weft(['init', '--dir', etc, '--nats', nats.url, '--host', 'host-a'])).code).toBe(0);
    expect(files.map((path) => readFileSync(path, 'utf8'))).toEqual(before);
  });

  it('refuses a NATS that another admin has initialised', async () => {
    const { code, stderr } = await weft(['init', '--dir', join(dir, 'other'), '--nats', nats.url]);
    expect(stderr).toMatch(/holds an installation of another admin/);
    expect(code).toBe(1);
  });
});

describe('weft apply, get, diff', () => {
  it('shows what was applied, with what was left out filled in', async () => {
    const { stdout } = await weft(['get', 'ports', '--json']);
    const ports = JSON.parse(stdout) as { metadata: { name: string }; spec: { mac: string; addresses: string[] } }[];
    expect(ports.map(({ metadata }) => metadata.name)).toEqual(['web1', 'web2']);
    expect(ports[1]!.spec.mac).toMatch(/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/);
    const subnets = JSON.parse((await weft(['get', 'subnets', '--json'])).stdout) as {
      metadata: { name: string };
      spec: { vsid: number; gateways: string[] };
    }[];
    expect(subnets.find(({ metadata }) => metadata.name === 'web')?.spec).toMatchObject({ vsid: 5001, gateways: ['10.0.0.1'] });
    expect((await weft(['get', 'ports'])).stdout).toMatch(
      /^PORT +SUBNET.*\ncoke\/net\/web1 +web +02:00:00:00:00:11 +10\.0\.0\.11 +unbound/,
    );
    expect((await weft(['describe', 'network', 'coke/net'])).stdout).toMatch(/Ports: +2, 0 of them bound/);
  });

  it('finds no difference in what get -o yaml wrote', async () => {
    for (const kind of ['tenants', 'networks', 'subnets', 'ports']) {
      const { stdout } = await weft(['get', kind, '-o', 'yaml']);
      const diff = await weft(['diff', '-f', '-'], { input: stdout });
      expect([diff.stdout, diff.code], kind).toEqual(['', 0]);
    }
  });

  it('changes nothing when applied again, and says so', async () => {
    const again = await weft(['apply', '-f', join(dir, 'base.yaml')]);
    expect(again.stderr).toBe('6 unchanged\n');
  });

  it('diff shows the field that differs and leaves it as it is', async () => {
    const changed = file('changed.yaml', port('coke', 'web1', { subnet: 'web', addresses: ['10.0.0.21'], mac: '02:00:00:00:00:11' }));
    const diff = await weft(['diff', '-f', changed]);
    expect(diff.stdout).toMatch(/~ Port coke\/net\/web1 updated\n {4}spec\.addresses: 10\.0\.0\.11 → 10\.0\.0\.21/);
    expect(diff.code).toBe(1);
    expect((await weft(['get', 'port', 'coke/net/web1'])).stdout).toContain('10.0.0.11');
  });
});

describe('what a manifest must not say', () => {
  // path, value, rule or hint, as a person reads them on standard error
  it.each<readonly [what: string, manifest: string, line: number, said: readonly RegExp[]]>([
    [
      'overlapping subnets',
      subnet('coke', 'wide', { prefixes: ['10.0.0.0/16'] }),
      1,
      [/VirtualSubnet coke\/net\/wide/, /"10\.0\.0\.0\/16"/, /overlap/, /PREFIX_OVERLAP/],
    ],
    ['a VSID below 4096', subnet('coke', 's', { prefixes: ['10.9.0.0/24'], vsid: 4095 }), 1, [/spec\.vsid/, /"4095"/, /4096/, /16777214/]],
    [
      'a VSID above 16777214',
      subnet('coke', 's', { prefixes: ['10.9.0.0/24'], vsid: 16_777_215 }),
      1,
      [/spec\.vsid/, /"16777215"/, /VSID_RANGE/],
    ],
    [
      'a VSID in use elsewhere',
      yaml(tenant('pepsi'), network('pepsi'), subnet('pepsi', 's', { prefixes: ['10.0.0.0/24'], vsid: 5001 })),
      5,
      [/"5001"/, /VSID_USED/],
    ],
    [
      'a CA outside its subnet',
      port('coke', 'x', { subnet: 'web', addresses: ['10.0.1.5'] }),
      1,
      [/spec\.addresses\[0\]/, /"10\.0\.1\.5"/, /ADDRESS_OUTSIDE/],
    ],
    [
      "the gateway's address",
      port('coke', 'x', { subnet: 'web', addresses: ['10.0.0.1'] }),
      1,
      [/"10\.0\.0\.1"/, /gateway/, /ADDRESS_RESERVED/],
    ],
    [
      'a CA used twice in the network',
      port('coke', 'x', { subnet: 'web', addresses: ['10.0.0.11'] }),
      1,
      [/"10\.0\.0\.11"/, /web1/, /ADDRESS_USED/],
    ],
    [
      'a MAC used twice in the subnet',
      port('coke', 'x', { subnet: 'web', addresses: ['10.0.0.50'], mac: '02:00:00:00:00:11' }),
      1,
      [/spec\.mac/, /"02:00:00:00:00:11"/, /MAC_USED/],
    ],
    [
      'a MAC in upper case',
      port('coke', 'x', { subnet: 'web', addresses: ['10.0.0.50'], mac: '02:00:00:00:00:AA' }),
      1,
      [/"02:00:00:00:00:AA"/, /lower case/],
    ],
    [
      'a multicast MAC',
      port('coke', 'x', { subnet: 'web', addresses: ['10.0.0.50'], mac: '01:00:5e:00:00:01' }),
      1,
      [/"01:00:5e:00:00:01"/, /unicast/],
    ],
    [
      'an unknown key',
      'apiVersion: weft/v1\nkind: VirtualSubnet\nmetadata: {tenant: coke, network: net, name: s}\nspec:\n  prefixs: [10.9.0.0/24]\n',
      5,
      [/spec\.prefixs/, /did you mean prefixes\?/],
    ],
    [
      'an unknown kind',
      'apiVersion: weft/v1\nkind: VirtualNetwrk\nmetadata: {tenant: coke, name: n}\n',
      2,
      [/"VirtualNetwrk"/, /write VirtualNetwork/],
    ],
    ['an unknown subnet', port('coke', 'x', { subnet: 'wbe', addresses: ['10.0.0.50'] }), 1, [/spec\.subnet/, /"wbe"/, /SUBNET_UNKNOWN/]],
    ['a prefix with host bits', subnet('coke', 's', { prefixes: ['10.9.0.1/24'] }), 1, [/"10\.9\.0\.1\/24"/, /10\.9\.0\.0\/24/]],
    ['no YAML at all', 'kind: [\n', 2, [/must be YAML/]],
  ])('%s', async (what, manifest, line, said) => {
    const name = `bad-${what.replaceAll(/[^a-z0-9]+/gi, '-')}.yaml`;
    // A good document before the bad one must not come through either.
    const path = file(name, manifest);
    const good = file('innocent.yaml', tenant('innocent'));
    const { code, stdout, stderr } = await weft(['apply', '-f', good, '-f', path]);
    expect(stderr).toContain(`${path}:${line}:`);
    for (const part of said) expect(stderr).toMatch(part);
    expect(stderr).toMatch(/^weft: refused, nothing was changed \(\d+ problem/);
    expect(stderr).not.toMatch(/\n {4}at /);
    expect([code, stdout]).toEqual([1, '']);
    expect((await weft(['get', 'tenants'])).stdout).not.toContain('innocent');
  });

  it('lets a MAC repeat in another subnet, and equal addresses in another tenant', async () => {
    const good = yaml(
      port('coke', 'db1', { subnet: 'db', addresses: ['10.0.1.11'], mac: '02:00:00:00:00:11' }),
      tenant('rc'),
      network('rc'),
      subnet('rc', 'web', { prefixes: ['10.0.0.0/24'] }),
      port('rc', 'web1', { subnet: 'web', addresses: ['10.0.0.11'], mac: '02:00:00:00:00:11' }),
    );
    expect((await weft(['apply', '-f', file('good.yaml', good)])).stderr).toBe('5 created\n');
    expect((await weft(['delete', '-f', join(dir, 'good.yaml'), '--dry-run'])).stderr).toBe('would be: 5 deleted\n');
    expect((await weft(['delete', '-f', join(dir, 'good.yaml')])).stderr).toBe('5 deleted\n');
  });
});

describe('weft delete', () => {
  it('refuses what is still used and names the users', async () => {
    for (const [kind, name, user] of [
      ['tenant', 'coke', /virtual networks left: net/],
      ['subnet', 'coke/net/web', /web1/],
    ] as const) {
      const { code, stderr } = await weft(['delete', kind, name]);
      expect(stderr).toMatch(/IN_USE/);
      expect(stderr).toMatch(user);
      expect(code).toBe(1);
    }
    expect((await weft(['delete', 'port', 'coke/net/nope'])).stderr).toMatch(/NOT_FOUND/);
    expect((await weft(['get', 'subnet', 'coke/net/web'])).code).toBe(0);
  });
});

describe('racing applies', () => {
  it('let exactly one have a VSID, an address and a name that several want at once', async () => {
    const rivals = ['r1', 'r2', 'r3', 'r4'];
    const before = await weft(['apply', '-f', '-'], { input: yaml(...rivals.flatMap((rival) => [tenant(rival), network(rival)])) });
    expect(before.stderr).toBe('8 created\n');
    const vsids = await Promise.all(
      rivals.map((rival) => weft(['apply', '-f', '-'], { input: subnet(rival, 's', { prefixes: ['10.5.0.0/24'], vsid: 6001 }) })),
    );
    expect(vsids.map(({ code }) => code).sort()).toEqual([0, 1, 1, 1]);
    const owners = JSON.parse((await weft(['get', 'subnets', '--json'])).stdout) as {
      metadata: { tenant: string };
      spec: { vsid: number };
    }[];
    expect(owners.filter(({ spec }) => spec.vsid === 6001)).toHaveLength(1);

    const names = ['p1', 'p2', 'p3', 'p4'];
    const ports = await Promise.all(
      names.map((name) => weft(['apply', '-f', '-'], { input: port('coke', name, { subnet: 'web', addresses: ['10.0.0.77'] }) })),
    );
    expect(ports.map(({ code }) => code).sort(), ports.map(({ stderr }) => stderr).join('\n')).toEqual([0, 1, 1, 1]);
    expect(((await weft(['get', 'ports', '-o', 'wide'])).stdout.match(/10\.0\.0\.77/g) ?? []).length).toBe(1);

    const disjoint = await Promise.all(
      names.map((_, i) => weft(['apply', '-f', '-'], { input: port('coke', `q${i}`, { subnet: 'web', addresses: [`10.0.0.${80 + i}`] }) })),
    );
    expect(
      disjoint.map(({ code }) => code),
      disjoint.map(({ stderr }) => stderr).join('\n'),
    ).toEqual([0, 0, 0, 0]);
  });
});

describe('who may do what', () => {
  it('lets a tenant user change its own tenant only, and a viewer nothing', async () => {
    const ann = join(dir, 'ann.seed');
    const bob = join(dir, 'bob.seed');
    expect((await weft(['principal', 'add', 'ann', '--role', 'tenant', '--tenant', 'coke', '--out', ann])).code).toBe(0);
    expect((await weft(['principal', 'add', 'bob', '--role', 'viewer', '--out', bob])).code).toBe(0);
    expect((await weft(['principal', 'list'])).stdout).toMatch(/ann +tenant +coke[\s\S]*bob +viewer/);
    const own = port('coke', 'anns', { subnet: 'web', addresses: ['10.0.0.90'] });
    expect((await weft(['apply', '-f', '-', '--identity', ann], { input: own })).stderr).toBe('1 created\n');
    const foreign = await weft(['apply', '-f', '-', '--identity', ann], { input: network('r1', 'evil') });
    expect(foreign.stderr).toMatch(/WEFT_ERR_TRUST_TENANT/);
    expect(foreign.code).toBe(1);
    expect((await weft(['get', 'ports', '--identity', bob])).stdout).toContain('coke/net/anns');
    expect((await weft(['apply', '-f', '-', '--identity', bob], { input: own.replace('10.0.0.90', '10.0.0.91') })).stderr).toMatch(
      /WEFT_ERR_TRUST_(ROLE|TENANT)/,
    );
    expect((await weft(['principal', 'add', 'eve', '--role', 'admin', '--out', join(dir, 'eve.seed'), '--identity', ann])).stderr).toMatch(
      /an admin's identity is needed/,
    );

    expect((await weft(['principal', 'remove', 'ann'])).code).toBe(0);
    await expect
      .poll(async () => (await weft(['get', 'ports', '--identity', ann])).stderr, { timeout: 60_000 })
      .toMatch(/WEFT_ERR_TRUST_UNKNOWN_KEY/);
  });

  it('does not believe answers that another trust anchor signed', async () => {
    const other = readFileSync(join(dir, 'other', 'admin.seed'), 'utf8').trim();
    expect(other).toMatch(/^SU/);
    const { code, stderr } = await weft(['get', 'ports', '--trust', 'UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4']);
    expect(code).toBe(1);
    expect(stderr).toMatch(/Cannot (believe|trust)/);
  });

  it('gives a host one key, and takes it away again', async () => {
    const bundle = join(dir, 'host-b.json');
    expect((await weft(['host', 'add', 'host-b', '--out', bundle])).stderr).toMatch(/only this machine can reach/);
    expect(JSON.parse(readFileSync(bundle, 'utf8'))).toMatchObject({ version: 1, host: 'host-b', nats: [nats.url] });
    expect((await weft(['host', 'add', 'host-b', '--out', bundle])).stderr).toMatch(/has a key already/);
    expect((await weft(['host', 'remove', 'host-b'])).code).toBe(0);
    expect((await weft(['host', 'add', 'host-b', '--out', bundle])).code).toBe(0);
  });
});

describe('weft audit', () => {
  it('lists author, resource and fields of each change', async () => {
    await weft(['apply', '-f', '-'], { input: port('coke', 'q0', { subnet: 'web', addresses: ['10.0.0.180'] }) });
    type Entry = { resource: string; operation: string; authorName: string; fields: { path: string; before: string; after: string }[] };
    const entries = async (): Promise<Entry[]> =>
      JSON.parse((await weft(['audit', 'list', '--json', '--limit', '1000'])).stdout) as Entry[];
    await expect
      .poll(async () => (await entries()).some((entry) => entry.resource === 'Port coke/net/q0' && entry.operation === 'updated'), {
        timeout: 60_000,
      })
      .toBe(true);
    const list = await entries();
    expect(list.find((entry) => entry.resource === 'Port coke/net/web1')).toMatchObject({ operation: 'created', authorName: 'admin' });
    expect(list.find((entry) => entry.resource === 'Port coke/net/anns')?.authorName).toBe('ann');
    expect(list.find((entry) => entry.resource === 'Port coke/net/q0' && entry.operation === 'updated')?.fields).toContainEqual({
      path: 'addresses',
      before: '10.0.0.80',
      after: '10.0.0.180',
    });
    expect((await weft(['audit', 'list', '--tenant', 'coke', '--since', '1h'])).stdout).toMatch(/updated +Port coke\/net\/q0/);
  });

  it('narrows to a resource, and one bad record in the stream hides none of the others', async () => {
    const bus = connectBus({ servers: [nats.url], name: 'test' });
    try {
      const store = await bus.open({ replicas: 1 });
      await store.audit.append(subjects.audit('config'), 'config.1.1', new Uint8Array([255, 255]));
    } finally {
      await bus.close();
    }
    const { stdout, stderr, code } = await weft(['audit', 'list', '--resource', 'coke/net/web1']);
    expect(code).toBe(0);
    expect(stdout).toMatch(/created +Port coke\/net\/web1/);
    expect(stdout).not.toMatch(/q0|Tenant/);
    expect(stderr).toMatch(/record \d+ of the audit stream is left out: /);
  });

  it('tail prints a change when it happens', async () => {
    const tail = await spawnIn(undefined, [process.execPath, bin, 'audit', 'tail', '--json', '--since', '1h'], {
      env: { WEFT_CONTEXT: context, WEFT_LAB: '' },
    });
    try {
      await tail.waitForLine(/Port coke\/net\/web1/, 30_000);
      await weft(['apply', '-f', '-'], { input: tenant('late') });
      expect(JSON.parse(await tail.waitForLine(/Tenant late/, 30_000))).toMatchObject({ operation: 'created', resource: 'Tenant late' });
    } finally {
      expect((await tail.stop()).code).toBe(0);
    }
    const lines = await spawnIn(undefined, [process.execPath, bin, 'audit', 'tail', '--since', '1h'], {
      env: { WEFT_CONTEXT: context, WEFT_LAB: '' },
    });
    try {
      // For people, too: from what to what.
      await lines.waitForLine(/admin updated Port coke\/net\/q0: addresses 10\.0\.0\.80 → 10\.0\.0\.180 \(request /, 30_000);
    } finally {
      await lines.stop();
    }
  });
});

describe('when nobody is there', () => {
  it('says so and ends with exit status 3', async () => {
    const away = await weft(['get', 'ports', '--nats', 'nats://127.0.0.1:1', '--timeout', '1']);
    expect(away.stderr).toMatch(/^weft: Cannot reach NATS at nats:\/\/127\.0\.0\.1:1 within 1 s/);
    expect([away.code, away.stdout]).toEqual([3, '']);
    await Promise.all(controllers.splice(0).map((controller) => controller.stop()));
    const alone = await weft(['get', 'ports', '--timeout', '2']);
    expect(alone.stderr).toMatch(/WEFT_ERR_BUS_(NO_RESPONDER|TIMEOUT)/);
    expect(alone.code).toBe(3);
  });
});
