/** Codes of {@link DatapathError}; each message says what to do. */
export type DatapathErrorCode =
  /** A key or value of a table that its layout can't hold: a number out of range, an address that is not 16 bytes. */
  | 'WEFT_ERR_DATAPATH_BAD_ROW'
  /** A table has as many rows as it was made for. */
  | 'WEFT_ERR_DATAPATH_TABLE_FULL'
  /** No such device in this network namespace, or a device of another kind under that name. */
  | 'WEFT_ERR_DATAPATH_NO_DEVICE'
  /** The compiled programs are missing. */
  | 'WEFT_ERR_DATAPATH_NO_OBJECT'
  /** An `ip`, `nft` or `sysctl` command failed. */
  | 'WEFT_ERR_DATAPATH_COMMAND'
  /** Options that make no sense. */
  | 'WEFT_ERR_DATAPATH_BAD_OPTION'
  /** Used after close() or destroy(). */
  | 'WEFT_ERR_DATAPATH_CLOSED'
  /** Tables were taken over, and programs not yet: before start(). */
  | 'WEFT_ERR_DATAPATH_NOT_STARTED'
  /** The engine can't be a gateway: the user-space one. */
  | 'WEFT_ERR_DATAPATH_NO_GATEWAY';

/** A refusal by the datapath. Refusals of the kernel itself come as `BpfError`. */
export class DatapathError extends Error {
  override readonly name: string = 'DatapathError';
  readonly code: DatapathErrorCode;

  constructor(code: DatapathErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
