import { closeSync, fsyncSync, mkdirSync, openSync, readdirSync, readFileSync, renameSync, unlinkSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type CommittedRecord, committedCodec, type DeviceKind } from '@weft/model';
import type { MoveWindow } from '@weft/tables';
import { AgentError, messageOf } from './errors.ts';

// What survives the agent's process, so that a restart without NATS can still describe and re-assert its ports:
//
//   <directory>/state.json            own ports and devices, the networks they are in, and those that were joined by themselves since the next file was written;
//                                     small, written at once
//   <directory>/networks.bin          where many networks are followed: those without a port of this host; written some seconds after a change
//   <directory>/network-<rdid>.bin    last records of a network, as signed; written some seconds after a change
//
// All whole or not at all: written aside, then renamed. The first two are synced to disk, the second off the main thread (FollowedNetworks). The third is not: after a
// power cut the kernel's tables are gone as well and NATS is asked, and twenty agents on a machine that sync at each event would hold each other up.

/** A port of this host. */
export interface OwnPort {
  readonly routingDomainId: string;
  readonly portId: string;
  readonly vsid: number;
  readonly device: string;
  readonly deviceKind: DeviceKind;
  /** Of the last claim by this host; 0: none yet. */
  readonly generation: number;
  /** The agent made the TAP, and removes it. */
  readonly ownsDevice: boolean;
  /**
   * `prepared`: everything but the claim; `bound`; `releasing`: taken down here, the store still to be told; `leaving`: the port is gone, its
   * TAP still held by a VM.
   */
  readonly state: 'prepared' | 'bound' | 'releasing' | 'leaving';
}

export interface SavedState {
  readonly ports: readonly OwnPort[];
  /** VSIDs by network whose claims have been read. */
  readonly claims: Readonly<Record<string, readonly number[]>>;
  /** Move windows, by port id; only good for the same boot. */
  readonly moves: Readonly<Record<string, MoveWindow>>;
  /** Networks followed. With no port here: since when, boot clock ms; else 0. */
  readonly networks: Readonly<Record<string, number>>;
  /** Those without a port of this host are in a file of their own, but for the newest. */
  readonly othersApart: boolean;
  readonly bootId: string;
}

interface StateFile extends SavedState {
  readonly format: 1;
}

const RECORD_MAGIC = Buffer.from('WEFTREC1');

export class StateStore {
  readonly #directory: string;
  #lastText = '';

  /** @throws {AgentError} `WEFT_ERR_AGENT_STATE` if the directory can't be made. */
  constructor(directory: string) {
    this.#directory = directory;
    try {
      mkdirSync(directory, { recursive: true, mode: 0o700 });
    } catch (error) {
      throw new AgentError(
        'WEFT_ERR_AGENT_STATE',
        `Cannot make the state directory ${directory}: ${messageOf(error)}; create it, or set stateDirectory`,
      );
    }
  }

  /** What was saved last; undefined if nothing was, or it is unreadable (`onDamage` is told why). */
  load(onDamage: (reason: string) => void): SavedState | undefined {
    try {
      const state = JSON.parse(readFileSync(join(this.#directory, 'state.json'), 'utf8')) as Partial<StateFile>;
      if (state.format !== 1 || !Array.isArray(state.ports)) throw new Error('not of a format this version knows');
      const { ports, claims = {}, moves = {}, networks = {}, othersApart = false, bootId = '' } = state;
      return { ports, claims, moves, networks, othersApart, bootId };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT')
        onDamage(`Cannot read state.json: ${messageOf(error)}; the store is asked instead`);
      return undefined;
    }
  }

  save(state: SavedState): void {
    const file: StateFile = { format: 1, ...state };
    const text = `${JSON.stringify(file, undefined, 1)}\n`;
    if (text === this.#lastText) return;
    writeWhole(join(this.#directory, 'state.json'), [Buffer.from(text)], true);
    this.#lastText = text;
  }

  /** Last records of a network; empty if there are none or they are unreadable. */
  loadRecords(rdid: string, onDamage: (reason: string) => void): CommittedRecord[] {
    const path = this.#recordsPath(rdid);
    try {
      const bytes = readFileSync(path);
      if (!bytes.subarray(0, RECORD_MAGIC.length).equals(RECORD_MAGIC)) throw new Error('not of a format this version knows');
      const records: CommittedRecord[] = [];
      for (let at = RECORD_MAGIC.length; at < bytes.length; ) {
        const length = bytes.readUInt32BE(at);
        if (at + 4 + length > bytes.length) throw new Error('cut short');
        // A copy: decoded bytes share the buffer, and one file's buffer would live as long as its last record.
        records.push(committedCodec.decode(Uint8Array.prototype.slice.call(bytes, at + 4, at + 4 + length)));
        at += 4 + length;
      }
      return records;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT')
        onDamage(`Cannot read ${path}: ${messageOf(error)}; the store is asked instead`);
      return [];
    }
  }

  saveRecords(rdid: string, records: Iterable<CommittedRecord>): void {
    const parts: Buffer[] = [RECORD_MAGIC];
    for (const record of records) {
      const bytes = committedCodec.encode(record);
      const length = Buffer.alloc(4);
      length.writeUInt32BE(bytes.length);
      parts.push(length, Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length));
    }
    writeWhole(this.#recordsPath(rdid), parts, false);
  }

  removeRecords(rdid: string): void {
    removeFile(this.#recordsPath(rdid));
  }

  /** Networks with saved records. */
  savedNetworks(): string[] {
    return readdirSync(this.#directory).flatMap((name) => /^network-([0-9a-f-]{36})\.bin$/.exec(name)?.[1] ?? []);
  }

  /** Removes everything saved. */
  purge(): void {
    for (const rdid of this.savedNetworks()) this.removeRecords(rdid);
    removeFile(join(this.#directory, 'state.json'));
    this.#lastText = '';
  }

  #recordsPath(rdid: string): string {
    return join(this.#directory, `network-${rdid}.bin`);
  }
}

function writeWhole(path: string, parts: readonly Buffer[], sync: boolean): void {
  const draft = `${path}.tmp`;
  const file = openSync(draft, 'w', 0o600);
  try {
    writeAll(file, parts.length === 1 ? parts[0]! : Buffer.concat(parts));
    if (sync) fsyncSync(file);
  } finally {
    closeSync(file);
  }
  renameSync(draft, path);
  if (!sync) return;
  const directory = openSync(dirname(path), 'r');
  try {
    fsyncSync(directory);
  } finally {
    closeSync(directory);
  }
}

function writeAll(file: number, bytes: Buffer): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at);
}

function removeFile(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}
