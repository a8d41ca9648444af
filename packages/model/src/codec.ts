import { WeftError } from './errors.ts';

// Between protobufjs messages and Weft's values, with the checks that protobufjs leaves out: it encodes a bigint as 0, wraps a uint32,
// hands out bytes that alias its input, gives 64-bit fields as Long, and passes unknown enum numbers on. All five are refused or undone
// here, in one place, so no other code touches generated classes.

/** How one field goes to and from its message. Both directions throw `CodecFault` with the reason. */
export interface Field<T> {
  toWire(value: T): unknown;
  fromWire(raw: unknown): T;
}

/** The generated class of a message, as far as it is used here. */
interface Generated {
  encode(message: never): { finish(): Uint8Array };
  decode(bytes: Uint8Array): object;
}

/** A whole message: bytes, or a field of another message. */
export interface Message<T> extends Field<T> {
  readonly name: string;
  /** @throws {WeftError} `WEFT_ERR_MODEL_ENCODE` with the field's path, when a value does not fit. */
  encode(value: T): Uint8Array;
  /** Copies what it keeps. @throws {WeftError} `WEFT_ERR_MODEL_DECODE`: truncated, out of range, unknown enum value, or absent where it must be there. */
  decode(bytes: Uint8Array): T;
}

export type Fields<T> = { readonly [K in keyof T]-?: Field<T[K]> };

/** A fault inside a value; messages on the way up put their field names before it. */
class CodecFault extends Error {
  path: string;
  constructor(reason: string, path = '') {
    super(reason);
    this.path = path;
  }
}

function within<R>(name: string, action: () => R): R {
  try {
    return action();
  } catch (error) {
    if (error instanceof CodecFault) error.path = error.path === '' ? name : `${name}${error.path.startsWith('[') ? '' : '.'}${error.path}`;
    throw error;
  }
}

export function message<T extends object>(name: string, generated: Generated, fields: Fields<T>): Message<T> {
  const names = Object.keys(fields) as (keyof T & string)[];
  const toWire = (value: T): object => {
    if (typeof value !== 'object' || value === null) throw new CodecFault(`must be a ${name}`);
    const raw: Record<string, unknown> = {};
    for (const key of names) {
      const wire = within(key, () => fields[key].toWire(value[key]));
      if (wire === undefined) continue;
      // A oneof is several fields of the message, so its field gives an object to merge.
      if (wire instanceof OneofWire) Object.assign(raw, wire.fields);
      else raw[key] = wire;
    }
    return raw;
  };
  const fromWire = (raw: unknown): T => {
    if (typeof raw !== 'object' || raw === null) throw new CodecFault(`lacks its ${name}`);
    const value = {} as { [K in keyof T]: T[K] };
    for (const key of names) {
      const field = fields[key];
      value[key] = within(key, () => field.fromWire(field instanceof OneofField ? raw : (raw as Record<string, unknown>)[key]));
    }
    return value as T;
  };
  return {
    name,
    toWire,
    fromWire,
    encode(value) {
      try {
        // In Node, `finish` gives a Buffer of a shared pool, whose `slice` would not copy.
        return new Uint8Array(generated.encode(toWire(value) as never).finish());
      } catch (error) {
        throw failure('WEFT_ERR_MODEL_ENCODE', `Cannot encode ${name}`, error);
      }
    },
    decode(bytes) {
      try {
        return fromWire(generated.decode(bytes));
      } catch (error) {
        throw failure('WEFT_ERR_MODEL_DECODE', `Cannot decode ${name} of ${bytes.length} bytes`, error);
      }
    },
  };
}

function failure(code: 'WEFT_ERR_MODEL_ENCODE' | 'WEFT_ERR_MODEL_DECODE', action: string, error: unknown): WeftError {
  const path = error instanceof CodecFault ? error.path : '';
  const reason = error instanceof Error ? error.message : String(error);
  return new WeftError(code, `${action}: ${path === '' ? '' : `${path} `}${reason}`, { path }, { cause: error });
}

/** How long texts and bytes may be: bounds what one record can cost a reader. NATS's own bound is 1 MB for a message. */
const MAX_TEXT = 4096;
const LONE_SURROGATE = /\p{Surrogate}/u;

