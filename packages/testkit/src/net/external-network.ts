import { type Registry, readLabNote } from '../core/registry.ts';
import { ipBatch, setSysctls } from './ip.ts';
import { createNetns, NetnsEndpoint } from './netns.ts';
import { SwitchFaults } from './switch-faults.ts';

/*
 * A physical network beyond a lab's gateways: what tenants reach through them.
 *
 *   weft-LAB-g1          weft-LAB-g2              weft-LAB-net-NAME        the outside: the segment's router, and the servers behind it
 *  +-----------+        +-----------+            +-------------------+
 *  | ext-NAME  |        | ext-NAME  |            | eth0   .1         |     203.0.113.0/24
 *  +-----+-----+        +-----+-----+            | lo     198.18.0.x |     addresses of servers, reached by way of the router
 *        |                    |                  +---------+---------+
 *  +-----+--------------------+----------------------------+---------+
 *  |  br0 in weft-LAB-ext-NAME: a switch that learns and floods      |
 *  +-----------------------------------------------------------------+
 */

export interface ExternalNetworkInit {
  /** 1 to 11 of a-z, 0-9 and "-": the members' device is `ext-NAME`. */
  readonly name: string;
  /** IPv4 /24 of the segment, as its first three bytes. Default `203.0.113` (TEST-NET-3, RFC 5737). */
  readonly prefix?: string;
  /** IPv6 /64 of the segment. Default `2001:db8:ffff`, that is 2001:db8:ffff::/64. */
  readonly prefix6?: string;
  /** Hosts with a device on the segment, in order: .2, .3, … and ::2, ::3, … */
  readonly members: readonly { readonly name: string; readonly netns: string }[];
  /** Addresses of servers behind the router, IPv4 and IPv6. Default 198.18.0.10 (RFC 2544) and 2001:db8:fffe::10. */
  readonly servers?: readonly string[];
  /** The router's routes to what lies behind the gateways: a prefix, and the external address that it is sent to. */
  readonly routes?: readonly { readonly prefix: string; readonly via: string }[];
  /** Default 1500. */
  readonly mtu?: number;
  /** False: the members get no addresses of their own, and no routes. Default true: the address above, and the router for `servers`. */
  readonly memberAddresses?: boolean;
}

interface ExternalNetworkNote {
  readonly name: string;
  readonly routerNetns: string;
  readonly switchNetns: string;
  readonly members: readonly { readonly name: string; readonly netns: string }[];
  readonly prefix: string;
  readonly prefix6: string;
  readonly servers: readonly string[];
}

/** An external network of a lab. Removed with the lab. */
export class ExternalNetwork {
  readonly name: string;
  /** Name of the members' device on it. */
  readonly device: string;
  /** The router and its servers: commands run here are run "on the Internet". */
  readonly outside: NetnsEndpoint;
  /** The router's own addresses on the segment: the gateways' next hops. */
  readonly nextHops: { readonly v4: string; readonly v6: string };
  readonly prefixes: { readonly v4: string; readonly v6: string };
  readonly servers: readonly string[];
  /** Faults at the switch; the router is `router`. */
  readonly faults: SwitchFaults;

  /** @internal Made by `createExternalNetwork`. */
  constructor(note: ExternalNetworkNote) {
    this.name = note.name;
    this.device = deviceOf(note.name);
    this.outside = new NetnsEndpoint(`net-${note.name}`, note.routerNetns);
    this.nextHops = { v4: `${note.prefix}.1`, v6: `${note.prefix6}::1` };
    this.prefixes = { v4: `${note.prefix}.0/24`, v6: `${note.prefix6}::/64` };
    this.servers = note.servers;
    const all = [...note.members, { name: 'router', netns: note.routerNetns }];
    this.faults = new SwitchFaults(note.switchNetns, new Map(all.map(({ name }, index) => [name, portOf(index)])), all, this.device);
  }

  /** An address on the segment: `address(16)` is 203.0.113.16. */
  address(number: number, family: 4 | 6 = 4): string {
    return family === 4 ? this.nextHops.v4.replace(/1$/, String(number)) : this.nextHops.v6.replace(/1$/, number.toString(16));
  }
}

const deviceOf = (name: string): string => `ext-${name}`;
/** What a kernel asks for IPv6 neighbours from when it forwards. Namespaces of a lab make none by themselves. */
const linkLocal = (number: number): string => `fe80::${number.toString(16)}/64`;
const portOf = (index: number): string => `port${index}`;
const noteKey = (name: string): string => `testkit.external-network.${name}`;

