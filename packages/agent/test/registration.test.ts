import { createIdentity, getRecord, readEntry } from '@weft/bus';
import { type ExternalLink, hostKey, TrustStore } from '@weft/model';
import { describe, expect, it } from 'vitest';
import { Conditions } from '../src/conditions.ts';
import { Registration, type RegistrationComponents } from '../src/registration.ts';
import { Lab } from './harness.ts';

const LINKS: readonly ExternalLink[] = [{ interface: 'eth1', mac: '02:00:00:00:00:11' }];

describe('Registration', () => {
  it('keeps the external links of the record until this process has seen its own', async () => {
    const lab = new Lab();
    await lab.init();
    const identity = createIdentity('host');
    await lab.admit('g1', identity);
    const bus = lab.store.connect('g1');
    const store = await bus.open();
    const trust = new TrustStore([lab.admin.publicKey]);
    for (const entry of (await store.config.snapshot('principal')).entries) {
      const { change, signer, revision } = readEntry('config', entry);
      trust.apply(change, signer, revision);
    }
    const clock = { now: () => 0, unixMs: () => 0, setTimeout: () => undefined, clearTimeout: () => {} };
    const logger = { debug() {}, info() {}, warn() {}, error() {} };
    /** A process of the agent, which says that it has seen these. */
    const register = async (version: string, links: readonly ExternalLink[] | undefined): Promise<readonly ExternalLink[] | undefined> => {
      const registration = new Registration({
        ...{ bus, identity, trust, clock, logger, conditions: new Conditions(clock, logger), roles: ['gateway'] },
        init: { hostId: 'g1', providerAddress: '192.0.2.1', engine: 'kernel', underlayMtu: 1_500, version, bootId: 'boot-1' },
        trustFeed: { take: () => {} },
        memories: () => [],
        externalLinks: () => links,
      } as unknown as RegistrationComponents);
      await registration.register(store);
      const { record } = (await getRecord(store.hosts, hostKey('g1')))!;
      return record?.kind === 'host' ? record.value.externalLinks : undefined;
    };
    expect(await register('1', undefined)).toEqual([]);
    expect(await register('1', LINKS)).toEqual(LINKS);
    // Started anew, with another version, so that the record is written: members that hand over just then look there.
    expect(await register('2', undefined)).toEqual(LINKS);
    expect(await register('2', [])).toEqual([]);
  });
});
