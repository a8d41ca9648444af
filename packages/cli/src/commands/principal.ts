import { existsSync } from 'node:fs';
import { createIdentity, isPublicKey } from '@weft/bus';
import type { Principal, Role } from '@weft/model';
import { type Command, Option } from 'commander';
import { CliError, CliErrorCode } from '../core/errors.ts';
import { writeWhole } from '../core/files.ts';
import { removePrincipal, writePrincipal } from '../core/installation.ts';
import { readCatalog } from '../resources/catalog.ts';
import { type Deps, examples, withSession } from './deps.ts';
import { selectRows, showRows } from './get.ts';
import { adminAccess } from './host.ts';

const roles: readonly Role[] = ['admin', 'tenant', 'viewer', 'controller'];

interface AddOptions {
  readonly role: Role;
  readonly tenant?: readonly string[];
  readonly key?: string;
  readonly out?: string;
}

export function registerPrincipal(program: Command, deps: Deps): void {
  const principal = program
    .command('principal')
    .summary('who may do what')
    .description('Adds, lists and removes users and controllers. Hosts are added with "weft host add".');

  principal
    .command('add')
    .summary('let a user or controller act')
    .description(
      'Records that the holder of a key may act in a role: admin (everything), tenant (the tenants named), viewer (reads), controller (writes configuration).',
    )
    .argument('<name>', 'what the audit log calls it')
    .addOption(new Option('--role <role>', 'what it may').choices(roles).makeOptionMandatory())
    .option('--tenant <name...>', 'tenants that role "tenant" may act for')
    .option('--key <public>', 'public key of a pair that its holder has made')
    .option('--out <file>', 'make a pair, and write its seed here (mode 0600)')
    .addHelpText(
      'after',
      examples('weft principal add ann --role tenant --tenant coke --out ann.seed', 'weft principal add bob --role viewer --key UABC…'),
    )
    .action(async (name: string, options: AddOptions, command: Command) => {
      const tenants = options.tenant ?? [];
      if ((options.role === 'tenant') !== tenants.length > 0) {
        throw new CliError(
          CliErrorCode.Usage,
          options.role === 'tenant'
            ? 'Role "tenant" needs --tenant NAME: for whom it may act'
            : `--tenant goes with role "tenant" only, not with "${options.role}"`,
        );
      }
      if ((options.key === undefined) === (options.out === undefined))
        throw new CliError(CliErrorCode.Usage, 'Give either --key PUBLIC (its holder made the pair) or --out FILE (make one here)');
      if (options.key !== undefined && !isPublicKey(options.key))
        throw new CliError(CliErrorCode.Usage, `Cannot use --key "${options.key}": it is no public nkey (56 characters, U… or C…)`);
      if (options.out !== undefined && existsSync(options.out))
        throw new CliError(CliErrorCode.File, `Cannot write ${options.out}: it is there already, and may be a key in use`);
      await withSession(deps, command, async (session) => {
        const access = adminAccess(session);
        const made = options.out === undefined ? undefined : createIdentity(options.role === 'controller' ? 'controller' : 'user');
        const key = made?.publicKey ?? options.key!;
        // The file first: a principal whose seed was never written could not be used, but would stand there.
        if (made !== undefined) writeWhole(options.out!, `${made.seed()}\n`, { secret: true });
        const value: Principal = { key, name, role: options.role, tenants };
        await writePrincipal(access, value);
        deps.io.out(`principal ${name} (${options.role}${tenants.length === 0 ? '' : ` of ${tenants.join(', ')}`}) has key ${key}\n`);
      });
    });

  principal
    .command('list')
    .summary('list principals')
    .description('Lists who may do what; the same as "weft get principals".')
    .option('--json', 'print JSON')
    .addHelpText('after', examples('weft principal list'))
    .action(async (options: { json?: boolean }, command: Command) => {
      const catalog = await withSession(deps, command, (session) => readCatalog(session, ['Principal']));
      showRows(deps.io, options.json === true ? 'json' : 'table', 'Principal', selectRows('Principal', catalog, deps.now(), {}), false);
    });

  principal
    .command('remove')
    .summary("take a principal's rights away")
    .description('Takes a key out of the installation. What it has done stays; what it signs from now on is refused.')
    .argument('<name-or-key>', 'name, or public key when two have one name')
    .addHelpText('after', examples('weft principal remove ann'))
    .action(async (wanted: string, _: object, command: Command) => {
      await withSession(deps, command, async (session) => {
        const access = adminAccess(session);
        const found = session.trust.principals().filter(({ name, key }) => name === wanted || key === wanted);
        if (found.length === 0) throw new CliError(CliErrorCode.NotFound, `There is no principal "${wanted}": see "weft principal list"`);
        if (found.length > 1)
          throw new CliError(
            CliErrorCode.Usage,
            `${found.length} principals are called "${wanted}": name the key (${found.map(({ key }) => key).join(', ')})`,
          );
        const { key, name } = found[0]!;
        if (session.trust.anchors.has(key))
          throw new CliError(CliErrorCode.Refused, `Cannot remove ${name}: its key is the trust anchor that every process is started with`);
        await removePrincipal(access, key);
        deps.io.out(`principal ${name} (${key}) removed\n`);
      });
    });
}
