import { readFileSync } from 'node:fs';
import { AGENT_CONFIG_KEYS, parseAgentConfig } from '@weft/agent';
import { createIdentity } from '@weft/bus';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { type AgentSources, agentSettings } from '../src/daemons/agent-settings.ts';
import { configurationTable } from './support/configuration-table.ts';
import { run } from './support/harness.ts';

const trust = createIdentity('user').publicKey;
const other = createIdentity('user').publicKey;
const sources = (more: Partial<AgentSources> = {}): AgentSources => ({
  flags: {},
  env: {},
  context: { nats: 'nats://context:4222', trust },
  machine: {
    hostId: 'machine',
    underlay: ({ address }) => ({ iface: address === '192.0.2.2' ? 'eth1' : 'eth0', address: address ?? '192.0.2.1' }),
  },
  ...more,
});
const bundle = { version: 1, host: 'bundled', seed: 'SN', trust: other, nats: ['nats://bundle:4222'] } as const;

describe('agentSettings()', () => {
  it('fills everything from context and machine', () => {
    expect(agentSettings(sources())).toMatchObject({
      nats: ['nats://context:4222'],
      trust: [trust],
      hostId: 'machine',
      identity: '/var/lib/weft/default/host.seed',
      underlay: 'eth0',
      providerAddress: undefined,
      engine: 'auto',
    });
  });

  it('takes option before file before bundle before environment before context', () => {
    const env = { WEFT_NATS: 'nats://env:4222', WEFT_TRUST: other };
    expect(agentSettings(sources({ env })).nats).toEqual(['nats://env:4222']);
    expect(agentSettings(sources({ env, bundle }))).toMatchObject({ nats: ['nats://bundle:4222'], hostId: 'bundled', trust: [other] });
    const file = { name: 'weft.yaml', text: 'nats: [nats://file:4222]\nhostId: filed\nstateDirectory: /srv/weft\n' };
    expect(agentSettings(sources({ env, bundle, file }))).toMatchObject({
      nats: ['nats://file:4222'],
      hostId: 'filed',
      identity: '/srv/weft/host.seed',
    });
    expect(agentSettings(sources({ env, bundle, file, flags: { nats: 'nats://a:1,nats://b:2', hostId: 'flagged' } }))).toMatchObject({
      nats: ['nats://a:1', 'nats://b:2'],
      hostId: 'flagged',
    });
  });

  it('does not take the identity of the environment when a bundle brings one', () => {
    const env = { WEFT_IDENTITY: '/home/me/admin.seed' };
    expect(agentSettings(sources({ env })).identity).toBe('/home/me/admin.seed');
    expect(agentSettings(sources({ env, bundle })).identity).toBe('/var/lib/weft/default/host.seed');
  });

  it('finds the underlay by the provider address', () => {
    expect(agentSettings(sources({ flags: { providerAddress: '192.0.2.2' } })).underlay).toBe('eth1');
    expect(agentSettings(sources({ flags: { underlay: 'bond0' } })).underlay).toBe('bond0');
  });

  it('tells all that is wrong at once, with file and line', () => {
    const file = { name: 'weft.yaml', text: 'engine: fast\nnatz: x\nudpPort: 99999\n' };
    expect(() => agentSettings(sources({ file }))).toThrow(
      /weft\.yaml:1: engine "fast" must be one of auto, kernel, user[\s\S]*udpPort 99999 must be/,
    );
    expect(() => agentSettings(sources({ file }))).toThrow(/weft\.yaml:2: unknown key "natz"; did you mean "nats"\?/);
    expect(() => agentSettings(sources({ file: { name: 'weft.yaml', text: 'a: [' } }))).toThrow(/weft\.yaml:1/);
    expect(() => agentSettings(sources({ context: {} }))).toThrow(/nats is missing[\s\S]*trust is missing/);
  });
});

describe('weft agent --check-config', () => {
  const flags = ['agent', '--check-config', '--nats', 'nats://n:4222', '--trust', trust, '--underlay', 'eth0', '--host-id', 'host-a'];

  it('prints the whole configuration, and it reads back as the same', async () => {
    const { out, code } = await run([...flags, '--state-dir', '/srv/weft', '--engine', 'kernel', '--udp-port', '4791']);
    expect(code).toBe(0);
    const config = parseAgentConfig(out);
    expect(config).toMatchObject({
      nats: ['nats://n:4222'],
      hostId: 'host-a',
      stateDirectory: '/srv/weft',
      identity: '/srv/weft/host.seed',
      engine: 'kernel',
      udpPort: 4791,
    });
    expect(parseAgentConfig(out)).toEqual(config);
  });

  it('ends with exit status 2 and every problem', async () => {
    const { err, code } = await run([...flags, '--engine', 'fast', '--provider-address', 'here']);
    expect(code).toBe(2);
    expect(err).toMatch(/--engine: engine "fast" must be one of auto, kernel, user/);
    expect(err).toMatch(/--provider-address: providerAddress "here" must be an IPv4 address/);
    expect((await run([...flags, '--role', 'router'])).err).toMatch(/--role: roles "router" must be host, gateway or both/);
    expect((await run([...flags, '--role', 'host,gateway', '--engine', 'user'])).err).toMatch(
      /engine "user" can not have the role gateway/,
    );
  });

  it('has an option for each key', async () => {
    const { out } = await run(['agent', '--help'], undefined, { width: 300 });
    for (const key of Object.keys(AGENT_CONFIG_KEYS)) {
      expect(out, key).toContain(`--${key.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`);
    }
  });
});

describe('docs/configuration.md and packaging/weft.example.yaml', () => {
  const root = new URL('../../../', import.meta.url);
  const docs = readFileSync(new URL('docs/configuration.md', root), 'utf8');
  const example = readFileSync(new URL('packaging/weft.example.yaml', root), 'utf8');

  it('explains exactly the keys there are, with their defaults', () => {
    expect(docs).toContain(configurationTable());
    const inDocs = [...docs.matchAll(/^\| `(\w+)` \|/gm)].map((match) => match[1]);
    expect(inDocs).toEqual(Object.keys(AGENT_CONFIG_KEYS));
  });

  it('is a configuration that is right, and names every key', () => {
    const config = parseAgentConfig(example.replace('UXXX', trust), {}, 'weft.example.yaml');
    expect(config.hostId).toBe('host-a');
    const named = [...example.matchAll(/^#? ?(\w+):/gm)].map((match) => match[1]);
    expect(named.sort()).toEqual(Object.keys(AGENT_CONFIG_KEYS).sort());
    const whole = parse(example.replaceAll(/^# (\w+:)/gm, '$1').replace('UXXX', trust)) as Record<string, unknown>;
    expect(() => parseAgentConfig(JSON.stringify(whole))).not.toThrow();
  });
});
