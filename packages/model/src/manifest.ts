import { isAlias, isMap, isScalar, isSeq, LineCounter, type Node, parseAllDocuments } from 'yaml';
import type { Problem, Resource } from './commands.ts';
import { WeftError, type WeftErrorCode } from './errors.ts';
import { GATEWAY_KINDS, gatewayResource, type NodeReader, routeOf } from './manifest-gateway.ts';
import { nearest } from './nearest.ts';
import type { CustomerRoute, Placement } from './records.ts';
import { nameOfResource } from './resource-names.ts';

// Manifests: YAML (or JSON) documents, one a resource:
//
//   apiVersion: weft/v1
//   kind: Tenant                       # Tenant | VirtualNetwork | VirtualSubnet | Port | those of manifest-gateway.ts
//   metadata: {name, tenant, network}  # tenant: all but Tenant; network: VirtualSubnet and Port
//   spec: …
//
//   VirtualNetwork  routingDomainId?: GUID;  routes?: [{prefix, nextHop} | {prefix, blackhole: true} | {prefix, gateway: true}]
//   VirtualSubnet   prefixes: [prefix, …];  gateways?: [address, …];  vsid?: 4096..16777214
//   Port            subnet: name;  addresses: [address, …];  mac?: MAC;  placement?: any | [host id, …]
//
// Here only form is judged (is each key known, each value of its type?); what the values mean is judged by the plan, in the controller.
// `status`, as `weft get -o json` writes it, is passed over.

export const API_VERSION = 'weft/v1';
/** Bounds on what one reads: bytes of a file, documents of one call. */
export const MAX_MANIFEST_BYTES: number = 4 * 1024 * 1024;
const MAX_DOCUMENTS = 20_000;

export interface ManifestFile {
  /** For messages: `net.yaml`. */
  readonly name: string;
  readonly text: string;
}

/** A problem and its place. */
export interface ManifestProblem extends Problem {
  readonly file: string;
  /** From 1. */
  readonly line: number;
  /** `net.yaml:12` */
  readonly at: string;
}

/** All that is wrong with the manifests given. */
export class ManifestError extends WeftError {
  override readonly name: string = 'ManifestError';
  readonly problems: readonly ManifestProblem[];

  constructor(problems: readonly ManifestProblem[]) {
    const first = problems[0]!;
    const more = problems.length > 1 ? ` (and ${problems.length - 1} more)` : '';
    super(first.code as WeftErrorCode, `Cannot read the manifests: ${first.at}: ${first.path} ${first.rule}${more}`, { problems });
    this.problems = problems;
  }
}

export interface ParsedManifests {
  readonly resources: readonly Resource[];
  /** Where a problem that a controller found stands: `net.yaml:12`; empty if it is about none of these resources. */
  locate(problem: Pick<Problem, 'resource' | 'path'>): string;
}

/**
 * Reads manifests.
 * @param options.otherKinds Kinds of documents to pass over: those of other readers.
 * @throws {ManifestError} With everything that is wrong, in the order of the files.
 */
export function parseManifests(files: readonly ManifestFile[], options: { readonly otherKinds?: readonly string[] } = {}): ParsedManifests {
  const problems: ManifestProblem[] = [];
  const resources: Resource[] = [];
  const places = new Map<string, Place>();
  let count = 0;
  for (const file of files) {
    const reader = new FileReader(file, problems, options.otherKinds ?? []);
    for (const { resource, place } of reader.read()) {
      if (++count > MAX_DOCUMENTS) break;
      resources.push(resource);
      const name = nameOfResource(resource);
      if (!places.has(name)) places.set(name, place);
    }
  }
  if (count > MAX_DOCUMENTS) {
    const file = files.at(-1)?.name ?? '';
    problems.push({
      code: 'WEFT_ERR_MANIFEST_SYNTAX',
      resource: '',
      path: '',
      value: String(count),
      rule: `must be at most ${MAX_DOCUMENTS} documents`,
      hint: 'apply them in parts',
      file,
      line: 1,
      at: `${file}:1`,
    });
  }
  if (problems.length > 0) throw new ManifestError(problems);
  return {
    resources,
    locate({ resource, path }) {
      const place = places.get(resource);
      return place === undefined ? '' : `${place.file}:${place.lineOf(path)}`;
    },
  };
}

