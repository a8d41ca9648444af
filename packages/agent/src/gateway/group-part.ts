import { randomBytes } from 'node:crypto';
import { verifySignature } from '@weft/bus';
import { type Alarm, type FenceRow, hasShard, type Output, RULES, TIMING } from '@weft/election';
import type { Probe } from '@weft/forwarding';
import type { GatewayStep, OwnershipCertificate, OwnershipConfig } from '@weft/model';
import type { ControlLink } from './control-link.ts';
import type { GatewayDirectory } from './directory.ts';
import type { GatewaysInit } from './gateways.ts';
import type { GrantLog } from './grant-log.ts';
import { handoverMac } from './handover-mac.ts';
import { HostShards } from './host-shards.ts';
import { OwnershipDriver } from './ownership-driver.ts';
import type { OwnershipMemories } from './ownership-memories.ts';
import { KernelProbes } from './probe-port.ts';
import type { ShardStates } from './shard-states.ts';
import type { StateKeeper } from './state/keeper.ts';
import type { OwnershipTransport } from './transport.ts';

/** What the parts of a machine in all its groups share. */
export interface GroupPartInit
  extends Pick<
    GatewaysInit,
    'hostId' | 'bootId' | 'identity' | 'trust' | 'clock' | 'logger' | 'conditions' | 'tables' | 'onOwnership' | 'onMemories'
  > {
  readonly directory: Pick<GatewayDirectory, 'groups' | 'refresh'>;
  readonly transport: OwnershipTransport;
  readonly link: Pick<ControlLink, 'send'>;
  readonly memories: OwnershipMemories;
  readonly states: ShardStates;
  readonly grants: Pick<GrantLog, 'record'>;
  readonly addressOf: (hostId: string) => string | undefined;
  /** Reads the record, and configures groups by what it says. @returns Whether the store answered. */
  readonly readRecord: () => Promise<boolean>;
  /** Asks a controller for a step on the group's assignment. */
  readonly takeStep: (step: GatewayStep) => Promise<boolean>;
  /** Undefined: this machine has no gateway role. */
  readonly stateKeeper: () => Pick<StateKeeper, 'bring'> | undefined;
}

/** A machine's part in one gateway group: it obeys the owners of its shards, and is a member or witness of it or not. */
export class GroupPart {
  readonly id: string;
  config: OwnershipConfig;
  driver: OwnershipDriver | undefined;
  hosts: HostShards | undefined;
  readonly #init: GroupPartInit;
  #probes: KernelProbes | undefined;
  /** What stands as an alarm. */
  readonly #alarmed = new Set<string>();

  constructor(id: string, config: OwnershipConfig, init: GroupPartInit) {
    this.id = id;
    this.config = config;
    this.#init = init;
  }

  /** Follows the owners of the group's shards, by the present configuration. */
  obey(): void {
    this.hosts ??= this.#startHosts();
    this.hosts.configure(this.config);
  }

  /** Is a member or witness, by the present configuration. @returns Whether it was none before. */
  async takePart(): Promise<boolean> {
    const isNew = this.driver === undefined;
    this.driver ??= await this.#startDriver();
    this.driver.configure(this.config);
    return isNew;
  }

  /** An answer to a probe came, to one of this machine's groups. */
  heardProbe(providerAddress: string, probe: Probe): void {
    this.#probes?.heard(providerAddress, probe);
  }

  /** Is neither member nor witness any more. */
  async leave(): Promise<void> {
    if (this.driver === undefined) return;
    await this.driver.stop();
    this.driver = undefined;
    this.#probes = undefined;
    this.#clearAlarms();
  }

  async stop(): Promise<void> {
    await this.driver?.stop();
    await this.hosts?.stop();
    this.#clearAlarms();
  }

  /** Nobody is left to say that what they were about has passed. */
  #clearAlarms(): void {
    for (const subject of this.#alarmed) this.#init.conditions.clear('GATEWAY_OWNERSHIP', subject);
    this.#alarmed.clear();
  }

