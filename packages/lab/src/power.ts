import type { SwitchFaults } from '@weft/testkit';
import type { Lab } from './lab.ts';

/**
 * A host loses power: its agent is gone without a word, and its links to every network are down, so that neighbours see no carrier. Its maps stay where they
 * are, as the lab's hosts share a kernel, but no frame reaches them.
 */
export async function cutPower(lab: Lab, host: string): Promise<void> {
  const agent = lab.agent(host);
  agent.kill('SIGKILL');
  await Promise.all(networksOf(lab, host).map((network) => network.unplug(host)));
  await agent.exited;
}

/** The power is back: links and agent. @throws {LabError} When the agent does not come up. */
export async function restorePower(lab: Lab, host: string, options: { readonly wait?: boolean } = {}): Promise<void> {
  await Promise.all(networksOf(lab, host).map((network) => network.plug(host)));
  await lab.startAgent(host, options);
}

function networksOf(lab: Lab, host: string): readonly SwitchFaults[] {
  return [
    lab.net.faults,
    ...(lab.net.managementFaults === undefined ? [] : [lab.net.managementFaults]),
    ...lab.spec.externalNetworks.filter(({ members }) => members.includes(host)).map(({ name }) => lab.externalNetwork(name).faults),
  ];
}
