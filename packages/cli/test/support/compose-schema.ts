// The part of the Compose specification (https://github.com/compose-spec/compose-spec, schema/compose-spec.json) that docker-compose.yml
// uses. Narrower than the original on purpose: a key that is not here is either a mistake, or new and to be added with its rule.

const text = { type: 'string', minLength: 1 } as const;
const texts = { type: 'array', items: text, minItems: 1 } as const;
const name = '^[a-zA-Z0-9][a-zA-Z0-9._-]*$';
const named = (schema: object): object => ({ type: 'object', patternProperties: { [name]: schema }, additionalProperties: false });
const duration = { type: 'string', pattern: '^\\d+(ms|s|m|h)$' } as const;
const map = { type: 'object', additionalProperties: { type: ['string', 'number', 'boolean'] } } as const;

const service = {
  type: 'object',
  additionalProperties: false,
  required: ['image', 'networks'],
  properties: {
    image: { type: 'string', pattern: '^[a-z0-9./_-]+:[A-Za-z0-9._-]+$' },
    build: text,
    restart: { enum: ['no', 'always', 'on-failure', 'unless-stopped'] },
    hostname: { type: 'string', pattern: '^[a-z0-9][a-z0-9-]*$' },
    command: texts,
    profiles: texts,
    environment: map,
    networks: {
      oneOf: [
        texts,
        named({
          type: 'object',
          additionalProperties: false,
          properties: { ipv4_address: { type: 'string', pattern: '^\\d+(\\.\\d+){3}$' } },
        }),
      ],
    },
    volumes: { type: 'array', items: { type: 'string', pattern: '^[^:]+:/[^:]*(:ro)?$' } },
    configs: {
      type: 'array',
      items: { type: 'object', additionalProperties: false, required: ['source', 'target'], properties: { source: text, target: text } },
    },
    depends_on: named({
      type: 'object',
      additionalProperties: false,
      required: ['condition'],
      properties: { condition: { enum: ['service_started', 'service_healthy', 'service_completed_successfully'] } },
    }),
    healthcheck: {
      type: 'object',
      additionalProperties: false,
      required: ['test'],
      properties: { test: texts, interval: duration, timeout: duration, retries: { type: 'integer', minimum: 1 } },
    },
    cap_add: { type: 'array', items: { type: 'string', pattern: '^[A-Z_]+$' }, uniqueItems: true },
    security_opt: texts,
    devices: { type: 'array', items: { type: 'string', pattern: '^/dev/.+:/dev/.+$' } },
    sysctls: map,
  },
} as const;

export const composeSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['services'],
  patternProperties: { '^x-': {} },
  properties: {
    name: { type: 'string', pattern: '^[a-z0-9][a-z0-9_-]*$' },
    services: named(service),
    networks: named({
      type: 'object',
      additionalProperties: false,
      properties: {
        driver: text,
        driver_opts: map,
        ipam: {
          type: 'object',
          additionalProperties: false,
          properties: { config: { type: 'array', items: { type: 'object', additionalProperties: false, properties: { subnet: text } } } },
        },
      },
    }),
    volumes: named({ type: 'object', additionalProperties: false, properties: {} }),
    configs: named({ type: 'object', additionalProperties: false, required: ['content'], properties: { content: text } }),
  },
} as const;