export const text: Field<string> = {
  toWire(value) {
    if (typeof value !== 'string') throw new CodecFault(`must be text, not ${typeof value}`);
    if (value.length > MAX_TEXT) throw new CodecFault(`must have at most ${MAX_TEXT} letters, has ${value.length}`);
    // protobuf text is UTF-8; half a surrogate pair would come back as another letter.
    if (LONE_SURROGATE.test(value)) throw new CodecFault('must be well-formed Unicode');
    return value;
  },
  fromWire(raw) {
    return text.toWire(raw as string) as string;
  },
};

/** Text for which empty and absent are the same. */
export const textIfAny: Field<string | undefined> = {
  toWire: (value) => (value === undefined ? '' : text.toWire(value)),
  fromWire: (raw) => text.fromWire(raw) || undefined,
};

export const bool: Field<boolean> = {
  toWire(value) {
    if (typeof value !== 'boolean') throw new CodecFault(`must be true or false, not ${typeof value}`);
    return value;
  },
  fromWire(raw) {
    return bool.toWire(raw as boolean) as boolean;
  },
};

export const bytes: Field<Uint8Array> = {
  toWire(value) {
    if (!(value instanceof Uint8Array)) throw new CodecFault('must be bytes');
    return value;
  },
  fromWire(raw) {
    if (!(raw instanceof Uint8Array) && !Array.isArray(raw)) throw new CodecFault('must be bytes');
    return new Uint8Array(raw as ArrayLike<number>);
  },
};

function unsigned(max: number): Field<number> {
  const check = (value: number): number => {
    if (typeof value !== 'number') throw new CodecFault(`must be a number, not ${typeof value}`);
    if (!Number.isInteger(value) || value < 0 || value > max) throw new CodecFault(`is ${value}, must be an integer between 0 and ${max}`);
    return value === 0 ? 0 : value;
  };
  return { toWire: check, fromWire: (raw) => check(fromLong(raw)) };
}

/** Takes protobufjs's Long apart by its fields, so that nothing depends on which copy of the class it is. */
function fromLong(raw: unknown): number {
  if (typeof raw !== 'object' || raw === null || !('low' in raw) || !('high' in raw)) return raw as number;
  return (Number(raw.high) >>> 0) * 0x1_0000_0000 + (Number(raw.low) >>> 0);
}

export const u32: Field<number> = unsigned(0xffff_ffff);
/** uint64 up to 2^53 - 1, beyond which a plain number is no longer exact. */
export const u64: Field<number> = unsigned(Number.MAX_SAFE_INTEGER);

/** The whole of uint64, as a bigint. */
export const u64big: Field<bigint> = {
  toWire(value) {
    if (typeof value !== 'bigint') throw new CodecFault(`must be a bigint, not ${typeof value}`);
    if (value < 0n || value > 0xffff_ffff_ffff_ffffn) throw new CodecFault(`is ${value}, must be an integer between 0 and 2^64 - 1`);
    return { low: Number(BigInt.asIntN(32, value)), high: Number(BigInt.asIntN(32, value >> 32n)), unsigned: true };
  },
  fromWire(raw) {
    if (typeof raw === 'number') return BigInt(u64.fromWire(raw));
    if (typeof raw !== 'object' || raw === null || !('low' in raw) || !('high' in raw)) throw new CodecFault('must be a 64-bit number');
    return (BigInt(Number(raw.high) >>> 0) << 32n) | BigInt(Number(raw.low) >>> 0);
  },
};

/** A field with a rule of its own besides its type's: `rule` gives undefined, or what must hold. */
export function checked<T>(field: Field<T>, rule: (value: T) => string | undefined): Field<T> {
  const judge = (value: T): T => {
    const fault = rule(value);
    if (fault !== undefined) throw new CodecFault(fault);
    return value;
  };
  return { toWire: (value) => field.toWire(judge(value)), fromWire: (raw) => judge(field.fromWire(raw)) };
}