/**
 * Makes an external network in a lab.
 *
 * @throws {RangeError} When it can't be named so.
 * @throws {CommandError} When the system refuses. What was made is recorded, and goes with the lab.
 */
export async function createExternalNetwork(registry: Registry, init: ExternalNetworkInit): Promise<ExternalNetwork> {
  if (!/^[a-z0-9][a-z0-9-]{0,10}$/.test(init.name)) {
    throw new RangeError(`Cannot name an external network "${init.name}": must be 1 to 11 of a-z, 0-9 and "-", and not begin with "-"`);
  }
  const note: ExternalNetworkNote = {
    name: init.name,
    switchNetns: `weft-${registry.name}-ext-${init.name}`,
    routerNetns: `weft-${registry.name}-net-${init.name}`,
    members: init.members,
    prefix: init.prefix ?? '203.0.113',
    prefix6: init.prefix6 ?? '2001:db8:ffff',
    servers: init.servers ?? ['198.18.0.10', '2001:db8:fffe::10'],
  };
  return await registry.make([], () => build(registry, init, note));
}

async function build(registry: Registry, init: ExternalNetworkInit, note: ExternalNetworkNote): Promise<ExternalNetwork> {
  const network = new ExternalNetwork(note);
  const size = ['mtu', String(init.mtu ?? 1500)];
  await createNetns(registry, [note.switchNetns], { ipv6: false });
  await createNetns(registry, [note.routerNetns]);
  await ipBatch(
    [
      ['link', 'add', 'br0', ...size, 'type', 'bridge', 'stp_state', '0', 'forward_delay', '0', 'mcast_snooping', '0'],
      ['link', 'set', 'br0', 'up'],
    ],
    note.switchNetns,
  );
  const ends = [
    ...note.members.map(({ netns }) => ({ netns, device: network.device })),
    { netns: note.routerNetns, device: 'eth0' },
  ] as const;
  for (const { netns, device } of ends.slice(0, -1)) registry.record({ kind: 'device', name: device, netns });
  await ipBatch(
    ends.map(({ netns, device }, index) => [
      ...['link', 'add', device, ...size, 'netns', netns, 'type', 'veth'],
      ...['peer', 'name', portOf(index), ...size, 'netns', note.switchNetns],
    ]),
  );
  await ipBatch(
    ends.map((_, index) => ['link', 'set', portOf(index), 'master', 'br0', 'up']),
    note.switchNetns,
  );
  await setSysctls(note.routerNetns, { 'net.ipv4.ip_forward': 1, 'net.ipv6.conf.all.forwarding': 1 });
  await ipBatch(
    [
      ['address', 'add', `${network.nextHops.v4}/24`, 'brd', '+', 'dev', 'eth0'],
      ['address', 'add', `${network.nextHops.v6}/64`, 'dev', 'eth0', 'nodad'],
      ['address', 'add', linkLocal(1), 'dev', 'eth0', 'nodad'],
      ['link', 'set', 'eth0', 'up'],
      ...network.servers.map((server) => ['address', 'add', `${server}/${server.includes(':') ? 128 : 32}`, 'dev', 'lo']),
      ...(init.routes ?? []).map(({ prefix, via }) => ['route', 'add', prefix, 'via', via]),
    ],
    note.routerNetns,
  );
  for (const [index, { netns }] of note.members.entries()) {
    const own = init.memberAddresses !== false;
    await ipBatch(
      [
        ...(own
          ? [
              ['address', 'add', `${network.address(index + 2)}/24`, 'brd', '+', 'dev', network.device],
              ['address', 'add', `${network.address(index + 2, 6)}/64`, 'dev', network.device, 'nodad'],
            ]
          : []),
        ['address', 'add', linkLocal(index + 2), 'dev', network.device, 'nodad'],
        ['link', 'set', network.device, 'up'],
        ...(own
          ? network.servers.map((server) => [
              ...['route', 'add', `${server}/${server.includes(':') ? 128 : 32}`],
              ...['via', server.includes(':') ? network.nextHops.v6 : network.nextHops.v4],
            ])
          : []),
      ],
      netns,
    );
  }
  registry.note(noteKey(init.name), note);
  return network;
}

/** An external network that another process made. Undefined when the lab has none of that name. */
export function openExternalNetwork(lab: string, name: string): ExternalNetwork | undefined {
  const note = readLabNote(lab, noteKey(name)) as ExternalNetworkNote | undefined;
  return note === undefined ? undefined : new ExternalNetwork(note);
}
