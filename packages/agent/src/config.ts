import { isPublicKey } from '@weft/bus';
import { isHostId, nearest } from '@weft/model';
import { isIpv4Mapped, parseIp } from '@weft/packet';
import { isMap, isScalar, LineCounter, type Node, parseDocument } from 'yaml';
import { AgentError } from './errors.ts';
import { CONTROL_PORT } from './gateway/control-port.ts';

// Reading and checking the configuration: pure, all of it, before the system is touched. File and flags have the same keys; a flag wins.

export type EngineChoice = 'auto' | 'kernel' | 'user';
/** What the machine is for: `host` has VMs, `gateway` may serve gateway groups that name it. */
export type AgentRole = 'host' | 'gateway';
export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

/** A checked configuration; absent optional keys are found out from the system. */
export interface AgentConfig {
  readonly nats: readonly string[];
  readonly hostId: string;
  readonly identity: string;
  readonly trust: readonly string[];
  readonly underlay: string;
  readonly providerAddress: string | undefined;
  readonly underlayMtu: number | undefined;
  readonly engine: EngineChoice;
  readonly roles: readonly AgentRole[];
  readonly instance: string;
  readonly stateDirectory: string;
  readonly runDirectory: string;
  readonly udpPort: number;
  readonly tunnelDevice: string | undefined;
  readonly natsAuthentication: 'none' | 'nkey';
  readonly natsCaFile: string | undefined;
  readonly natsCertFile: string | undefined;
  readonly natsKeyFile: string | undefined;
  readonly acceptNewStore: boolean;
  readonly lingerSeconds: number;
  readonly maxMappings: number | undefined;
  readonly natSessions: number | undefined;
  readonly logLevel: LogLevel;
}

export type AgentConfigKey = keyof AgentConfig;

interface KeyRule {
  readonly kind: 'text' | 'texts' | 'number' | 'flag';
  readonly required?: boolean;
  /** What it is for, for docs/configuration.md and messages. */
  readonly explanation: string;
  /** As written in the documentation. */
  readonly defaultText: string;
  /** Undefined: right. Else the rule that is broken, as "must …". */
  readonly check?: (value: never) => string | undefined;
}

/** Four networks with their default quotas in full. */
const GATEWAY_NAT_SESSIONS = 262_144;
export const DEFAULT_TUNNEL_DEVICE = 'weft-tun0' as const;

const INTERFACE_NAME = /^[^\s/:%]{1,15}$/;
const interfaceName = (value: string): string | undefined =>
  INTERFACE_NAME.test(value) && value !== '.' && value !== '..'
    ? undefined
    : 'must be the name of a network interface (1 to 15 characters)';
const between =
  (low: number, high: number) =>
  (value: number): string | undefined =>
    Number.isInteger(value) && value >= low && value <= high ? undefined : `must be an integer from ${low} to ${high}`;
const oneOf =
  (...values: readonly string[]) =>
  (value: string): string | undefined =>
    values.includes(value) ? undefined : `must be one of ${values.join(', ')}`;
const absolutePath = (value: string): string | undefined => (value.startsWith('/') ? undefined : 'must be an absolute path');

