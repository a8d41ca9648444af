import { homedir } from 'node:os';
import { join } from 'node:path';
import { parse } from 'yaml';
import { CliError, CliErrorCode, messageOf } from './errors.ts';
import { readText, readTextIfThere, writeWhole } from './files.ts';

/** Where a command finds its installation. */
export interface Context {
  /** NATS URL, `nats://127.0.0.1:4222`; several divided by commas. */
  readonly nats?: string;
  /** File that holds the seed (an nkey, `SU…`) that requests are signed with. */
  readonly identity?: string;
  /** Public nkey (`U…`) of the installation's first admin: whom answers are verified against. */
  readonly trust?: string;
  /** Network namespace (a name under /run/netns) to enter first: a lab's. */
  readonly netns?: string;
}

const keys: readonly (keyof Context)[] = ['nats', 'identity', 'trust', 'netns'];

/**
 * Reads a context file: YAML (or JSON, which is YAML too) with the keys of `Context`.
 *
 * @param source Names the file in errors.
 * @throws {CliError} `WEFT_ERR_CLI_SETTING`
 */
export function parseContext(text: string, source: string): Context {
  const bad = (why: string): CliError => new CliError(CliErrorCode.Setting, `Cannot use context ${source}: ${why}`);
  let value: unknown;
  try {
    value = parse(text) ?? {};
  } catch (error) {
    throw bad(messageOf(error).split('\n')[0]!);
  }
  if (typeof value !== 'object' || Array.isArray(value)) throw bad(`it must hold keys (${keys.join(', ')})`);
  const context: Record<string, string> = {};
  for (const [key, entry] of Object.entries(value as Record<string, unknown>)) {
    if (!(keys as readonly string[]).includes(key)) throw bad(`unknown key "${key}": must be one of ${keys.join(', ')}`);
    if (typeof entry !== 'string' || entry === '') throw bad(`${key} must be text that is not empty`);
    context[key] = entry;
  }
  return context;
}

/** Writes a context file; it holds no secret, only where one lies. */
export function writeContext(path: string, context: Context): void {
  writeWhole(path, keys.flatMap((key) => (context[key] === undefined ? [] : [`${key}: ${JSON.stringify(context[key])}\n`])).join(''));
}

/** Where context files are looked for, the first one found counts: the user's, then the machine's. */
export function contextPaths(env: Readonly<Record<string, string | undefined>>): string[] {
  const base = env.XDG_CONFIG_HOME || join(env.HOME || homedir(), '.config');
  return [join(base, 'weft', 'context.yaml'), '/etc/weft/context.yaml'];
}

/** The context of the machine or user, or the one that `path` names. Empty when there is none. */
export function loadContext(path: string | undefined, env: Readonly<Record<string, string | undefined>>): Context {
  if (path !== undefined) return parseContext(readText(path, 'the context'), path);
  for (const candidate of contextPaths(env)) {
    const text = readTextIfThere(candidate, 'the context');
    if (text !== undefined) return parseContext(text, candidate);
  }
  return {};
}

/** Where a lab writes its context. */
export const LAB_CONTEXT_DIR = '/run/weft/labs';

/**
 * The context of a lab that is up.
 *
 * @throws {CliError} `WEFT_ERR_CLI_SETTING` when there is no lab of that name.
 */
export function loadLabContext(name: string, dir: string = LAB_CONTEXT_DIR): Context {
  if (!/^[a-z0-9][a-z0-9-]*$/.test(name)) {
    throw new CliError(CliErrorCode.Usage, `Cannot use lab "${name}": a lab's name is made of a-z, 0-9 and "-"`);
  }
  const path = join(dir, `${name}.context.json`);
  const text = readTextIfThere(path, "the lab's context");
  if (text === undefined) {
    throw new CliError(
      CliErrorCode.Setting,
      `There is no lab "${name}" (${path} is missing): see "weft lab list", or start it with "weft lab up --name ${name}"`,
    );
  }
  return parseContext(text, path);
}
