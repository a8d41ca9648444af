import { readFileSync } from 'node:fs';
import { createIdentity, type Identity, type LogMessage, type Store, signEnvelope } from '@weft/bus';
import { TcpSeen } from '@weft/forwarding';
import {
  DropReason,
  type GatewayUseResult,
  type ListedValue,
  type NatFlow,
  type NatLogRecord,
  type NatMappingRow,
  type NatQuery,
  type NetworkUse,
  natLogRecordCodec,
  subjects,
  type TrustStore,
  WeftError,
} from '@weft/model';
import { describe, expect, it } from 'vitest';
import { GatewayMemory } from '../../model/test/gateway-world.ts';
import { flowState } from '../src/commands/flows.ts';
import { parseMoment } from '../src/format/quantity.ts';
import { type Answerer, listed, NOW, type RunOptions, run } from './support/harness.ts';

// The example of the documentation: gateway edge with members gw-a and gw-b, tenants coke and pepsi with equal addresses.

const example = readFileSync(new URL('../../../docs/examples/gateway.yaml', import.meta.url), 'utf8').replaceAll('host-c', 'host-w');
const world = new GatewayMemory();
if (world.apply(example).rules.length > 0) throw new Error('the example is not sound');
const coke = [...world.networks.values()].find(({ value }) => value.tenant === 'coke')!.value;
const pepsi = [...world.networks.values()].find(({ value }) => value.tenant === 'pepsi')!.value;
const port = [...world.ports.values()].find(({ value }) => value.routingDomainId === coke.id)!.value;

const records = (): ListedValue[] => [
  ...[...world.networks.values()].map(({ value }) => ({ kind: 'network' as const, value })),
  ...[...world.ports.values()].map(({ value }) => ({ kind: 'port' as const, value })),
  ...[...world.gateways.values()].map(({ value }) => ({ kind: 'gateway' as const, value })),
  ...[...world.assignments.values()].map(({ value }) => ({ kind: 'assignment' as const, value })),
];
const answering =
  (rest: Answerer): Answerer =>
  (target, command) => {
    if (command.kind !== 'list') return rest(target, command);
    const kinds: Readonly<Record<string, string>> = {
      VirtualNetwork: 'network',
      Port: 'port',
      Gateway: 'gateway',
      Assignment: 'assignment',
    };
    const wanted = command.value.kinds.map((kind) => kinds[kind]);
    return {
      kind: 'list',
      value: {
        records: records()
          .filter(({ kind }) => wanted.includes(kind))
          .map(listed),
      },
    };
  };

const mapping = (more: Partial<NatMappingRow> = {}): NatMappingRow => ({
  kind: 'mapping',
  networkId: coke.networkId,
  customerAddress: port.addresses[0]!,
  customerPort: 40_000,
  protocol: 6,
  segment: 1,
  externalAddress: '203.0.113.16',
  externalPort: 40_112,
  sessions: 2,
  ...more,
});
const members = (rows: (host: string) => { rows: readonly NatMappingRow[]; leftOut: number }): Answerer =>
  answering((target) => ({ kind: 'natMappings', value: { hostId: target, ...rows(target) } }));

