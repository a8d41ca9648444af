import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { loadOrCreateIdentity } from '@weft/bus';
import type { Command } from 'commander';
import { connectAs, reachBus } from '../core/connect.ts';
import { writeContext } from '../core/context-file.ts';
import { CliError, CliErrorCode, messageOf } from '../core/errors.ts';
import { readTextIfThere } from '../core/files.ts';
import { defaultHostId, initialise, requireHostId, writePrincipal } from '../core/installation.ts';
import { ask, type Session } from '../core/session.ts';
import { DEFAULT_TIMEOUT_SECONDS, type GlobalOptions, splitUrls } from '../core/settings.ts';
import { formatDuration } from '../format/quantity.ts';
import { takeLock } from '../up/lock.ts';
import { findNatsServer, greets } from '../up/nats-server.ts';
import { agentService, controllerService, natsService } from '../up/services.ts';
import { type ServiceEvent, SupervisedService } from '../up/supervisor.ts';
import { chooseUnderlay, type Underlay } from '../up/underlay.ts';
import { natLogDaysOption } from './controller.ts';
import { type Deps, examples } from './deps.ts';
import { installationFiles } from './init.ts';

interface UpOptions extends GlobalOptions {
  readonly config?: string;
  readonly providerAddress?: string;
  readonly underlay?: string;
  readonly stateDir: string;
  readonly hostId?: string;
  readonly instance?: string;
  readonly engine?: string;
  readonly natsServer?: string;
  readonly natsListen?: string;
  readonly natLogDays?: number;
}

const DEFAULT_STATE_DIR = '/var/lib/weft';
const READY_TIMEOUT_MS = 60_000;

/** Reads `ADDRESS` or `ADDRESS:PORT`. */
export function parseListen(text: string): { readonly host: string; readonly port: number } {
  const match = /^(\d+\.\d+\.\d+\.\d+|localhost)(?::(\d{1,5}))?$/.exec(text);
  const port = Number(match?.[2] ?? 4222);
  if (match === null || port < 1 || port > 65_535)
    throw new CliError(CliErrorCode.Usage, `Cannot listen on "${text}": write ADDRESS or ADDRESS:PORT, for example 192.0.2.10:4222`);
  return { host: match[1] === 'localhost' ? '127.0.0.1' : match[1]!, port };
}

export function registerUp(program: Command, deps: Deps): void {
  program
    .command('up')
    .summary('run everything on this machine: NATS, controller, host agent')
    .description(
      `Starts an embedded nats-server (JetStream, a store of its own), a controller and this machine's host agent, makes their keys at the first start, and looks after them until Ctrl-C or SIGTERM. Needs root.\nStopping it stops no traffic: programs, tables and TAP devices stay in the kernel and go on forwarding; the next "weft up" takes them over.\nWith --nats it starts no server of its own.`,
    )
    .option('--config <file>', 'configuration file of the agent (see docs/configuration.md)')
    .option('--provider-address <address>', "this host's address on the underlay (default: that of the underlay interface)")
    .option('--underlay <interface>', 'interface that carries the tunnels (default: that of the provider address, or of the default route)')
    .option('--state-dir <directory>', 'keys, NATS store, agent state', DEFAULT_STATE_DIR)
    .option('--host-id <id>', "this host's id (default: the machine's name)")
    .option('--instance <name>', 'name of the BPF pins, when several agents share a kernel')
    .option('--engine <engine>', 'kernel, user or auto')
    .option('--nats-server <program>', 'nats-server to run (default: the first on PATH)')
    .option('--nats-listen <address[:port]>', 'where NATS listens (default: the provider address if given, else 127.0.0.1; port 4222)')
    .addOption(natLogDaysOption())
    .addHelpText(
      'after',
      examples(
        'weft up',
        'weft up --provider-address 192.0.2.10 --underlay eth1',
        'weft up --nats nats://n1:4222,nats://n2:4222,nats://n3:4222',
      ),
    )
    .action(async (_: object, command: Command) => {
      await up(command.optsWithGlobals<UpOptions>(), deps);
    });
}

