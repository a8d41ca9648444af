import { type AuditProjector, startAuditProjector } from '@weft/audit';
import { type Entry, type RecordEntry, readEntry, type Subscription } from '@weft/bus';
import { configPrefix, WeftError } from '@weft/model';
import type { ControllerComponents } from './components.ts';
import { refreshAssignments } from './gateway-steps.ts';
import { RESUME_AFTER_MS } from './intent-lease.ts';
import { RequestHandler } from './requests.ts';

export interface ControllerInit {
  /** How long a request under way may go without sign of life, as this controller sees it, before it is resumed; the same for all controllers. Default 45,000 ms. */
  readonly resumeAfterMs?: number;
  /** How long a request's mark stays after it is done. Default 15 minutes: three times as long as a request is good for. */
  readonly keepDoneMs?: number;
  /** How often assignments are compared with what their hosts say of themselves. Default 5 s. */
  readonly tendGatewaysMs?: number;
}

export interface Controller {
  /** Begins to serve, to resume what others left and to project the audit. */
  start(): void;
  /** Ends the serving; requests under way are finished. */
  stop(): Promise<void>;
  readonly audit: AuditProjector | undefined;
}

/** An intent in sight: since when by this controller's clock. */
interface Seen {
  readonly entry: RecordEntry;
  readonly sinceMs: number;
}

/**
 * A controller: serves `weft.v1.cmd.controller` together with all others there are. Keeps no state: any number may run, start and be killed at
 * any time; what one leaves in the middle another resumes.
 */
export function createController(components: ControllerComponents, init: ControllerInit = {}): Controller {
  const { bus, store, identity, logger, clock } = components;
  const resumeAfterMs = init.resumeAfterMs ?? RESUME_AFTER_MS;
  const handler = new RequestHandler(components, resumeAfterMs);
  const keepDoneMs = init.keepDoneMs ?? 15 * 60_000;
  const tendGatewaysMs = init.tendGatewaysMs ?? 5_000;
  const intents = new Map<string, Seen>();
  let service: Subscription | undefined;
  let watch: Subscription | undefined;
  let audit: AuditProjector | undefined;
  let timer: NodeJS.Timeout | undefined;
  let tending: Promise<void> = Promise.resolve();

  const see = (entry: Entry): void => {
    try {
      const read = readEntry('config', entry);
      const refusal = components.trust.mayWrite(read.change, read.signer);
      if (refusal !== undefined) throw refusal;
      intents.set(entry.key, { entry: read, sinceMs: clock.monotonic() });
    } catch (error) {
      if (!(error instanceof WeftError)) throw error;
      logger.error({ key: entry.key, code: error.code, error: error.message }, 'intent refused');
    }
  };

  const tend = async (): Promise<void> => {
    for (const [key, { entry, sinceMs }] of [...intents]) {
      try {
        if (entry.record !== undefined) {
          if (clock.monotonic() - sinceMs < resumeAfterMs) continue;
          intents.delete(key);
          await handler.resume(entry);
        } else if (clock.now() - entry.change.timeUnixMs > keepDoneMs) {
          await store.config.purge(key, entry.revision);
          intents.delete(key);
        }
      } catch (error) {
        logger.warn({ key, error: (error as Error).message }, 'an intent could not be tended; later');
        if (!intents.has(key)) intents.set(key, { entry, sinceMs: clock.monotonic() });
      }
    }
  };

  let assignmentsSeenMs = clock.monotonic();
  const tendGateways = async (): Promise<void> => {
    if (clock.monotonic() - assignmentsSeenMs < tendGatewaysMs) return;
    assignmentsSeenMs = clock.monotonic();
    await refreshAssignments(components, handler.records).catch((error: Error) =>
      logger.warn({ error: error.message }, 'the assignments of gateways could not be tended; later'),
    );
  };

  return {
    get audit() {
      return audit;
    },
    start() {
      if (service !== undefined) return;
      audit = startAuditProjector({ store, logger });
      watch = store.config.watch(configPrefix.intents, {
        onSnapshot(snapshot) {
          const known = new Map(intents);
          intents.clear();
          for (const entry of snapshot.entries) {
            const seen = known.get(entry.key);
            if (seen !== undefined && seen.entry.revision === entry.revision) intents.set(entry.key, seen);
            else see(entry);
          }
        },
        onEntry: see,
      });
      // One round at a time, and the next a while after it.
      const next = (): void => {
        timer = setTimeout(
          () => {
            tending = tend()
              .then(tendGateways)
              .finally(() => timer !== undefined && next());
          },
          Math.min(1_000, resumeAfterMs / 4),
        );
      };
      next();
      service = bus.serve('controller', { identity, handler: (request) => handler.handle(request), logger });
      logger.info({ key: identity.publicKey }, 'controller serves');
    },
    async stop() {
      clearTimeout(timer);
      timer = undefined;
      await service?.stop();
      await watch?.stop();
      await tending;
      await audit?.stop();
      service = undefined;
    },
  };
}
