import { agentKillFigures } from './control/agent-kill.ts';
import { bindFanoutFigures } from './control/bind-fanout.ts';
import { portMoveFigures } from './control/port-move.ts';
import { userEngineFigures } from './control/user-engine.ts';
import type { BenchContext } from './core/context.ts';
import type { Figure } from './core/figure.ts';
import { crashFigures, jetStreamCrashFigures, manyNetworksCrashFigures } from './failover/crash-figures.ts';
import { keepalivedFigures } from './failover/keepalived-figures.ts';
import { drainFigures, natsFigures, restartFigures } from './failover/planned-figures.ts';
import { gatewayConnectFigures } from './gateway/connect-figures.ts';
import { gatewayFairnessFigures } from './gateway/fairness-figures.ts';
import { gatewayMappingFigures } from './gateway/mapping-figures.ts';
import { gatewayPathFigures } from './gateway/path-figures.ts';
import { gatewayPortsFigures } from './gateway/ports-figures.ts';
import { scaleFigures } from './path/scale-figures.ts';
import { sameHostFigures, tapFigures } from './path/tap-figures.ts';
import { vmFigures } from './path/vm-figures.ts';

/** Figures that are measured together. */
export interface Group {
  /** Beginnings of the ids of its figures. */
  readonly ids: readonly string[];
  readonly what: string;
  readonly measure: (context: BenchContext) => Promise<Figure[]>;
}

export const groups: readonly Group[] = [
  { ids: ['tap-'], what: 'TAP to TAP between two hosts, beside bridge+VXLAN and no encapsulation', measure: tapFigures },
  { ids: ['same-host'], what: 'TAP to TAP on one host, beside the kernel bridge', measure: sameHostFigures },
  { ids: ['vm-'], what: 'between VMs that are namespaces: one TCP stream, connections, round trips', measure: vmFigures },
  { ids: ['scale-'], what: '100,000 mappings: frames a second, and loading them', measure: scaleFigures },
  { ids: ['bind-fanout'], what: 'a port bound until 19 other hosts forward to it', measure: bindFanoutFigures },
  { ids: ['port-move'], what: 'a port moved between hosts under 1,000 frames a second', measure: portMoveFigures },
  { ids: ['agent-kill'], what: 'agents killed and started again under load', measure: agentKillFigures },
  {
    ids: ['gateway-nat-', 'gateway-alone-'],
    what: 'through a gateway with NAT: frames a second, beside what the kernel has',
    measure: gatewayPathFigures,
  },
  { ids: ['gateway-connect'], what: 'new connections through a gateway with NAT', measure: gatewayConnectFigures },
  {
    ids: ['gateway-ports-'],
    what: '84,000 short connections to one destination, and what a port costs when they run out',
    measure: gatewayPortsFigures,
  },
  { ids: ['gateway-mappings'], what: '1,000,000 mappings: frames a second, and memory', measure: gatewayMappingFigures },
  { ids: ['gateway-fairness-'], what: 'one tenant floods, the others connect', measure: gatewayFairnessFigures },
  { ids: ['gateway-crash-p', 'gateway-crash-t'], what: 'the owner of a gateway shard loses power', measure: crashFigures },
  {
    ids: ['gateway-crash-keepalived'],
    what: 'the same of keepalived and conntrackd, where they are installed',
    measure: keepalivedFigures,
  },
  { ids: ['gateway-crash-jetstream-'], what: 'the same, and the JetStream leader dies with it (--full)', measure: jetStreamCrashFigures },
  { ids: ['gateway-crash-many-'], what: 'the same with 10,000 networks (--full)', measure: manyNetworksCrashFigures },
  { ids: ['gateway-drain-'], what: 'a gateway is drained and undrained', measure: drainFigures },
  { ids: ['gateway-restart-'], what: "a gateway's agent is killed and started again", measure: restartFigures },
  { ids: ['gateway-nats-'], what: 'NATS is stopped, and agents start without it', measure: natsFigures },
  { ids: ['user-engine'], what: 'the user-space engine, beside the one of Open vSwitch', measure: userEngineFigures },
];
