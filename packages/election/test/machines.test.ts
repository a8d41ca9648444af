import type { OwnershipBallot, OwnershipBody, OwnershipCertificate, OwnershipConfig, OwnershipConsent } from '@weft/model';
import { describe, expect, it } from 'vitest';
import {
  consentStatement,
  type Durable,
  type HostOutput,
  makeEpoch,
  type Output,
  OwnershipHost,
  OwnershipNode,
  RULES,
  rosterOf,
  TIMING,
  voteStatement,
} from '../src/index.ts';
import { Random, simSigner, simVerify } from '../src/sim/index.ts';

// One machine at a time, messages written by hand.

const config: OwnershipConfig = {
  group: 'g',
  config: 3,
  incarnation: 1,
  voters: ['a', 'b', 'w'].map((id) => ({ id, key: `key-${id}`, instance: 7 })),
  previous: undefined,
  members: ['a', 'b'].map((id, i) => ({ id, key: `key-${id}`, providerAddress: `192.0.2.${i + 1}`, drain: false })),
  shards: [{ shard: 1, order: ['a', 'b'], placement: 1 }],
};
const file: Durable = {
  instance: 7,
  bootId: 'boot',
  accepted: 3,
  proposed: 0n,
  promises: [],
  certificates: [],
  placements: [],
};

function witness(part: Partial<Durable> = {}, bootId = 'boot', now = 0): OwnershipNode {
  const random = new Random(1);
  const node = new OwnershipNode(
    { self: 'w', bootId, file: { ...file, ...part }, rows: [], now },
    { signer: simSigner('key-w'), verify: simVerify, random: () => random.bits(), timing: TIMING, rules: RULES },
  );
  node.step({ kind: 'config', config }, now);
  return node;
}

const ballotOf = (part: Partial<OwnershipBallot> = {}): OwnershipBallot => ({
  config: 3,
  epoch: makeEpoch(1, 5),
  shards: [1],
  candidate: 'a',
  providerAddress: '192.0.2.1',
  kind: 'takeover',
  leaseMs: TIMING.leaseMs,
  round: 1,
  consent: undefined,
  ...part,
});

const said = (outputs: readonly (Output | HostOutput)[]): OwnershipBody[] =>
  outputs.flatMap((output) => (output.kind === 'send' ? [output.body] : []));
const hear = (node: OwnershipNode, body: OwnershipBody, now: number, from = 'a'): readonly Output[] =>
  node.step({ kind: 'message', message: { group: 'g', from, to: 'w', body } }, now);
const ask = (node: OwnershipNode, ballot: OwnershipBallot, now: number): readonly Output[] =>
  hear(node, { kind: 'ballot', value: ballot }, now, ballot.candidate);

/** The candidate's packet path answers the voter. */
function answers(node: OwnershipNode, peer: string, now: number, epoch?: bigint): void {
  node.step({ kind: 'probe-sent', peer, nonce: now, at: now }, now);
  node.step({ kind: 'probe-answered', peer, nonce: now, shards: epoch === undefined ? [] : [{ shard: 1, epoch, valid: true }] }, now);
}
function reasonOf(outputs: readonly Output[]): string | undefined {
  const [body] = said(outputs);
  return body?.kind === 'refusal' ? body.value.reason : body?.kind;
}
function written(outputs: readonly Output[]): { token: number; state: Durable } | undefined {
  const output = outputs.find(({ kind }) => kind === 'persist');
  return output?.kind === 'persist' ? output : undefined;
}