async function up(options: UpOptions, deps: Deps): Promise<void> {
  if (process.getuid?.() !== 0)
    throw new CliError(
      CliErrorCode.Refused,
      'Cannot run "weft up" without root: it makes network devices and loads BPF programs (try sudo)',
    );
  const hostId = options.hostId ?? defaultHostId();
  requireHostId(hostId);
  const underlay = chooseUnderlay({ iface: options.underlay, address: options.providerAddress });
  const own = options.nats === undefined;
  const binary = own ? findNatsServer(options.natsServer, deps.io.env) : undefined;
  const listen = parseListen(options.natsListen ?? options.providerAddress ?? '127.0.0.1');
  const nats = options.nats === undefined ? [`nats://${listen.host}:${listen.port}`] : splitUrls(options.nats);

  // Above: read and check. Below: touch the system.
  mkdirSync(options.stateDir, { recursive: true, mode: 0o700 });
  const lock = await takeLock(join(options.stateDir, 'up.lock'), `"weft up" with state directory ${options.stateDir}`);
  const services: SupervisedService[] = [];
  let session: Session | undefined;
  try {
    const start = async (service: ConstructorParameters<typeof SupervisedService>[0]): Promise<void> => {
      const supervised = new SupervisedService(service, { onEvent: (event) => tellEvent(event, deps) });
      services.push(supervised);
      await waitReady(service.name, supervised, deps);
    };
    const files = installationFiles(join(options.stateDir, 'identity'));
    mkdirSync(join(options.stateDir, 'identity'), { recursive: true, mode: 0o700 });
    const hostSeed = join(options.stateDir, 'identity', 'host.seed');
    const admin = loadOrCreateIdentity(files.admin, 'user');
    const controller = loadOrCreateIdentity(files.controller, 'controller');
    const host = loadOrCreateIdentity(hostSeed, 'host');
    const trust = admin.publicKey;

    if (binary !== undefined) {
      if (await greets(listen.host, listen.port)) {
        throw new CliError(
          CliErrorCode.Refused,
          `Cannot start NATS on ${listen.host}:${listen.port}: a NATS server listens there already; use it with --nats nats://${listen.host}:${listen.port}, or another port with --nats-listen`,
        );
      }
      await start(natsService(binary, listen, options.stateDir));
    }
    const bus = await reachBus(nats, 'weft up', (options.timeout ?? DEFAULT_TIMEOUT_SECONDS) * 1_000, deps.signal);
    try {
      const { natLogDays } = options;
      const store = await bus.open({ replicas: 1, ...(natLogDays === undefined ? {} : { natLogDays }) });
      const access = { bus, store, admin, adminName: 'admin' };
      await initialise(access, controller.publicKey);
      await writePrincipal(access, { key: host.publicKey, name: hostId, role: 'host', tenants: [] });
    } finally {
      await bus.close();
    }
    const context = { nats: nats.join(','), identity: files.admin, trust };
    const contextPath =
      options.stateDir === DEFAULT_STATE_DIR
        ? offerContext('/etc/weft/context.yaml', context, deps)
        : join(options.stateDir, 'context.yaml');
    if (options.stateDir !== DEFAULT_STATE_DIR) writeContext(contextPath, context);

    session = await connectAs({ nats, identity: files.admin, trust, timeoutMs: 2_000 }, deps.signal);
    const asker = session;
    const weft = [process.execPath, fileURLToPath(new URL('../../bin/weft.js', import.meta.url))];
    await start(
      controllerService(weft, { nats, identity: files.controller, trust }, async () => {
        await ask(asker, 'controller', { kind: 'list', value: { kinds: ['Host'], tenant: '', network: '', name: '' } }, 'list');
      }),
    );
    const { config, instance, engine } = options;
    const agent = {
      ...{ hostId, underlay: underlay.iface, providerAddress: underlay.address, stateDirectory: join(options.stateDir, 'agent') },
      ...(config === undefined ? {} : { config }),
      ...(instance === undefined ? {} : { instance }),
      ...(engine === undefined ? {} : { engine }),
    };
    await start(
      agentService(weft, { ...agent, nats, identity: hostSeed, trust }, async () => {
        await ask(asker, hostId, { kind: 'status', value: {} }, 'status');
      }),
    );
    deps.io.out(welcome({ hostId, underlay, nats, contextPath, own: binary, stateDir: options.stateDir }));
    await new Promise<void>((resolve) => {
      if (deps.signal.aborted) resolve();
      else deps.signal.addEventListener('abort', () => resolve(), { once: true });
    });
    deps.io.note('weft up: stopping; packets keep flowing');
  } finally {
    // The agent first, so that it can say good-bye to a NATS that is still there.
    for (const service of services.reverse()) await service.stop();
    await session?.close();
    lock.release();
  }
}

