import { createIdentity } from '@weft/bus';
import { describe, expect, it } from 'vitest';
import { AGENT_CONFIG_KEYS, AgentError, parseAgentConfig } from '../src/index.ts';

const KEY = createIdentity('user').publicKey;
const RIGHT = `nats: [nats://192.0.2.9:4222]
hostId: host-a
identity: /etc/weft/host.seed
trust: [${KEY}]
underlay: eth0
`;

function problems(text: string | undefined, flags: Record<string, unknown> = {}): string[] {
  try {
    parseAgentConfig(text, flags, 'agent.yaml');
  } catch (error) {
    expect(error).toBeInstanceOf(AgentError);
    expect((error as AgentError).code).toBe('WEFT_ERR_AGENT_CONFIG');
    return (error as AgentError).message.split('\n').slice(1);
  }
  return [];
}

describe('parseAgentConfig()', () => {
  it('reads YAML and JSON alike, with defaults', () => {
    const config = parseAgentConfig(RIGHT);
    expect(config).toMatchObject({
      hostId: 'host-a',
      engine: 'auto',
      instance: 'default',
      stateDirectory: '/var/lib/weft/default',
      udpPort: 4789,
      lingerSeconds: 600,
      acceptNewStore: false,
    });
    expect(
      parseAgentConfig(
        JSON.stringify({
          nats: ['nats://192.0.2.9:4222'],
          hostId: 'host-a',
          identity: '/etc/weft/host.seed',
          trust: [KEY],
          underlay: 'eth0',
        }),
      ),
    ).toEqual(config);
  });

  it('takes everything from flags, as text, and lets a flag win over the file', () => {
    const config = parseAgentConfig(undefined, {
      nats: 'nats://192.0.2.1:4222, nats://192.0.2.2:4222',
      hostId: 'h',
      identity: '/k',
      trust: KEY,
      underlay: 'eth0',
      udpPort: '4791',
      stateDir: '/tmp/x',
      acceptNewStore: true,
      json: true,
    });
    expect(config).toMatchObject({
      nats: ['nats://192.0.2.1:4222', 'nats://192.0.2.2:4222'],
      udpPort: 4791,
      stateDirectory: '/tmp/x',
      acceptNewStore: true,
    });
    expect(parseAgentConfig(RIGHT, { hostId: 'other', instance: 'lab-1' })).toMatchObject({
      hostId: 'other',
      stateDirectory: '/var/lib/weft/lab-1',
      runDirectory: '/run/weft/lab-1',
    });
  });

  it('names what is missing and how to give it', () => {
    const missing = problems('');
    expect(missing.length).toBe(5);
    expect(missing.join('\n')).toContain('--host-id');
  });

  it.each([
    ['hostId: Host_A', 'hostId: host-a', 'agent.yaml:2', 'a-z'],
    ['udpPort: 70000', '', 'agent.yaml:6', 'from 1 to 65535'],
    ['udpPort: 4790', '', 'agent.yaml:6', 'must not be 4790'],
    ['roles: [host, host]', '', 'agent.yaml:6', 'each role once'],
    ['roles: [router]', '', 'agent.yaml:6', 'host, gateway or both'],
    ['udpPort: ten', '', 'agent.yaml:6', 'a number'],
    ['underlayMtu: 1000', '', 'agent.yaml:6', '1330'],
    ['providerAddress: 2001:db8::1', '', 'agent.yaml:6', 'IPv4'],
    ['engine: turbo', '', 'agent.yaml:6', 'auto, kernel, user'],
    ['instance: ../x', '', 'agent.yaml:6', 'a-z'],
    ['stateDirectory: relative', '', 'agent.yaml:6', 'absolute path'],
    ['underlay: "et h0"', 'underlay: eth0', 'agent.yaml:5', 'network interface'],
    ['trust: [UNOTAKEY]', `trust: [${KEY}]`, 'agent.yaml:4', 'nkeys'],
    ['nats: [http://192.0.2.9]', 'nats: [nats://192.0.2.9:4222]', 'agent.yaml:1', 'nats://'],
    ['acceptNewStore: perhaps', '', 'agent.yaml:6', 'true or false'],
    ['natsCertFile: /c', '', '', 'together'],
    ['providerAdress: 192.0.2.1', '', 'agent.yaml:6', 'did you mean "providerAddress"'],
    ['zzzzzzzz: 1', '', 'agent.yaml:6', 'docs/configuration.md has all there are'],
  ])('refuses %s with line and rule', (line, replaces, where, rule) => {
    const found = problems(replaces === '' ? `${RIGHT}${line}\n` : RIGHT.replace(replaces, line));
    expect(found.length).toBe(1);
    expect(found[0]).toContain(where);
    expect(found[0]).toContain(rule);
  });

  it('tells several problems at once, and those of flags by the flag', () => {
    const found = problems(`${RIGHT}udpPort: 0\nlogLevel: loud\n`, { engine: 'x' });
    expect(found.length).toBe(3);
    expect(found.some((line) => line.includes('--engine'))).toBe(true);
  });

  it('refuses what is no YAML, or no keys with values', () => {
    expect(problems('a: [')[0]).toContain('agent.yaml:');
    expect(problems('- one\n- two')[0]).toContain('keys with values');
  });

  it('explains every key', () => {
    for (const rule of Object.values(AGENT_CONFIG_KEYS)) {
      expect(rule.explanation).toMatch(/\.$/);
      expect(rule.defaultText).not.toBe('');
    }
  });
});