describe('a voter', () => {
  it('votes only after its promise is on disk, and renews without the disk', () => {
    const node = witness();
    answers(node, 'a', 10);
    const first = ask(node, ballotOf(), 20);
    expect(said(first)).toEqual([]);
    const write = written(first)!;
    expect(write.state.promises).toEqual([{ shard: 1, epoch: makeEpoch(1, 5), candidate: 'a' }]);
    // Asked again while the disk works: still nothing.
    expect(said(ask(node, ballotOf(), 25))).toEqual([]);
    const votes = said(node.step({ kind: 'persisted', token: write.token }, 30));
    expect(votes.map(({ kind }) => kind)).toContain('vote');
    const renewed = ask(node, ballotOf({ kind: 'renewal', round: 2 }), 1_000);
    expect(reasonOf(renewed)).toBe('vote');
    expect(written(renewed)).toBeUndefined();
  });

  const granted = (): OwnershipNode => {
    const node = witness();
    answers(node, 'a', 10);
    node.step({ kind: 'persisted', token: written(ask(node, ballotOf(), 20))!.token }, 20);
    answers(node, 'b', 25);
    return node;
  };
  const rival = (part: Partial<OwnershipBallot> = {}): OwnershipBallot =>
    ballotOf({ candidate: 'b', providerAddress: '192.0.2.2', epoch: makeEpoch(1, 6), ...part });

  it('gives an epoch to one candidate only, and no lower one', () => {
    const node = granted();
    expect(reasonOf(ask(node, rival({ epoch: makeEpoch(1, 5) }), 30))).toBe('promised-higher');
    expect(reasonOf(ask(node, rival({ epoch: makeEpoch(1, 4) }), 30))).toBe('promised-higher');
  });

  it('breaks a standing lease for silence or consent only, not for a bare claim', () => {
    const node = granted();
    answers(node, 'a', 100, makeEpoch(1, 5));
    expect(reasonOf(ask(node, rival(), 110))).toBe('lease-standing');
    expect(reasonOf(ask(node, rival({ kind: 'handover' }), 110))).toBe('consent');
    for (const at of [130, 160, 190]) node.step({ kind: 'probe-sent', peer: 'a', nonce: at, at }, at);
    answers(node, 'b', 200);
    expect(reasonOf(ask(node, rival(), 239))).toBe('lease-standing');
    expect(written(ask(node, rival(), 240))?.state.promises).toMatchObject([{ candidate: 'b' }]);
  });

  it('waits the whole lease for an owner it never heard', () => {
    const node = granted();
    for (const at of [130, 160, 190]) node.step({ kind: 'probe-sent', peer: 'a', nonce: at, at }, at);
    answers(node, 'b', 5_019);
    expect(reasonOf(ask(node, rival(), 5_019))).toBe('lease-standing');
    expect(written(ask(node, rival(), 5_020))).toBeDefined();
  });

  it('grants to nobody whose packet path does not answer it', () => {
    const node = witness();
    expect(reasonOf(ask(node, ballotOf(), 20))).toBe('candidate-silent');
  });

  it('refuses lower configurations, unknown ones, other incarnations, strangers and false addresses', () => {
    const node = witness();
    answers(node, 'a', 10);
    answers(node, 'b', 10);
    expect(reasonOf(ask(node, ballotOf({ config: 2 }), 20))).toBe('stale-config');
    expect(reasonOf(ask(node, ballotOf({ config: 4 }), 20))).toBe('unknown-config');
    expect(reasonOf(ask(node, ballotOf({ epoch: makeEpoch(2, 1) }), 20))).toBe('wrong-incarnation');
    expect(reasonOf(ask(node, ballotOf({ candidate: 'z' }), 20))).toBe('not-a-member');
    expect(reasonOf(ask(node, ballotOf({ providerAddress: '192.0.2.2' }), 20))).toBe('not-a-member');
    expect(reasonOf(ask(node, ballotOf({ shards: [2] }), 20))).toBe('not-a-member');
    // A ballot in another's name is none.
    expect(said(hear(node, { kind: 'ballot', value: ballotOf() }, 20, 'b'))).toEqual([]);
  });

  it('abstains for one lease after a boot, but not after a restart of its process', () => {
    const promises = [{ shard: 1, epoch: makeEpoch(1, 5), candidate: 'a' }];
    const booted = witness({ promises }, 'another');
    answers(booted, 'a', 10);
    expect(reasonOf(ask(booted, ballotOf({ kind: 'renewal' }), 20))).toBe('abstaining');
    expect(reasonOf(ask(booted, ballotOf({ kind: 'renewal' }), TIMING.leaseMs))).toBe('vote');
    const restarted = witness({ promises });
    expect(reasonOf(ask(restarted, ballotOf({ kind: 'renewal' }), 20))).toBe('vote');
    // It can't know when it was last renewed: for others it stands a whole lease.
    const again = witness({ promises });
    answers(again, 'b', TIMING.leaseMs - 10);
    expect(reasonOf(ask(again, rival(), TIMING.leaseMs - 1))).toBe('lease-standing');
  });

  it('does not follow a record that passes over a list which took effect: the store has lost writes', () => {
    const node = witness();
    const next = { ...config, config: 4, previous: { config: 2, voters: config.voters } };
    expect(node.step({ kind: 'config', config: next }, 10)).toMatchObject([{ kind: 'alarm', code: 'configuration-missing', active: true }]);
    expect(node.config).toBe(config);
    // Nor one that says anew that a list is still on its way.
    node.step({ kind: 'config', config: { ...config, previous: { config: 2, voters: config.voters } } }, 20);
    expect(node.config).toBe(config);
    const good = { ...next, previous: { config: 3, voters: config.voters } };
    expect(node.step({ kind: 'config', config: good }, 30)).toMatchObject([
      { kind: 'alarm', code: 'configuration-missing', active: false },
    ]);
    expect(node.config).toBe(good);
  });

  it('with another memory than the list names is no voter', () => {
    const node = witness({ instance: 8 });
    answers(node, 'a', 10);
    expect(reasonOf(ask(node, ballotOf(), 20))).toBe('not-a-voter');
  });
});

