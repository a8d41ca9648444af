import { existsSync } from 'node:fs';
import { basename, join } from 'node:path';
import { BpfError, guard } from './errors.ts';
import { BpfMap } from './map.ts';
import { type GlobalVariable, type MapDefinition, type NativeObject, native, type StructLayout } from './native.ts';
import { checkMatches, openMatchingMap, pinDescriptor } from './pins.ts';
import { BpfProgram } from './program.ts';
import { encodeVariable, type VariableValue } from './variables.ts';

/** Options of {@link BpfObject.open}. */
export interface BpfObjectOptions {
  /** Initial values of global variables by name, above all `const volatile` configuration, by which the verifier prunes. */
  readonly rodata?: Readonly<Record<string, VariableValue>>;
  /**
   * Maps to take from elsewhere, by name: a {@link BpfMap}, or the path of a pin. A pin that is missing is made from the object's own map after
   * loading.
   */
  readonly reuseMaps?: Readonly<Record<string, string | BpfMap>>;
  /** Folder on a bpffs: every map that is not named in `reuseMaps` is reused from or pinned at `<folder>/<map name>`. Not the data sections. */
  readonly pinMapsUnder?: string;
  /** Names of maps that `pinMapsUnder` leaves alone: each load has its own. */
  readonly unpinnedMaps?: readonly string[];
  /** Of the maps that are pinned under `pinMapsUnder` already those keep their size that `maxEntries` doesn't name. Default: a pin of another size is refused. */
  readonly keepPinnedSizes?: boolean;
  /** By map name. */
  readonly maxEntries?: Readonly<Record<string, number>>;
  /** The programs to load. Default all. */
  readonly programs?: readonly string[];
  /** 0 (default): a log only on failure. 1: always, 2: verbose, 4: statistics only. See `verifierLog`. */
  readonly verifierLogLevel?: 0 | 1 | 2 | 4;
}

/**
 * A compiled BPF object: opened, then loaded into the kernel.
 *
 * Life: `open()` reads the file and settles variables, sizes and maps; `load()` makes maps and programs; `close()` closes the object with every
 * map and program it gave out. What is pinned or attached lives on.
 */
export class BpfObject {
  readonly name: string;
  /** The kernel's log of the last program loaded, empty unless asked for by `verifierLogLevel`. */
  verifierLog = '';
  readonly #native: NativeObject;
  readonly #maps = new Map<string, BpfMap>();
  readonly #programs = new Map<string, BpfProgram>();
  /** Maps to pin once loaded: name to path. */
  readonly #pins = new Map<string, string>();
  #state: 'open' | 'loaded' | 'closed' = 'open';

  private constructor(nativeObject: NativeObject, name: string) {
    this.#native = nativeObject;
    this.name = name;
  }

  /**
   * Opens an object file, by path or as bytes.
   *
   * The file must come from a compiler: libbpf (1.1) refuses what is no ELF file and what is cut short, but has crashed on ELF files with
   * flipped bits.
   *
   * @throws {BpfError} `WEFT_ERR_BPF_BAD_OBJECT`; `WEFT_ERR_BPF_NOT_FOUND` for a file, or a map, variable or program that the options name;
   *   `WEFT_ERR_BPF_PIN_MISMATCH`; `WEFT_ERR_BPF_BAD_ARGUMENT` for a value that does not fit its variable.
   */
  static open(source: string | Uint8Array, options: BpfObjectOptions = {}): BpfObject {
    const name = typeof source === 'string' ? basename(source).replace(/(\.bpf)?\.o$/, '') : 'object';
    const opened = guard(`open BPF object ${typeof source === 'string' ? source : `of ${source.byteLength} bytes`}`, () => {
      return new (native().Object)(source, name, options.verifierLogLevel ?? 0);
    });
    const object = new BpfObject(opened, name);
    try {
      object.#configure(options);
      return object;
    } catch (error) {
      object.close();
      throw error;
    }
  }

