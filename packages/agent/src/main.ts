import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { AGENT_CONFIG_KEYS, parseAgentConfig } from './config.ts';
import { AgentError, messageOf } from './errors.ts';
import { runAgent } from './run-agent.ts';

// The agent as a process of its own: `node dist/main.js --config FILE [--key value …] [--check-config]`. `weft agent` is the same with the
// command's manners.

const kebab = (key: string): string => key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

async function main(): Promise<void> {
  const options: Record<string, { type: 'string' | 'boolean' }> = {
    config: { type: 'string' },
    'check-config': { type: 'boolean' },
    purge: { type: 'boolean' },
    'remove-kernel-engine': { type: 'boolean' },
  };
  for (const [key, rule] of Object.entries(AGENT_CONFIG_KEYS)) options[kebab(key)] = { type: rule.kind === 'flag' ? 'boolean' : 'string' };
  const { values } = parseArgs({ options, strict: true });
  const file = values.config as string | undefined;
  const flags = Object.fromEntries(
    Object.entries(values).map(([name, value]) => [name.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase()), value]),
  );
  const config = parseAgentConfig(file === undefined ? undefined : readFileSync(file, 'utf8'), flags, file);
  if (values['check-config'] === true) {
    process.stdout.write('The configuration is right.\n');
    return;
  }

  // ——— the line: above, the configuration was read and checked; below, the system is touched ———

  const stop = new AbortController();
  for (const name of ['SIGTERM', 'SIGINT'] as const) process.once(name, () => stop.abort());
  await runAgent(config, stop.signal, {
    purge: values.purge === true,
    removeKernelEngine: values['remove-kernel-engine'] === true,
  });
}

try {
  await main();
  // What is left (a socket closing) must not keep a stopped agent alive.
  process.exit(0);
} catch (error) {
  process.stderr.write(`weft agent: ${error instanceof AgentError ? error.message : messageOf(error)}\n`);
  process.exit(1);
}
