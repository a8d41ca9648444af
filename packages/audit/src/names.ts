import { type Bucket, getRecord, openChange } from '@weft/bus';
import { type AuditRecord, configKey, parseKey, WeftError, type WeftRecord } from '@weft/model';

/** What the ids of a record stand for; empty where it has none. */
export interface AuditNames {
  /** As people call it: `PortBinding coke/net/web1`. */
  readonly resource: string;
  readonly tenant: string;
  readonly network: string;
  readonly port: string;
  readonly host: string;
}

/** Finds the names for what an audit record has as ids. */
export interface AuditNamer {
  /** Undefined where the record names itself, and where nobody remembers the port. */
  namesOf(record: AuditRecord): Promise<AuditNames | undefined>;
}

const REMEMBERED = 10_000;

/**
 * Reads names from the config bucket. A tombstone knows what stood there, so a binding of a port deleted long ago is named, too. Once read, a name holds:
 * an id is made of names and is never another's.
 */
export function createAuditNamer(config: Bucket): AuditNamer {
  const known = new Map<string, WeftRecord | undefined>();
  const stoodAt = async (key: string): Promise<WeftRecord | undefined> => {
    if (known.has(key)) return known.get(key);
    const entry = await getRecord(config, key).catch((error: unknown) => {
      // What can't be read names nothing; a bus that fails does so for the caller.
      if (error instanceof WeftError && /^WEFT_ERR_(MODEL|TRUST)_/.test(error.code)) return undefined;
      throw error;
    });
    const record = entry?.change.after ?? entry?.change.before;
    if (known.size >= REMEMBERED) known.clear();
    known.set(key, record);
    return record;
  };
  return {
    async namesOf(record) {
      const parsed = parseKey(record.bucket, record.key);
      if (parsed?.kind === 'binding') {
        const port = await stoodAt(configKey.port(parsed.routingDomainId, parsed.portId));
        if (port?.kind !== 'port') return undefined;
        const { tenant, network, name } = port.value;
        const { change } = openChange(record.envelope);
        const bound = change.after ?? change.before;
        const host = bound?.kind === 'binding' ? bound.value.hostId : '';
        return { resource: `PortBinding ${tenant}/${network}/${name}`, tenant, network, port: name, host };
      }
      if (parsed?.kind === 'assignment') {
        const gateway = await stoodAt(configKey.gateway(parsed.gatewayId));
        if (gateway?.kind !== 'gateway') return undefined;
        return { resource: `Assignment ${gateway.value.name}`, tenant: '', network: '', port: '', host: '' };
      }
      if (parsed?.kind === 'grant') {
        const gateway = await stoodAt(configKey.gateway(parsed.gatewayId));
        const { change } = openChange(record.envelope);
        const owner = change.after?.kind === 'grant' ? change.after.value.certificate.ballot.candidate : '';
        if (gateway?.kind !== 'gateway') return undefined;
        return { resource: `Grant ${gateway.value.name}/${parsed.shard}`, tenant: '', network: '', port: '', host: owner };
      }
      return undefined;
    },
  };
}
