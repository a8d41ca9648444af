import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { type ManifestFile, type ParsedManifests, parseManifests, type ResourceChange } from '@weft/model';
import type { Command } from 'commander';
import { CliError, CliErrorCode, ExitCode, NotComparedError } from '../core/errors.ts';
import { readText } from '../core/files.ts';
import type { Io } from '../core/io.ts';
import { ask, RefusedError, type Session } from '../core/session.ts';
import { toJson } from '../format/output.ts';
import { paint, type Tone } from '../format/style.ts';
import { type Deps, examples, withSession } from './deps.ts';

/**
 * Reads the manifests that `-f` names: a file, a directory (its `*.yaml`, `*.yml` and `*.json` files, by name, without those below), or `-` for
 * standard input.
 *
 * @throws {CliError} `WEFT_ERR_CLI_FILE`
 */
export async function readManifestFiles(paths: readonly string[], io: Pick<Io, 'readStdin'>): Promise<ManifestFile[]> {
  const files: ManifestFile[] = [];
  for (const path of paths) {
    if (path === '-') {
      files.push({ name: '(standard input)', text: await io.readStdin() });
    } else if (statSync(path, { throwIfNoEntry: false })?.isDirectory() === true) {
      const names = readdirSync(path)
        .filter((name) => /\.(ya?ml|json)$/.test(name))
        .sort();
      if (names.length === 0)
        throw new CliError(CliErrorCode.File, `Cannot apply directory ${path}: it holds no *.yaml, *.yml or *.json file`);
      files.push(...names.map((name) => ({ name: join(path, name), text: readText(join(path, name), 'the manifest') })));
    } else files.push({ name: path, text: readText(path, 'the manifest') });
  }
  return files;
}

const signs: Record<ResourceChange['action'], { readonly sign: string; readonly tone: Tone }> = {
  created: { sign: '+', tone: 'good' },
  updated: { sign: '~', tone: 'warn' },
  deleted: { sign: '-', tone: 'bad' },
  unchanged: { sign: '=', tone: 'dim' },
};

/** One line a resource, and below it one a field that differs: `spec.addresses: "10.0.0.4" → "10.0.0.5"`. */
export function formatChanges(changes: readonly ResourceChange[], options: { readonly color: boolean; readonly fields: boolean }): string {
  return changes
    .map(({ action, resource, fields }) => {
      const { sign, tone } = signs[action];
      const head = `${paint(`${sign} ${resource} ${action}`, tone, options.color)}\n`;
      if (!options.fields || action === 'unchanged') return head;
      const show = (value: string): string => (value === '' ? '(none)' : value);
      return head + fields.map((field) => `    ${field.path}: ${show(field.before)} → ${show(field.after)}\n`).join('');
    })
    .join('');
}

/** `2 created, 1 updated, 5 unchanged` */
export function summarizeChanges(changes: readonly ResourceChange[]): string {
  const counts = (['created', 'updated', 'deleted', 'unchanged'] as const).flatMap((action) => {
    const count = changes.filter((change) => change.action === action).length;
    return count === 0 ? [] : [`${count} ${action}`];
  });
  return counts.join(', ') || 'nothing to do';
}

/** `{dryRun, changed, changes}` */
export function changesJson(changes: readonly ResourceChange[], dryRun: boolean): string {
  return toJson({ dryRun, changed: changes.some((change) => change.action !== 'unchanged'), changes });
}

/**
 * Reads and parses manifests.
 *
 * @throws {ManifestError} With all that is wrong in them.
 */
export async function loadResources(paths: readonly string[], io: Pick<Io, 'readStdin'>): Promise<ParsedManifests> {
  return parseManifests(await readManifestFiles(paths, io));
}

/** Asks a controller to apply; its problems get the file and line they are about. */
async function applyResources(
  session: Session,
  { resources, locate }: ParsedManifests,
  dryRun: boolean,
  force: boolean,
): Promise<readonly ResourceChange[]> {
  try {
    return (await ask(session, 'controller', { kind: 'apply', value: { resources, dryRun, force } }, 'apply')).changes;
  } catch (error) {
    if (!(error instanceof RefusedError)) throw error;
    throw new RefusedError(
      'controller',
      error.problems.map((problem) => ({ ...problem, at: locate(problem) })),
    );
  }
}

interface ApplyOptions {
  readonly filename: readonly string[];
  readonly dryRun?: boolean;
  readonly force?: boolean;
  readonly json?: boolean;
}

export function registerApply(program: Command, deps: Deps): void {
  program
    .command('apply')
    .summary('make what manifests say')
    .description(
      'Sends manifests (Tenant, VirtualNetwork, VirtualSubnet, Port, CustomerRoute, Gateway, GatewayConnection, ExternalAddress, NatRule) to a controller, which makes or changes what they name, or refuses all of them. What they do not name stays as it is; applying again changes nothing.',
    )
    .requiredOption('-f, --filename <path...>', 'file, directory (its *.yaml, *.yml, *.json) or - for standard input')
    .option('--dry-run', 'only say what would change')
    .option('--force', 'also remove members of a gateway that were not drained: for hosts that are gone for good')
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      examples('weft apply -f net.yaml', 'weft apply -f tenants/ -f ports.yaml', 'weft get networks -o yaml | weft apply -f - --dry-run'),
    )
    .action(async (options: ApplyOptions, command: Command) => {
      const dryRun = options.dryRun === true;
      const parsed = await loadResources(options.filename, deps.io);
      if (parsed.resources.length === 0) {
        deps.io.note(`nothing to apply: ${options.filename.join(', ')} has no documents`);
        if (options.json === true) deps.io.out(changesJson([], dryRun));
        return;
      }
      const changes = await withSession(deps, command, (session) => applyResources(session, parsed, dryRun, options.force === true));
      if (options.json === true) deps.io.out(changesJson(changes, dryRun));
      else {
        deps.io.out(formatChanges(changes, { color: deps.io.color, fields: false }));
        deps.io.note(`${dryRun ? 'would be: ' : ''}${summarizeChanges(changes)}`);
      }
    });

  program
    .command('diff')
    .summary('what apply would change')
    .description(
      'Compares manifests with what stands, field by field, and changes nothing.\nExit status: 0 no difference, 1 a difference, 2 the manifests are wrong or refused (or the command line is), 3 NATS or a controller does not answer.',
    )
    .requiredOption('-f, --filename <path...>', 'file, directory (its *.yaml, *.yml, *.json) or - for standard input')
    .option('--json', 'print JSON')
    .addHelpText('after', examples('weft diff -f net.yaml', 'weft diff -f net.yaml --json'))
    .action(async (options: ApplyOptions, command: Command) => {
      const compare = async (): Promise<readonly ResourceChange[]> => {
        const parsed = await loadResources(options.filename, deps.io);
        if (parsed.resources.length === 0) return [];
        return await withSession(deps, command, (session) => applyResources(session, parsed, true, false));
      };
      const changes = await compare().catch((error: unknown) => {
        throw new NotComparedError(error);
      });
      const differing = changes.filter((change) => change.action !== 'unchanged');
      if (options.json === true) deps.io.out(changesJson(changes, true));
      else {
        deps.io.out(formatChanges(differing, { color: deps.io.color, fields: true }));
        deps.io.note(summarizeChanges(changes));
      }
      if (differing.length > 0) deps.setExitCode(ExitCode.failed);
    });
}
