import type { Resource } from './commands.ts';

// What resources of a request are called: in problems, in changes, and to the audit.

/** `VirtualSubnet coke/net/front` */
export function nameOfResource(resource: Resource): string {
  switch (resource.kind) {
    case 'tenant':
      return `Tenant ${resource.value.name}`;
    case 'network':
      return `VirtualNetwork ${resource.value.tenant}/${resource.value.name}`;
    case 'subnet':
      return `VirtualSubnet ${resource.value.tenant}/${resource.value.network}/${resource.value.name}`;
    case 'port':
      return `Port ${resource.value.tenant}/${resource.value.network}/${resource.value.name}`;
    case 'gateway':
      return `Gateway ${resource.value.name}`;
    case 'connection':
      return `GatewayConnection ${resource.value.tenant}/${resource.value.network}/${resource.value.name}`;
    case 'externalAddress':
      return `ExternalAddress ${resource.value.tenant}/${resource.value.network}/${resource.value.name}`;
    case 'natRule':
      return `NatRule ${resource.value.tenant}/${resource.value.network}/${resource.value.rule.name}`;
    case 'route':
      return `CustomerRoute ${resource.value.tenant}/${resource.value.network}/${resource.value.route.name ?? ''}`;
  }
}

/** Its own name, without tenant and network. */
export function lastNameOf(resource: Resource): string {
  switch (resource.kind) {
    case 'natRule':
      return resource.value.rule.name;
    case 'route':
      return resource.value.route.name ?? '';
    default:
      return resource.value.name;
  }
}

/** Tenant a resource belongs to; empty for those of the installation. */
export function tenantOfResource(resource: Resource): string {
  if (resource.kind === 'gateway') return '';
  return resource.kind === 'tenant' ? resource.value.name : resource.value.tenant;
}
