import {
  connectionManifest,
  externalAddressManifest,
  type GatewayConnection,
  gatewayManifest,
  type NatRule,
  natRuleManifest,
  peeringBack,
  routeManifest,
  type VirtualNetwork,
} from '@weft/model';
import type { Cell, Column } from '../format/table.ts';
import type { Catalog, Listed } from '../resources/catalog.ts';
import { documentOf } from '../resources/display.ts';
import type { Row, View } from './get.ts';

// Tables of gateways and of what networks have of them.

const text = (title: string): Column => ({ title });
const flexible = (title: string): Column => ({ title, flexible: true });
const right = (title: string): Column => ({ title, align: 'right' });
const authored = [right('REVISION'), flexible('BY')];
const authoredCells = (listed: Listed<unknown>): Cell[] => [String(listed.revision), listed.authorName];

/** One row for each item of each network. */
function perNetwork<T>(
  catalog: Catalog,
  items: (network: VirtualNetwork) => readonly T[],
  row: (listed: Listed<VirtualNetwork>, item: T) => Row,
): Row[] {
  return catalog.networks.flatMap((listed) => items(listed.value).map((item) => row(listed, item)));
}

function pathOf({ tenant, name }: VirtualNetwork): string {
  return `${tenant}/${name}`;
}

/** Where a connection leads. */
function leadsTo(one: GatewayConnection): string {
  switch (one.mode) {
    case 'nat':
      return `pool ${one.pool}${one.ipv6 === 'none' ? '' : `, IPv6 ${one.ipv6}`}`;
    case 'forward':
      return `segment ${one.segment}`;
    case 'peering':
      return `network ${one.peerTenant}/${one.peerNetwork}`;
  }
}

/** Whether both sides have agreed; a tenant's user does not see the other side. */
export function connectionState(catalog: Pick<Catalog, 'networks'>, network: VirtualNetwork, one: GatewayConnection): Cell {
  if (one.mode !== 'peering') return { text: 'connected', tone: 'good' };
  const peer = catalog.networks.find(({ value }) => value.tenant === one.peerTenant && value.name === one.peerNetwork)?.value;
  if (peeringBack(network, one, peer) !== undefined) return { text: 'accepted', tone: 'good' };
  return peer === undefined ? { text: 'pending, or not yours to see', tone: 'warn' } : { text: 'pending', tone: 'warn' };
}

function ruleCells(rule: NatRule): readonly [from: string, to: string] {
  const ports = rule.firstPort === rule.lastPort ? String(rule.firstPort) : `${rule.firstPort}-${rule.lastPort}`;
  switch (rule.kind) {
    case 'snat':
      return [rule.source, rule.pool === '' ? rule.externalAddress : `pool ${rule.pool}`];
    case 'static':
      return [rule.externalAddress, rule.customerAddress];
    case 'forward':
      return [`${rule.externalAddress} ${rule.protocol} ${ports}`, `${rule.customerAddress} ${rule.customerPort}`];
  }
}

