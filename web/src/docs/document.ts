// What /openapi.json says, as far as this page reads it.

export interface Schema {
  $ref?: string;
  type?: string;
  format?: string;
  description?: string;
  contentEncoding?: string;
  readOnly?: boolean;
  enum?: string[];
  anyOf?: Schema[];
  items?: Schema;
  properties?: Record<string, Schema>;
  additionalProperties?: Schema | boolean;
}

export interface Parameter {
  $ref?: string;
  name: string;
  in: "path" | "query" | "header";
  description?: string;
  schema: Schema;
}

export interface Operation {
  summary: string;
  description: string;
  parameters: Parameter[];
  requestBody?: { content: Record<string, { schema?: Schema }> };
  responses: Record<string, { description: string; content?: Record<string, { schema?: Schema }> }>;
}

/** An RPC, on whatever wires. */
export interface Rpc {
  path: string;
  description: string;
  kind: "unary" | "client_stream" | "server_stream" | "bidi";
  noSideEffects: boolean;
  request: Schema;
  response: Schema;
  /** `GET /v1/images/{image}` each. */
  routes: string[];
  errors: string[];
}

export interface ApiDocument {
  info: { title: string; version: string; description: string };
  paths: Record<string, Record<string, Operation>>;
  components: { schemas: Record<string, Schema>; parameters: Record<string, Parameter> };
  "x-rpcs": Rpc[];
}

export async function load(): Promise<ApiDocument> {
  const answer = await fetch("/openapi.json");
  if (!answer.ok) throw new Error(`/openapi.json: the server answered ${answer.status}.`);
  return (await answer.json()) as ApiDocument;
}

/** The last part of a reference: a schema's name. */
export function refName(schema: Schema): string | undefined {
  return schema.$ref?.split("/").pop();
}

/** A type in a few words. */
export function typeName(schema: Schema): string {
  const name = refName(schema);
  if (name !== undefined) return name;
  if (schema.items !== undefined) return `${typeName(schema.items)}[]`;
  if (schema.anyOf !== undefined) return typeName(schema.anyOf[0] ?? {});
  if (typeof schema.additionalProperties === "object") return `map of ${typeName(schema.additionalProperties)}`;
  if (schema.contentEncoding !== undefined) return "bytes";
  return schema.format ?? schema.type ?? "any";
}