/** Every key: what it is for, its default, its rule. */
export const AGENT_CONFIG_KEYS: Readonly<Record<AgentConfigKey, KeyRule>> = {
  nats: {
    kind: 'texts',
    required: true,
    explanation: 'URLs of the NATS servers, one or more: any that answers is used.',
    defaultText: 'none',
    check: (urls: readonly string[]) => urls.map(natsUrlRule).find((rule) => rule !== undefined),
  },
  hostId: {
    kind: 'text',
    required: true,
    explanation: "This host's id in the installation. Its principal has the same name.",
    defaultText: 'none',
    check: (value: string) => (isHostId(value) ? undefined : 'must be 1 to 63 of a-z, 0-9 and -, not begin or end with -'),
  },
  identity: {
    kind: 'text',
    required: true,
    explanation: "File with this host's seed (`SN…`), mode 600. Made if it is not there; then an admin admits its public key.",
    defaultText: 'none',
    check: absolutePath,
  },
  trust: {
    kind: 'texts',
    required: true,
    explanation: "Public keys (`U…`) of the installation's first admins, as `weft init` printed them. Everything is judged from these.",
    defaultText: 'none',
    check: (keys: readonly string[]) => (keys.every(isPublicKey) ? undefined : 'must be public nkeys (56 characters, beginning with U)'),
  },
  underlay: {
    kind: 'text',
    required: true,
    explanation: 'Interface that tunnels leave and arrive by.',
    defaultText: 'none',
    check: interfaceName,
  },
  providerAddress: {
    kind: 'text',
    explanation: "This host's address on the underlay (IPv4); other hosts send tunnels there.",
    defaultText: "the underlay interface's first IPv4 address",
    check: ipv4Rule,
  },
  underlayMtu: {
    kind: 'number',
    explanation: 'Largest IP packet of the underlay in bytes. Tenants get 50 less.',
    defaultText: "the underlay interface's MTU",
    check: between(1330, 65_535),
  },
  engine: {
    kind: 'text',
    explanation: 'Packet path: `kernel` (eBPF), `user` (slow, ends with the agent), or `auto`: kernel where the machine allows it.',
    defaultText: 'auto',
    check: oneOf('auto', 'kernel', 'user'),
  },
  roles: {
    kind: 'texts',
    explanation: 'What this machine is for: `host` (has VMs), `gateway` (forwards for the gateway groups that name it), or both.',
    defaultText: 'host',
    check: (roles: readonly string[]) => {
      if (new Set(roles).size !== roles.length) return 'must name each role once';
      return roles.every((role) => role === 'host' || role === 'gateway') ? undefined : 'must be host, gateway or both';
    },
  },
  instance: {
    kind: 'text',
    explanation: 'Name of the BPF pins and directories, for several agents on one kernel.',
    defaultText: 'default',
    check: (value: string) => (/^[a-z0-9_-]{1,32}$/.test(value) ? undefined : 'must be 1 to 32 of a-z, 0-9, "_" and "-"'),
  },
  stateDirectory: {
    kind: 'text',
    explanation: 'Where own ports and last records are kept, for a restart without NATS.',
    defaultText: '/var/lib/weft/<instance>',
    check: absolutePath,
  },
  runDirectory: {
    kind: 'text',
    explanation: 'Where the agent says that it runs: pid and host id.',
    defaultText: '/run/weft/<instance>',
    check: absolutePath,
  },
  udpPort: {
    kind: 'number',
    explanation: 'UDP port of the tunnels, the same on all hosts (VXLAN, RFC 7348).',
    defaultText: '4789',
    check: (value: number) => (value === CONTROL_PORT ? `must not be ${CONTROL_PORT}, which the agents use` : between(1, 65_535)(value)),
  },
  tunnelDevice: {
    kind: 'text',
    explanation: 'Name of the VXLAN device that the kernel engine makes.',
    defaultText: DEFAULT_TUNNEL_DEVICE,
    check: interfaceName,
  },
  natsAuthentication: {
    kind: 'text',
    explanation: "How NATS is told who we are: `none`, or `nkey` (with the host's own key).",
    defaultText: 'none',
    check: oneOf('none', 'nkey'),
  },
  natsCaFile: { kind: 'text', explanation: "CA of the NATS servers' certificates.", defaultText: 'none', check: absolutePath },
  natsCertFile: { kind: 'text', explanation: "This host's certificate for NATS.", defaultText: 'none', check: absolutePath },
  natsKeyFile: { kind: 'text', explanation: 'Its private key.', defaultText: 'none', check: absolutePath },
  acceptNewStore: {
    kind: 'flag',
    explanation: 'Believe a store that is another one than before, or lost records. For one start, after you know why.',
    defaultText: 'false',
  },
  lingerSeconds: {
    kind: 'number',
    explanation: 'How long a network is still followed after its last port here went.',
    defaultText: '600',
    check: between(60, 86_400),
  },
  maxMappings: {
    kind: 'number',
    explanation: 'Rows that the tables `lookup` and `l2` are made for (kernel engine; fixed when they are first made).',
    defaultText: "the engine's own",
    check: between(1_024, 16_777_216),
  },
  natSessions: {
    kind: 'number',
    explanation:
      'Flows that address translation holds at most, of all networks that this gateway serves: some 130 bytes each at once, half a kilobyte in use (kernel engine; fixed when the tables are first made).',
    defaultText: '262144 with the role gateway',
    check: between(1_024, 16_777_216),
  },
  logLevel: {
    kind: 'text',
    explanation: 'Least level that is logged.',
    defaultText: 'info',
    check: oneOf('debug', 'info', 'warn', 'error'),
  },
};

/** Flags have the keys' names in camel case; these are other names for them. */
const FLAG_ALIASES: Readonly<Record<string, AgentConfigKey>> = { role: 'roles', stateDir: 'stateDirectory', runDir: 'runDirectory' };

/**
 * Reads and checks an agent's configuration. Touches nothing.
 *
 * @param text YAML or JSON of the configuration file; undefined or empty: flags only.
 * @param flags Values from the command line, by key in camel case (`providerAddress`; lists also as text with commas). They win over the
 *   file. Keys that are no configuration keys are passed over here: the command line's parser judges them.
 * @param source What messages call the file.
 * @throws {AgentError} `WEFT_ERR_AGENT_CONFIG`: all that is wrong at once, a line each, with file, line, key, value and rule.
 */