function certificateBy(
  voters: readonly string[],
  part: Partial<OwnershipBallot> = {},
  list: OwnershipConfig = config,
): OwnershipCertificate {
  const ballot = ballotOf(part);
  const votes = voters.map((id) => {
    const signature = simSigner(`key-${id}`).sign(voteStatement('g', ballot, { id, instance: 7 }));
    return { voter: rosterOf(list).findIndex((known) => known.id === id), instance: 7, signature };
  });
  return { ballot, votes };
}

describe('a host', () => {
  const knowing = (): OwnershipHost => {
    const rows = [{ shard: 1, epoch: makeEpoch(1, 4), owner: 'b', providerAddress: '192.0.2.2', previousAddress: '', previousUntilMs: 0 }];
    const host = new OwnershipHost({ self: 'h', rows, now: 0 }, { verify: simVerify, random: () => 1, timing: TIMING, rules: RULES });
    host.step({ kind: 'config', config }, 0);
    return host;
  };
  const give = (host: OwnershipHost, value: OwnershipCertificate): readonly HostOutput[] =>
    host.step({ kind: 'message', message: { group: 'g', from: 'a', to: 'h', body: { kind: 'certificate', value } } }, 10);

  it('obeys a majority of signed votes, and says so to the owner', () => {
    const host = knowing();
    const outputs = give(host, certificateBy(['a', 'w']));
    expect(host.row(1)).toMatchObject({ epoch: makeEpoch(1, 5), owner: 'a', providerAddress: '192.0.2.1' });
    expect(said(outputs)).toMatchObject([{ kind: 'acknowledgement', value: { accepted: true } }]);
  });

  it('refuses a minority, a vote twice, a changed epoch, a foreign key, and lower epochs', () => {
    const genuine = certificateBy(['a', 'w']);
    const forged: readonly OwnershipCertificate[] = [
      certificateBy(['w']),
      { ...genuine, votes: [genuine.votes[0]!, genuine.votes[0]!] },
      { ...genuine, ballot: { ...genuine.ballot, epoch: 2n ** 63n } },
      { ...genuine, ballot: { ...genuine.ballot, epoch: makeEpoch(1, 0xffff_ffff) } },
      { ...genuine, ballot: { ...genuine.ballot, shards: [1, 2] } },
      { ...genuine, votes: [genuine.votes[0]!, { ...genuine.votes[1]!, voter: 1 }] },
      { ...genuine, votes: [genuine.votes[0]!, { ...genuine.votes[1]!, signature: new Uint8Array(4) }] },
      certificateBy(['a', 'w'], { kind: 'handover' }),
      certificateBy(['a', 'w'], { providerAddress: '192.0.2.66' }),
      certificateBy(['a', 'w'], { epoch: makeEpoch(1, 3) }),
    ];
    for (const [i, certificate] of forged.entries()) {
      const host = knowing();
      give(host, certificate);
      expect(host.row(1), `forgery ${i}`).toMatchObject({ epoch: makeEpoch(1, 4), owner: 'b' });
    }
  });

  it('lets a group say who owns its own shards only: a majority of one group has no word on those of another', () => {
    const row = (shard: number) => ({
      shard,
      epoch: makeEpoch(1, 4),
      owner: 'b',
      providerAddress: '192.0.2.2',
      previousAddress: '',
      previousUntilMs: 0,
    });
    const host = new OwnershipHost(
      { self: 'h', rows: [row(1), row(9)], now: 0 },
      { verify: simVerify, random: () => 1, timing: TIMING, rules: RULES },
    );
    host.step({ kind: 'config', config }, 0);
    // Shard 9 is another group's. Or a new one of this group, which the record that this host has read does not name yet: it reads it again.
    const outputs = give(host, certificateBy(['a', 'w'], { shards: [1, 9] }));
    expect(host.row(9)).toEqual(row(9));
    expect(host.row(1)).toMatchObject({ epoch: makeEpoch(1, 5), owner: 'a' });
    expect(outputs.filter(({ kind }) => kind !== 'shard')).toEqual([{ kind: 'need-config', config: 3, from: 'a' }]);
    host.step({ kind: 'config', config: { ...config, shards: [...config.shards, { shard: 9, order: ['a', 'b'], placement: 1 }] } }, 20);
    expect(said(give(host, certificateBy(['a', 'w'], { shards: [1, 9] })))).toMatchObject([{ kind: 'acknowledgement' }]);
    expect(host.row(9)).toMatchObject({ epoch: makeEpoch(1, 5), owner: 'a' });
  });

  it('believes the next owner beside the present one from its consent on, for a while, and obeys it by its certificate only', () => {
    const consentOf = (part: Partial<OwnershipConsent> = {}, key = 'key-b'): OwnershipConsent => {
      const consent = { epoch: makeEpoch(1, 4), shards: [1], from: 'b', to: 'a', ...part };
      return { ...consent, signature: simSigner(key).sign(consentStatement('g', consent)) };
    };
    const offered = (consent: OwnershipConsent, from = 'b'): OwnershipHost => {
      const host = knowing();
      host.step({ kind: 'message', message: { group: 'g', from, to: '', body: { kind: 'offer', value: { consent } } } }, 10);
      return host;
    };
    const present = { epoch: makeEpoch(1, 4), owner: 'b', providerAddress: '192.0.2.2' };
    const host = offered(consentOf());
    expect(host.row(1)).toMatchObject({ ...present, previousAddress: '192.0.2.1', previousUntilMs: 10 + 3 * TIMING.attemptMs });
    give(host, certificateBy(['a', 'w'], { kind: 'handover', consent: consentOf() }));
    expect(host.row(1)).toMatchObject({ epoch: makeEpoch(1, 5), owner: 'a', previousAddress: '192.0.2.2' });
    for (const [what, refused] of Object.entries({
      'signed by another': offered(consentOf({}, 'key-a')),
      'of another epoch': offered(consentOf({ epoch: makeEpoch(1, 3) })),
      'of one who is not the owner': offered(consentOf({ from: 'a', to: 'b' }, 'key-a'), 'a'),
      'brought by another': offered(consentOf(), 'a'),
      'to nobody that is a member': offered(consentOf({ to: 'z' })),
      'of another shard': offered(consentOf({ shards: [2] })),
    }))
      expect(refused.row(1), what).toMatchObject({ ...present, previousAddress: '' });
  });

  it('that has booted believes nobody before a majority of the voters has answered', () => {
    const host = new OwnershipHost({ self: 'h', rows: [], now: 0 }, { verify: simVerify, random: () => 1, timing: TIMING, rules: RULES });
    host.step({ kind: 'config', config }, 0);
    const asked = said(host.step({ kind: 'tick' }, 1));
    expect(asked.map(({ kind }) => kind)).toEqual(['ask', 'ask', 'ask']);
    const old = certificateBy(['a', 'w']);
    give(host, old);
    const answer = (from: string, promised: bigint): void => {
      const shards = [{ shard: 1, promised, holder: 'a', remainingMs: 0, certified: 0n, refusal: undefined }];
      const value = { nonce: 1, knownConfig: 3, acceptedConfig: 3, instance: 7, abstaining: false, shards };
      host.step({ kind: 'message', message: { group: 'g', from, to: 'h', body: { kind: 'answer', value } } }, 20);
    };
    answer('a', makeEpoch(1, 5));
    expect(host.row(1)).toBeUndefined();
    // The other voter has promised a higher one: it may have been granted, and obeyed here before the boot.
    answer('w', makeEpoch(1, 6));
    expect(host.row(1)).toBeUndefined();
    give(host, certificateBy(['a', 'w'], { epoch: makeEpoch(1, 7), round: 2 }));
    expect(host.row(1)).toMatchObject({ epoch: makeEpoch(1, 7) });
  });
});

