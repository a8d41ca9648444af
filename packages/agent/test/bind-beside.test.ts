import { PortFlag, TargetKind } from '@weft/forwarding';
import { parseIp } from '@weft/packet';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { binding, bindingKey, type Host, Lab, RDID } from './harness.ts';

// A bind does two slow things at once: the kernel's attach, and the claim. Whichever is later makes the port READY; if either fails, both go.

let lab: Lab;
let a: Host;
let b: Host;
beforeEach(async () => {
  lab = new Lab();
  await lab.init();
  for (const n of [1, 2]) await lab.putPort(n);
  a = await lab.host('host-a');
  b = await lab.host('host-b');
  await lab.bind(b, 2);
  await lab.settle(300);
});
afterEach(() => lab.close());

interface Gate {
  readonly closed: Promise<void>;
  open(): void;
}

function gate(): Gate {
  let open = (): void => {};
  const closed = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { closed, open };
}

/** A bind under way, and what it has answered so far. */
function begin(host: Host, n: number, options: Parameters<Lab['bind']>[2] = {}) {
  const answer: { problems?: string[] } = {};
  const { device = `tap${n}`, move = false } = options;
  const command = {
    kind: 'bindPort',
    value: {
      routingDomainId: RDID,
      portId: binding(n, host.id, 1).portId,
      device,
      deviceKind: 'tap',
      move,
      expectedGeneration: 0,
    },
  } as const;
  void host.bus.ask(host.id, command, lab.admin.publicKey).then(({ problems }) => {
    answer.problems = problems.map((problem) => problem.code);
  });
  return answer;
}

const lookup = (host: Host, n: number) => host.datapath.tables.lookup(7, parseIp(`192.0.2.${n + 10}`));
const flags = (host: Host, device: string) => {
  const ifindex = host.devices.present.get(device)?.ifindex;
  return ifindex === undefined ? undefined : host.datapath.tables.port(ifindex)?.flags;
};
const claim = async (n: number) => {
  const answer = await lab.ask(a, { kind: 'status', value: {} });
  if (answer.result?.kind !== 'status') throw new Error('no status');
  return answer.result.value.portStatus.find((port) => port.portId === binding(n, 'x', 1).portId);
};
const standing = () => lab.store.buckets.mapping.values.get(bindingKey(1));
const nothingLeft = (host: Host): void => {
  expect(host.datapath.entries('port')).toEqual([]);
  expect([...host.datapath.attached]).toEqual([]);
  expect([...host.devices.present.keys()]).toEqual([]);
};

describe('a port is READY once its program is attached and its claim stands', () => {
  it('when the claim is first', async () => {
    const attach = gate();
    a.datapath.attachGate = attach.closed;
    const answer = begin(a, 1);
    await lab.settle(300);
    expect(standing()).toBeDefined();
    expect(lookup(b, 1)).toMatchObject({ kind: TargetKind.PEER });
    expect([flags(a, 'tap1'), lookup(a, 1), answer.problems]).toEqual([undefined, undefined, undefined]);
    attach.open();
    await lab.settle();
    expect([flags(a, 'tap1'), lookup(a, 1)?.kind, answer.problems]).toEqual([PortFlag.READY, TargetKind.LOCAL, []]);
    expect(a.datapath.attachedBeforeReady).toBe(true);
    for (const host of [a, b]) expect(await lab.consistency(host)).toMatchObject({ consistent: true });
  });

  it('when the program is first', async () => {
    const write = gate();
    a.bus.writeGate = write.closed;
    const answer = begin(a, 1);
    await lab.settle(300);
    expect(standing()).toBeUndefined();
    expect([flags(a, 'tap1'), lookup(a, 1), answer.problems]).toEqual([0, undefined, undefined]);
    expect([...a.datapath.attached]).toEqual([a.devices.present.get('tap1')!.ifindex]);
    write.open();
    await lab.settle();
    expect([flags(a, 'tap1'), lookup(a, 1)?.kind, answer.problems]).toEqual([PortFlag.READY, TargetKind.LOCAL, []]);
  });

  it('but a port that others send to already is claimed only when its program is attached', async () => {
    await lab.bind(b, 1);
    const attach = gate();
    a.datapath.attachGate = attach.closed;
    const before = standing()!.revision;
    const answer = begin(a, 1, { move: true });
    await lab.settle(300);
    expect(standing()!.revision).toBe(before);
    expect(lookup(b, 1)).toMatchObject({ kind: TargetKind.LOCAL });
    attach.open();
    await lab.settle(300);
    expect(answer.problems).toEqual([]);
    expect([lookup(a, 1)?.kind, lookup(b, 1)?.kind]).toEqual([TargetKind.LOCAL, TargetKind.REDIRECT]);
  });

  it('and its program is no leftover to a reconciliation that runs before the attach is reported', async () => {
    // Long after the start, when no device is spared any more for the last run's sake.
    await lab.settle(40_000);
    const report = gate();
    a.datapath.attachReportGate = report.closed;
    const answer = begin(a, 1);
    await lab.settle(300);
    const { ifindex } = a.devices.present.get('tap1')!;
    // What refuses one change is reconciled as a whole soon after.
    a.datapath.fault = new Error('refused by the test');
    await lab.unbind(b, 2);
    await lab.settle(10);
    a.datapath.fault = undefined;
    await lab.settle(5_000);
    expect(a.agent.conditions).toEqual([]);
    expect(lab.logs.some(({ fields, message }) => fields['host'] === 'host-a' && message === 'tables reconciled')).toBe(true);
    expect([...a.datapath.attached]).toEqual([ifindex]);
    report.open();
    await lab.settle();
    expect([answer.problems, flags(a, 'tap1')]).toEqual([[], PortFlag.READY]);
  });
});