interface Place {
  readonly file: string;
  lineOf(path: string): number;
}

/** The keys of each kind: metadata, and spec with `!` on those that must be there. */
const KINDS: Readonly<Record<string, { readonly metadata: readonly string[]; readonly spec: Readonly<Record<string, boolean>> }>> = {
  Tenant: { metadata: ['name'], spec: {} },
  VirtualNetwork: { metadata: ['name', 'tenant'], spec: { routingDomainId: false, routes: false } },
  VirtualSubnet: { metadata: ['name', 'tenant', 'network'], spec: { prefixes: true, gateways: false, vsid: false } },
  Port: { metadata: ['name', 'tenant', 'network'], spec: { subnet: true, addresses: true, mac: false, placement: false } },
  ...GATEWAY_KINDS,
};
const TOP_KEYS = ['apiVersion', 'kind', 'metadata', 'spec', 'status'];

class FileReader {
  readonly #file: ManifestFile;
  readonly #problems: ManifestProblem[];
  readonly #otherKinds: readonly string[];
  readonly #lines = new LineCounter();

  constructor(file: ManifestFile, problems: ManifestProblem[], otherKinds: readonly string[]) {
    this.#file = file;
    this.#problems = problems;
    this.#otherKinds = otherKinds;
  }

  *read(): Generator<{ resource: Resource; place: Place }> {
    const { text } = this.#file;
    if (text.length > MAX_MANIFEST_BYTES) {
      this.#refuse(
        'WEFT_ERR_MANIFEST_SYNTAX',
        undefined,
        '',
        '',
        `${text.length} letters`,
        `must have at most ${MAX_MANIFEST_BYTES} letters`,
        'split the file',
      );
      return;
    }
    let documents: ReturnType<typeof parseAllDocuments>;
    try {
      documents = parseAllDocuments(text, {
        lineCounter: this.#lines,
        version: '1.2',
        schema: 'core',
        uniqueKeys: true,
        prettyErrors: false,
        logLevel: 'silent',
      });
    } catch (error) {
      // Thousands of open brackets exhaust the stack: a RangeError. Any other error is bad text to us, too.
      this.#refuse('WEFT_ERR_MANIFEST_SYNTAX', undefined, '', '', '', `must be YAML: ${(error as Error).message}`, 'correct it');
      return;
    }
    if (!Array.isArray(documents)) return;
    for (const document of documents) {
      if (document.errors.length > 0) {
        const { message, pos } = document.errors[0]!;
        this.#refuseAt('WEFT_ERR_MANIFEST_SYNTAX', pos[0], '', '', '', `must be YAML: ${message.split('\n')[0]!}`, 'correct it');
        // What follows a syntax error is guesswork.
        return;
      }
      const root = document.contents as Node | null;
      if (root === null || (isScalar(root) && root.value === null)) continue;
      const resource = this.#document(root);
      if (resource !== undefined) yield { resource, place: this.#place(root) };
    }
  }