describe('a liar among the voters', () => {
  it('that names an impossible epoch is not counted, and the others still make an owner', () => {
    const random = new Random(4);
    const node = new OwnershipNode(
      { self: 'a', bootId: 'boot', file, rows: [], now: 0 },
      { signer: simSigner('key-a'), verify: simVerify, random: () => random.bits(), timing: TIMING, rules: RULES },
    );
    node.step({ kind: 'config', config }, 0);
    const asked = said(node.step({ kind: 'tick' }, 30)).flatMap((body) => (body.kind === 'ask' ? [body.value] : []))[0]!;
    const answer = (from: string, promised: bigint): readonly Output[] => {
      const shards = [{ shard: 1, promised, holder: '', remainingMs: 0, certified: 0n, refusal: undefined }];
      const value = { nonce: asked.nonce, knownConfig: 3, acceptedConfig: 3, instance: 7, abstaining: false, shards };
      return node.step({ kind: 'message', message: { group: 'g', from, to: 'a', body: { kind: 'answer', value } } }, 40);
    };
    const lied = answer('b', makeEpoch(1, 0xffff_ffff));
    expect(lied).toMatchObject([{ kind: 'alarm', code: 'implausible-epoch', about: 'b' }]);
    const write = written(answer('w', makeEpoch(1, 8)))!;
    expect(write.state.proposed).toBe(makeEpoch(1, 9));
  });
});

