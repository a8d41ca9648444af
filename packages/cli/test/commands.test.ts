import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DropReason, type Problem, parseManifests, WeftError } from '@weft/model';
import { buildUdpFrame, buildVxlanFrame } from '@weft/packet';
import { afterAll, describe, expect, it } from 'vitest';
import { explainDrop } from '../src/commands/drops.ts';
import { CliError, CliErrorCode } from '../src/core/errors.ts';
import { run } from './support/harness.ts';
import { binding, port, rdid, world } from './support/world.ts';

const dir = mkdtempSync(join(tmpdir(), 'weft-cli-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));
const file = (name: string, text: string): string => {
  const path = join(dir, name);
  writeFileSync(path, text);
  return path;
};

describe('weft get', () => {
  it('shows ports with where they are', async () => {
    const { out, code } = await run(['get', 'ports'], world());
    expect(out).toBe(
      [
        'PORT           SUBNET  MAC                ADDRESSES  HOST     DEVICE',
        'coke/net/web1  web     02:00:00:00:00:11  10.0.0.11  host-a   web1',
        'coke/net/web2  web     02:00:00:00:00:12  10.0.0.12  unbound  -',
        '',
      ].join('\n'),
    );
    expect(code).toBe(0);
  });

  it('shows one by name as one JSON object, a list as an array', async () => {
    const one = JSON.parse((await run(['get', 'port', 'coke/net/web1', '--json'], world())).out);
    expect(one).toMatchObject({
      kind: 'Port',
      metadata: { name: 'web1' },
      status: { binding: { host: 'host-a', generation: 3 }, changedBy: 'ann' },
    });
    const all = JSON.parse((await run(['get', 'subnets', '--json'], world())).out);
    expect(all.map((subnet: { metadata: { name: string } }) => subnet.metadata.name)).toEqual(['web', 'db']);
  });

  it('writes YAML that parses back as the manifests it stands for', async () => {
    for (const kind of ['tenants', 'networks', 'subnets', 'ports']) {
      const { out } = await run(['get', kind, '-o', 'yaml'], world());
      expect(out).not.toContain('status');
      const { resources } = parseManifests([{ name: kind, text: out }]);
      expect(resources.length).toBeGreaterThan(0);
    }
    const { resources } = parseManifests([{ name: 'n', text: (await run(['get', 'networks', '-o', 'yaml'], world())).out }]);
    expect(resources[0]).toMatchObject({
      kind: 'network',
      value: { routingDomainId: rdid, routes: [{ kind: 'blackhole' }, { nextHop: '10.0.0.11' }] },
    });
    const ports = parseManifests([{ name: 'p', text: (await run(['get', 'ports', '-o', 'yaml'], world())).out }]).resources;
    expect(ports.map(({ value }) => (value as { placement?: object }).placement)).toEqual([
      undefined,
      { mode: 'list', hosts: ['host-a', 'host-b'] },
    ]);
  });

  it('filters by tenant and network, and says when there is nothing', async () => {
    expect((await run(['get', 'ports', '--tenant', 'pepsi'], world())).err).toBe('no ports yet\n');
    expect((await run(['get', 'ports', '--network', 'net'], world())).out).toContain('coke/net/web1');
    expect((await run(['get', 'hosts', '--tenant', 'pepsi'], world())).out).toContain('host-b');
  });

  it('names what was probably meant, with exit status 1', async () => {
    const { err, code, out } = await run(['get', 'port', 'coke/net/wbe1'], world());
    expect([err, code, out]).toEqual([
      'weft: There is no Port "coke/net/wbe1": did you mean "coke/net/web1"? [WEFT_ERR_CLI_NOT_FOUND]\n',
      1,
      '',
    ]);
  });

  it('refuses a kind and a format that do not exist with exit status 2, before it connects', async () => {
    const kind = await run(['get', 'vms']);
    expect(kind.code).toBe(2);
    expect(kind.err).toMatch(/Unknown kind "vms": must be one of tenants/);
    const format = await run(['get', 'ports', '-o', 'xml']);
    expect(format.code).toBe(2);
    expect(format.err).toMatch(/Allowed choices are table, wide, json, yaml/);
    expect([...kind.sent, ...format.sent]).toEqual([]);
  });
});

describe('weft apply, diff and delete', () => {
  const net = file(
    'net.yaml',
    'apiVersion: weft/v1\nkind: Tenant\nmetadata:\n  name: coke\n---\napiVersion: weft/v1\nkind: VirtualSubnet\nmetadata: {tenant: coke, network: net, name: web}\nspec:\n  vsid: 5001\n  prefixes: [10.0.0.0/24]\n',
  );
  const changes = (...actions: ('created' | 'updated' | 'unchanged' | 'deleted')[]) => ({
    kind: 'apply' as const,
    value: {
      changes: actions.map((action, i) => ({
        action,
        resource: `Port coke/net/p${i}`,
        revision: 1,
        fields: action === 'updated' ? [{ path: 'spec.mac', before: '', after: '02:00:00:00:00:01' }] : [],
      })),
    },
  });

  it('says what was done, one line a resource', async () => {
    const { out, err, code, sent } = await run(['apply', '-f', net], () => changes('created', 'unchanged'));
    expect(out).toBe('+ Port coke/net/p0 created\n= Port coke/net/p1 unchanged\n');
    expect(err).toBe('1 created, 1 unchanged\n');
    expect(code).toBe(0);
    expect(sent).toMatchObject([
      ['controller', { kind: 'apply', value: { dryRun: false, resources: [{ kind: 'tenant' }, { kind: 'subnet' }] } }],
    ]);
  });

  it("gives a controller's refusal its file and line", async () => {
    const problem: Problem = {
      code: 'WEFT_ERR_RULE_VSID_USED',
      resource: 'VirtualSubnet coke/net/web',
      path: 'spec.vsid',
      value: '5001',
      rule: 'must be free',
      hint: 'take another',
    };
    const { out, err, code } = await run(['apply', '-f', net], () => [problem]);
    expect(err).toContain(
      `${net}:10: VirtualSubnet coke/net/web spec.vsid = "5001"\n    must be free\n    → take another   [WEFT_ERR_RULE_VSID_USED]`,
    );
    expect([out, code]).toEqual(['', 1]);
  });

  it('refuses a bad manifest whole without asking a controller', async () => {
    const bad = file(
      'bad.yaml',
      'apiVersion: weft/v1\nkind: Port\nmetadata: {tenant: coke, network: net, name: p}\nspec:\n  subnet: web\n  adresses: [10.0.0.5]\n',
    );
    const { err, code, sent } = await run(['apply', '-f', net, '-f', bad]);
    expect(err).toContain(`${bad}:6: Port coke/net/p spec.adresses = "adresses"`);
    expect(err).toContain('did you mean addresses?');
    expect([code, sent]).toEqual([1, []]);
  });

  it('reads directories and standard input', async () => {
    const { sent } = await run(['apply', '-f', '-'], () => changes('created'), {
      stdin: 'apiVersion: weft/v1\nkind: Tenant\nmetadata: {name: pepsi}\n',
    });
    expect(sent).toMatchObject([['controller', { value: { resources: [{ value: { name: 'pepsi' } }] } }]]);
    expect((await run(['apply', '-f', join(dir, 'missing.yaml')])).err).toMatch(
      /Cannot read the manifest .*missing\.yaml: there is no such file/,
    );
  });

  it('diff shows fields, changes nothing, and says by its exit status whether there is a difference', async () => {
    const differs = await run(['diff', '-f', net], () => changes('updated', 'unchanged'));
    expect(differs.out).toBe('~ Port coke/net/p0 updated\n    spec.mac: (none) → 02:00:00:00:00:01\n');
    expect(differs.code).toBe(1);
    expect(differs.sent).toMatchObject([['controller', { value: { dryRun: true } }]]);
    const same = await run(['diff', '-f', net, '--json'], () => changes('unchanged'));
    expect(JSON.parse(same.out)).toMatchObject({ dryRun: true, changed: false });
    expect(same.code).toBe(0);
  });

  it('diff ends with 2 when it could not compare, and 3 when nobody answered', async () => {
    const refusal: Problem = {
      code: 'WEFT_ERR_RULE_VSID_USED',
      resource: 'VirtualSubnet coke/net/web',
      path: 'spec.vsid',
      value: '5001',
      rule: 'is used',
      hint: '',
    };
    const refused = await run(['diff', '-f', net], () => [refusal]);
    expect([refused.code, refused.out]).toEqual([2, '']);
    expect(refused.err).toContain('WEFT_ERR_RULE_VSID_USED');
    expect((await run(['diff', '-f', file('bad.yaml', 'kind: Nonsense')])).code).toBe(2);
    expect((await run(['diff', '-f', join(dir, 'absent.yaml')])).code).toBe(2);
    expect((await run(['diff'])).code).toBe(2);
    const silent = await run(['diff', '-f', net], undefined, { connectError: new WeftError('WEFT_ERR_BUS_TIMEOUT', 'no answer') });
    expect(silent.code).toBe(3);
    expect((await run(['apply', '-f', net], () => [refusal])).code).toBe(1);
  });

  it('delete takes names or manifests, and nothing else', async () => {
    const { sent, out } = await run(['delete', 'port', 'coke/net/web1', 'coke/net/web2'], () => changes('deleted'));
    expect(sent).toMatchObject([
      [
        'controller',
        { kind: 'delete', value: { refs: [{ kind: 'Port', tenant: 'coke', network: 'net', name: 'web1' }, { name: 'web2' }] } },
      ],
    ]);
    expect(out).toBe('- Port coke/net/p0 deleted\n');
    expect((await run(['delete', '-f', net], () => changes('deleted'))).sent).toMatchObject([
      ['controller', { value: { refs: [{ kind: 'Tenant' }, { kind: 'VirtualSubnet', name: 'web' }] } }],
    ]);
    for (const args of [['delete'], ['delete', 'ports'], ['delete', 'host', 'a'], ['delete', 'port', 'x/y/z', '-f', net]])
      expect((await run(args)).code, args.join(' ')).toBe(2);
  });
});

describe('weft port', () => {
  const bound = {
    kind: 'bindPort' as const,
    value: { binding: { ...binding, hostId: 'host-b', previousHostId: 'host-a', generation: 4 }, revision: 9, mtuBytes: 1550 },
  };

  it('binds on the host named, with the device asked for', async () => {
    const { out, sent } = await run(
      ['port', 'bind', 'coke/net/web1', '--tap', 'web1', '--host', 'host-b', '--move'],
      world(() => bound),
    );
    expect(sent.at(-1)).toEqual([
      'host-b',
      {
        kind: 'bindPort',
        value: { portId: port('web1', 11).id, routingDomainId: rdid, device: 'web1', deviceKind: 'tap', expectedGeneration: 0, move: true },
      },
    ]);
    expect(out).toBe(
      'port coke/net/web1 is bound to web1 on host-b (MAC 02:00:00:00:00:11, 10.0.0.11, MTU 1550, generation 4, before on host-a)\n',
    );
  });

  it('migrates by prepare, then claim of the generation it saw', async () => {
    const { err, sent } = await run(
      ['port', 'migrate', 'coke/net/web1', '--to', 'host-b'],
      world((_, command) => (command.kind === 'bindPort' ? bound : undefined)),
    );
    expect(sent.slice(1)).toMatchObject([
      ['host-b', { kind: 'preparePort', value: { device: 'web1', deviceKind: 'tap' } }],
      ['host-b', { kind: 'bindPort', value: { move: true, expectedGeneration: 3 } }],
    ]);
    expect(err).toMatch(/^1\/2 preparing web1 on host-b\n2\/2 claiming the port from host-a\nmoved in /);
  });

  describe('refused', () => {
    const refusal = (code: string, rule: string, rest: Partial<Problem> = {}): readonly Problem[] => [
      { code, resource: 'Port coke/net/web1', path: '', value: '', rule, hint: 'what the agent says', ...rest },
    ];
    const bind = (problems: readonly Problem[], ...args: string[]) =>
      run(
        ['port', 'bind', 'coke/net/web1', '--tap', 'web1', '--host', 'host-b', ...args],
        world(() => problems),
      );

    it('because another host has it: names that host, and the command that moves it', async () => {
      const { err, code } = await bind(
        refusal(
          'WEFT_ERR_AGENT_BOUND_ELSEWHERE',
          'Cannot bind Port coke/net/web1 on host host-b: host host-a has it (device web1, generation 3)',
          { value: 'host-a' },
        ),
      );
      expect(err).toContain('host host-a has it (device web1, generation 3)');
      expect(err).toContain(
        '→ move it: weft port migrate coke/net/web1 --to host-b; or, if host-a is gone for good: weft port bind coke/net/web1 --host host-b --move',
      );
      expect([code, err.includes('what the agent says')]).toEqual([1, false]);
    });
    it('because its placement leaves the host out: says which are allowed, and what to change', async () => {
      const { err } = await bind(
        refusal('WEFT_ERR_AGENT_PLACEMENT', 'Cannot bind Port coke/net/web1 on host host-b: its placement allows host-a, host-c', {
          path: 'spec.placement',
          value: 'host-b',
        }),
      );
      expect(err).toContain('Port coke/net/web1 spec.placement = "host-b"');
      expect(err).toContain('its placement allows host-a, host-c');
      expect(err).toContain('→ name a host of its placement with --host, or add host-b to spec.placement of the port and weft apply it');
    });
    it('because there is no such device, or it is no TAP: says where to look and what to give instead', async () => {
      const missing = await bind(
        refusal('WEFT_ERR_AGENT_DEVICE_MISSING', 'Cannot use device web1: host host-b has none of that name', {
          resource: '',
          path: 'device',
          value: 'web1',
        }),
      );
      expect(missing.err).toContain('→ on host-b: ip link show; give the name of what is there, or --tap web1: the agent then makes it');
      const kind = await bind(
        refusal('WEFT_ERR_AGENT_DEVICE_KIND', 'Cannot use device web1 as a TAP: it is none', { path: 'device', value: 'web1' }),
      );
      expect(kind.err).toContain('→ weft port bind coke/net/web1 --netdev web1 takes the device as it is');
    });
    it('because another port has the device: says names, never ids', async () => {
      const rule = `Cannot use device web1 for port ${port('web1', 11).id}: it belongs to port ${port('web2', 12).id} (bound) of network ${rdid}`;
      const { err } = await bind(refusal('WEFT_ERR_AGENT_DEVICE_IN_USE', rule, { resource: `Port ${port('web1', 11).id}` }));
      expect(err).toContain(
        'Port coke/net/web1\n    Cannot use device web1 for port coke/net/web1: it belongs to port coke/net/web2 (bound) of network coke/net',
      );
      expect(err).not.toMatch(/[0-9a-f]{8}-/);
    });
    it('because there is no such host: names the nearest', async () => {
      const { err, code, sent } = await run(['port', 'migrate', 'coke/net/web1', '--to', 'hots-b'], world());
      expect(err).toBe(
        'weft: There is no host "hots-b": did you mean "host-b"? Registered are host-a, host-b; a new one registers when its agent first runs [WEFT_ERR_CLI_NOT_FOUND]\n',
      );
      expect([code, sent.length]).toEqual([1, 1]);
    });
    it('because the host is silent, or did not answer in time: says which it was, with exit status 3', async () => {
      const fail = (code: 'WEFT_ERR_BUS_NO_RESPONDER' | 'WEFT_ERR_BUS_TIMEOUT') =>
        run(
          ['port', 'bind', 'coke/net/web1', '--tap', 'web1', '--host', 'host-b'],
          world(() => {
            throw new WeftError(code, 'Cannot reach weft.v1.cmd.host.host-b: nobody serves it');
          }),
        );
      const silent = await fail('WEFT_ERR_BUS_NO_RESPONDER');
      expect(silent.err).toMatch(
        /^weft: Cannot bind port coke\/net\/web1: host host-b is silent: .*nothing was changed.*systemctl status weft-agent/,
      );
      const late = await fail('WEFT_ERR_BUS_TIMEOUT');
      expect(late.err).toMatch(
        /^weft: Cannot say whether it came to "bind port coke\/net\/web1": host host-b did not answer in time .*Repeat it: done twice is done once/,
      );
      expect([silent.code, late.code, silent.err.includes('weft.v1.cmd')]).toEqual([3, 3, false]);
    });
    it('at the second step of a move: says how things stand', async () => {
      const moved = await run(
        ['port', 'migrate', 'coke/net/web1', '--to', 'host-b'],
        world((_, command) =>
          command.kind === 'bindPort'
            ? refusal('WEFT_ERR_AGENT_GENERATION', 'Cannot bind Port coke/net/web1: its binding is at generation 4, 3 was expected')
            : undefined,
        ),
      );
      expect(moved.err).toContain(
        'web1 on host-b stays prepared for the next try; weft describe port coke/net/web1 tells where the port is',
      );
      expect(moved.err).toContain('→ someone else bound or moved it meanwhile: weft describe port coke/net/web1, then decide again');
      expect(moved.sent.map(([, command]) => command.kind)).toEqual(['list', 'preparePort', 'bindPort']);
    });
  });

  it('unbinds at the host that has it, and is content when none has', async () => {
    expect((await run(['port', 'unbind', 'coke/net/web1'], world())).sent.at(-1)).toMatchObject(['host-a', { kind: 'unbindPort' }]);
    const none = await run(['port', 'unbind', 'coke/net/web2'], world());
    expect([none.out, none.code]).toEqual(['port coke/net/web2 is bound nowhere\n', 0]);
  });

  it('says what is missing', async () => {
    expect((await run(['port', 'bind', 'coke/net/web1'])).err).toMatch(/give --tap NAME .* or --netdev NAME/);
    expect((await run(['port', 'bind', 'coke/net/web1', '--tap', 'x'], world())).err).toMatch(
      /several hosts \(host-a, host-b\): say which with --host/,
    );
    expect((await run(['port', 'migrate', 'coke/net/web2', '--to', 'host-b'], world())).err).toMatch(/bound nowhere; use "weft port bind/);
  });
});

describe('weft status, drops and check', () => {
  const status = (hostId: string, natsState: string) => ({
    kind: 'status' as const,
    value: {
      hostId,
      providerAddress: '192.0.2.1',
      engine: 'kernel',
      version: '0.1.0',
      natsState,
      natsStateSinceMs: 5_000,
      networks: 1,
      ports: 2,
      mappings: 1234,
      uptimeMs: 60_000,
      portStatus: [],
      conditions:
        natsState === 'connected'
          ? []
          : [{ code: 'WEFT_ERR_AGENT_NATS', severity: 'warning', message: 'NATS is not reachable', sinceMs: 5_000, count: 3 }],
    },
  });

  it('describe shows what the host says of a port in line with the rest', async () => {
    const portStatus = [{ portId: port('web1', 11).id, routingDomainId: rdid, device: 'web1', state: 'bound' }];
    const answer = world((target, command) => {
      if (command.kind === 'drops') return { kind: 'drops', value: { hostId: target, counters: [] } };
      const { kind, value } = status(target, 'connected');
      return { kind, value: { ...value, portStatus } as typeof value };
    });
    const { out, code } = await run(['describe', 'port', 'coke/net/web1'], answer);
    const column = (label: string): number | undefined => new RegExp(`^${label}: +`, 'm').exec(out)?.[0].length;
    expect([code, column('State')]).toEqual([0, column('Bound since')]);
  });

  it('status shows each host, and its exit status whether somebody is needed', async () => {
    const well = await run(
      ['status'],
      world((target) => status(target, 'connected')),
    );
    expect(well.out).toMatch(
      /NATS 127\.0\.0\.1:4222 \(2\.9\.10\), controller answers, 2 hosts\n\nHOST .*\nhost-a .*connected 5s .* 1,234 .* ok\nhost-b /,
    );
    expect(well.code).toBe(0);
    const ill = await run(
      ['status'],
      world((target) => status(target, target === 'host-a' ? 'connected' : 'disconnected')),
    );
    expect(ill.out).toContain('host-b: warning WEFT_ERR_AGENT_NATS (3 times), 5s: NATS is not reachable');
    expect(ill.code).toBe(1);
    const silent = await run(
      ['status', '--json'],
      world((target) => {
        if (target === 'host-b') throw new WeftError('WEFT_ERR_BUS_NO_RESPONDER', 'Nobody serves host-b');
        return status(target, 'connected');
      }),
    );
    expect(JSON.parse(silent.out)).toMatchObject({
      ok: false,
      hosts: [
        { answered: true, hostId: 'host-a' },
        { answered: false, hostId: 'host-b', error: 'its agent is not connected to NATS; does it run there?' },
      ],
    });
    expect(silent.code).toBe(1);
  });

  it('drops name reason, port and what to do, and describe the last frame', async () => {
    const sample = Buffer.from('ffffffffffff0200000000110806', 'hex');
    const drops = {
      kind: 'drops' as const,
      value: {
        hostId: 'host-a',
        counters: [
          {
            device: 'web1',
            portId: port('web1', 11).id,
            vsid: 5001,
            reason: DropReason.SOURCE_MAC_SPOOFED,
            packets: 1500,
            bytes: 90_000,
            lastMsAgo: 2_000,
            sample,
          },
          { device: 'eth0', portId: '', vsid: 0, reason: 9999, packets: 1, bytes: 60, lastMsAgo: 100, sample: new Uint8Array() },
        ],
      },
    };
    const { out } = await run(
      ['drops', '--host', 'host-a'],
      world(() => drops),
    );
    expect(out).toMatch(/host-a +coke\/net\/web1 +web1 +5001 +SOURCE_MAC_SPOOFED +1,500 +90 kB +2s ago/);
    expect(out).toMatch(/\(underlay\) +eth0 +- +UNKNOWN_9999/);
    expect(out).toContain("what to do: the VM bridges, or forges; give it the port's MAC.");
    expect(out).toContain('last frame: 02:00:00:00:00:11 > ff:ff:ff:ff:ff:ff');
    expect(
      JSON.parse(
        (
          await run(
            ['drops', '--port', 'coke/net/web1', '--json'],
            world(() => drops),
          )
        ).out,
      ),
    ).toHaveLength(2);
  });

  it('a sample that was cut is described by what is in it, not as a frame that was cut short', () => {
    const counter = { device: 'web1', portId: '', vsid: 0, reason: 1, packets: 1, bytes: 90, lastMsAgo: 1 };
    const describe = (sample: Uint8Array): string => explainDrop('h1', { ...counter, sample }, []).sample;
    // A listener report (RFC 3810) of 90 bytes, of which the datapath keeps 64.
    const report = Buffer.from(
      '33330000001602000000010186dd600000000024000100000000000000000000000000000000ff0200000000000000000000000000163a000502000001008f00',
      'hex',
    );
    expect(report).toHaveLength(64);
    expect(describe(report)).toMatch(/^02:00:00:00:01:01 > 33:33:00:00:00:16, IPv6 :: > ff02::16, /);
    expect(describe(report)).not.toContain('TRUNCATED');
    const macs = { sourceMac: '02:00:00:00:00:01', destinationMac: '02:00:00:00:00:02' };
    const outer = { ...macs, source: '192.0.2.1', destination: '192.0.2.2', vni: 5001, sourcePort: 40_000 };
    const inner = buildUdpFrame({ ...macs, source: '10.0.0.1', destination: '10.0.0.2', sourcePort: 1, destinationPort: 2 });
    const tunnel = describe(buildVxlanFrame(outer, inner).subarray(0, 64));
    expect(tunnel).toContain('IPv4 192.0.2.1 > 192.0.2.2, UDP 40000 > 4789, VXLAN vni 5001 | ');
    expect(tunnel).toMatch(/, …$/);
    // What is shorter than the space for samples came so.
    expect(describe(report.subarray(0, 60))).toContain('TRUNCATED_IPV6_PAYLOAD');
  });

  it('check fails when a host differs or is silent', async () => {
    const answer = (consistent: boolean) =>
      world((hostId) => ({
        kind: 'consistency',
        value: { hostId, consistent, rows: 10, differences: consistent ? [] : ['lookup 7/10.0.0.11: kernel lacks it'] },
      }));
    expect((await run(['check'], answer(true))).code).toBe(0);
    const bad = await run(['check', '--host', 'host-a'], answer(false));
    expect(bad.out).toContain('host-a: lookup 7/10.0.0.11: kernel lacks it');
    expect(bad.code).toBe(1);
  });
});

describe('exit status and help', () => {
  it('is 3 when nobody answers', async () => {
    const down = new CliError(CliErrorCode.Unreachable, 'Cannot reach NATS at nats://127.0.0.1:4222 within 10 s');
    expect(await run(['get', 'ports'], undefined, { connectError: down })).toMatchObject({
      code: 3,
      out: '',
      err: 'weft: Cannot reach NATS at nats://127.0.0.1:4222 within 10 s [WEFT_ERR_CLI_UNREACHABLE]\n',
    });
    const nobody = await run(['get', 'ports'], () => {
      throw new WeftError('WEFT_ERR_BUS_NO_RESPONDER', 'Nobody serves "controller"');
    });
    expect(nobody).toMatchObject({
      code: 3,
      err: expect.stringContaining('weft: Nobody serves "controller" [WEFT_ERR_BUS_NO_RESPONDER]\n(it does not run,'),
    });
  });

  it('is 2 for what is no command line, with what was probably meant', async () => {
    const wrong = await run(['aply']);
    expect(wrong.code).toBe(2);
    expect(wrong.err).toMatch(/unknown command 'aply'.*\n?.*Did you mean apply\?/s);
    expect((await run(['get', 'ports', '--jsno'])).code).toBe(2);
    expect((await run(['apply'])).err).toMatch(/required option '-f, --filename/);
    expect((await run(['get', 'ports', '--timeout', '-1'])).code).toBe(2);
  });

  it('prints no stack trace unless asked for', async () => {
    const broken = () => {
      throw new TypeError('undefined is not a function');
    };
    const quiet = await run(['get', 'ports'], broken);
    expect([quiet.code, quiet.err]).toEqual([1, 'weft: undefined is not a function\n(set WEFT_DEBUG=1 for the stack trace)\n']);
    expect((await run(['get', 'ports'], broken, { env: { WEFT_DEBUG: '1' } })).err).toContain('commands.test.ts');
  });

  it('teaches: every command has a description and examples, and help is exit status 0', async () => {
    const top = await run(['--help']);
    expect(top.code).toBe(0);
    const commands = [...top.out.matchAll(/^ {2}([a-z]+)(?: \[options\]| <| \[| {2})/gm)]
      .map((match) => match[1]!)
      .filter((name) => name !== 'weft');
    expect(commands).toEqual(
      expect.arrayContaining([
        'up',
        'init',
        'controller',
        'agent',
        'apply',
        'get',
        'describe',
        'delete',
        'port',
        'status',
        'drops',
        'mappings',
        'trace',
        'audit',
        'principal',
        'lab',
        'demo',
      ]),
    );
    for (const name of commands.filter((one) => one !== 'help')) {
      const { out, code } = await run([name, '--help']);
      expect(code, name).toBe(0);
      expect(out, name).toMatch(/Usage: weft/);
      if (!['port', 'audit', 'principal', 'host', 'lab', 'demo', 'version', 'diff'].includes(name))
        expect(out, name).toMatch(/Examples:\n {2}\S/);
    }
  });
});
