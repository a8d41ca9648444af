import type { BucketName, Port, PortBinding, VirtualNetwork } from '@weft/model';

/**
 * A committed record of one network as the fold takes it: verified by the caller (signature, signer, provider address, placement), in the
 * order (bucketCreatedUnixMs, revision).
 */
export type NetworkRecord = RecordPosition &
  (
    | { readonly kind: 'network'; readonly value: VirtualNetwork | undefined }
    | { readonly kind: 'port'; readonly portId: string; readonly value: Port | undefined }
    | { readonly kind: 'binding'; readonly portId: string; readonly value: PortBinding | undefined }
    /** Stands in the store, but its verification failed: it counts for the digest; the last good value stays in force. */
    | { readonly kind: 'refused' }
  );

/** Where a record stands in the store. `value: undefined` in a record is a tombstone. */
export interface RecordPosition {
  readonly bucket: BucketName;
  readonly key: string;
  readonly revision: number;
  readonly bucketCreatedUnixMs: number;
}

/** All records of a network's keys in one bucket at `atSequence`. It must speak for all of them: the document and the ports, or the bindings. */
export interface NetworkSnapshot {
  readonly bucket: BucketName;
  readonly bucketCreatedUnixMs: number;
  /** Everything with a revision up to this is in `records`, or gone. */
  readonly atSequence: number;
  readonly records: readonly NetworkRecord[];
  /** Highest revision that the view had read from the bucket when the snapshot was asked for: an `atSequence` below it means records were lost. */
  readonly askedAtRevision: number;
  /** How many records had been heard of then. What of them it should have and lacks was never in the store. Default 0. */
  readonly askedAtHint?: number;
}

/** What became of a record. */
export type ApplyStatus =
  | 'applied'
  /** This revision is known already. */
  | 'duplicate'
  /** A higher revision is known already, or a snapshot has shown the key to be gone. */
  | 'stale'
  /** A binding that lowers the generation, or gives one generation to a second host. Nothing changes. */
  | 'generation-refused'
  /** The bucket is not the one known: created at another time. Nothing changes; a person must decide. */
  | 'store-changed';
