import { isPublicKey } from '@weft/bus';
import type { Command } from 'commander';
import { CliError, CliErrorCode } from '../core/errors.ts';
import {
  type AdminAccess,
  admitHost,
  makeBundle,
  removeHostRecord,
  removePrincipal,
  requireHostId,
  writeBundle,
} from '../core/installation.ts';
import type { Session } from '../core/session.ts';
import { connectionSettings, type GlobalOptions, splitUrls } from '../core/settings.ts';
import { readCatalog } from '../resources/catalog.ts';
import { type Deps, examples, withSession } from './deps.ts';

/** What an admin's commands need: the session's own key must be an admin's. */
export function adminAccess(session: Session): AdminAccess {
  const principal = session.trust.principal(session.identity.publicKey);
  if (principal?.role !== 'admin') {
    throw new CliError(
      CliErrorCode.Refused,
      `Cannot do this as ${principal?.name ?? session.identity.publicKey}: an admin's identity is needed (--identity)`,
    );
  }
  return { bus: session.bus, store: session.store, admin: session.identity, adminName: principal.name };
}

export function registerHost(program: Command, deps: Deps): void {
  const host = program
    .command('host')
    .summary('let hosts join, and take them out')
    .description('Makes the keys of hosts. "weft get hosts" lists those that have joined.');

  host
    .command('add')
    .summary('make a key for a host and the bundle it joins with')
    .description(
      "Makes the host's key, records that it may act as this host, and writes a bundle: key, trust anchor and NATS URL. Carry the bundle to the host by a safe way (it holds a secret), then start there:\n  weft agent --bundle FILE --underlay IFACE",
    )
    .argument('<name>', 'host id: 1 to 63 of a-z, 0-9 and "-"')
    .option('--out <file>', 'bundle to write (mode 0600)')
    .option('--key <public>', "instead of a bundle: the public key (N…) that the host's agent has made for itself and logs at its start")
    .option('--nats-for-host <url>', 'NATS URL as the host reaches it (default: the one used here)')
    .addHelpText(
      'after',
      examples(
        'weft host add host-b --out host-b.bundle.json',
        'weft host add host-c --out host-c.bundle.json --nats-for-host nats://192.0.2.10:4222',
        'weft host add host-d --key NABC…',
      ),
    )
    .action(async (name: string, options: { out?: string; key?: string; natsForHost?: string }, command: Command) => {
      requireHostId(name);
      const { out, key } = options;
      if ((out === undefined) === (key === undefined)) {
        throw new CliError(
          CliErrorCode.Usage,
          "Give either --out FILE (make the host's key here) or --key PUBLIC (its agent has made one)",
        );
      }
      if (key !== undefined && !(isPublicKey(key) && key.startsWith('N'))) {
        throw new CliError(CliErrorCode.Usage, `Cannot use --key "${key}": it is no host's public key (56 characters, beginning with N)`);
      }
      const settings = connectionSettings(command.optsWithGlobals<GlobalOptions>(), deps.io);
      const nats = options.natsForHost === undefined ? settings.nats : splitUrls(options.natsForHost);
      await withSession(deps, command, async (session) => {
        const access = adminAccess(session);
        const [held] = session.trust.principals().filter((principal) => principal.role === 'host' && principal.name === name);
        if (held !== undefined && held.key !== key) {
          throw new CliError(
            CliErrorCode.Refused,
            `Host "${name}" has a key already (${held.key}): take it away first with "weft host remove ${name}"`,
          );
        }
        if (key !== undefined) {
          await admitHost(access, name, key);
          return;
        }
        // The file first: a principal whose seed was never written could not be used, but would stand there.
        const { bundle, publicKey } = makeBundle(name, nats, settings.trust);
        writeBundle(out!, bundle);
        await admitHost(access, name, publicKey);
      });
      if (key !== undefined) {
        deps.io.out(`host ${name} may act with key ${key}\n`);
        return;
      }
      if (nats.some((url) => /127\.0\.0\.1|localhost|\[::1\]/.test(url))) {
        deps.io.note(
          `note: the bundle says NATS is at ${nats.join(', ')}, which only this machine can reach; use --nats-for-host for another`,
        );
      }
      deps.io.out(`bundle for ${name} written to ${out}\non the host:  weft agent --bundle ${out} --underlay IFACE\n`);
    });

  host
    .command('remove')
    .summary("take a host's rights away")
    .description(
      "Takes the host's key out of the installation: what it signs counts no more, its bindings included. Move its ports away first.",
    )
    .argument('<name>', 'host id')
    .option('--force', 'although ports are bound there')
    .addHelpText('after', examples('weft host remove host-b'))
    .action(async (name: string, options: { force?: boolean }, command: Command) => {
      await withSession(deps, command, async (session) => {
        const access = adminAccess(session);
        const keys = session.trust.principals().filter((principal) => principal.role === 'host' && principal.name === name);
        if (keys.length === 0)
          throw new CliError(CliErrorCode.NotFound, `There is no host "${name}" with a key: see "weft principal list"`);
        if (options.force !== true) {
          const { bindings } = await readCatalog(session, ['PortBinding']);
          const count = bindings.filter(({ value }) => value.hostId === name && value.state === 'bound').length;
          if (count > 0)
            throw new CliError(
              CliErrorCode.Refused,
              `Cannot remove host "${name}": ${count} ports are bound there; move them with "weft port migrate", or use --force`,
            );
        }
        // The record first: once the key counts no more, nobody could tell whose record that was.
        await removeHostRecord(access, name);
        for (const { key } of keys) await removePrincipal(access, key);
        deps.io.out(`host ${name} removed\n`);
      });
    });
}
