// What went wrong, in the server's words where it gave any.

import { Code, ConnectError } from "@connectrpc/connect";

import { BadRequestSchema } from "./gen/google/rpc/error_details_pb";

/** An error as people read it. */
export interface Words {
  message: string;
  /** What was wrong with single fields, when the message does not say it already. */
  points: string[];
}

/** An answer on the byte route `/i` that is no success. */
export class Refusal extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

export function inWords(error: unknown): Words {
  if (error instanceof Refusal) return { message: error.message, points: [] };
  const status = ConnectError.from(error);
  if (status.cause instanceof TypeError) {
    return { message: "The server cannot be reached. Is it still running?", points: [] };
  }
  const points = status
    .findDetails(BadRequestSchema)
    .flatMap((detail) => detail.fieldViolations)
    .filter(({ description }) => !status.rawMessage.includes(description))
    .map(({ field, description }) => (field === "" ? description : `${field}: ${description}`));
  return { message: status.rawMessage || `The server answered ${Code[status.code]} and said no more.`, points };
}

export function isTaken(error: unknown): boolean {
  if (error instanceof Refusal) return error.status === 412;
  return ConnectError.from(error).code === Code.AlreadyExists;
}

/** Whether sending the same again can end otherwise: it cannot when the request itself is at fault. */
export function mayRetry(error: unknown): boolean {
  if (error instanceof Refusal) return error.status < 400 || error.status === 429 || error.status >= 500;
  return ConnectError.from(error).code !== Code.InvalidArgument;
}

export function isNotFound(error: unknown): boolean {
  return ConnectError.from(error).code === Code.NotFound;
}
