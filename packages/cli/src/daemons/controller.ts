import { setTimeout as sleep } from 'node:timers/promises';
import { type BusLogger, connectBus, createTrustFollower, type Identity, type Store } from '@weft/bus';
import { createController, systemClock } from '@weft/controller';
import { WeftError } from '@weft/model';

/** What a controller process needs to know. */
export interface ControllerConfig {
  readonly nats: readonly string[];
  readonly identity: Identity;
  /** The first admin's public key. */
  readonly trust: string;
  readonly replicas: 1 | 3;
  /** How long the NAT log is kept; undefined: as it is. */
  readonly natLogDays?: number;
}

const RETRY_MS = 1_000;

/** Errors that time does not mend: an operator has to. */
const lasting: ReadonlySet<string> = new Set(['WEFT_ERR_BUS_BUCKET_MISMATCH', 'WEFT_ERR_BUS_SERVER_VERSION', 'WEFT_ERR_BUS_STORE_LOST']);

/**
 * Runs a controller until the signal aborts. With NATS absent it waits and says so.
 *
 * @throws {WeftError} `WEFT_ERR_BUS_BUCKET_MISMATCH`, `WEFT_ERR_BUS_SERVER_VERSION`: what waiting won't mend.
 */
export async function runController(config: ControllerConfig, logger: BusLogger, signal: AbortSignal): Promise<void> {
  const bus = connectBus({ servers: config.nats, name: 'weft controller', logger });
  try {
    const store = await patiently(() => openStore(), 'open the buckets');
    if (store === undefined) return;
    const follower = await patiently(() => createTrustFollower({ bus, store, anchors: [config.trust], logger }), 'read who may do what');
    if (follower === undefined) return;
    if (follower.trust.roleOf(config.identity.publicKey) !== 'controller') {
      logger.warn(
        { key: config.identity.publicKey, role: follower.trust.roleOf(config.identity.publicKey) },
        'this key is no controller of the installation (yet): what it signs is refused; an admin adds it with "weft init" or "weft principal add --role controller"',
      );
    }
    const controller = createController({
      bus,
      store,
      identity: config.identity,
      trust: follower.trust,
      logger,
      clock: systemClock,
      random: Math.random,
    });
    controller.start();
    await aborted(signal);
    logger.info({}, 'controller stops');
    await controller.stop();
    await follower.stop();
  } finally {
    await bus.close();
  }

  async function openStore(): Promise<Store> {
    await bus.whenConnected({ signal });
    const { replicas, natLogDays } = config;
    return bus.open({ replicas, ...(natLogDays === undefined ? {} : { natLogDays }) });
  }

  /** Tries again and again; undefined when told to stop. */
  async function patiently<T>(attempt: () => Promise<T>, what: string): Promise<T | undefined> {
    while (!signal.aborted) {
      try {
        return await attempt();
      } catch (error) {
        if (signal.aborted) break;
        if (error instanceof WeftError && lasting.has(error.code)) throw error;
        logger.warn({ error: (error as Error).message, nats: bus.state.state }, `cannot ${what} yet; trying again`);
        await sleep(RETRY_MS, undefined, { signal }).catch(() => {});
      }
    }
    return undefined;
  }
}

/** Resolves when the signal aborts. */
export function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
