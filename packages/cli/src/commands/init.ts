import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { loadOrCreateIdentity } from '@weft/bus';
import { type Command, Option } from 'commander';
import { reachBus } from '../core/connect.ts';
import { writeContext } from '../core/context-file.ts';
import { admitHost, initialise, makeBundle, requireHostId, writeBundle } from '../core/installation.ts';
import { DEFAULT_TIMEOUT_SECONDS, type GlobalOptions, splitUrls } from '../core/settings.ts';
import { toJson } from '../format/output.ts';
import { type Deps, examples } from './deps.ts';

/** Where an installation's keys lie, below a directory. */
export function installationFiles(dir: string): {
  readonly admin: string;
  readonly controller: string;
  readonly context: string;
  bundle(host: string): string;
} {
  return {
    admin: join(dir, 'admin.seed'),
    controller: join(dir, 'controller.seed'),
    context: join(dir, 'context.yaml'),
    bundle: (host) => join(dir, `${host}.bundle.json`),
  };
}

interface InitOptions extends GlobalOptions {
  readonly dir: string;
  readonly replicas: '1' | '3';
  readonly host?: readonly string[];
  readonly adminName: string;
  readonly json?: boolean;
}

export function registerInit(program: Command, deps: Deps): void {
  program
    .command('init')
    .summary('begin an installation on a NATS of your own')
    .description(
      'Makes the keys of the first admin and of the controllers, the buckets in NATS, and the records of who may do what; writes a context file, so that other commands find all this. With --host it makes bundles that hosts join with. Repeating it changes nothing that is there.\n("weft up" does this by itself on a single machine.)',
    )
    .option('--dir <directory>', 'where keys and context go', '/etc/weft')
    .addOption(
      new Option('--replicas <count>', 'copies of each record: 1 (one NATS server) or 3 (a cluster)').choices(['1', '3']).default('1'),
    )
    .option('--host <name...>', 'make a bundle for this host, DIR/NAME.bundle.json')
    .option('--admin-name <name>', 'what the audit log calls the first admin', 'admin')
    .option('--json', 'print what was made as JSON')
    .addHelpText(
      'after',
      examples(
        'weft init --nats nats://192.0.2.10:4222',
        'weft init --nats nats://n1:4222,nats://n2:4222,nats://n3:4222 --replicas 3 --host host-a --host host-b',
      ),
    )
    .action(async (_: object, command: Command) => {
      const options = command.optsWithGlobals<InitOptions>();
      const hosts = options.host ?? [];
      for (const host of hosts) requireHostId(host);
      // Not from a context file: that would be another installation's, or the one this command writes.
      const nats = splitUrls(options.nats ?? (deps.io.env.WEFT_NATS || 'nats://127.0.0.1:4222'));
      const files = installationFiles(options.dir);
      mkdirSync(options.dir, { recursive: true, mode: 0o755 });
      const admin = loadOrCreateIdentity(files.admin, 'user');
      const controller = loadOrCreateIdentity(files.controller, 'controller');
      const bus = await reachBus(nats, 'weft init', (options.timeout ?? DEFAULT_TIMEOUT_SECONDS) * 1_000, deps.signal);
      try {
        const store = await bus.open({ replicas: options.replicas === '3' ? 3 : 1 });
        const access = { bus, store, admin, adminName: options.adminName };
        await initialise(access, controller.publicKey);
        const trust = admin.publicKey;
        for (const host of hosts) {
          if (existsSync(files.bundle(host))) continue;
          // The file first: a principal whose seed was never written could not be used, but would stand there.
          const { bundle, publicKey } = makeBundle(host, nats, trust);
          writeBundle(files.bundle(host), bundle);
          await admitHost(access, host, publicKey);
        }
        writeContext(files.context, { nats: nats.join(','), identity: files.admin, trust });
        const bundles = hosts.map((host) => files.bundle(host));
        if (options.json === true) {
          deps.io.out(
            toJson({ nats, trust, identity: files.admin, controllerIdentity: files.controller, context: files.context, bundles }),
          );
          return;
        }
        const flag = options.dir === '/etc/weft' ? '' : ` --context ${files.context}`;
        deps.io.out(
          [
            `admin's seed        ${files.admin}  (keep it safe: it may do everything)`,
            `controller's seed   ${files.controller}`,
            `trust anchor        ${trust}`,
            `context             ${files.context}`,
            ...bundles.map((bundle) => `host bundle         ${bundle}`),
            '',
            'Next:',
            `  weft controller${flag} --identity ${files.controller}${options.replicas === '3' ? ' --replicas 3' : ''}`,
            ...(bundles.length > 0
              ? bundles.map((bundle) => `  weft agent --bundle ${bundle} --underlay IFACE      on that host`)
              : [`  weft host add NAME --out NAME.bundle.json${flag}`]),
            '',
          ].join('\n'),
        );
      } finally {
        await bus.close();
      }
    });
}