  #document(root: Node): Resource | undefined {
    const before = this.#problems.length;
    const top = this.#map(root, '', '', TOP_KEYS, ['apiVersion', 'kind', 'metadata'], true);
    if (top === undefined) return undefined;
    const version = scalar(top.get('apiVersion'));
    const kind = scalar(top.get('kind'));
    if (this.#otherKinds.includes(String(kind))) {
      this.#problems.length = before;
      return undefined;
    }
    if (top.has('apiVersion') && version !== API_VERSION) {
      this.#refuse(
        'WEFT_ERR_MANIFEST_KIND',
        top.get('apiVersion'),
        '',
        'apiVersion',
        version,
        `must be ${API_VERSION}`,
        `write apiVersion: ${API_VERSION}`,
      );
    }
    if (!top.has('kind')) return undefined;
    const shape = typeof kind === 'string' && Object.hasOwn(KINDS, kind) ? KINDS[kind]! : undefined;
    if (shape === undefined) {
      const near = typeof kind === 'string' ? nearest(kind, Object.keys(KINDS)) : undefined;
      this.#refuse(
        'WEFT_ERR_MANIFEST_KIND',
        top.get('kind'),
        '',
        'kind',
        kind,
        `must be one of ${Object.keys(KINDS).join(', ')}`,
        near === undefined ? 'correct it' : `write ${near}`,
      );
      return undefined;
    }
    const label = this.#label(kind as string, top.get('metadata'));
    if (this.#problems.length > before)
      for (let i = before; i < this.#problems.length; i++) this.#problems[i] = { ...this.#problems[i]!, resource: label };
    const metadata = this.#map(top.get('metadata'), label, 'metadata', shape.metadata, shape.metadata);
    const names = (key: string): string => this.#text(metadata?.get(key), label, `metadata.${key}`) ?? '';
    const required = Object.keys(shape.spec).filter((key) => shape.spec[key]);
    const specNode = top.get('spec');
    const isEmpty = specNode === undefined || (isScalar(specNode) && specNode.value === null);
    if (isEmpty && required.length > 0) {
      this.#refuse('WEFT_ERR_MANIFEST_MISSING', root, label, 'spec', '', `must be there, with ${required.join(' and ')}`, 'add it');
    }
    const spec = isEmpty ? new Map<string, Node>() : this.#map(specNode, label, 'spec', Object.keys(shape.spec), required);
    const base = { tenant: '', network: '' };
    for (const key of ['tenant', 'network'] as const) if (shape.metadata.includes(key)) base[key] = names(key);
    const resource = this.#resource(kind as string, names('name'), base, spec ?? new Map(), label);
    return this.#problems.length > before ? undefined : resource;
  }

  #resource(
    kind: string,
    name: string,
    base: { tenant: string; network: string },
    spec: ReadonlyMap<string, Node>,
    label: string,
  ): Resource {
    const text = (key: string): string => this.#text(spec.get(key), label, `spec.${key}`) ?? '';
    const texts = (key: string): string[] =>
      this.#list(spec.get(key), label, `spec.${key}`, (node, path) => this.#text(node, label, path) ?? '');
    const { tenant, network } = base;
    switch (kind) {
      case 'Tenant':
        return { kind: 'tenant', value: { name } };
      case 'VirtualNetwork': {
        const routes = this.#list(spec.get('routes'), label, 'spec.routes', (node, path) => this.#route(node, label, path));
        return { kind: 'network', value: { tenant, name, routingDomainId: text('routingDomainId'), routes } };
      }
      case 'VirtualSubnet': {
        const vsid = this.#integer(spec.get('vsid'), label, 'spec.vsid');
        return { kind: 'subnet', value: { tenant, network, name, vsid, prefixes: texts('prefixes'), gateways: texts('gateways') } };
      }
      case 'Port': {
        const value = { tenant, network, subnet: text('subnet'), name, mac: text('mac'), addresses: texts('addresses') };
        return { kind: 'port', value: { ...value, placement: this.#placement(spec.get('placement'), label) } };
      }
      default:
        return gatewayResource(this.#reader(label), kind, { name, tenant, network }, spec);
    }
  }

  #reader(label: string): NodeReader {
    return {
      map: (node, path, known, required) => this.#map(node, label, path, known, required),
      list: (node, path, item) => this.#list(node, label, path, item),
      text: (node, path) => this.#text(node, label, path) ?? '',
      integer: (node, path, max) => this.#count(node, label, path, max),
      flag: (node, path) => this.#flag(node, label, path),
      refuse: (code, node, path, value, rule, hint) => this.#refuse(code, node, label, path, value, rule, hint),
    };
  }

  #route(node: Node, label: string, path: string): CustomerRoute {
    const map = this.#map(node, label, path, ['prefix', 'nextHop', 'blackhole', 'gateway'], ['prefix']);
    return map === undefined ? { prefix: '', kind: 'blackhole', nextHop: '' } : routeOf(this.#reader(label), map, path);
  }

  #flag(node: Node | undefined, label: string, path: string): boolean {
    const value = scalar(node);
    if (node === undefined || value === null || typeof value === 'boolean') return value === true;
    this.#refuse('WEFT_ERR_MANIFEST_VALUE', node, label, path, value, 'must be true or false', 'correct it');
    return false;
  }

  #count(node: Node | undefined, label: string, path: string, max: number): number | undefined {
    const value = scalar(node);
    if (node === undefined || value === null) return undefined;
    if (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= max) return value;
    this.#refuse('WEFT_ERR_MANIFEST_VALUE', node, label, path, value, `must be an integer from 0 to ${max}`, 'correct it');
    return undefined;
  }

  #placement(node: Node | undefined, label: string): Placement | undefined {
    const value = scalar(node);
    if (node === undefined || value === null || value === 'any') return undefined;
    if (!isSeq(node)) {
      this.#refuse(
        'WEFT_ERR_MANIFEST_VALUE',
        node,
        label,
        'spec.placement',
        value,
        'must be any, or a list of host ids',
        'write [host-a, host-b], or leave it out',
      );
      return undefined;
    }
    return { mode: 'list', hosts: this.#list(node, label, 'spec.placement', (item, path) => this.#text(item, label, path) ?? '') };
  }

  #map(
    node: Node | undefined,
    label: string,
    path: string,
    known: readonly string[],
    required: readonly string[],
    isDocument = false,
  ): Map<string, Node> | undefined {
    if (node === undefined) return undefined;
    if (!isMap(node)) {
      this.#refuse(
        'WEFT_ERR_MANIFEST_VALUE',
        node,
        label,
        path,
        scalar(node),
        `must be a map with ${required.join(', ') || known.join(', ')}`,
        isDocument ? `begin with apiVersion: ${API_VERSION}` : 'correct it',
      );
      return undefined;
    }
    const map = new Map<string, Node>();
    for (const pair of node.items) {
      const keyNode = pair.key as Node | null;
      const key = isScalar(keyNode) ? String(keyNode.value) : '';
      const keyPath = path === '' ? key : `${path}.${key}`;
      if (!known.includes(key)) {
        const near = nearest(key, known);
        const hint = near !== undefined ? `did you mean ${near}?` : known.length > 0 ? `known here: ${known.join(', ')}` : 'remove it';
        this.#refuse('WEFT_ERR_MANIFEST_UNKNOWN_KEY', keyNode ?? node, label, keyPath, key, 'must be a key that Weft knows', hint);
        continue;
      }
      const value = pair.value as Node | null;
      if (value === null) continue;
      if (isAlias(value)) {
        this.#refuse(
          'WEFT_ERR_MANIFEST_SYNTAX',
          value,
          label,
          keyPath,
          `*${value.source}`,
          'must not be a YAML alias',
          'write the value out',
        );
        continue;
      }
      map.set(key, value);
    }
    for (const key of required) {
      if (node.has(key)) continue;
      this.#refuse('WEFT_ERR_MANIFEST_MISSING', node, label, path === '' ? key : `${path}.${key}`, '', 'must be there', 'add it');
    }
    return map;
  }

  #list<T>(node: Node | undefined, label: string, path: string, item: (node: Node, path: string) => T): T[] {
    if (node === undefined || scalar(node) === null) return [];
    if (!isSeq(node)) {
      this.#refuse(
        'WEFT_ERR_MANIFEST_VALUE',
        node,
        label,
        path,
        scalar(node),
        'must be a list',
        isScalar(node) ? `write [${String(node.value)}]` : 'correct it',
      );
      return [];
    }
    return (node.items as Node[]).map((one, i) => item(one, `${path}[${i}]`));
  }

  #text(node: Node | undefined, label: string, path: string): string | undefined {
    const value = scalar(node);
    if (node === undefined || value === null) return undefined;
    if (typeof value === 'string') return value;
    const quoted = typeof value === 'number' || typeof value === 'boolean';
    const source = isScalar(node) ? node.source : undefined;
    this.#refuse(
      'WEFT_ERR_MANIFEST_VALUE',
      node,
      label,
      path,
      value,
      'must be text',
      quoted ? `quote it: "${source ?? String(value)}"` : 'correct it',
    );
    return undefined;
  }

  #integer(node: Node | undefined, label: string, path: string): number {
    const value = scalar(node);
    if (node === undefined || value === null) return 0;
    // 0 stands for "allocate one" further on; written in a manifest it is a mistake, like all that no u32 holds.
    if (typeof value === 'number' && Number.isInteger(value) && value > 0 && value <= 0xffff_ffff) return value;
    this.#refuse(
      'WEFT_ERR_RULE_VSID_RANGE',
      node,
      label,
      path,
      value,
      'must be an integer from 4096 to 16777214 (RFC 7637)',
      'take another, or leave it out',
    );
    return 0;
  }

  /** What to call a document before its metadata has been judged. */
  #label(kind: string, metadata: Node | undefined): string {
    const part = (key: string): string => (isMap(metadata) ? String(scalar(metadata.get(key, true) as Node | undefined) ?? '?') : '?');
    const names =
      KINDS[kind]!.metadata.length === 1
        ? ['name']
        : KINDS[kind]!.metadata.length === 2
          ? ['tenant', 'name']
          : ['tenant', 'network', 'name'];
    return `${kind} ${names.map(part).join('/')}`.slice(0, 300);
  }

  #refuse(code: WeftErrorCode, node: Node | undefined, label: string, path: string, value: unknown, rule: string, hint: string): void {
    this.#refuseAt(code, node?.range?.[0] ?? 0, label, path, value, rule, hint);
  }

  #refuseAt(code: WeftErrorCode, offset: number, resource: string, path: string, value: unknown, rule: string, hint: string): void {
    const line = this.#line(offset);
    const file = this.#file.name;
    const shown = value === undefined || value === null ? '' : typeof value === 'string' ? value : JSON.stringify(value);
    this.#problems.push({ code, resource, path, value: shown.slice(0, 200), rule, hint, file, line, at: `${file}:${line}` });
  }

  #line(offset: number): number {
    return Math.max(1, this.#lines.linePos(offset).line);
  }

  #place(root: Node): Place {
    return {
      file: this.#file.name,
      lineOf: (path) => {
        let node: Node = root;
        let offset = root.range?.[0] ?? 0;
        for (const token of path.split(/[.[\]]+/).filter((part) => part !== '')) {
          if (isMap(node)) {
            const pair = node.items.find((item) => isScalar(item.key) && item.key.value === token);
            if (pair === undefined) break;
            offset = (pair.key as Node).range?.[0] ?? offset;
            if (pair.value === null) break;
            node = pair.value as Node;
          } else if (isSeq(node)) {
            const item = node.items[Number(token)] as Node | undefined;
            if (item === undefined) break;
            node = item;
            offset = item.range?.[0] ?? offset;
          } else break;
        }
        return this.#line(offset);
      },
    };
  }
}

/** A scalar's value; null for an empty one; undefined for what is no scalar. */
function scalar(node: Node | undefined): unknown {
  return isScalar(node) ? node.value : undefined;
}
