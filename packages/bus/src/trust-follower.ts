import { configKey, configPrefix, type Principal, parseKey, TrustStore, WeftError } from '@weft/model';
import type { Bus, BusLogger, RecordEntry, Store, Subscription } from './api.ts';
import { commitRecord, getRecord, readEntry } from './envelope.ts';
import { HintedReads } from './hinted-reads.ts';
import type { Identity } from './identity.ts';
import { silentLogger } from './link.ts';

export interface TrustFollowerInit {
  readonly bus: Bus;
  readonly store: Store;
  /** Public keys of the installation's admins. */
  readonly anchors: readonly string[];
  readonly logger?: BusLogger;
  /** Full look at principals and hosts, beside events. Default 30,000 ms. */
  readonly refreshMs?: number;
}

/** A TrustStore kept up to date: events, and a snapshot at start, at each reconnect and every `refreshMs`. */
export interface TrustFollower {
  readonly trust: TrustStore;
  /** A full look now. */
  refresh(): Promise<void>;
  stop(): Promise<void>;
}

/** Resolves after the first full look. @throws What `Bucket.snapshot` throws. */
export async function createTrustFollower(init: TrustFollowerInit): Promise<TrustFollower> {
  const { bus, store } = init;
  const logger = init.logger ?? silentLogger;
  const trust = new TrustStore(init.anchors);

  const take = (read: () => RecordEntry, where: string): void => {
    try {
      const entry = read();
      const refusal = trust.apply(entry.change, entry.signer, entry.revision);
      if (refusal !== undefined) throw refusal;
    } catch (error) {
      if (!(error instanceof WeftError)) throw error;
      logger.warn({ where, code: error.code, error: error.message }, 'trust record refused');
    }
  };
  const refresh = async (): Promise<void> => {
    const principals = await store.config.snapshot(configPrefix.principals);
    const hosts = await store.hosts.snapshot('');
    for (const entry of principals.entries) take(() => readEntry('config', entry), entry.key);
    for (const entry of hosts.entries) take(() => readEntry('hosts', entry), entry.key);
    const keys = principals.entries.flatMap((entry) => {
      const parsed = parseKey('config', entry.key);
      return parsed?.kind === 'principal' ? [parsed.publicKey] : [];
    });
    trust.sweep('principal', new Set(keys), principals.atSequence);
    trust.sweep('host', new Set(hosts.entries.map((entry) => entry.key)), hosts.atSequence);
  };
  const refreshQuietly = (): void => {
    if (bus.state.state !== 'connected') return;
    refresh().catch((error: Error) => logger.warn({ error: error.message }, 'cannot refresh principals and hosts'));
  };

  const read = async (bucket: 'config' | 'hosts', key: string): Promise<void> => {
    try {
      const entry = await store.bucket(bucket).get(key);
      if (entry !== undefined) take(() => readEntry(bucket, entry), key);
    } catch (error) {
      logger.warn({ where: key, error: (error as Error).message }, 'cannot read a principal or host; the next look does');
    }
  };
  const hints = new HintedReads(read, refreshQuietly);
  const events: Subscription = bus.onHostEvents(({ bucket, key }) => {
    const kind = parseKey(bucket, key)?.kind;
    if (kind === 'principal' || kind === 'host') hints.hear(bucket as 'config' | 'hosts', key);
  });
  try {
    await refresh();
  } catch (error) {
    await events.stop();
    throw error;
  }
  let connected = true;
  const stopState = bus.onState((state) => {
    if (state.state === 'connected' && !connected) refreshQuietly();
    connected = state.state === 'connected';
  });
  const timer = setInterval(refreshQuietly, init.refreshMs ?? 30_000);
  timer.unref();
  return {
    trust,
    refresh,
    async stop() {
      clearInterval(timer);
      stopState();
      await events.stop();
    },
  };
}

/**
 * Writes a principal, signed by an admin (an anchor's key, or one that an anchor made an admin). Idempotent.
 * @throws {WeftError} `WEFT_ERR_CONTROLLER_CONFLICT` when others write it at the same time, `WEFT_ERR_CONTROLLER_UNKNOWN_OUTCOME`.
 */
export async function putPrincipal(init: {
  readonly bus: Bus;
  readonly store: Store;
  readonly admin: Identity;
  readonly adminName: string;
  readonly principal: Principal;
  readonly requestId: string;
  readonly nowMs: number;
}): Promise<{ readonly revision: number; readonly changed: boolean }> {
  const { bus, store, admin, principal } = init;
  const key = configKey.principal(principal.key);
  for (let attempt = 0; attempt < 5; attempt++) {
    const current = await getRecord(store.config, key);
    const same = current?.record?.kind === 'principal' && JSON.stringify(current.record.value) === JSON.stringify(principal);
    if (same && current.signer === admin.publicKey) return { revision: current.revision, changed: false };
    const { outcome } = await commitRecord({
      bus,
      bucket: store.config,
      identity: admin,
      key,
      tenant: '',
      current,
      after: { kind: 'principal', value: principal },
      authorKey: admin.publicKey,
      authorName: init.adminName,
      requestId: init.requestId,
      nowMs: init.nowMs,
    });
    if (outcome.status === 'committed') return { revision: outcome.revision, changed: true };
    if (outcome.status === 'unknown')
      throw new WeftError(
        'WEFT_ERR_CONTROLLER_UNKNOWN_OUTCOME',
        `Cannot say whether principal ${principal.name} was written: ${outcome.reason}; repeat it`,
      );
  }
  throw new WeftError(
    'WEFT_ERR_CONTROLLER_CONFLICT',
    `Cannot write principal ${principal.name}: others write it at the same time; try again`,
  );
}
