import { openEnvelope, type Store } from '@weft/bus';
import { hasCode, type NatLogRecord, natLogRecordCodec, subjects, type TrustStore, WeftError } from '@weft/model';

/** Read at once. */
const PAGE = 5_000;
/** Of a whole log, or of an address, the latest so many; of 1,024 ports all there are. */
export const RECORDS_MAX = 200_000;

export interface NatLogRead {
  readonly records: readonly NatLogRecord[];
  /** Not signed by the host that they name: not believed. */
  readonly unbelieved: number;
  /** There are older ones that were not read. */
  readonly isCut: boolean;
}

export interface NatLogPlace {
  /** Empty: every address. */
  readonly address: string;
  /** 0: every port. */
  readonly port: number;
}

/**
 * Reads the NAT log of a place. What is not signed by the host that tells is left out: an outsider could have written it.
 * @throws {WeftError} `WEFT_ERR_BUS_API` when there is no such stream: no controller has made it yet.
 */
export async function readNatLog(
  log: Store['natLog'],
  trust: Pick<TrustStore, 'mayAnswer'>,
  { address, port }: NatLogPlace,
): Promise<NatLogRead> {
  const last = await log.lastSequence();
  const whole = address === '' || port === 0;
  let fromSequence = whole ? Math.max(1, last - RECORDS_MAX + 1) : 1;
  const isCut = fromSequence > 1;
  const records: NatLogRecord[] = [];
  let unbelieved = 0;
  for (;;) {
    const subject = address === '' ? {} : { subject: subjects.natLogOf(address, port === 0 ? undefined : port) };
    const messages = await log.read({ fromSequence, limit: PAGE, ...subject });
    for (const { value } of messages) {
      const record = believed(value, trust);
      if (record === undefined) unbelieved++;
      else records.push(record);
    }
    if (messages.length < PAGE) return { records, unbelieved, isCut };
    fromSequence = messages.at(-1)!.sequence + 1;
  }
}

function believed(value: Uint8Array, trust: Pick<TrustStore, 'mayAnswer'>): NatLogRecord | undefined {
  try {
    const { payload, signer } = openEnvelope(value, 'natLog');
    const record = natLogRecordCodec.decode(payload);
    return trust.mayAnswer(record.member, signer) === undefined ? record : undefined;
  } catch (error) {
    if (!(error instanceof WeftError)) throw error;
    return undefined;
  }
}

/** No controller of this version has run yet. */
export function isNoLog(error: unknown): boolean {
  return hasCode(error, 'WEFT_ERR_BUS_API') && (error as WeftError).details.errCode === 10_059;
}
