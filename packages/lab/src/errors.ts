/** Codes of the errors that labs throw. */
export type LabErrorCode = 'WEFT_ERR_LAB_FILE' | 'WEFT_ERR_LAB_STATE' | 'WEFT_ERR_LAB_START' | 'WEFT_ERR_LAB_REFUSED';

/** What could not be done with a lab, with the value and what to do. */
export class LabError extends Error {
  override readonly name: string = 'LabError';
  readonly code: LabErrorCode;

  constructor(code: LabErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