describe('a member', () => {
  it('goes on with its own group’s shards only, though the packet path has rows of others; and without those that the record names no more', () => {
    const random = new Random(3);
    const epoch = makeEpoch(1, 5);
    // Groups count their epochs by themselves: the same one says nothing.
    const rows = [1, 2, 9].map((shard) => ({ shard, epoch, deadlineMs: 4_000, handoverUntilMs: 0, handoverTo: '' }));
    const shards = [1, 2].map((shard) => ({ shard, order: ['a', 'b'], placement: 1 }));
    const node = new OwnershipNode(
      { self: 'a', bootId: 'boot', file: { ...file, promises: [1, 2].map((shard) => ({ shard, epoch, candidate: 'a' })) }, rows, now: 100 },
      { signer: simSigner('key-a'), verify: simVerify, random: () => random.bits(), timing: TIMING, rules: RULES },
    );
    const renewed = (now: number): readonly number[][] =>
      said(node.step({ kind: 'tick' }, now)).flatMap((body) => (body.kind === 'ballot' ? [[...body.value.shards]] : []));
    node.step({ kind: 'config', config: { ...config, shards } }, 100);
    expect(renewed(110)).toEqual([
      [1, 2],
      [1, 2],
    ]);
    node.step({ kind: 'config', config: { ...config, shards: shards.slice(0, 1) } }, 120);
    expect(renewed(500)).toEqual([[1], [1]]);
    expect(node.member.owner.termOf(9)).toBeUndefined();
  });

  it('closes nothing of another group by a certificate of its own', () => {
    const random = new Random(3);
    const rows = [1, 9].map((shard) => ({ shard, epoch: makeEpoch(1, 4), deadlineMs: 4_000, handoverUntilMs: 0, handoverTo: '' }));
    const node = new OwnershipNode(
      { self: 'a', bootId: 'boot', file, rows, now: 100 },
      { signer: simSigner('key-a'), verify: simVerify, random: () => random.bits(), timing: TIMING, rules: RULES },
    );
    node.step({ kind: 'config', config }, 100);
    const value = certificateBy(['b', 'w'], { candidate: 'b', providerAddress: '192.0.2.2', shards: [1, 9] });
    const outputs = node.step({ kind: 'message', message: { group: 'g', from: 'b', to: 'a', body: { kind: 'certificate', value } } }, 110);
    expect(outputs.flatMap((output) => (output.kind === 'fence' ? [output.row.shard] : []))).toEqual([1]);
    expect(outputs).toContainEqual({ kind: 'need-config', config: 3, from: 'b' });
  });

  it('counts the deadline from before the sending of exactly the renewal that was answered', () => {
    const random = new Random(2);
    const rows = [{ shard: 1, epoch: makeEpoch(1, 5), deadlineMs: 4_000, handoverUntilMs: 0, handoverTo: '' }];
    const node = new OwnershipNode(
      { self: 'a', bootId: 'boot', file: { ...file, promises: [{ shard: 1, epoch: makeEpoch(1, 5), candidate: 'a' }] }, rows, now: 100 },
      { signer: simSigner('key-a'), verify: simVerify, random: () => random.bits(), timing: TIMING, rules: RULES },
    );
    node.step({ kind: 'config', config }, 100);
    const sent = said(node.step({ kind: 'tick' }, 110)).flatMap((body) => (body.kind === 'ballot' ? [body.value] : []))[0]!;
    expect(sent).toMatchObject({ kind: 'renewal', epoch: makeEpoch(1, 5) });
    const later = said(node.step({ kind: 'tick' }, 500)).flatMap((body) => (body.kind === 'ballot' ? [body.value] : []))[0]!;
    expect(later.round).not.toBe(sent.round);
    const vote = (ballot: OwnershipBallot, now: number): readonly Output[] => {
      const signature = simSigner('key-w').sign(voteStatement('g', ballot, { id: 'w', instance: 7 }));
      const value = { config: 3, epoch: ballot.epoch, round: ballot.round, instance: 7, signature, certified: ballot.epoch };
      return node.step({ kind: 'message', message: { group: 'g', from: 'w', to: 'a', body: { kind: 'vote', value } } }, now);
    };
    // The answer to the first comes late: it opens from the first's sending, though a second is out.
    expect(vote(sent, 1_900)).toContainEqual({ kind: 'fence', row: expect.objectContaining({ deadlineMs: 110 + 4_950 }) });
    expect(vote({ ...later, round: 12_345 }, 1_950).some(({ kind }) => kind === 'fence')).toBe(false);
    expect(vote(later, 2_000)).toContainEqual({ kind: 'fence', row: expect.objectContaining({ deadlineMs: 500 + 4_950 }) });
  });
});
