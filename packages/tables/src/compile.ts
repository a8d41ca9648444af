import type { TableEntry } from '@weft/forwarding';
import type { Assignment, VirtualNetwork } from '@weft/model';
import { rowIdentity } from './row-identity.ts';
import {
  type Contribution,
  gatewaySpeakers,
  type HostContext,
  memberRows,
  networkRows,
  outranks,
  type PortFacts,
  portRows,
  portSpeakers,
  speakerRow,
  usableSubnets,
} from './rows.ts';

/** What a network's rows are made of. `NetworkView.inputs()` gives it. */
export interface CompileInputs {
  readonly host: HostContext;
  readonly network: VirtualNetwork | undefined;
  /** Of the network's gateway; another one's is passed over. */
  readonly assignment?: Assignment | undefined;
  readonly vsidAllowed: (vsid: number) => boolean;
  /** By port id; `rank` is the revision of the Port record. */
  readonly ports: ReadonlyMap<string, PortFacts & { readonly rank: number }>;
}

/**
 * All rows of one network on one host, from zero. The slow answer that checks the incremental one: both must be equal at the same `nowMs`
 * (boot clock). O(ports).
 */
export function compile(inputs: CompileInputs, nowMs: number): TableEntry[] {
  const { network, host } = inputs;
  if (network === undefined) return [];
  const subnets = usableSubnets(network, inputs.vsidAllowed);
  const vsids = new Set(subnets.map((subnet) => subnet.vsid));
  const rows = new Map<string, Contribution>();
  const claim = (entry: TableEntry, rank: number, owner: string): void => {
    const key = rowIdentity(entry);
    const found = rows.get(key);
    const one = { entry, rank, owner };
    if (found === undefined || outranks(one, found)) rows.set(key, one);
  };
  for (const entry of networkRows(network, subnets)) claim(entry, 0, '');
  for (const entry of memberRows(network, subnets, inputs.assignment, host)) claim(entry, 0, '');
  const members = new Set(gatewaySpeakers(network, inputs.assignment, host));
  const speakers = new Set<string>();
  for (const [portId, facts] of inputs.ports) {
    for (const entry of portRows(network, vsids, facts, host, nowMs)) claim(entry, facts.rank, portId);
    for (const pa of portSpeakers(network, vsids, facts, host, nowMs)) speakers.add(pa);
  }
  for (const pa of new Set([...members, ...speakers])) claim(speakerRow(network.networkId, pa, speakers.has(pa), members.has(pa)), 0, '');
  return [...rows.values()].map((one) => one.entry);
}
