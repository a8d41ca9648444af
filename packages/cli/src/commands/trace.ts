import { Action, fromPort, fromUnderlay, gatewayMac, Trace, type Verdict } from '@weft/forwarding';
import { dropReasonName, type Host, type Mapping, type Port, type VirtualNetwork } from '@weft/model';
import {
  buildIcmpEchoFrame,
  buildTcpFrame,
  buildUdpFrame,
  formatIp,
  isIpv4Mapped,
  parseIp,
  parsePrefix,
  prefixContains,
  TCP_FLAG,
} from '@weft/packet';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { CliError, CliErrorCode, ExitCode, messageOf } from '../core/errors.ts';
import { ask, type Session } from '../core/session.ts';
import { toJson } from '../format/output.ts';
import { formatEpoch } from '../format/quantity.ts';
import { paint } from '../format/style.ts';
import { bindingOf, portName, readCatalog, requirePort } from '../resources/catalog.ts';
import { parseReference } from '../resources/reference.ts';
import { type TraceShard, traceTables } from '../resources/trace-tables.ts';
import { type Deps, examples, withSession } from './deps.ts';

type Protocol = 'icmp' | 'tcp' | 'udp';

export interface TraceRequest {
  readonly port: Port;
  readonly network: VirtualNetwork;
  readonly destination: string;
  readonly protocol: Protocol;
  readonly destinationPort: number;
}

/** A host and what it says it knows of the network. */
export interface TraceHost {
  readonly host: Pick<Host, 'id' | 'providerAddress' | 'underlayMtu'>;
  readonly mappings: readonly Mapping[];
  /** Who owns the shard that serves the network, as this host has it. */
  readonly shard?: TraceShard & { readonly owner: string };
}

/** The gateway that a packet is handed to. What it makes of it (port mapping, routes outside) is not traced. */
export interface TraceGateway {
  readonly shard: number;
  readonly owner: string;
  readonly epoch: bigint;
}

export interface TraceStage {
  readonly host: string;
  readonly steps: Trace['steps'];
  readonly verdict: Verdict;
  /** Device delivered to, by name; empty unless `LOCAL`. */
  readonly device: string;
  /** Handed to this member, to leave the network. */
  readonly gateway?: TraceGateway;
}

const SOURCE_PORT = 40_000;

/** The frame that the port's VM would send. */
function frameOf({ port, network, destination, protocol, destinationPort }: TraceRequest, mappings: readonly Mapping[]): Uint8Array {
  const isIpv4 = isIpv4Mapped(parseIp(destination));
  const source = port.addresses.find((address) => isIpv4Mapped(parseIp(address)) === isIpv4);
  if (source === undefined)
    throw new CliError(
      CliErrorCode.Refused,
      `Cannot trace to ${destination}: port ${portName(port)} has no address of that family (${port.addresses.join(', ')})`,
    );
  const subnet = network.subnets.find(({ vsid }) => vsid === port.vsid);
  const onLink =
    subnet?.prefixes.some((prefix) => prefixContains(parsePrefix(prefix), parseIp(destination))) === true &&
    !subnet.gateways.includes(destination);
  // On link the VM asks by ARP or ND, and gets the MAC that the host knows; off link it sends to its gateway.
  const known = mappings.find(
    (mapping) => mapping.networkId === network.networkId && mapping.vsid === port.vsid && mapping.customerAddress === destination,
  );
  const sourceMac = port.mac;
  const destinationMac = onLink && known !== undefined ? known.mac : gatewayMac(port.vsid);
  const fields = { sourceMac, destinationMac, source, destination };
  if (protocol === 'tcp') return buildTcpFrame({ ...fields, sourcePort: SOURCE_PORT, destinationPort, flags: TCP_FLAG.syn });
  if (protocol === 'udp') return buildUdpFrame({ ...fields, sourcePort: SOURCE_PORT, destinationPort });
  return buildIcmpEchoFrame({ ...fields, identifier: 1, sequence: 1 });
}

/**
 * Decides about a frame on its way: at the sender's host, and if it is tunnelled, at the receiver's.
 *
 * @param at Gives what the host with a provider address knows; undefined when there is no such host.
 */