/** An enum by names. Numbers that `numbers` lacks are refused: unknown means deny. */
export function enumeration<N extends string>(numbers: Readonly<Record<N, number>>): Field<N> {
  const names = new Map((Object.entries(numbers) as [N, number][]).map(([name, number]) => [number, name]));
  return {
    toWire(value) {
      if (!Object.hasOwn(numbers, value))
        throw new CodecFault(`is ${JSON.stringify(value)}, must be one of ${Object.keys(numbers).join(', ')}`);
      return numbers[value];
    },
    fromWire(raw) {
      const name = names.get(raw as number);
      if (name === undefined) throw new CodecFault(`has the unknown value ${String(raw)}, known are ${Object.keys(numbers).join(', ')}`);
      return name;
    },
  };
}

/** Text that is one of the names given. */
export function choice<N extends string>(names: readonly N[]): Field<N> {
  const check = (value: unknown): N => {
    const name = names.find((known) => known === value);
    if (name === undefined) throw new CodecFault(`is ${JSON.stringify(value)}, must be one of ${names.join(', ')}`);
    return name;
  };
  return { toWire: check, fromWire: check };
}

export function list<T>(field: Field<T>): Field<readonly T[]> {
  return {
    toWire(value) {
      if (!Array.isArray(value)) throw new CodecFault('must be a list');
      return value.map((item, i) => within(`[${i}]`, () => field.toWire(item)));
    },
    fromWire(raw) {
      return ((raw ?? []) as unknown[]).map((item, i) => within(`[${i}]`, () => field.fromWire(item)));
    },
  };
}

export function optional<T>(field: Field<T>): Field<T | undefined> {
  return {
    toWire: (value) => (value === undefined ? undefined : field.toWire(value)),
    fromWire: (raw) => (raw === undefined || raw === null ? undefined : field.fromWire(raw)),
  };
}

class OneofWire {
  readonly fields: Record<string, unknown>;
  constructor(fields: Record<string, unknown>) {
    this.fields = fields;
  }
}

/** A value that is one of several messages. */
export type Case = { readonly kind: string; readonly value: unknown };
type Cases<U extends Case> = { readonly [K in U['kind']]: Field<Extract<U, { kind: K }>['value']> };

class OneofField<U extends Case> implements Field<U | undefined> {
  readonly #cases: Cases<U>;
  constructor(cases: Cases<U>) {
    this.#cases = cases;
  }
  toWire(value: U | undefined): unknown {
    if (value === undefined) return undefined;
    const kind = value.kind as U['kind'];
    if (!Object.hasOwn(this.#cases, kind)) throw new CodecFault(`is of the unknown kind ${JSON.stringify(kind)}`);
    return new OneofWire({ [kind]: within(kind, () => (this.#cases[kind] as Field<unknown>).toWire(value.value)) });
  }
  fromWire(raw: unknown): U | undefined {
    for (const kind of Object.keys(this.#cases) as U['kind'][]) {
      const wire = (raw as Record<string, unknown>)[kind];
      if (wire === undefined || wire === null) continue;
      return { kind, value: within(kind, () => (this.#cases[kind] as Field<unknown>).fromWire(wire)) } as unknown as U;
    }
    return undefined;
  }
}

/** A oneof. Its cases are fields of the message it stands in, named by `kind`. Absent, or a case this program does not know: undefined. */
export function oneof<U extends Case>(cases: Cases<U>): Field<U | undefined> {
  return new OneofField(cases);
}

/** A oneof that must be there. */
export function requiredOneof<U extends Case>(cases: Cases<U>): Field<U> {
  return new RequiredOneof(cases) as unknown as Field<U>;
}
class RequiredOneof<U extends Case> extends OneofField<U> {
  override toWire(value: U | undefined): unknown {
    if (value === undefined) throw new CodecFault('must be there');
    return super.toWire(value);
  }
  override fromWire(raw: unknown): U {
    const value = super.fromWire(raw);
    if (value === undefined) throw new CodecFault('is absent, or of a kind unknown to this version');
    return value;
  }
}

/** A message whose only content is one oneof stands for that oneof: `Record`, `Resource`. */
export function wrapped<U extends Case>(name: string, generated: Generated, cases: Cases<U>): Message<U> {
  const inner = message<{ readonly only: U }>(name, generated, { only: requiredOneof<U>(cases) });
  return {
    name,
    toWire: (value) => inner.toWire({ only: value }),
    fromWire: (raw) => inner.fromWire(raw).only,
    encode: (value) => inner.encode({ only: value }),
    decode: (raw) => inner.decode(raw).only,
  };
}
