import { join, resolve } from 'node:path';
import { AGENT_CONFIG_KEYS, type AgentConfig, type AgentConfigKey, parseAgentConfig } from '@weft/agent';
import { parse } from 'yaml';
import type { HostBundle } from '../core/installation.ts';
import type { Underlay } from '../up/underlay.ts';

/** Where an agent's settings can come from; each setting from the first that has it, in this order. */
export interface AgentSources {
  /** By key in camel case. */
  readonly flags: Readonly<Record<string, unknown>>;
  /** Configuration file, and its name for messages. */
  readonly file?: { readonly text: string; readonly name: string };
  readonly bundle?: HostBundle;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** This machine's (`/etc/weft/context.yaml`), without its identity: that is a person's. */
  readonly context: { readonly nats?: string; readonly trust?: string };
  /** What this machine itself suggests. */
  readonly machine: { readonly hostId: string; underlay(asked: { readonly iface?: string; readonly address?: string }): Underlay };
}

/**
 * An agent's whole configuration. Pure but for `machine`, which looks at the interfaces when no underlay is named.
 *
 * @throws {AgentError} `WEFT_ERR_AGENT_CONFIG` with all that is wrong.
 * @throws {CliError} When the underlay is not named and not clear.
 */
export function agentSettings({ flags, file, bundle, env, context, machine }: AgentSources): AgentConfig {
  const inFile = keysOf(file?.text);
  const given = (key: AgentConfigKey): unknown => flags[key] ?? (inFile.has(key) ? inFile.get(key) : undefined);
  const complete: Record<string, unknown> = { ...flags };
  const suggest = (key: AgentConfigKey, ...values: unknown[]): void => {
    if (given(key) === undefined) complete[key] = values.find((value) => value !== undefined && value !== '');
  };
  suggest('nats', bundle?.nats, env.WEFT_NATS, context.nats);
  suggest('trust', bundle?.trust, env.WEFT_TRUST, context.trust);
  suggest('hostId', bundle?.host, machine.hostId);
  suggest('logLevel', env.WEFT_LOG_LEVEL);
  const instance = given('instance');
  const stateDirectory =
    flags.stateDir ?? given('stateDirectory') ?? `/var/lib/weft/${typeof instance === 'string' ? instance : 'default'}`;
  suggest(
    'identity',
    bundle === undefined ? env.WEFT_IDENTITY : undefined,
    typeof stateDirectory === 'string' ? join(stateDirectory, 'host.seed') : undefined,
  );
  for (const key of ['identity', 'stateDirectory', 'stateDir', 'runDirectory', 'natsCaFile', 'natsCertFile', 'natsKeyFile']) {
    const path = complete[key];
    // Paths on the command line are relative to where one stands, as everywhere.
    if (typeof path === 'string' && path !== '') complete[key] = resolve(path);
  }
  if (given('underlay') === undefined) {
    const address = given('providerAddress');
    complete.underlay = machine.underlay(typeof address === 'string' ? { address } : {}).iface;
  }
  return parseAgentConfig(file?.text, complete, file?.name);
}

/** The keys of a configuration file with their values; none when it can't be read, which `parseAgentConfig` tells with line and reason. */
function keysOf(text: string | undefined): ReadonlyMap<string, unknown> {
  try {
    const value: unknown = parse(text ?? '');
    return new Map(typeof value === 'object' && value !== null ? Object.entries(value) : []);
  } catch {
    return new Map(Object.keys(AGENT_CONFIG_KEYS).map((key) => [key, '']));
  }
}
