import { existsSync, readFileSync } from 'node:fs';
import { AGENT_CONFIG_KEYS, type AgentConfig, AgentError, runAgent } from '@weft/agent';
import type { Command } from 'commander';
import { loadContext } from '../core/context-file.ts';
import { CliError, CliErrorCode } from '../core/errors.ts';
import { readText, requireSecret, writeWhole } from '../core/files.ts';
import { defaultHostId, type HostBundle, readBundle } from '../core/installation.ts';
import type { GlobalOptions } from '../core/settings.ts';
import { type AgentSources, agentSettings } from '../daemons/agent-settings.ts';
import { chooseUnderlay } from '../up/underlay.ts';
import { type Deps, examples } from './deps.ts';

interface AgentOptions extends GlobalOptions {
  readonly config?: string;
  readonly bundle?: string;
  readonly role?: string;
  readonly checkConfig?: boolean;
  readonly purge?: boolean;
  readonly removeKernelEngine?: boolean;
  readonly [key: string]: unknown;
}

const kebab = (key: string): string => key.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
/** Options of every command: not to be declared again. */
const global: ReadonlySet<string> = new Set(['nats', 'identity', 'trust']);

export function registerAgent(program: Command, deps: Deps): void {
  const agent = program
    .command('agent')
    .summary('run the host agent of this machine')
    .description(
      'Runs the host agent until SIGTERM. It follows the networks that have ports here, keeps the packet path\'s tables, and owns ports and their devices. Stopping it stops no traffic (kernel engine). Needs root.\nEach setting comes from the first that has it: option, configuration file (--config), bundle (--bundle, from "weft host add"), environment, context file. With NATS absent the agent waits and says so.',
    )
    .option('--config <file>', 'configuration file (docs/configuration.md)')
    .option('--bundle <file>', 'bundle of this host, made by "weft host add"')
    .option('--check-config', 'check the configuration, print it, and stop')
    .option('--purge', 'when stopped, take programs, tables and TAP devices down, too: traffic stops')
    .option('--remove-kernel-engine', 'with --engine user: first take down what a kernel engine of this instance left at work')
    .option('--role <roles>', 'the same as --roles: host, gateway, or host,gateway')
    .option('--state-dir <directory>', 'the same as --state-directory');
  for (const [key, { kind, explanation, defaultText }] of Object.entries(AGENT_CONFIG_KEYS)) {
    if (global.has(key)) continue;
    agent.option(
      kind === 'flag' ? `--${kebab(key)}` : `--${kebab(key)} <${kind === 'number' ? 'number' : 'value'}>`,
      `${explanation} Default: ${defaultText}.`,
    );
  }
  agent
    .addHelpText(
      'after',
      examples(
        'weft agent --bundle host-b.bundle.json --underlay eth1',
        'weft agent --nats nats://192.0.2.10:4222 --trust UABC… --provider-address 192.0.2.12 --underlay eth1',
        'weft agent --config /etc/weft/weft.yaml --check-config',
      ),
    )
    .action(async (_: object, command: Command) => {
      const options = command.optsWithGlobals<AgentOptions>();
      const bundle = options.bundle === undefined ? undefined : openBundle(options.bundle);
      const config = configOf(options, bundle, deps);
      if (options.checkConfig === true) {
        deps.io.out(formatConfig(config));
        return;
      }
      if (process.getuid?.() !== 0) {
        throw new CliError(
          CliErrorCode.Refused,
          'Cannot run the host agent without root: it makes network devices and loads BPF programs (try sudo)',
        );
      }

      // The line: above, settings were read and checked; below, the system is touched.
      if (bundle !== undefined) keepSeed(config.identity, bundle);
      await runAgent(config, deps.signal, { purge: options.purge === true, removeKernelEngine: options.removeKernelEngine === true });
    });
}

function configOf(options: AgentOptions, bundle: HostBundle | undefined, deps: Deps): AgentConfig {
  const { context: contextPath, config, lab: _, timeout: __, ...flags } = options;
  const sources: AgentSources = {
    flags,
    env: deps.io.env,
    context: loadContext(contextPath ?? (deps.io.env.WEFT_CONTEXT || undefined), deps.io.env),
    machine: {
      hostId: defaultHostId(),
      underlay: (asked) => chooseUnderlay({ iface: asked.iface, address: asked.address }),
    },
    ...(config === undefined ? {} : { file: { text: readText(config, 'the configuration'), name: config } }),
    ...(bundle === undefined ? {} : { bundle }),
  };
  try {
    return agentSettings(sources);
  } catch (error) {
    if (error instanceof AgentError && error.code === 'WEFT_ERR_AGENT_CONFIG')
      throw new CliError(CliErrorCode.Usage, error.message, { cause: error });
    throw error;
  }
}

function openBundle(path: string): HostBundle {
  requireSecret(path, 'bundle');
  return readBundle(path);
}

/** The bundle's seed into the identity file. Another key there is not overwritten: it may be the one that is in use. */
function keepSeed(path: string, bundle: HostBundle): void {
  if (!existsSync(path)) {
    writeWhole(path, `${bundle.seed}\n`, { secret: true });
    return;
  }
  if (readFileSync(path, 'utf8').trim() === bundle.seed) return;
  throw new CliError(
    CliErrorCode.Refused,
    `Cannot use the bundle of host ${bundle.host}: ${path} holds another key; remove that file if the bundle's key replaces it, or name another with --identity`,
  );
}

/** The configuration as a file that says the same. */
function formatConfig(config: AgentConfig): string {
  const lines = Object.keys(AGENT_CONFIG_KEYS).map((key) => {
    const value = config[key as keyof AgentConfig];
    return value === undefined ? `# ${key}: found out at start\n` : `${key}: ${JSON.stringify(value)}\n`;
  });
  return `# The configuration is right. In full:\n${lines.join('')}`;
}