describe('a bind of which one half fails leaves nothing', () => {
  it('when the attach fails after the claim: the claim is released', async () => {
    const attach = gate();
    a.datapath.attachGate = attach.closed;
    const answer = begin(a, 1);
    await lab.settle(300);
    expect(lookup(b, 1)).toMatchObject({ kind: TargetKind.PEER });
    a.datapath.attachFault = new Error('the device went away');
    attach.open();
    await lab.settle(300);
    expect(answer.problems).toEqual(['WEFT_ERR_AGENT_DEVICE_SETUP']);
    nothingLeft(a);
    expect(lookup(b, 1)).toBeUndefined();
    expect(await claim(1)).toBeUndefined();
    a.datapath.attachFault = undefined;
    expect((await lab.bind(b, 1)).problems).toEqual([]);
  });

  it('also while NATS is gone: released when it is back', async () => {
    const attach = gate();
    a.datapath.attachGate = attach.closed;
    const answer = begin(a, 1);
    await lab.settle(300);
    a.bus.setConnected(false);
    a.datapath.attachFault = new Error('the device went away');
    attach.open();
    await lab.settle(3_000);
    expect(answer.problems).toEqual(['WEFT_ERR_AGENT_DEVICE_SETUP']);
    nothingLeft(a);
    expect(await claim(1)).toMatchObject({ state: 'releasing' });
    a.bus.setConnected(true);
    await lab.settle(5_000);
    expect(await claim(1)).toBeUndefined();
    expect(lookup(b, 1)).toBeUndefined();
  });

  it('when another host claims first: its attach is waited for and undone', async () => {
    const [attach, write] = [gate(), gate()];
    a.datapath.attachGate = attach.closed;
    a.bus.writeGate = write.closed;
    const answer = begin(a, 1);
    await lab.settle(300);
    expect((await lab.bind(b, 1)).problems).toEqual([]);
    write.open();
    await lab.settle(300);
    expect(answer.problems).toBeUndefined();
    attach.open();
    await lab.settle(300);
    expect(answer.problems).toEqual(['WEFT_ERR_AGENT_BOUND_ELSEWHERE']);
    nothingLeft(a);
    expect(lookup(a, 1)).toMatchObject({ kind: TargetKind.PEER });
  });

  it('when the outcome of the claim is unknown and the attach fails: repeated, it stands', async () => {
    const attach = gate();
    a.datapath.attachGate = attach.closed;
    a.bus.writeFault = 'lost';
    const answer = begin(a, 1);
    await lab.settle(300);
    a.datapath.attachFault = new Error('the device went away');
    attach.open();
    await lab.settle(300);
    expect(answer.problems).toEqual(['WEFT_ERR_AGENT_UNKNOWN_OUTCOME']);
    expect([...a.datapath.attached]).toEqual([]);
    a.datapath.attachFault = undefined;
    a.bus.writeFault = 'none';
    expect((await lab.bind(a, 1)).problems).toEqual([]);
    expect([flags(a, 'tap1'), lookup(a, 1)?.kind]).toEqual([PortFlag.READY, TargetKind.LOCAL]);
  });

  it('when the device is taken by a bind of another port meanwhile: one of them has it', async () => {
    const attach = gate();
    a.datapath.attachGate = attach.closed;
    await lab.putPort(3);
    const [one, other] = [begin(a, 1, { device: 'shared' }), begin(a, 3, { device: 'shared' })];
    await lab.settle(300);
    attach.open();
    await lab.settle(300);
    expect([one.problems, other.problems].flat()).toEqual(['WEFT_ERR_AGENT_DEVICE_IN_USE']);
    expect(a.datapath.entries('port')).toHaveLength(1);
    expect(await lab.consistency(a)).toMatchObject({ consistent: true });
  });
});
