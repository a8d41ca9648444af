import { type Context, loadContext, loadLabContext } from './context-file.ts';
import { CliError, CliErrorCode } from './errors.ts';
import type { Io } from './io.ts';

/** Options that every command takes. */
export interface GlobalOptions {
  readonly nats?: string;
  readonly identity?: string;
  readonly trust?: string;
  readonly context?: string;
  readonly lab?: string;
  readonly timeout?: number;
}

/** Where to connect and as whom, complete. */
export interface ConnectionSettings {
  readonly nats: readonly string[];
  readonly identity: string;
  readonly trust: string;
  readonly timeoutMs: number;
}

export const DEFAULT_TIMEOUT_SECONDS = 10;

/** The lab asked for, by `--lab` or `WEFT_LAB`. */
export function labOf(options: GlobalOptions, io: Pick<Io, 'env'>): string | undefined {
  return options.lab ?? (io.env.WEFT_LAB || undefined);
}

/** What the flags, the environment and the context file say together; each setting from the first that has it, in this order. */
export function mergeSettings(options: GlobalOptions, io: Pick<Io, 'env'>): Context {
  const lab = labOf(options, io);
  const file = lab !== undefined ? loadLabContext(lab) : loadContext(options.context ?? (io.env.WEFT_CONTEXT || undefined), io.env);
  const pick = (flag: string | undefined, variable: string, key: keyof Context): Partial<Context> => {
    // A lab's own settings win over the environment's, which was made for something else.
    const value = flag ?? (lab === undefined ? io.env[variable] || undefined : undefined) ?? file[key];
    return value === undefined ? {} : { [key]: value };
  };
  return {
    ...pick(options.nats, 'WEFT_NATS', 'nats'),
    ...pick(options.identity, 'WEFT_IDENTITY', 'identity'),
    ...pick(options.trust, 'WEFT_TRUST', 'trust'),
    ...(file.netns === undefined ? {} : { netns: file.netns }),
  };
}

/**
 * The settings needed to talk to controllers and hosts.
 *
 * @throws {CliError} `WEFT_ERR_CLI_SETTING` naming what is missing and the ways to give it.
 */
export function connectionSettings(options: GlobalOptions, io: Pick<Io, 'env'>): ConnectionSettings {
  const merged = mergeSettings(options, io);
  const need = (key: 'nats' | 'identity' | 'trust', what: string): string => {
    const value = merged[key];
    if (value !== undefined) return value;
    throw new CliError(
      CliErrorCode.Setting,
      `No ${what} given: pass --${key}, set WEFT_${key.toUpperCase()}, or have a context file (~/.config/weft/context.yaml or /etc/weft/context.yaml; "weft up" and "weft init" write one); for a lab of this machine pass --lab NAME ("weft lab list" names them)`,
    );
  };
  return {
    nats: splitUrls(need('nats', 'NATS URL')),
    identity: need('identity', 'identity (the file with your seed)'),
    trust: need('trust', "trust anchor (the first admin's public key)"),
    timeoutMs: (options.timeout ?? DEFAULT_TIMEOUT_SECONDS) * 1_000,
  };
}

/**
 * NATS URLs, divided by commas.
 *
 * @throws {CliError} `WEFT_ERR_CLI_SETTING` for what is no URL of NATS.
 */
export function splitUrls(text: string): string[] {
  const urls = text
    .split(',')
    .map((url) => url.trim())
    .filter((url) => url !== '');
  const bad = urls.find((url) => !/^(nats|tls):\/\/[^\s/]+$/.test(url) && !/^[^\s/:]+(:\d+)?$/.test(url));
  if (urls.length === 0 || bad !== undefined) {
    throw new CliError(
      CliErrorCode.Setting,
      `Cannot use NATS URL "${bad ?? text}": must look like nats://192.0.2.10:4222 (several divided by commas)`,
    );
  }
  return urls;
}
