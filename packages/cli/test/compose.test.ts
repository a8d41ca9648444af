import { readFileSync } from 'node:fs';
import { Ajv } from 'ajv';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { composeSchema } from './support/compose-schema.ts';

interface Service {
  readonly image: string;
  readonly command?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly networks: readonly string[] | Readonly<Record<string, { readonly ipv4_address?: string }>>;
  readonly volumes?: readonly string[];
  readonly depends_on?: Readonly<Record<string, { readonly condition: string }>>;
  readonly configs?: readonly { readonly source: string; readonly target: string }[];
  readonly cap_add?: readonly string[];
  readonly devices?: readonly string[];
  readonly healthcheck?: object;
}
interface Compose {
  readonly services: Readonly<Record<string, Service>>;
  readonly networks: Readonly<Record<string, { readonly ipam?: { readonly config: readonly { readonly subnet: string }[] } }>>;
  readonly volumes: Readonly<Record<string, object>>;
  readonly configs: Readonly<Record<string, { readonly content: string }>>;
}

const text = readFileSync(new URL('../../../docker-compose.yml', import.meta.url), 'utf8');
const compose = parse(text, { merge: true }) as Compose;
const services = Object.entries(compose.services);
const validate = new Ajv({ allErrors: true, allowUnionTypes: true }).compile(composeSchema);
const networksOf = (service: Service): readonly string[] =>
  Array.isArray(service.networks) ? service.networks : Object.keys(service.networks);

describe('docker-compose.yml', () => {
  it('is valid against the schema, and the schema refuses mistakes', () => {
    expect(validate(compose) || validate.errors).toBe(true);
    for (const [at, mistake] of Object.entries({ ports: ['4222'], restart: 'sometimes', devices: ['/dev/net/tun'], image: 'nats' })) {
      const broken = structuredClone(compose) as unknown as { services: Record<string, Record<string, unknown>> };
      broken.services['nats-1']![at] = mistake;
      expect(validate(broken), `${at}: ${JSON.stringify(mistake)}`).toBe(false);
    }
  });

  it('names only services, networks, volumes and configs that are there', () => {
    for (const [name, service] of services) {
      for (const dependency of Object.keys(service.depends_on ?? {}))
        expect(compose.services, `${name} depends on ${dependency}`).toHaveProperty([dependency]);
      for (const network of networksOf(service)) expect(compose.networks, `${name} is on ${network}`).toHaveProperty([network]);
      for (const volume of service.volumes ?? []) {
        const source = volume.split(':')[0]!;
        if (!source.startsWith('/')) expect(compose.volumes, `${name} mounts ${source}`).toHaveProperty([source]);
      }
      for (const config of service.configs ?? []) expect(compose.configs, `${name} uses ${config.source}`).toHaveProperty([config.source]);
    }
    const used = services.flatMap(([, service]) => (service.volumes ?? []).map((volume) => volume.split(':')[0]));
    for (const volume of Object.keys(compose.volumes)) expect(used, `volume ${volume} is used`).toContain(volume);
  });

  it('waits for health only where a health check is', () => {
    for (const [name, service] of services) {
      for (const [dependency, { condition }] of Object.entries(service.depends_on ?? {})) {
        if (condition === 'service_healthy')
          expect(compose.services[dependency]?.healthcheck, `${name} waits for ${dependency}`).toBeDefined();
      }
    }
  });

  it('runs three NATS servers that know each other, each with a store of its own', () => {
    const nats = services.filter(([name]) => /^nats-\d$/.test(name));
    expect(nats).toHaveLength(3);
    const { content } = compose.configs.nats!;
    for (const [name, service] of nats) {
      expect(content).toContain(`nats-route://${name}:6222`);
      expect(service.volumes).toEqual([`${name}:/data`]);
    }
    expect(content).toContain('store_dir: /data');
    expect(content).toContain('sync_interval: always');
  });

  it('points each controller and host at all three of them, and asks for three replicas', () => {
    for (const [name, service] of services.filter(([, { image }]) => image.startsWith('weft'))) {
      expect(service.environment?.WEFT_NATS, name).toBe('nats://nats-1:4222,nats://nats-2:4222,nats://nats-3:4222');
      const replicas = service.command?.indexOf('--replicas') ?? -1;
      if (service.command?.[0] !== 'agent') expect(service.command?.[replicas + 1], name).toBe('3');
    }
  });

  it('gives each host its own provider address inside the underlay, the one its agent is told', () => {
    const subnet = compose.networks.underlay?.ipam?.config[0]?.subnet;
    expect(subnet).toBe('192.0.2.0/24');
    const hosts = services.filter(([, service]) => service.command?.[0] === 'agent');
    expect(hosts.length).toBeGreaterThanOrEqual(2);
    const addresses = hosts.map(([name, service]) => {
      const address = (service.networks as Record<string, { ipv4_address?: string }>).underlay?.ipv4_address;
      expect(address, name).toMatch(/^192\.0\.2\.\d+$/);
      expect(service.command?.[service.command.indexOf('--provider-address') + 1], name).toBe(address);
      expect(service.command?.[service.command.indexOf('--instance') + 1], name).toBe(name);
      expect(service.devices, name).toContain('/dev/net/tun:/dev/net/tun');
      expect(service.cap_add, name).toEqual(expect.arrayContaining(['NET_ADMIN', 'BPF', 'PERFMON']));
      return address;
    });
    expect(new Set(addresses).size).toBe(addresses.length);
  });

  it('has keys made for each host that it runs', () => {
    const init = compose.services.init!.command!;
    for (const [name, service] of services.filter(([, { command }]) => command?.[0] === 'agent')) {
      expect(init).toContain(name);
      expect(service.command).toContain(`/etc/weft/${name}.bundle.json`);
    }
  });
});
