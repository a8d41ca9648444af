import { mkdirSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { writeWhole } from '../core/files.ts';
import { type NatsServerBinary, natsConfig, waitForNats } from './nats-server.ts';
import type { Service } from './supervisor.ts';

/** What the daemons are told on their command line. */
export interface DaemonSettings {
  readonly nats: readonly string[];
  readonly identity: string;
  readonly trust: string;
}

export interface AgentSettings extends DaemonSettings {
  readonly hostId: string;
  readonly underlay: string;
  readonly providerAddress: string;
  readonly stateDirectory: string;
  readonly config?: string;
  readonly instance?: string;
  readonly engine?: string;
}

/** The embedded nats-server; writes its configuration. */
export function natsService(binary: NatsServerBinary, listen: { readonly host: string; readonly port: number }, stateDir: string): Service {
  const dir = join(stateDir, 'nats');
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const file = join(dir, 'nats.conf');
  writeWhole(file, natsConfig({ ...listen, storeDir: join(dir, 'store'), serverName: `weft-${hostname()}`, version: binary.version }));
  return {
    name: 'nats',
    argv: [binary.path, '--config', file],
    ready: (signal) => waitForNats(listen.host, listen.port, signal),
    // It writes what it holds to disk first.
    graceMs: 10_000,
  };
}

/** @param probe Resolves when the controller answers. */
export function controllerService(weft: readonly string[], settings: DaemonSettings, probe: () => Promise<void>): Service {
  return {
    name: 'controller',
    argv: [...weft, 'controller', ...daemonFlags(settings)],
    env: quiet,
    ready: (signal) => insist(probe, signal),
  };
}

/** @param probe Resolves when the agent answers. */
export function agentService(weft: readonly string[], settings: AgentSettings, probe: () => Promise<void>): Service {
  const { hostId, underlay, providerAddress, stateDirectory, config, instance, engine } = settings;
  mkdirSync(stateDirectory, { recursive: true, mode: 0o700 });
  const flags = [
    ...(config === undefined ? [] : ['--config', config]),
    ...['--host-id', hostId, '--underlay', underlay, '--provider-address', providerAddress, '--state-dir', stateDirectory],
    ...(instance === undefined ? [] : ['--instance', instance]),
    ...(engine === undefined ? [] : ['--engine', engine]),
  ];
  return {
    name: 'agent',
    argv: [...weft, 'agent', ...daemonFlags(settings), ...flags],
    env: quiet,
    ready: (signal) => insist(probe, signal),
  };
}

/** The daemons take all they need from their flags: what stands in the parent's environment was meant for commands. */
const quiet: Readonly<Record<string, string>> = { WEFT_LAB: '', WEFT_CONTEXT: '', WEFT_NATS: '', WEFT_IDENTITY: '', WEFT_TRUST: '' };

function daemonFlags({ nats, identity, trust }: DaemonSettings): string[] {
  return ['--nats', nats.join(','), '--identity', identity, '--trust', trust];
}

async function insist(probe: () => Promise<void>, signal: AbortSignal): Promise<void> {
  for (;;) {
    signal.throwIfAborted();
    try {
      await probe();
      return;
    } catch {
      // Not there yet.
      await sleep(100, undefined, { signal }).catch(() => {});
    }
  }
}
