import { BUCKETS, type BucketName, WeftError } from '@weft/model';
import type { Bucket, OpenOptions, Store } from './api.ts';
import { JetStreamBucket, missing, streamName } from './bucket.ts';
import { isAtLeast, OLDEST_SERVER } from './capabilities.ts';
import { callApi, insist, JsError, refusedWith, type StreamConfig, type StreamInfo, streamInfo } from './js-api.ts';
import type { Link } from './link.ts';
import { AUDIT_STREAM, AUDIT_SUBJECTS, JetStreamLog, NAT_LOG_STREAM, NAT_LOG_SUBJECTS } from './log-stream.ts';

// Buckets and the audit stream: made if absent, compared if there. NATS itself takes an existing stream whatever was asked for, so a
// bucket someone made with other settings would be weaker in silence.

const HISTORY = 10;
const OPEN_TIMEOUT_MS = 15_000;
const TWO_MINUTES_NS = 120_000_000_000;
const DAY_NS = 86_400_000_000_000;
const NAT_LOG_DAYS = 90;

function bucketConfig(name: BucketName, replicas: number): StreamConfig {
  return {
    name: streamName(name),
    subjects: [`$KV.${name}.>`],
    retention: 'limits',
    storage: 'file',
    num_replicas: replicas,
    discard: 'new',
    max_msgs: -1,
    max_bytes: -1,
    max_age: 0,
    // Overwritten values stay a while, so that the audit misses no change made while no controller ran.
    max_msgs_per_subject: HISTORY,
    max_msg_size: -1,
    max_consumers: -1,
    duplicate_window: TWO_MINUTES_NS,
    // Removing goes message by message (`Bucket.purge`). A purge of one key, and a rollup, which is one, would on nats-server before 2.9.15 move every
    // consumer past what it has not told yet (nats-io/nats-server#3838): a watch or the audit would miss records in silence.
    deny_delete: false,
    deny_purge: true,
    allow_rollup_hdrs: false,
    allow_direct: false,
  };
}

function auditConfig(replicas: number): StreamConfig {
  return {
    ...bucketConfig('config', replicas),
    name: AUDIT_STREAM,
    subjects: [AUDIT_SUBJECTS],
    max_msgs_per_subject: -1,
    deny_delete: true,
    // NATS drops what two controllers append at the same time; what one appends later than this, readers drop.
    duplicate_window: TWO_MINUTES_NS * 30,
  };
}

function natLogConfig(replicas: number, days: number): StreamConfig {
  return {
    ...auditConfig(replicas),
    name: NAT_LOG_STREAM,
    subjects: [NAT_LOG_SUBJECTS],
    discard: 'old',
    max_age: Math.round(days * DAY_NS),
  };
}

/** @throws {WeftError} See `Bus.open`. */
export async function openStore(link: Link, options: OpenOptions): Promise<Store> {
  const version = link.state.serverVersion;
  if (version !== '' && !isAtLeast(version, OLDEST_SERVER)) {
    throw new WeftError('WEFT_ERR_BUS_SERVER_VERSION', `Cannot use nats-server ${version}: must be ${OLDEST_SERVER} or newer`, { version });
  }
  const create = options.create ?? true;
  const buckets = new Map<BucketName, JetStreamBucket>();
  for (const name of BUCKETS) {
    buckets.set(name, new JetStreamBucket(link, name, await openStream(link, bucketConfig(name, options.replicas), create, name)));
  }
  await openStream(link, auditConfig(options.replicas), create, 'AUDIT');
  // A controller of an older version has not made it. Then what gateways tell waits at them, and forwarding does not depend on it.
  if (create) await openNatLog(link, options);
  const audit = new JetStreamLog(link, AUDIT_STREAM, AUDIT_SUBJECTS);
  const natLog = new JetStreamLog(link, NAT_LOG_STREAM, NAT_LOG_SUBJECTS);
  const bucket = (name: BucketName): Bucket => buckets.get(name)!;
  let wasConnected = true;
  link.onState((state) => {
    const connected = state.state === 'connected';
    if (connected && !wasConnected) {
      for (const one of buckets.values()) {
        one
          .refresh()
          .catch((error: Error) =>
            link.logger.warn({ bucket: one.name, error: error.message }, 'cannot look at the bucket after the reconnect'),
          );
      }
    }
    wasConnected = connected;
  });
  return {
    config: bucket('config'),
    mapping: bucket('mapping'),
    hosts: bucket('hosts'),
    gateways: bucket('gateways'),
    bucket,
    audit,
    natLog,
  };
}

/** How long it is kept is an operator's to say, by option or by NATS's own tools: only an option changes it. */
async function openNatLog(link: Link, { replicas, natLogDays }: OpenOptions): Promise<void> {
  const { config } = await openStream(link, natLogConfig(replicas, natLogDays ?? NAT_LOG_DAYS), true, NAT_LOG_STREAM);
  const wantedNs = natLogDays === undefined ? config.max_age : Math.round(natLogDays * DAY_NS);
  if (config.max_age === wantedNs) return;
  await callApi<StreamInfo>(link, `STREAM.UPDATE.${NAT_LOG_STREAM}`, { ...config, max_age: wantedNs }, OPEN_TIMEOUT_MS);
}

async function openStream(link: Link, wanted: StreamConfig, create: boolean, what: string): Promise<StreamInfo> {
  const info = await insist(link, OPEN_TIMEOUT_MS, undefined, async (timeoutMs) => {
    try {
      return await streamInfo(link, wanted.name, timeoutMs);
    } catch (error) {
      if (!refusedWith(error, JsError.StreamNotFound)) throw error;
      if (!create) throw missing(what);
    }
    try {
      return await callApi<StreamInfo>(link, `STREAM.CREATE.${wanted.name}`, wanted, Math.max(timeoutMs, 5_000));
    } catch (error) {
      // Someone else made it meanwhile; if with other settings, the comparison below says so.
      if (!refusedWith(error, JsError.StreamNameInUse)) throw error;
      return await streamInfo(link, wanted.name, timeoutMs);
    }
  });
  // Who may not make the stream did not choose its replicas either: a host works on one server as on a cluster.
  const differences = compareConfig(wanted, info.config).filter(({ field }) => create || field !== 'num_replicas');
  if (differences.length > 0) {
    throw new WeftError(
      'WEFT_ERR_BUS_BUCKET_MISMATCH',
      `Cannot use the stream ${wanted.name}: ${differences.map(({ field, is, asked }) => `its ${field} is ${JSON.stringify(is)}, asked was ${JSON.stringify(asked)}`).join('; ')}; change the option, or the stream`,
      { stream: wanted.name, differences },
    );
  }
  return info;
}

/** Fields in which a stream is not as asked for. Servers leave out fields that are false or 0. */
export function compareConfig(wanted: StreamConfig, is: Partial<StreamConfig>): { field: string; is: unknown; asked: unknown }[] {
  return (Object.keys(wanted) as (keyof StreamConfig)[]).flatMap((field) => {
    const asked = wanted[field];
    const found = is[field] ?? (typeof asked === 'boolean' ? false : typeof asked === 'number' ? 0 : undefined);
    // Windows and sizes only bound what is kept; an operator may set them.
    if (field === 'max_age' && wanted.name === NAT_LOG_STREAM) return [];
    if (field === 'duplicate_window' || field === 'max_bytes' || field === 'max_msg_size' || field === 'max_consumers') return [];
    return JSON.stringify(found) === JSON.stringify(asked) ? [] : [{ field, is: found, asked }];
  });
}