export function parseAgentConfig(
  text: string | undefined,
  flags: Readonly<Record<string, unknown>> = {},
  source = 'configuration',
): AgentConfig {
  const problems: string[] = [];
  const values = new Map<AgentConfigKey, { readonly value: unknown; readonly where: string }>();
  readFile(text ?? '', source, values, problems);
  for (const [flag, value] of Object.entries(flags)) {
    const key = FLAG_ALIASES[flag] ?? flag;
    if (value !== undefined && Object.hasOwn(AGENT_CONFIG_KEYS, key))
      values.set(key as AgentConfigKey, { value, where: `--${kebab(flag)}` });
  }
  const checked: Partial<Record<AgentConfigKey, unknown>> = {};
  for (const [key, rule] of Object.entries(AGENT_CONFIG_KEYS) as [AgentConfigKey, KeyRule][]) {
    const given = values.get(key);
    if (given === undefined) {
      if (rule.required) problems.push(`${key} is missing: ${rule.explanation} Set it in the file, or with --${kebab(key)}`);
      continue;
    }
    const value = convert(given.value, rule.kind);
    const broken = value === undefined ? `must be ${KIND_TEXT[rule.kind]}` : rule.check?.(value as never);
    if (broken !== undefined) problems.push(`${given.where}: ${key} ${JSON.stringify(given.value)} ${broken}. ${rule.explanation}`);
    else checked[key] = value;
  }
  if ((checked.natsCertFile === undefined) !== (checked.natsKeyFile === undefined))
    problems.push('natsCertFile and natsKeyFile must be given together');
  if (checked.engine === 'user' && (checked.roles as readonly string[] | undefined)?.includes('gateway'))
    problems.push('engine "user" can not have the role gateway: port mapping and fencing are in the kernel engine; set engine to kernel');
  if (problems.length > 0)
    throw new AgentError(
      'WEFT_ERR_AGENT_CONFIG',
      `Cannot use the agent's configuration:\n${problems.map((line) => `  ${line}`).join('\n')}`,
    );
  const instance = (checked.instance as string | undefined) ?? 'default';
  return {
    providerAddress: undefined,
    underlayMtu: undefined,
    engine: 'auto',
    roles: ['host'],
    instance,
    stateDirectory: `/var/lib/weft/${instance}`,
    runDirectory: `/run/weft/${instance}`,
    udpPort: 4789,
    tunnelDevice: undefined,
    natsAuthentication: 'none',
    natsCaFile: undefined,
    natsCertFile: undefined,
    natsKeyFile: undefined,
    acceptNewStore: false,
    lingerSeconds: 600,
    maxMappings: undefined,
    natSessions: (checked.roles as readonly AgentRole[] | undefined)?.includes('gateway') ? GATEWAY_NAT_SESSIONS : undefined,
    logLevel: 'info',
    ...(checked as Pick<AgentConfig, 'nats' | 'hostId' | 'identity' | 'trust' | 'underlay'>),
  };
}

const KIND_TEXT = { text: 'text', texts: 'a list of texts', number: 'a number', flag: 'true or false' } as const;

function readFile(text: string, source: string, values: Map<AgentConfigKey, { value: unknown; where: string }>, problems: string[]): void {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines });
  const at = (node: Node | null | undefined): string => `${source}:${lines.linePos(node?.range?.[0] ?? 0).line}`;
  for (const error of document.errors) problems.push(`${source}:${error.linePos?.[0].line ?? 1}: ${error.message.split('\n')[0]}`);
  if (document.errors.length > 0 || document.contents === null) return;
  if (!isMap(document.contents)) {
    problems.push(`${source}:1: must be keys with values, like "hostId: host-a"`);
    return;
  }
  for (const pair of document.contents.items) {
    const key = isScalar(pair.key) ? String(pair.key.value) : '';
    const where = at(pair.key as Node);
    if (!Object.hasOwn(AGENT_CONFIG_KEYS, key)) {
      const meant = nearest(key, Object.keys(AGENT_CONFIG_KEYS));
      problems.push(
        `${where}: unknown key "${key}"${meant === undefined ? '; docs/configuration.md has all there are' : `; did you mean "${meant}"?`}`,
      );
      continue;
    }
    values.set(key as AgentConfigKey, { value: (pair.value as Node | null)?.toJS(document) ?? undefined, where });
  }
}

function convert(value: unknown, kind: KeyRule['kind']): unknown {
  switch (kind) {
    case 'text':
      return typeof value === 'string' && value !== '' ? value : undefined;
    case 'texts': {
      const list = typeof value === 'string' ? value.split(',').map((one) => one.trim()) : value;
      return Array.isArray(list) && list.length > 0 && list.every((one) => typeof one === 'string' && one !== '') ? list : undefined;
    }
    case 'number': {
      const number = typeof value === 'string' && /^-?\d+(\.\d+)?$/.test(value) ? Number(value) : value;
      return typeof number === 'number' && Number.isFinite(number) ? number : undefined;
    }
    case 'flag':
      if (value === 'true' || value === 'false') return value === 'true';
      return typeof value === 'boolean' ? value : undefined;
  }
}

function natsUrlRule(text: string): string | undefined {
  const url = URL.canParse(text.includes('://') ? text : `nats://${text}`)
    ? new URL(text.includes('://') ? text : `nats://${text}`)
    : undefined;
  const right = url !== undefined && ['nats:', 'tls:', 'ws:', 'wss:'].includes(url.protocol) && url.hostname !== '';
  return right ? undefined : 'must be URLs like nats://192.0.2.1:4222';
}

function ipv4Rule(text: string): string | undefined {
  const rule = 'must be an IPv4 address like 192.0.2.1';
  try {
    return isIpv4Mapped(parseIp(text)) ? undefined : rule;
  } catch {
    return rule;
  }
}

function kebab(key: string): string {
  return key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}
