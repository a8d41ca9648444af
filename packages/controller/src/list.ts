import type { Bucket, RecordEntry } from '@weft/bus';
import {
  configPrefix,
  type ListedRecord,
  type ListedValue,
  type ListRequest,
  type ListResult,
  mappingPrefix,
  type TrustStore,
  WeftError,
} from '@weft/model';
import type { ControllerComponents } from './components.ts';
import type { Records } from './records.ts';
import type { WorldLoader } from './world-loader.ts';

const KINDS = ['Tenant', 'VirtualNetwork', 'VirtualSubnet', 'Port', 'PortBinding', 'Host', 'Principal', 'Gateway', 'Assignment'] as const;
type Kind = (typeof KINDS)[number];

/** Above letters, digits, `-`, `_` and dots. */
const AFTER_ALL_KEYS = '~';

/** A page ends before it would not fit NATS's 1 MB any more; envelopes are larger than what is listed of them. */
const MAX_PAGE_BYTES = 800_000;

/**
 * Lists records that `signer` may see, by bucket and key, a page at a time.
 * @throws {WeftError} `WEFT_ERR_MANIFEST_KIND` for an unknown kind, `WEFT_ERR_TRUST_…` when the signer may read nothing of it.
 */
export async function listRecords(
  components: ControllerComponents,
  records: Records,
  loader: WorldLoader,
  request: ListRequest,
  signer: string,
): Promise<ListResult> {
  const { store, trust } = components;
  const kinds = kindsOf(request);
  const mayRead = readerOf(trust, signer, request.tenant);
  const found: { bucket: string; entry: RecordEntry; value: ListedValue }[] = [];
  const add = (bucket: string, entries: readonly RecordEntry[], accept: (value: ListedValue) => boolean): void => {
    for (const entry of entries) {
      const value = entry.record as ListedValue | undefined;
      if (value !== undefined && accept(value)) found.push({ bucket, entry, value });
    }
  };
  const named = (name: string): boolean => request.name === '' || request.name === name;
  const inTenant = (tenant: string): boolean => (request.tenant === '' || request.tenant === tenant) && mayRead(tenant);
  const inNetwork = (name: string): boolean => request.network === '' || request.network === name;
  const network = request.tenant !== '' && request.network !== '' ? await loader.network(request.tenant, request.network) : undefined;
  const below = async (bucket: Bucket, all: string, prefix: (rdid: string) => string): Promise<RecordEntry[]> =>
    network === undefined ? await records.allStanding(bucket, all) : await records.all(bucket, prefix(network.value.id));

  // Pages before had the others; of what is left, ports are needed whole where bindings go by them.
  const after = keyAfter('config', request.after ?? '');
  if (kinds.has('Tenant')) {
    add(
      'config',
      await records.allStanding(store.config, configPrefix.tenants, after),
      (record) => record.kind === 'tenant' && inTenant(record.value.name) && named(record.value.name) && request.network === '',
    );
  }
  if (kinds.has('VirtualNetwork') || kinds.has('VirtualSubnet')) {
    add('config', await records.allStanding(store.config, configPrefix.networks, after), (record) => {
      if (record.kind !== 'network' || !inTenant(record.value.tenant)) return false;
      const asNetwork = kinds.has('VirtualNetwork') && inNetwork(record.value.name) && named(record.value.name);
      const asSubnet =
        kinds.has('VirtualSubnet') &&
        inNetwork(record.value.name) &&
        (request.name === '' || record.value.subnets.some((subnet) => named(subnet.name)));
      return asNetwork || asSubnet;
    });
  }
  const needPorts = kinds.has('Port') || kinds.has('PortBinding');
  const ports = needPorts ? await below(store.config, configPrefix.allPorts, configPrefix.ports) : [];
  const isWanted = (record: ListedValue): boolean =>
    record.kind === 'port' && inTenant(record.value.tenant) && inNetwork(record.value.network) && named(record.value.name);
  if (kinds.has('Port')) add('config', ports, isWanted);
  if (kinds.has('PortBinding')) {
    const wanted = new Set(
      ports.flatMap((entry) => (entry.record?.kind === 'port' && isWanted(entry.record) ? [entry.record.value.id] : [])),
    );
    add('mapping', await below(store.mapping, '', mappingPrefix), (record) => record.kind === 'binding' && wanted.has(record.value.portId));
  }
  // Hosts, gateways and principals are the installation's: not a tenant's to see.
  if (kinds.has('Host') && mayRead(''))
    add(
      'hosts',
      await records.allStanding(store.hosts, ''),
      (record) => record.kind === 'host' && named(record.value.id) && request.tenant === '',
    );
  if (kinds.has('Gateway') && mayRead('')) {
    add(
      'config',
      await records.allStanding(store.config, configPrefix.gateways),
      (record) => record.kind === 'gateway' && named(record.value.name) && request.tenant === '',
    );
  }
  if (kinds.has('Assignment') && mayRead('')) {
    add(
      'gateways',
      await records.allStanding(store.gateways, 'assignment'),
      (record) => record.kind === 'assignment' && named(record.value.gateway) && request.tenant === '',
    );
  }
  if (kinds.has('Principal') && mayRead('')) {
    add(
      'config',
      await records.allStanding(store.config, configPrefix.principals),
      (record) => record.kind === 'principal' && (named(record.value.name) || named(record.value.key)) && request.tenant === '',
    );
  }
  return page(found, request.after ?? '');
}

/** The key of a bucket that pages before ended with: '' before the bucket, after all keys behind it. */
function keyAfter(bucket: string, place: string): string {
  if (place < `${bucket}/`) return '';
  return place.startsWith(`${bucket}/`) ? place.slice(bucket.length + 1) : AFTER_ALL_KEYS;
}

function page(found: readonly { bucket: string; entry: RecordEntry; value: ListedValue }[], after: string): ListResult {
  // Nearly in order: each kind comes by key.
  const placed = found.map((one) => ({ ...one, place: `${one.bucket}/${one.entry.key}` }));
  placed.sort((a, b) => (a.place < b.place ? -1 : 1));
  const listed: ListedRecord[] = [];
  let bytes = 0;
  let last = '';
  for (const { bucket, entry, value, place } of placed) {
    if (place <= after) continue;
    bytes += entry.envelope.length + 64;
    if (listed.length > 0 && bytes > MAX_PAGE_BYTES) return { records: listed, next: last };
    listed.push({
      bucket,
      key: entry.key,
      revision: entry.revision,
      timeUnixMs: entry.change.timeUnixMs,
      authorName: entry.change.authorName,
      record: value,
    });
    last = place;
  }
  return { records: listed };
}

function kindsOf(request: ListRequest): ReadonlySet<Kind> {
  if (request.kinds.length === 0) return new Set(KINDS);
  return new Set(
    request.kinds.map((name) => {
      const kind = KINDS.find((known) => known === name);
      if (kind === undefined)
        throw new WeftError('WEFT_ERR_MANIFEST_KIND', `Cannot list "${name}": must be one of ${KINDS.join(', ')}`, { value: name });
      return kind;
    }),
  );
}

/** Says of a tenant (or '' for the installation) whether the signer may read it. Refuses at once who may read nothing. */
function readerOf(trust: TrustStore, signer: string, tenant: string): (tenant: string) => boolean {
  const principal = trust.principal(signer);
  // A tenant's user who names no tenant sees its own.
  if (principal?.role !== 'tenant' || tenant !== '') {
    const refusal = trust.mayAct(signer, tenant, 'read');
    if (refusal !== undefined) throw refusal;
  }
  return (name) => trust.mayAct(signer, name, 'read') === undefined;
}
