import { spawnSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { connect } from 'node:net';
import { delimiter, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CliError, CliErrorCode } from '../core/errors.ts';

/** The oldest nats-server that Weft works on (Debian 12's). */
export const NATS_SERVER_FLOOR = '2.9.10';
/** From here on acknowledged writes can be made to survive a power cut (`sync_interval: always`). */
const SYNC_ALWAYS_SINCE = '2.10.0';

/** A nats-server found on this machine. */
export interface NatsServerBinary {
  readonly path: string;
  readonly version: string;
}

/** Compares versions of the form `1.2.3`; a pre-release suffix is left out of account. */
export function compareVersions(a: string, b: string): number {
  const parts = (text: string): number[] => text.split(/[.-]/).slice(0, 3).map(Number);
  const [left, right] = [parts(a), parts(b)];
  for (let i = 0; i < 3; i++) {
    const difference = (left[i] ?? 0) - (right[i] ?? 0);
    if (difference !== 0) return Math.sign(difference);
  }
  return 0;
}

/** Reads what `nats-server --version` says: `nats-server: v2.9.10`. */
export function parseNatsVersion(text: string): string | undefined {
  return /v?(\d+\.\d+\.\d+\S*)/.exec(text)?.[1];
}

/**
 * Refuses a server that lacks what Weft needs.
 *
 * @throws {CliError} `WEFT_ERR_CLI_NATS_SERVER`
 */
export function checkNatsVersion(path: string, version: string | undefined): NatsServerBinary {
  if (version === undefined) {
    throw new CliError(CliErrorCode.NatsServer, `Cannot use ${path}: "${path} --version" names no version; is it a nats-server?`);
  }
  if (compareVersions(version, NATS_SERVER_FLOOR) < 0) {
    throw new CliError(
      CliErrorCode.NatsServer,
      `Cannot use ${path}: its version is ${version}, Weft needs ${NATS_SERVER_FLOOR} or newer (JetStream direct get); upgrade the nats-server package, or name another with --nats-server`,
    );
  }
  return { path, version };
}

/**
 * Finds the nats-server to run: the one named, or the first on PATH and in the usual directories (a service's PATH often lacks sbin).
 *
 * @throws {CliError} `WEFT_ERR_CLI_NATS_SERVER` when there is none or it is too old.
 */
export function findNatsServer(named: string | undefined, env: Readonly<Record<string, string | undefined>>): NatsServerBinary {
  const directories = [
    ...(env.PATH ?? '').split(delimiter).filter((dir) => dir !== ''),
    '/usr/local/sbin',
    '/usr/local/bin',
    '/usr/sbin',
    '/usr/bin',
  ];
  const candidates = named !== undefined ? [named] : directories.map((dir) => join(dir, 'nats-server'));
  for (const path of candidates) {
    try {
      accessSync(path, constants.X_OK);
    } catch {
      continue;
    }
    const result = spawnSync(path, ['--version'], { encoding: 'utf8', timeout: 10_000 });
    return checkNatsVersion(path, parseNatsVersion(`${result.stdout ?? ''}${result.stderr ?? ''}`));
  }
  throw new CliError(
    CliErrorCode.NatsServer,
    named !== undefined
      ? `Cannot run nats-server ${named}: there is no such program`
      : 'Cannot find nats-server: install it ("apt-get install nats-server"), name it with --nats-server, or point at a running one with --nats',
  );
}

export interface NatsConfig {
  readonly host: string;
  readonly port: number;
  readonly storeDir: string;
  readonly serverName: string;
  readonly version: string;
}

/** The configuration file of the embedded server. */
export function natsConfig(config: NatsConfig): string {
  return [
    '# Written by "weft up" at every start; changes are lost. For settings of your own run nats-server yourself and use "weft up --nats URL".',
    `server_name: ${JSON.stringify(config.serverName)}`,
    `host: ${JSON.stringify(config.host)}`,
    `port: ${config.port}`,
    // Applies carry whole files of manifests.
    'max_payload: 8MB',
    'jetstream {',
    `  store_dir: ${JSON.stringify(config.storeDir)}`,
    '  max_mem: 64MB',
    '  max_file: 8GB',
    ...(compareVersions(config.version, SYNC_ALWAYS_SINCE) >= 0 ? ['  sync_interval: always'] : []),
    '}',
    '',
  ].join('\n');
}

/** Waits until a NATS server greets (`INFO …`) on host:port. */
export async function waitForNats(host: string, port: number, signal: AbortSignal): Promise<void> {
  for (;;) {
    signal.throwIfAborted();
    if (await greets(host, port)) return;
    await sleep(50, undefined, { signal }).catch(() => {});
  }
}

/** Whether something at host:port greets as a NATS server does, within 1 s. */
export function greets(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    const done = (answer: boolean): void => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(1_000, () => done(false));
    socket.once('error', () => done(false));
    socket.once('data', (data) => done(data.toString('latin1').startsWith('INFO ')));
  });
}