export async function traceFrame(
  request: TraceRequest,
  sender: TraceHost,
  at: (providerAddress: string) => Promise<TraceHost | undefined>,
): Promise<TraceStage[]> {
  const { network, port } = request;
  const own = sender.mappings.find(
    (mapping) =>
      mapping.networkId === network.networkId && mapping.kind === 'local' && mapping.vsid === port.vsid && mapping.mac === port.mac,
  );
  const first = traceTables(network, sender.mappings, sender.host, sender.shard);
  const nameOf = (ifindexes: ReadonlyMap<string, number>, verdict: Verdict): string =>
    verdict.action === Action.LOCAL ? ([...ifindexes].find(([, ifindex]) => ifindex === verdict.ifindex)?.[0] ?? '') : '';
  const context = (host: TraceHost, trace: Trace) => ({ pa: parseIp(host.host.providerAddress), udpPort: 4789, nowBootNs: 1n, trace });
  const trace = new Trace();
  const ifindex = first.ifindexes.get(own?.device ?? '') ?? 0;
  const verdict = fromPort(first.tables, { ifindex, frame: frameOf(request, sender.mappings) }, context(sender, trace));
  const stages: TraceStage[] = [{ host: sender.host.id, steps: trace.steps, verdict, device: nameOf(first.ifindexes, verdict) }];
  const gateway = gatewayOf(verdict, network, sender);
  if (gateway !== undefined) return [{ ...stages[0]!, gateway }];
  if (verdict.action !== Action.TUNNEL || verdict.frame === undefined) return stages;
  const receiver = await at(formatIp(verdict.pa));
  if (receiver === undefined) return stages;
  const second = traceTables(network, receiver.mappings, receiver.host);
  const arrival = new Trace();
  const outcome = fromUnderlay(second.tables, { frame: verdict.frame }, context(receiver, arrival));
  stages.push({ host: receiver.host.id, steps: arrival.steps, verdict: outcome, device: nameOf(second.ifindexes, outcome) });
  return stages;
}

/** Set if the frame goes to the owner of the network's shard: it carries the VSID of the gateway's own subnet there, or stays on the owner's machine. */
function gatewayOf(verdict: Verdict, network: VirtualNetwork, { shard }: TraceHost): TraceGateway | undefined {
  const vsid = network.subnets.find(({ role }) => role === 'gateway')?.vsid;
  const isHandedOver = verdict.action === Action.GATEWAY || (verdict.action === Action.TUNNEL && verdict.vsid === vsid);
  if (shard === undefined || vsid === undefined || !isHandedOver) return undefined;
  return { shard: shard.shard, owner: shard.owner, epoch: shard.epoch };
}

/** Whether the frame gets there: delivered to a device, answered by the network itself, or handed to the gateway. */
export function arrives(stages: readonly TraceStage[]): boolean {
  const end = stages.at(-1);
  if (end?.gateway !== undefined) return true;
  const last = end?.verdict;
  return last !== undefined && last.reason === 0 && (last.action === Action.LOCAL || last.action === Action.REPLY);
}

export function formatTrace(stages: readonly TraceStage[], color: boolean): string {
  const parts = stages.map(({ host, steps }) => {
    const width = Math.max(...steps.map((step) => step.what.length));
    const lines = steps.map(({ what, key, result }) => `  ${what.padEnd(width)}  ${key} → ${result}\n`);
    return `${paint(`on host ${host}`, 'strong', color)}\n${lines.join('')}`;
  });
  const last = stages.at(-1)!;
  if (last.gateway !== undefined) {
    const { shard, owner, epoch } = last.gateway;
    const what = `handed to gateway ${owner}, owner of shard ${shard} by epoch ${formatEpoch(epoch)}; what leaves there: weft flows, weft nat list`;
    return `${parts.join('')}${paint(what, 'good', color)}\n`;
  }
  const end = arrives(stages)
    ? paint(
        last.verdict.action === Action.REPLY ? `answered by host ${last.host}` : `delivered to ${last.device} on ${last.host}`,
        'good',
        color,
      )
    : last.verdict.reason !== 0
      ? paint(`dropped on ${last.host}: ${dropReasonName(last.verdict.reason)}`, 'bad', color)
      : paint(`sent on by ${last.host} to a host that is not registered`, 'bad', color);
  return `${parts.join('')}${end}\n`;
}

function parsePortNumber(text: string): number {
  const port = Number(text);
  if (!Number.isInteger(port) || port < 1 || port > 65_535) throw new InvalidArgumentError('must be a port, 1 to 65535');
  return port;
}

interface TraceOptions {
  readonly from: string;
  readonly dst: string;
  readonly proto: Protocol;
  readonly dport?: number;
  readonly tenant?: string;
  readonly network?: string;
  readonly json?: boolean;
}