/** Starts a service and waits until it is ready. Its end before that is an error: what can't start once won't the next time; later deaths are mended. */
async function waitReady(name: string, service: SupervisedService, deps: Deps): Promise<void> {
  const startedMs = deps.now();
  let timer: NodeJS.Timeout | undefined;
  try {
    await Promise.race([
      service.start(),
      new Promise<never>((_, reject) => {
        timer = setTimeout(() => reject(new Error(`it was not ready within ${formatDuration(READY_TIMEOUT_MS)}`)), READY_TIMEOUT_MS);
        deps.signal.addEventListener('abort', () => reject(new Error('stopped')), { once: true });
      }),
    ]);
    deps.io.note(`weft up: ${name} is ready (${formatDuration(deps.now() - startedMs)})`);
  } catch (error) {
    if (deps.signal.aborted) throw new CliError(CliErrorCode.Process, 'Stopped before everything was up');
    throw new CliError(CliErrorCode.Process, `Cannot bring up ${name}: ${messageOf(error)}; its last words are above`, { cause: error });
  } finally {
    clearTimeout(timer);
  }
}

function tellEvent(event: ServiceEvent, deps: Deps): void {
  if (event.kind === 'line') deps.io.note(`${event.name.padEnd(10)} | ${event.line}`);
  else if (event.kind === 'ended')
    deps.io.note(`weft up: ${event.name} ended (${event.how}); starting it again in ${formatDuration(event.restartInMs)}`);
  else if (event.kind === 'stopped') deps.io.note(`weft up: ${event.name} stopped`);
}

/** Writes the machine's context file unless another installation's stands there. */
function offerContext(
  path: string,
  context: Required<Pick<Parameters<typeof writeContext>[1], 'nats' | 'identity' | 'trust'>>,
  deps: Deps,
): string {
  const there = readTextIfThere(path, 'the context');
  if (there !== undefined && !there.includes(context.trust)) {
    const own = join(DEFAULT_STATE_DIR, 'context.yaml');
    writeContext(own, context);
    deps.io.note(`weft up: ${path} belongs to another installation and is left as it is; use --context ${own}`);
    return own;
  }
  writeContext(path, context);
  return path;
}

function welcome(facts: {
  hostId: string;
  underlay: Underlay;
  nats: readonly string[];
  contextPath: string;
  own: { version: string } | undefined;
  stateDir: string;
}): string {
  const { hostId, underlay, nats, contextPath, own, stateDir } = facts;
  const local = nats.every((url) => /127\.0\.0\.1|localhost/.test(url));
  return [
    `Weft is up: host ${hostId}, provider address ${underlay.address} on ${underlay.iface}`,
    `  NATS      ${nats.join(', ')}${own === undefined ? '' : ` (embedded nats-server ${own.version}, store in ${stateDir}/nats)`}`,
    `  context   ${contextPath}${contextPath === '/etc/weft/context.yaml' ? '' : `  (use: weft --context ${contextPath} …)`}`,
    '',
    'A first network:      weft apply -f net.yaml, then weft port bind TENANT/NETWORK/PORT --tap NAME',
    local
      ? `Another host:         start again with --nats-listen ${underlay.address}, so that it can reach NATS; then as below`
      : 'Another host:',
    '  here                weft host add NAME --out NAME.bundle.json',
    '  there               weft agent --bundle NAME.bundle.json --underlay IFACE',
    '',
  ].join('\n');
}
