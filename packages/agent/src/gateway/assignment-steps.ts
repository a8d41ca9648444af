import type { Bus, Identity } from '@weft/bus';
import type { GatewayStep, TrustStore } from '@weft/model';
import type { AgentLogger } from '../components.ts';
import { messageOf } from '../errors.ts';
import type { GatewayDirectory } from './directory.ts';

export interface AssignmentStepsInit {
  readonly bus: Bus;
  readonly identity: Identity;
  readonly trust: TrustStore;
  readonly logger: AgentLogger;
  readonly directory: Pick<GatewayDirectory, 'groups'>;
}

/** Asks a controller for the steps that a member takes on its group's assignment. What is refused or lost is asked for again by who wanted it. */
export class AssignmentSteps {
  readonly #init: AssignmentStepsInit;

  constructor(init: AssignmentStepsInit) {
    this.#init = init;
  }

  /**
   * Asks for a step.
   * @param restsOn Revision of the assignment that it was decided on: by any other it is refused. Left out: the one that is known now.
   * @returns Whether it was taken.
   */
  async take(gatewayId: string, step: GatewayStep, restsOn?: number): Promise<boolean> {
    const { bus, identity, trust, logger, directory } = this.#init;
    const assignmentRevision = restsOn ?? directory.groups.get(gatewayId)?.assignmentRevision ?? 0;
    if (assignmentRevision === 0 || bus.state.state !== 'connected') return false;
    const value = { gatewayId, assignmentRevision, step };
    const told = (reason: string, code?: string): void =>
      logger.info({ gateway: gatewayId, step: step.kind, reason, code }, 'step of the assignment not taken; later');
    try {
      const { response } = await bus.request(
        'controller',
        { kind: 'gatewayStep', value },
        { identity, mayAnswer: (target, signer) => trust.mayAnswer(target, signer) },
      );
      const [problem] = response.problems;
      if (problem !== undefined) told(problem.rule, problem.code);
      return problem === undefined;
    } catch (error) {
      told(messageOf(error));
      return false;
    }
  }
}