export const gatewayViews: Record<'Gateway' | 'GatewayConnection' | 'ExternalAddress' | 'NatRule' | 'CustomerRoute', View> = {
  Gateway: {
    kinds: ['Gateway'],
    columns: [text('GATEWAY'), flexible('MEMBERS'), flexible('WITNESSES'), flexible('SEGMENTS'), flexible('POOLS'), right('SHARDS')],
    wideColumns: [text('ID'), ...authored],
    rows: ({ gateways }) =>
      gateways.map((listed) => {
        const { id, name, members, witnesses, segments, pools, shards } = listed.value;
        const names = (all: readonly { readonly name: string }[]): string => all.map((one) => one.name).join(', ');
        const numbers = (all: readonly { readonly name: string; readonly id: number }[]): Record<string, number> =>
          Object.fromEntries(all.map((one) => [one.name, one.id]));
        return {
          name,
          document: documentOf(gatewayManifest(listed.value), listed, { id, segmentIds: numbers(segments), poolIds: numbers(pools) }),
          cells: [
            name,
            members.map((one) => (one.drain ? `${one.host} (drained)` : one.host)).join(', '),
            witnesses.join(', '),
            names(segments),
            names(pools),
            String(shards),
          ],
          wide: [id, ...authoredCells(listed)],
        };
      }),
  },
  GatewayConnection: {
    kinds: ['VirtualNetwork'],
    whole: true,
    columns: [text('CONNECTION'), text('GATEWAY'), text('MODE'), flexible('TO'), flexible('ROUTES'), text('STATE')],
    wideColumns: [right('SHARD'), flexible('GATEWAY ADDRESSES'), ...authored],
    rows: (catalog) =>
      perNetwork(
        catalog,
        (network) => network.gateway?.connections ?? [],
        (listed, one) => {
          const network = listed.value;
          const of = network.gateway!;
          const state = connectionState(catalog, network, one);
          const status = { shard: of.shard, gatewayAddresses: of.addresses, state: typeof state === 'string' ? state : state.text };
          return {
            name: `${pathOf(network)}/${one.name}`,
            document: documentOf(connectionManifest(network, one), listed, status),
            cells: [
              `${pathOf(network)}/${one.name}`,
              of.gateway,
              one.mode,
              leadsTo(one),
              (one.mode === 'peering' ? one.accepts : one.routes).join(', '),
              state,
            ],
            wide: [String(of.shard), of.addresses.join(', '), ...authoredCells(listed)],
          };
        },
      ),
  },
  ExternalAddress: {
    kinds: ['VirtualNetwork'],
    columns: [text('EXTERNAL ADDRESS'), text('ADDRESS'), text('USE'), text('POOL'), flexible('USED BY')],
    wideColumns: [right('SEGMENT'), right('SHARD'), ...authored],
    rows: (catalog) =>
      perNetwork(
        catalog,
        (network) => network.gateway?.externalAddresses ?? [],
        (listed, one) => {
          const of = listed.value.gateway!;
          const users = of.natRules.filter((rule) => rule.externalAddress === one.name).map((rule) => rule.name);
          const name = `${pathOf(listed.value)}/${one.name}`;
          return {
            name,
            document: documentOf(externalAddressManifest(listed.value, one), listed, {
              segmentId: one.segmentId,
              shard: of.shard,
              usedBy: users,
            }),
            cells: [name, one.address, one.use, one.pool, users.join(', ')],
            wide: [String(one.segmentId), String(of.shard), ...authoredCells(listed)],
          };
        },
      ),
  },
  NatRule: {
    kinds: ['VirtualNetwork'],
    columns: [text('NAT RULE'), text('KIND'), flexible('FROM'), flexible('TO')],
    wideColumns: [...authored],
    rows: (catalog) =>
      perNetwork(
        catalog,
        (network) => network.gateway?.natRules ?? [],
        (listed, rule) => {
          const name = `${pathOf(listed.value)}/${rule.name}`;
          return {
            name,
            document: documentOf(natRuleManifest(listed.value, rule), listed, {}),
            cells: [name, rule.kind, ...ruleCells(rule)],
            wide: authoredCells(listed),
          };
        },
      ),
  },
  CustomerRoute: {
    kinds: ['VirtualNetwork'],
    columns: [text('ROUTE'), flexible('PREFIX'), flexible('TO')],
    wideColumns: [...authored],
    rows: (catalog) =>
      perNetwork(
        catalog,
        (network) => network.routes.filter((route) => route.name !== undefined),
        (listed, route) => {
          const name = `${pathOf(listed.value)}/${route.name}`;
          return {
            name,
            document: documentOf(routeManifest(listed.value, route), listed, {}),
            cells: [name, route.prefix, route.kind === 'next-hop' ? route.nextHop : route.kind],
            wide: authoredCells(listed),
          };
        },
      ),
  },
};
