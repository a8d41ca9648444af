import type { DrainRequest, Problem, Resource } from './commands.ts';
import { planApply } from './plan-apply.ts';
import { Problems } from './problems.ts';
import { gatewaySpecOf } from './specs-gateway.ts';
import type { IdMaker, Plan, World } from './world.ts';

/**
 * The plan of a drain or an undrain, or the problems that forbid it. The gateway is taken as it stands in `world` but for that one member, so that
 * what others have changed since the operator looked stays.
 */
export function planDrain(
  world: World,
  { gateway: name, host, drain }: DrainRequest,
  ids: IdMaker,
): { readonly plan: Plan; readonly problems: readonly Problem[] } {
  const problems = new Problems();
  const of = problems.of(`Gateway ${name}`);
  const resources: Resource[] = [];
  const found = world.gateway?.gateways.get(name)?.value;
  if (found === undefined)
    of.add('WEFT_ERR_RULE_GATEWAY_UNKNOWN', 'metadata.name', name, 'must be a gateway that exists', 'see `weft get gateways`');
  else if (!found.members.some((member) => member.host === host)) {
    const rule = `must be one of its members: ${found.members.map((member) => member.host).join(', ')}`;
    of.add('WEFT_ERR_RULE_GATEWAY_MEMBER', 'spec.members', host, rule, 'name one of them');
  } else {
    const members = found.members.map((member) => (member.host === host ? { ...member, drain } : member));
    resources.push({ kind: 'gateway', value: { ...gatewaySpecOf(found), members } });
  }
  const planned = planApply(world, { resources }, ids);
  return { plan: planned.plan, problems: [...problems.list, ...planned.problems] };
}