  #startHosts(): HostShards {
    const { clock, tables, hostId, transport, states, directory, onOwnership } = this.#init;
    return new HostShards({
      group: this.id,
      hostId,
      clock,
      transport,
      components: { verify: verifySignature, random: random53, timing: TIMING, rules: RULES },
      rows: this.#own(tables.shardRows()),
      write: (row) => {
        tables.writeShard(row);
        states.obeyed(row);
        onOwnership();
      },
      askOwn: (ask) => this.driver?.answerOwn(ask),
      needConfig: () => void directory.refresh(),
      alarm: (alarm) => this.#alarm(alarm),
    });
  }

  async #startDriver(): Promise<OwnershipDriver> {
    const { clock, logger, hostId, bootId, tables, identity, transport, link, memories, states, ...init } = this.#init;
    const probes = new KernelProbes({
      clock,
      addressOf: init.addressOf,
      sendDatagram: (address, message) => link.send(address, message),
      readReplies: () => tables.probeReplies(),
    });
    this.#probes = probes;
    const driver = await OwnershipDriver.start({
      group: this.id,
      hostId,
      bootId,
      clock,
      logger,
      transport,
      file: memories.file(this.id),
      components: { signer: identity, verify: verifySignature, random: random53, timing: TIMING, rules: RULES },
      probes,
      rows: this.#own(tables.fenceRows()),
      fence: (row) => tables.writeFence(row, this.#handoverMac(row)),
      on: {
        certificate: (certificate, record) => this.#onCertificate(certificate, record),
        announce: () => init.onOwnership(),
        takenOver: (times) => states.takenOver(this.id, times),
        state: (output) => this.#onState(output),
        handover: (output) => this.#onHandover(output),
        needConfig: () => void this.#readRecord(),
        settled: (configId, certificate) => this.#settleVoters(configId, certificate),
        alarm: (alarm) => this.#alarm(alarm),
      },
    });
    if (memories.note(this.id, driver.node.instance)) init.onMemories();
    return driver;
  }

  /** The packet path holds rows of all groups, whose epochs have nothing to do with one another. */
  #own<Row extends { readonly shard: number }>(rows: readonly Row[]): readonly Row[] {
    return rows.filter(({ shard }) => hasShard(this.config, shard));
  }

  async #readRecord(): Promise<void> {
    const askedAt = this.#init.clock.now();
    if (await this.#init.readRecord()) this.driver?.step({ kind: 'record-read', askedAt });
  }

  #onState({ shard, state, epoch, owner }: Output & { kind: 'state' }): void {
    const { logger, states, onOwnership } = this.#init;
    logger.info({ gateway: this.id, shard, state, owner, epoch: String(epoch) }, 'ownership');
    states.entered(this.id, shard, state);
    // Standing for a shard changes nothing yet.
    if (state !== 'asking' && state !== 'voting') onOwnership();
  }

  #onCertificate(certificate: OwnershipCertificate, record: boolean): void {
    this.hosts?.take(certificate);
    if (record) this.#init.grants.record(this.id, certificate);
  }

  /** A grant that had majorities of the new list of voters and of the one before: the controller may record that the new one took effect. */
  #settleVoters(configId: number, certificate: OwnershipCertificate): void {
    const { assignment } = this.#init.directory.groups.get(this.id) ?? {};
    if (assignment?.previousVoters === undefined || assignment.voters.configId !== configId) return;
    void this.#init.takeStep({ kind: 'votersSettled', value: { configId, certificate } });
  }

  #handoverMac({ shard, handoverTo }: FenceRow): Uint8Array {
    const { directory, trust } = this.#init;
    const known = directory.groups.get(this.id);
    return known === undefined || handoverTo === '' ? new Uint8Array(6) : handoverMac(known, shard, handoverTo, trust.hosts());
  }

  #onHandover({ step, shards, to }: Output & { kind: 'handover' }): void {
    if (step !== 'sync') return;
    const synced = (): void => this.driver?.step({ kind: 'synced', shards });
    const keeper = this.#init.stateKeeper();
    // A machine without the role has no state, and none to own.
    if (keeper === undefined) queueMicrotask(synced);
    else void keeper.bring(shards, to, TIMING.syncMs).then(synced);
  }

  #alarm(alarm: Alarm): void {
    const { conditions } = this.#init;
    const subject = `${this.id} ${alarm.code} ${alarm.about}`.trim();
    if (alarm.active) {
      this.#alarmed.add(subject);
      conditions.raise('GATEWAY_OWNERSHIP', alarm.message, subject);
    } else {
      this.#alarmed.delete(subject);
      conditions.clear('GATEWAY_OWNERSHIP', subject);
    }
  }
}

/** Nobody may guess a nonce: an answer to it proves that the probe arrived. */
function random53(): number {
  return Number(randomBytes(8).readBigUInt64BE() >> 11n);
}
