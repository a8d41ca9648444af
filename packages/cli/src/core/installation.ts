import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { type Bus, commitRecord, createIdentity, getRecord, type Identity, putPrincipal, readEntry, type Store } from '@weft/bus';
import { configKey, configPrefix, hostKey, isHostId, type Principal, TrustStore } from '@weft/model';
import { CliError, CliErrorCode, messageOf } from './errors.ts';
import { readText, writeWhole } from './files.ts';

// Who may do what: principals, written by admins. The first admin's public key is the trust anchor that every process is started with.

export interface AdminAccess {
  readonly bus: Bus;
  readonly store: Store;
  readonly admin: Identity;
  readonly adminName: string;
}

/**
 * Begins an installation, or goes on with one that was begun: the admin's and the controller's principals.
 *
 * @throws {CliError} `WEFT_ERR_CLI_REFUSED` when this NATS holds principals of another admin.
 */
export async function initialise(access: AdminAccess, controllerKey: string): Promise<void> {
  const { entries } = await access.store.config.snapshot(configPrefix.principals);
  const trust = new TrustStore([access.admin.publicKey]);
  for (const entry of entries) {
    const { change, signer, revision } = readEntry('config', entry);
    trust.apply(change, signer, revision);
  }
  if (entries.length > 0 && trust.principals().length === 0) {
    throw new CliError(
      CliErrorCode.Refused,
      `Cannot initialise: this NATS holds an installation of another admin (${entries.length} principals, none signed by ${access.admin.publicKey}); use its admin's seed, or another NATS`,
    );
  }
  await writePrincipal(access, { key: access.admin.publicKey, name: access.adminName, role: 'admin', tenants: [] });
  await writePrincipal(access, { key: controllerKey, name: 'controller', role: 'controller', tenants: [] });
}

/** Writes a principal; says whether that changed anything. */
export async function writePrincipal(access: AdminAccess, principal: Principal): Promise<boolean> {
  const { bus, store, admin, adminName } = access;
  return (await putPrincipal({ bus, store, admin, adminName, principal, requestId: randomUUID(), nowMs: Date.now() })).changed;
}

/**
 * Takes a principal's rights away. Records that it signed stay, and count no more.
 *
 * @throws {CliError} `WEFT_ERR_CLI_REFUSED` when the record changed meanwhile, or NATS does not say.
 */
export async function removePrincipal(access: AdminAccess, key: string): Promise<void> {
  await removeRecord(access, 'config', configKey.principal(key));
}

/** Removes a host's own record, when the host will not come back. */
export async function removeHostRecord(access: AdminAccess, hostId: string): Promise<void> {
  await removeRecord(access, 'hosts', hostKey(hostId));
}

async function removeRecord(access: AdminAccess, bucketName: 'config' | 'hosts', key: string): Promise<void> {
  const { bus, store, admin, adminName } = access;
  const bucket = store.bucket(bucketName);
  const current = await getRecord(bucket, key);
  if (current?.record === undefined) return;
  const { outcome } = await commitRecord({
    bus,
    bucket,
    identity: admin,
    key,
    tenant: '',
    current,
    after: undefined,
    authorKey: admin.publicKey,
    authorName: adminName,
    requestId: randomUUID(),
    nowMs: Date.now(),
  });
  if (outcome.status === 'committed') return;
  const why = outcome.status === 'conflict' ? 'it was changed at the same time' : outcome.reason;
  throw new CliError(CliErrorCode.Refused, `Cannot remove ${key}: ${why}; try again`);
}

/** What a host needs to join, in one file. Holds a secret. */
export interface HostBundle {
  readonly version: 1;
  readonly host: string;
  /** The host's own seed (`SN…`). */
  readonly seed: string;
  /** The first admin's public key. */
  readonly trust: string;
  readonly nats: readonly string[];
}

/** Makes a host's key, and the bundle that holds it. */
export function makeBundle(
  hostId: string,
  nats: readonly string[],
  trust: string,
): { readonly bundle: HostBundle; readonly publicKey: string } {
  requireHostId(hostId);
  const identity = createIdentity('host');
  return { bundle: { version: 1, host: hostId, seed: identity.seed(), trust, nats }, publicKey: identity.publicKey };
}

/** Lets the holder of a key act as a host. */
export async function admitHost(access: AdminAccess, hostId: string, publicKey: string): Promise<void> {
  await writePrincipal(access, { key: publicKey, name: hostId, role: 'host', tenants: [] });
}

export function writeBundle(path: string, bundle: HostBundle): void {
  writeWhole(path, `${JSON.stringify(bundle, undefined, 2)}\n`, { secret: true });
}

/**
 * Reads a bundle.
 *
 * @throws {CliError} `WEFT_ERR_CLI_FILE` when it is none.
 */
export function parseBundle(text: string, source: string): HostBundle {
  const bad = (why: string): CliError =>
    new CliError(CliErrorCode.File, `Cannot use bundle ${source}: ${why}; make one with "weft host add NAME --out FILE"`);
  let value: Partial<HostBundle>;
  try {
    value = JSON.parse(text) as Partial<HostBundle>;
  } catch (error) {
    throw bad(`it is not JSON (${messageOf(error)})`);
  }
  if (typeof value !== 'object' || value === null || value.version !== 1) throw bad('it has no "version": 1');
  for (const key of ['host', 'seed', 'trust'] as const) if (typeof value[key] !== 'string') throw bad(`"${key}" is missing`);
  if (!Array.isArray(value.nats) || value.nats.length === 0 || value.nats.some((url) => typeof url !== 'string'))
    throw bad('"nats" must be a list of URLs');
  return value as HostBundle;
}

export function readBundle(path: string): HostBundle {
  return parseBundle(readText(path, 'the bundle'), path);
}

export function requireHostId(id: string): void {
  if (!isHostId(id))
    throw new CliError(CliErrorCode.Usage, `Cannot use host id "${id}": must be 1 to 63 of a-z, 0-9 and "-", not at the ends`);
}

/** This machine's name as a host id. */
export function defaultHostId(name: string = hostname()): string {
  const id = name
    .toLowerCase()
    .split('.')[0]!
    .replaceAll(/[^a-z0-9-]+/g, '-')
    .replaceAll(/^-+|-+$/g, '')
    .slice(0, 63);
  return isHostId(id) ? id : 'host';
}