  /**
   * Loads maps and programs into the kernel, and pins the maps whose pin was missing. Synchronous: large programs take the verifier up to a second.
   * When it throws, the object is closed; pins made by then stay.
   *
   * @returns This object.
   * @throws {BpfError} `WEFT_ERR_BPF_VERIFIER_REJECTED` with `verifierLog`; `WEFT_ERR_BPF_NOT_PERMITTED`; `WEFT_ERR_BPF_EXISTS` if another process
   *   pinned such a map meanwhile; `WEFT_ERR_BPF_CLOSED`.
   */
  load(): this {
    if (this.#state !== 'open') {
      throw new BpfError('WEFT_ERR_BPF_CLOSED', `Cannot load BPF object "${this.name}": it is ${this.#state}; open it anew`);
    }
    try {
      this.verifierLog = guard(`load BPF object "${this.name}"`, () => this.#native.load());
      this.#state = 'loaded';
      for (const [name, path] of this.#pins) pinDescriptor(this.map(name).fd, path, `map "${name}"`);
      return this;
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** @throws {BpfError} `WEFT_ERR_BPF_NOT_FOUND`, `WEFT_ERR_BPF_CLOSED` (not loaded, or loaded without it). */
  program(name: string): BpfProgram {
    return this.#take(this.#programs, `program "${name}"`, name, () => BpfProgram.fromFd(this.#native.programFd(name), name));
  }

  /** Data sections are maps too: `.rodata`, `.data`, `.bss`. @throws {BpfError} `WEFT_ERR_BPF_NOT_FOUND`, `WEFT_ERR_BPF_CLOSED`. */
  map(name: string): BpfMap {
    return this.#take(this.#maps, `map "${name}"`, name, () => BpfMap.fromFd(this.#native.mapFd(name)));
  }

  /** Names of the maps, without data sections. */
  mapNames(): string[] {
    return this.#definitions().map((map) => map.name);
  }

  programNames(): string[] {
    return this.#whileOpen(() => this.#native.programs().map((program) => program.name));
  }

  /** The global variables, as the object's BTF has them. */
  variables(): readonly GlobalVariable[] {
    return this.#whileOpen(() => this.#native.variables());
  }

  /** Layout of a struct or union that the programs or maps use. @throws {BpfError} `WEFT_ERR_BPF_NOT_FOUND`. */
  structLayout(name: string): StructLayout {
    const layout = this.#whileOpen(() => this.#native.structLayout(name));
    if (layout) return layout;
    throw new BpfError(
      'WEFT_ERR_BPF_NOT_FOUND',
      `Cannot read the layout of struct ${name}: the BTF of "${this.name}" has none; compile with -g and use it in a map or program`,
    );
  }

  /** Closes the object and the maps and programs it gave out. Idempotent. */
  close(): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    for (const part of [...this.#maps.values(), ...this.#programs.values()]) part.close();
    this.#native.close();
  }

  #configure(options: BpfObjectOptions): void {
    for (const [name, value] of Object.entries(options.rodata ?? {})) this.#setVariable(name, value);
    for (const [name, maxEntries] of Object.entries(options.maxEntries ?? {})) {
      this.#definition(name);
      guard(`set maxEntries of map "${name}" to ${maxEntries}`, () => this.#native.setMaxEntries(name, maxEntries));
    }
    if (options.programs) this.#selectPrograms(options.programs);
    for (const [name, source] of Object.entries(options.reuseMaps ?? {})) this.#reuse(this.#definition(name), source);
    if (options.pinMapsUnder === undefined) return;
    for (const map of this.#definitions()) {
      if (options.reuseMaps?.[map.name] !== undefined || options.unpinnedMaps?.includes(map.name)) continue;
      const path = join(options.pinMapsUnder, map.name);
      if (options.keepPinnedSizes && options.maxEntries?.[map.name] === undefined && existsSync(path)) this.#keepSize(map.name, path);
      this.#reuse(this.#definition(map.name), path);
    }
  }

  #setVariable(name: string, value: VariableValue): void {
    const variable = this.variables().find((candidate) => candidate.name === name);
    if (!variable)
      throw new BpfError('WEFT_ERR_BPF_NOT_FOUND', `Cannot set variable "${name}": "${this.name}" has no such global variable`);
    const bytes = encodeVariable(variable, value);
    guard(`set variable "${name}"`, () => this.#native.setVariable(variable.section, variable.offset, bytes));
  }

  #selectPrograms(wanted: readonly string[]): void {
    const all = this.programNames();
    for (const name of wanted) {
      if (!all.includes(name))
        throw new BpfError('WEFT_ERR_BPF_NOT_FOUND', `Cannot load program "${name}": "${this.name}" has ${all.join(', ')}`);
    }
    for (const name of all) this.#native.setAutoload(name, wanted.includes(name));
  }

  #keepSize(name: string, path: string): void {
    const pinned = BpfMap.fromPin(path);
    const { maxEntries } = pinned;
    pinned.close();
    guard(`set maxEntries of map "${name}" to ${maxEntries}`, () => this.#native.setMaxEntries(name, maxEntries));
  }

  #reuse(map: MapDefinition, source: string | BpfMap): void {
    if (source instanceof BpfMap) {
      checkMatches(source.fd, map, `map "${source.name}"`);
      guard(`reuse map "${map.name}"`, () => this.#native.reuseMap(map.name, source.fd));
      return;
    }
    const fd = openMatchingMap(source, map);
    if (fd === undefined) {
      this.#pins.set(map.name, source);
      return;
    }
    try {
      // libbpf keeps a copy of the descriptor.
      guard(`reuse map "${map.name}" from ${source}`, () => this.#native.reuseMap(map.name, fd));
    } finally {
      native().closeFd(fd);
    }
  }

  #definitions(): MapDefinition[] {
    return this.#whileOpen(() => this.#native.maps().filter((map) => !map.internal));
  }

  #definition(name: string): MapDefinition {
    const found = this.#definitions().find((map) => map.name === name);
    if (found) return found;
    throw new BpfError('WEFT_ERR_BPF_NOT_FOUND', `Cannot use map "${name}": "${this.name}" has ${this.mapNames().join(', ') || 'no maps'}`);
  }

  #take<T>(known: Map<string, T>, label: string, name: string, make: () => T): T {
    if (this.#state !== 'loaded') {
      throw new BpfError(
        'WEFT_ERR_BPF_CLOSED',
        `Cannot take ${label} of "${this.name}": the object is ${this.#state === 'open' ? 'not loaded; call load()' : 'closed'}`,
      );
    }
    let part = known.get(name);
    if (!part) {
      part = guard(`take ${label} of "${this.name}"`, make);
      known.set(name, part);
    }
    return part;
  }

  #whileOpen<T>(call: () => T): T {
    if (this.#state === 'closed') throw new BpfError('WEFT_ERR_BPF_CLOSED', `Cannot read BPF object "${this.name}": it is closed`);
    return guard(`read BPF object "${this.name}"`, call);
  }
}