describe('weft nat list', () => {
  it('asks the members, and puts names to networks and addresses', async () => {
    const rule = mapping({
      kind: 'forward',
      customerPort: 8080,
      externalPort: 80,
      sessions: 0,
      networkId: pepsi.networkId,
      customerAddress: '10.0.9.9',
    });
    const answer = members((host) => (host === 'gw-a' ? { rows: [mapping(), rule], leftOut: 0 } : { rows: [], leftOut: 0 }));
    const { out, code, sent } = await run(['nat', 'list'], answer);
    expect(code).toBe(0);
    const inside = port.addresses[0]!.replaceAll('.', '\\.');
    expect(out).toMatch(new RegExp(`^coke/net +${port.name} +${inside}:40000 +tcp +203\\.0\\.113\\.16:40112 +mapping +2 +gw-a$`, 'm'));
    expect(out).toMatch(/^pepsi\/net +- +10\.0\.9\.9:8080 +tcp +203\.0\.113\.16:80 +port forward +- +gw-a$/m);
    expect(
      sent
        .filter(([target]) => target !== 'controller')
        .map(([target]) => target)
        .sort(),
    ).toEqual(['gw-a', 'gw-b']);
  });

  it('sends what is looked for, and refuses what can not be', async () => {
    const asked = async (...args: string[]): Promise<NatQuery | string> => {
      const { sent, err } = await run(
        ['nat', 'list', ...args],
        members(() => ({ rows: [], leftOut: 0 })),
      );
      const [, command] = sent.find(([target]) => target === 'gw-a') ?? [];
      return command?.kind === 'natMappings' ? command.value : err;
    };
    const any = {
      networkIds: [],
      customerAddress: '',
      externalAddress: '',
      externalPort: 0,
      remoteAddress: '',
      remotePort: 0,
      protocol: 0,
      limit: 200,
    };
    expect(await asked()).toEqual(any);
    expect(await asked('--network', 'coke/net', '--protocol', 'udp', '--limit', '7')).toEqual({
      ...any,
      networkIds: [coke.networkId],
      protocol: 17,
      limit: 7,
    });
    expect(await asked('--tenant', 'pepsi', '--inside', '10.0.0.1')).toEqual({
      ...any,
      networkIds: [pepsi.networkId],
      customerAddress: '10.0.0.1',
    });
    expect(await asked('--address', '203.0.113.16', '--port', '40112')).toEqual({
      ...any,
      externalAddress: '203.0.113.16',
      externalPort: 40_112,
    });
    expect(await asked('--network', 'coke/nex')).toContain('did you mean "coke/net"');
    expect(await asked('--tenant', 'cola')).toContain('Tenant "cola" has no network');
    expect(await asked('--gateway', 'edgy')).toContain('did you mean "edge"');
    expect(await asked('--limit', '5000')).toContain('1 to 4000');
    expect(await asked('--port', '0')).toContain('1 to 65535');
    expect(await asked('--address', 'here')).toContain('must be an IP address');
    expect(await asked('--protocol', 'sctp')).toContain('must be tcp, udp');
  });

  it('judge what is looked for before anybody is asked, and know addresses however they are typed', async () => {
    const unreachable = { connectError: new Error('nobody should be asked') };
    for (const [command, option, value, says] of [
      [['nat', 'list'], '--port', '99999', 'must be a port'],
      [['nat', 'list'], '--inside', '10.0.0.300', 'must be an IP address'],
      [['nat', 'list'], '--limit', '0', 'must be a whole number'],
      [['nat', 'list'], '--network', 'net', '2 parts are needed'],
      [['flows'], '--protocol', 'foo', 'must be tcp, udp'],
      [['flows'], '--remote-port', '0', 'must be a port'],
      [['nat', 'log'], '--inside', 'here', 'must be an IP address'],
      [['nat', 'log'], '--network', 'net', '2 parts are needed'],
      [['gateway', 'top'], '--network', 'a/b/c', 'too many'],
    ] as const) {
      const { err, code } = await run([...command, option, value], undefined, unreachable);
      expect([code, err], `${command.join(' ')} ${option}`).toEqual([2, expect.stringContaining(says)]);
    }
    const { sent } = await run(
      ['nat', 'list', '--inside', 'FD00:0::1'],
      members(() => ({ rows: [], leftOut: 0 })),
    );
    expect(sent.find(([target]) => target === 'gw-a')?.[1]).toMatchObject({ value: { customerAddress: 'fd00::1' } });
  });

  it('says how many are left out, by members and by itself, and who is silent', async () => {
    const many = Array.from({ length: 3 }, (_, i) => mapping({ customerPort: 1000 + i }));
    const two = await run(
      ['nat', 'list', '--limit', '3'],
      members((host) => ({ rows: many, leftOut: host === 'gw-a' ? 1_000_000 : 0 })),
    );
    expect(two.err).toContain('1,000,003 more are left out');
    expect(two.out.trimEnd().split('\n')).toHaveLength(4);
    const half = answering((target) => {
      if (target === 'gw-b') throw new WeftError('WEFT_ERR_BUS_TIMEOUT', 'no time');
      return { kind: 'natMappings', value: { hostId: target, rows: [mapping()], leftOut: 0 } };
    });
    const { err, code, out } = await run(['nat', 'list', '--json'], half);
    expect([code, err]).toEqual([
      1,
      'gw-b: no answer: none within 15 s; does its agent run there, and is the machine busy?\nrows of the shards that they own are missing; see "weft gateway status"\n',
    ]);
    expect(JSON.parse(out)).toMatchObject({
      rows: [{ network: 'coke/net', port: expect.stringMatching(/^coke\/net\//), protocol: 'tcp' }],
      leftOut: 0,
      silent: [{ host: 'gw-b' }],
    });
  });
});

describe('weft flows', () => {
  const flow = (more: Partial<NatFlow> = {}): NatFlow => ({
    networkId: coke.networkId,
    customerAddress: '10.0.0.77',
    customerPort: 40_000,
    protocol: 6,
    segment: 1,
    externalAddress: '2001:db8::1',
    externalPort: 40_112,
    remoteAddress: '198.51.100.9',
    remotePort: 443,
    isForward: false,
    tcpSeen: TcpSeen.OUT_SYN | TcpSeen.IN_SYN | TcpSeen.OUT_ACK | TcpSeen.IN_ACK,
    remainingMs: 7_440_000,
    ...more,
  });

  it('tells both ends, the state, how long it lives, and how it came about', async () => {
    const rows = [flow(), flow({ isForward: true, remotePort: 444, tcpSeen: TcpSeen.IN_SYN, remainingMs: 61_000 })];
    const answer = answering((target) => ({
      kind: 'natFlows',
      value: { hostId: target, rows: target === 'gw-b' ? rows : [], leftOut: 0 },
    }));
    const { out, sent } = await run(['flows', '--remote', '198.51.100.9', '--remote-port', '443'], answer);
    expect(out).toMatch(
      /^coke\/net +- +10\.0\.0\.77:40000 +\[2001:db8::1\]:40112 +198\.51\.100\.9:443 +tcp +established +2h4m +mapping +gw-b$/m,
    );
    expect(out).toMatch(/198\.51\.100\.9:444 +tcp +opening +1m1s +forward +gw-b$/m);
    const [, command] = sent.find(([target]) => target === 'gw-a')!;
    expect(command).toMatchObject({ kind: 'natFlows', value: { remoteAddress: '198.51.100.9', remotePort: 443 } });
  });

  it('names the states of a connection', () => {
    const { OUT_SYN, IN_SYN, OUT_ACK, IN_ACK, OUT_FIN, IN_FIN, RST } = TcpSeen;
    const up = OUT_SYN | IN_SYN | OUT_ACK | IN_ACK;
    const state = (tcpSeen: number, protocol = 6, remainingMs = 1): string => flowState({ protocol, tcpSeen, remainingMs });
    expect([OUT_SYN, up, up | OUT_FIN, up | OUT_FIN | IN_FIN, up | RST].map((seen) => state(seen))).toEqual([
      'opening',
      'established',
      'closing',
      'closed',
      'reset',
    ]);
    expect([state(0, 17), state(up, 6, 0)]).toEqual(['open', 'over']);
  });
});

describe('weft gateway top', () => {
  const use = (networkId: number, more: Partial<NetworkUse> = {}): NetworkUse => ({
    ...{ networkId, blocks: 1, blocksQuota: 64, sessions: 10, sessionsQuota: 65_536, mappings: 10 },
    ...{ packets: 0, bytes: 0, newFlows: 2, deniedBlocks: 0, deniedSessions: 0, deniedFlows: 0, exhausted: 0, drops: [] },
    ...more,
  });
  const flood = use(pepsi.networkId, {
    blocks: 64,
    sessions: 4_096,
    newFlows: 2_000,
    deniedBlocks: 6_000,
    drops: [
      { reason: DropReason.NAT_BLOCK_QUOTA, packets: 6_000, bytes: 360_000 },
      { reason: DropReason.NAT_FILTERED, packets: 20, bytes: 1_200 },
    ],
  });
  const gateway = (networks: readonly NetworkUse[], more: Partial<GatewayUseResult> = {}): Answerer =>
    answering((target) => ({
      kind: 'gatewayUse',
      value: { hostId: target, intervalMs: 2_000, networks: target === 'gw-a' ? networks : [], leftOut: 0, eventsLost: 0, ...more },
    }));

  it('names the culprit of a flood, and puts it first', async () => {
    const { out, code, sent } = await run(['gateway', 'top'], gateway([use(coke.networkId), flood]));
    expect(code).toBe(0);
    expect(out).toMatch(/^pepsi\/net makes 100 % of the new flows and causes 100 % of the drops at gw-a$/m);
    expect(out).toMatch(
      /^pepsi\/net +gw-a +64\/64 +10 +4,096\/65,536 +- +- +1,000 +3,000 +3,010 +NAT_BLOCK_QUOTA 3000, NAT_FILTERED 10\n *coke\/net +gw-a +1\/64 +10 +10\/65,536 +- +- +1 +- +- +-/m,
    );
    const [, command] = sent.find(([target]) => target === 'gw-b')!;
    expect(command).toMatchObject({ kind: 'gatewayUse', value: { networkIds: [], intervalMs: 2_000 } });
  });

  it('names who only sends much, if there is anybody else', async () => {
    const much = use(pepsi.networkId, { packets: 50_000, bytes: 5_000_000, newFlows: 1 });
    const { out } = await run(['gateway', 'top'], gateway([use(coke.networkId, { packets: 640, bytes: 64_000 }), much]));
    expect(out).toMatch(/^pepsi\/net has 99 % of the packets and makes 33 % of the new flows at gw-a$/m);
    expect(out).toMatch(/^pepsi\/net +gw-a +1\/64 +10 +10\/65,536 +25,000 +20,000,000 +0.5 +- +- +-\n *coke\/net +gw-a/m);
    // Alone everywhere; and with what came from outside for nobody.
    const outside = use(0, { newFlows: 0, drops: [{ reason: DropReason.NAT_NO_MAPPING, packets: 1, bytes: 60 }] });
    for (const alone of [[much], [much, outside]])
      expect((await run(['gateway', 'top'], gateway(alone))).out).not.toMatch(/ of the packets/);
    expect((await run(['gateway', 'top'], gateway([use(coke.networkId), use(pepsi.networkId, { packets: 1_900 })]))).out).not.toMatch(
      / of the packets/,
    );
  });

  it('names who only sends much at a member that serves nobody else, if others send less by the other members', async () => {
    const each = (pepsis: number, cokes: number): Answerer =>
      answering((target) => ({
        kind: 'gatewayUse',
        value: {
          ...{ hostId: target, intervalMs: 2_000, leftOut: 0, eventsLost: 0 },
          networks: target === 'gw-a' ? [use(pepsi.networkId, { packets: pepsis })] : [use(coke.networkId, { packets: cokes })],
        },
      }));
    expect((await run(['gateway', 'top'], each(30_000, 10_000))).out).toMatch(
      /^pepsi\/net has 100 % of the packets \(75 % of all members’\) and makes 100 % of the new flows at gw-a$/m,
    );
    const { out } = await run(['gateway', 'top', '--json'], each(30_000, 10_000));
    expect(JSON.parse(out).culprits).toMatchObject([{ network: 'pepsi/net', member: 'gw-a', packets: 1, packetsOfAll: 0.75 }]);
    for (const [pepsis, cokes] of [
      [10_000, 10_000],
      [1_900, 0],
    ] as const)
      expect((await run(['gateway', 'top'], each(pepsis, cokes))).out).not.toMatch(/ of the packets/);
  });

  it('names nobody where nobody does most, nor where nothing is done', async () => {
    const even = [use(coke.networkId, { newFlows: 500 }), use(pepsi.networkId, { newFlows: 500 })];
    expect((await run(['gateway', 'top'], gateway(even))).out).not.toMatch(/makes/);
    expect((await run(['gateway', 'top'], gateway([use(coke.networkId, { newFlows: 30 })]))).out).not.toMatch(/makes/);
  });

  it('gives rates as JSON, tells of what comes from outside, of lost events, and refuses intervals that can not be', async () => {
    const outside = use(0, { newFlows: 0, drops: [{ reason: DropReason.NAT_NO_MAPPING, packets: 400, bytes: 24_000 }] });
    const { out } = await run(
      ['gateway', 'top', '--interval', '5', '--json', '--limit', '1'],
      gateway([use(coke.networkId), outside, flood], { eventsLost: 9 }),
    );
    expect(JSON.parse(out)).toMatchObject({
      culprits: [{ network: 'pepsi/net', member: 'gw-a', dropped: 6_020 / 6_420 }],
      networks: [{ network: 'pepsi/net', newFlowsPerSecond: 1_000, deniedBlocksPerSecond: 3_000, droppedPerSecond: 3_010 }],
      leftOut: 2,
      eventsLost: [
        { host: 'gw-a', events: 9 },
        { host: 'gw-b', events: 9 },
      ],
    });
    expect((await run(['gateway', 'top'], gateway([outside]))).out).toMatch(/^\(outside\) +gw-a/m);
    for (const interval of ['0', '11', 'x']) expect((await run(['gateway', 'top', '--interval', interval], gateway([]))).code).toBe(2);
  });
});

describe('weft nat log', () => {
  const identities = new Map<string, Identity>(['gw-a', 'gw-b', 'outsider'].map((id) => [id, createIdentity('host')]));
  const trust = {
    mayAnswer: (target: string, signer: string) =>
      identities.get(target)?.publicKey === signer && target !== 'outsider' ? undefined : new WeftError('WEFT_ERR_TRUST_ROLE', 'no'),
  } as unknown as TrustStore;
  const AT = Date.parse('2026-11-22T14:03:05Z');
  const record = (kind: NatLogRecord['kind'], ms: number, more: Partial<NatLogRecord> = {}): NatLogRecord => ({
    kind,
    timeUnixMs: ms,
    group: [...world.gateways.values()][0]!.value.id,
    member: 'gw-a',
    epoch: (1n << 32n) | 5n,
    segment: 1,
    address: '203.0.113.7',
    firstPort: 40_064,
    portCount: 64,
    networkId: coke.networkId,
    ca: port.addresses[0]!,
    version: 4,
    grantedBootNs: BigInt(ms) * 1_000n,
    isInterim: false,
    ...more,
  });
  /** @param signer Default: the member that tells. */
  const stream = (all: readonly NatLogRecord[], signer?: string): Pick<Store, 'natLog'> => {
    const messages = all.map((one, i): LogMessage & { subject: string } => ({
      sequence: i + 1,
      id: String(i),
      subject: subjects.natLog(one.segment, one.address, one.firstPort),
      value: signEnvelope(identities.get(signer ?? one.member)!, 'natLog', natLogRecordCodec.encode(one)),
    }));
    const matches = (subject: string | undefined, of: string): boolean =>
      subject === undefined || new RegExp(`^${subject.replaceAll('.', '\\.').replaceAll('*', '[^.]+')}$`).test(of);
    return {
      natLog: {
        lastSequence: async () => messages.length,
        read: async ({ fromSequence, limit, subject }: { fromSequence: number; limit: number; subject?: string }) =>
          messages.filter((one) => one.sequence >= fromSequence && matches(subject, one.subject)).slice(0, limit),
      } as unknown as Store['natLog'],
    };
  };
  const log = (store: RunOptions['store'], ...args: string[]) =>
    run(
      ['nat', 'log', ...args],
      answering(() => undefined),
      { store, trust } as RunOptions,
    );
  const question = ['--at', '14:03:05', '--address', '203.0.113.7', '--port', '40112'];

  it('says who had a port: network, address, the port that has it today, since when and by whom', async () => {
    const other = record('granted', AT - 5_000, { firstPort: 40_128, networkId: pepsi.networkId });
    const { out, code } = await log(stream([record('granted', AT - 60_000), record('released', AT + 60_000), other]), ...question);
    expect(code).toBe(0);
    expect(out).toContain(
      `203.0.113.7:40112 at 2026-11-22 14:03:05Z was coke/net, ${port.addresses[0]} (port coke/net/${port.name} today):`,
    );
    expect(out).toMatch(/From: +2026-11-22 14:02:05Z/);
    expect(out).toMatch(/Until: +2026-11-22 14:04:05Z, given back/);
    expect(out).toMatch(/Block: +ports 40064 to 40127/);
    expect(out).toMatch(/Told by: +gw-a, epoch 1\.5, gateway edge/);
    const json = JSON.parse((await log(stream([record('granted', AT - 60_000)]), ...question, '--json')).out);
    expect(json).toMatchObject({
      time: '2026-11-22T14:03:05.000Z',
      holder: { network: 'coke/net', epoch: '1.5', from: '2026-11-22T14:02:05.000Z', until: null },
    });
  });

  it('says nobody, and who was next to it in time', async () => {
    const all = [
      record('granted', AT - 90_000),
      record('released', AT - 60_000),
      record('granted', AT + 60_000, { networkId: pepsi.networkId, ca: '10.0.0.8', version: 9 }),
    ];
    const { out, code } = await log(stream(all), ...question);
    expect(code).toBe(1);
    expect(out).toMatch(/was nobody's, as far as the log tells/);
    expect(out).toMatch(/Before: coke\/net, .*until 2026-11-22 14:02:05Z/);
    expect(out).toMatch(/After: pepsi\/net, 10\.0\.0\.8, from 2026-11-22 14:04:05Z/);
  });

  it('names all who may be meant when clocks differ, and no single one when the log names two', async () => {
    const next = record('granted', AT + 500, { networkId: pepsi.networkId, ca: '10.0.0.8', version: 9 });
    const close = await log(stream([record('granted', AT - 60_000), record('released', AT + 100), next]), ...question);
    expect(close.code).toBe(0);
    expect(close.out).toMatch(/was coke\/net.*Within 1s of it.*pepsi\/net, 10\.0\.0\.8/s);
    expect(
      (await log(stream([record('granted', AT - 60_000), record('released', AT + 100), next]), ...question, '--tolerance', '0')).out,
    ).not.toContain('pepsi');
    // A later epoch's grant, and a release by a clock that is behind.
    const overlap = [
      record('granted', AT - 60_000),
      record('released', AT + 5_000),
      { ...next, timeUnixMs: AT - 2_000, epoch: (1n << 32n) | 6n, member: 'gw-b' },
    ];
    const two = await log(stream(overlap), ...question);
    expect(two.code).toBe(1);
    expect(two.out).toMatch(/can't be told: the log names 2 who may have had it.*pepsi\/net.*coke\/net/s);
    // Set back by an hour meanwhile.
    const stepped = [
      record('granted', AT - 60_000),
      record('granted', AT - 3_660_000, { isInterim: true }),
      record('released', AT - 3_600_000),
    ];
    const set = await log(stream(stepped), ...question);
    expect(set.out).toMatch(/was nobody's by the log, but may have been:.*1h apart: a clock was set meanwhile/s);
  });

  it('explains what is in no block: a 1:1 address, a port forward, a low port', async () => {
    const { gateway } = coke;
    const fixed = gateway!.externalAddresses.find(({ use }) => use === 'static')!;
    const at = (address: string, number: number) => log(stream([]), '--at', '14:03', '--address', address, '--port', String(number));
    expect((await at(fixed.address, 40_112)).out).toContain(`${fixed.address} is a 1:1 address of coke/net`);
    const rule = [coke, pepsi]
      .flatMap(({ gateway: of }) => of!.natRules.map((one) => ({ one, of })))
      .find(({ one }) => one.kind === 'forward')!;
    const external = rule.of!.externalAddresses.find(({ name }) => name === rule.one.externalAddress)!;
    expect((await at(external.address, rule.one.firstPort)).out).toContain('is a port forward of');
    expect((await at('203.0.113.17', 80)).out).toContain('ports below 1024 are in no block');
    expect((await at('198.51.100.77', 40_112)).out).toContain('no gateway has 198.51.100.77 in a pool today');
  });

  it('believes only what the member that is named has signed', async () => {
    const { out, err, code } = await log(stream([record('granted', AT - 60_000)], 'outsider'), ...question);
    expect([code, out]).toEqual([1, expect.stringContaining("nobody's")]);
    expect(err).toContain('1 records are left out');
  });

  it('lists tenures, chosen by network, address and time, and says what is left out', async () => {
    const all = [
      record('granted', AT - 90_000),
      record('released', AT - 60_000),
      record('granted', AT - 50_000, { firstPort: 1_024, address: '203.0.113.8', networkId: pepsi.networkId, ca: '10.0.0.8' }),
      record('granted', AT - 40_000, { firstPort: 1_088, version: 8 }),
    ];
    const { out } = await log(stream(all));
    expect(out).toMatch(
      /^2026-11-22 14:01:35Z +2026-11-22 14:02:05Z +coke\/net +\S+ +\S+ +203\.0\.113\.7:40064-40127 +released +gw-a +1\.5$/m,
    );
    expect(out).toMatch(/^2026-11-22 14:02:15Z +- +pepsi\/net +- +10\.0\.0\.8 +203\.0\.113\.8:1024-1087 +held +gw-a +1\.5$/m);
    const count = async (...args: string[]): Promise<number> => JSON.parse((await log(stream(all), ...args, '--json')).out).tenures.length;
    expect(await count('--network', 'pepsi/net')).toBe(1);
    expect(await count('--address', '203.0.113.7')).toBe(2);
    expect(await count('--address', '203.0.113.7', '--port', '1090')).toBe(1);
    expect(await count('--at', '14:02')).toBe(1);
    expect(await count('--since', '2026-11-22T14:02:10Z')).toBe(2);
    expect(await count('--inside', '10.0.0.8')).toBe(1);
    expect((await log(stream(all), '--limit', '1')).err).toContain('2 earlier ones are left out');
    expect((await log(stream([]))).err).toBe('nothing in the log\n');
    // It is 21:00: yesterday's is meant, and said.
    const past = await log(stream([]), '--at', '23:58', '--address', '203.0.113.17');
    expect(past.err).toBe('nothing in the log of what was held at 2026-11-21 23:58:00Z\n');
  });

  it('reads times as people write them, and refuses what is none', async () => {
    const read = (text: string): string | undefined => {
      const ms = parseMoment(text, NOW);
      return ms === undefined ? undefined : new Date(ms).toISOString();
    };
    expect(read('now')).toBe(new Date(NOW).toISOString());
    expect(read('14:03')).toBe('2026-11-22T14:03:00.000Z');
    expect(read('14:03:05.250')).toBe('2026-11-22T14:03:05.250Z');
    // It is 21:00: the last time that it was 23:58 was yesterday.
    expect(read('23:58')).toBe('2026-11-21T23:58:00.000Z');
    expect(read('2026-11-20 14:03:05')).toBe('2026-11-20T14:03:05.000Z');
    expect(read('2026-11-20T14:03:05+01:00')).toBe('2026-11-20T13:03:05.000Z');
    expect(read('2026-11-20')).toBe('2026-11-20T00:00:00.000Z');
    for (const text of ['25:00', '14:60', 'noon', '14', '2026-13-01']) expect(read(text), text).toBeUndefined();
    for (const args of [
      ['--at', 'noon'],
      ['--at', '2026-11-23'],
      ['--port', '80'],
      ['--tolerance', 'x'],
      ['--address', 'x'],
    ])
      expect((await log(stream([]), ...args)).code, args.join(' ')).toBe(2);
  });

  it('says what to do when there is no log', async () => {
    const none = {
      natLog: {
        lastSequence: () => Promise.reject(new WeftError('WEFT_ERR_BUS_API', 'no', { errCode: 10_059 })),
      } as unknown as Store['natLog'],
    };
    const { code, err } = await log(none, ...question);
    expect([code, err]).toEqual([1, expect.stringContaining('There is no NAT log yet: a controller makes it')]);
  });
});
