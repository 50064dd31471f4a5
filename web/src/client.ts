// The one connection to the server: ImageService in binary, at the address the page came from, over gRPC-Web or, where the
// address says `?wire=connect`, over Connect.

import { createClient } from "@connectrpc/connect";
import { createConnectTransport, createGrpcWebTransport } from "@connectrpc/connect-web";

import { ImageService } from "./gen/wirephoto/v1/image_service_pb";

/** How long a call that moves no image bytes may take, in milliseconds. */
export const QUICK = 30_000;

const options = { baseUrl: location.origin, useBinaryFormat: true };

const transport =
  new URLSearchParams(location.search).get("wire") === "connect"
    ? createConnectTransport({ ...options, useHttpGet: true })
    : createGrpcWebTransport(options);

export const client = createClient(ImageService, transport);

/** A request id: it makes sending the same request again safe. */
export function newRequestId(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** SHA-256 in lower-case hexadecimal, or undefined where the browser has none: outside a secure context. */
export async function sha256(bytes: ArrayBuffer): Promise<string | undefined> {
  // The DOM's types say `subtle` is always there; over plain HTTP from another machine it is not.
  const subtle = crypto.subtle as SubtleCrypto | undefined;
  if (subtle === undefined) return undefined;
  const digest = new Uint8Array(await subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
