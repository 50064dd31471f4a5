// Calls an RPC over gRPC-Web or Connect by the generated descriptors, whatever its messages are.

import { createRegistry, fromJson, type JsonValue, toJson } from "@bufbuild/protobuf";
import type { DescMethod } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { createConnectTransport, createGrpcWebTransport } from "@connectrpc/connect-web";

import { file_google_rpc_error_details } from "../gen/google/rpc/error_details_pb";
import { ImageService } from "../gen/wirephoto/v1/image_service_pb";
import type { Output } from "./output";

const options = { baseUrl: location.origin, useBinaryFormat: true };

/** The wires that a browser calls RPCs by. */
export const TRANSPORTS = {
  "gRPC-Web": createGrpcWebTransport(options),
  Connect: createConnectTransport(options),
};

export type Wire = keyof typeof TRANSPORTS;

const registry = createRegistry(file_google_rpc_error_details);

/** The RPC of this path, `/wirephoto.v1.ImageService/GetImage`. */
export function methodAt(path: string): DescMethod | undefined {
  return ImageService.methods.find((method) => `/${ImageService.typeName}/${method.name}` === path);
}

/** Sends the request, which is proto3 JSON; each message of the answer appears as it comes. */
export async function callRpc(
  wire: Wire,
  method: DescMethod,
  json: string,
  output: Output,
  signal: AbortSignal,
): Promise<void> {
  const transport = TRANSPORTS[wire];
  const message = fromJson(method.input, JSON.parse(json) as JsonValue, { registry });
  const show = (answer: Parameters<typeof toJson>[1]) => output.json(toJson(method.output, answer, { registry }));
  try {
    if (method.methodKind === "unary") {
      const { message: answer } = await transport.unary(
        method as DescMethod & { methodKind: "unary" },
        signal,
        undefined,
        undefined,
        message,
      );
      output.head("OK");
      show(answer);
      return;
    }
    let count = 0;
    const one = (async function* () {
      yield message;
    })();
    const { message: answers } = await transport.stream(
      method as DescMethod & { methodKind: "server_streaming" },
      signal,
      undefined,
      undefined,
      one,
    );
    for await (const answer of answers) {
      count += 1;
      output.head(`${count} ${count === 1 ? "message" : "messages"} so far`);
      show(answer);
    }
    output.head(`OK, ${count} ${count === 1 ? "message" : "messages"}`);
  } catch (error) {
    const failure = ConnectError.from(error);
    output.fail(failure);
    output.head(Code[failure.code] ?? "It failed.");
  }
}