export function registerTrace(program: Command, deps: Deps): void {
  program
    .command('trace')
    .summary('explain what happens to a packet of a port')
    .description(
      "Makes the packet that the port's VM would send, and decides about it as the packet path does, with what the hosts on its way say they hold. Prints each look-up and the outcome; sends nothing. Exit status 1 when the packet does not arrive.\nA packet that leaves the network is followed to the gateway that owns the network's shard.\n(Windows of a port that is moving just now are left out of account.)",
    )
    .requiredOption('--from <port>', 'sending port, TENANT/NETWORK/PORT')
    .requiredOption('--dst <address>', 'customer address it is sent to')
    .addOption(
      new Option('--proto <protocol>', 'what is sent: a ping, a TCP connection request, a UDP datagram')
        .choices(['icmp', 'tcp', 'udp'])
        .default('icmp'),
    )
    .option('--dport <port>', 'destination port for tcp and udp (default 80)', parsePortNumber)
    .option('--tenant <name>', 'tenant, when --from leaves it out')
    .option('--network <name>', 'network, when --from leaves it out')
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      examples(
        'weft trace --from coke/net/web1 --dst 10.0.1.11',
        'weft trace --from coke/net/web1 --dst 10.0.1.11 --proto tcp --dport 443',
      ),
    )
    .action(async (options: TraceOptions, command: Command) => {
      try {
        parseIp(options.dst);
      } catch (error) {
        throw new CliError(CliErrorCode.Usage, `Cannot use --dst "${options.dst}": ${messageOf(error)}`);
      }
      await withSession(deps, command, async (session) => {
        const catalog = await readCatalog(session, ['VirtualNetwork', 'Port', 'PortBinding', 'Host']);
        const port = requirePort(catalog, parseReference('Port', options.from, options));
        const network = catalog.networks.find(({ value }) => value.id === port.routingDomainId)?.value;
        const binding = bindingOf(catalog, port)?.value;
        const host = catalog.hosts.find(({ value }) => value.id === binding?.hostId)?.value;
        if (network === undefined || host === undefined)
          throw new CliError(CliErrorCode.Refused, `Cannot trace from port ${portName(port)}: it is bound nowhere, so it sends nothing`);
        const request: TraceRequest = {
          port,
          network,
          destination: options.dst,
          protocol: options.proto,
          destinationPort: options.dport ?? 80,
        };
        const sender = { ...(await knownAt(session, host, network.id)), ...(await shardAt(session, host, network, catalog.hosts)) };
        const stages = await traceFrame(request, sender, async (providerAddress) => {
          const receiver = catalog.hosts.find(({ value }) => value.providerAddress === providerAddress)?.value;
          return receiver === undefined ? undefined : knownAt(session, receiver, network.id);
        });
        const ok = arrives(stages);
        if (options.json === true) deps.io.out(toJson({ arrives: ok, stages: stages.map(stageJson) }));
        else deps.io.out(formatTrace(stages, deps.io.color));
        if (!ok) deps.setExitCode(ExitCode.failed);
      });
    });
}

async function knownAt(session: Session, host: Host, routingDomainId: string): Promise<TraceHost> {
  const { mappings } = await ask(session, host.id, { kind: 'mappings', value: { routingDomainId } }, 'mappings');
  return { host, mappings };
}

/** Whom the host believes to own the network's shard. */
async function shardAt(
  session: Session,
  host: Host,
  network: VirtualNetwork,
  hosts: readonly { readonly value: Host }[],
): Promise<Pick<TraceHost, 'shard'>> {
  const { gateway } = network;
  if (gateway === undefined) return {};
  const { groups } = await ask(session, host.id, { kind: 'gatewayStatus', value: { gatewayId: gateway.gatewayId } }, 'gatewayStatus');
  const known = groups.flatMap(({ shards }) => shards).find(({ shard }) => shard === gateway.shard);
  const owner = hosts.find(({ value }) => value.id === known?.owner)?.value;
  if (known === undefined || owner === undefined) return {};
  return { shard: { shard: known.shard, epoch: known.epoch, owner: owner.id, providerAddress: owner.providerAddress } };
}

function stageJson({ host, steps, verdict, device, gateway }: TraceStage): object {
  const action = Object.entries(Action).find(([, value]) => value === verdict.action)?.[0] ?? String(verdict.action);
  return {
    host,
    action,
    reason: dropReasonName(verdict.reason),
    device,
    to: verdict.action === Action.TUNNEL ? formatIp(verdict.pa) : '',
    ...(gateway !== undefined && { gateway: { ...gateway, epoch: String(gateway.epoch) } }),
    steps,
  };
}
