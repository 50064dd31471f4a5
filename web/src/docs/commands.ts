// The same call as a line for a shell.

const tls = location.protocol === "https:";

/** Text as one word of a POSIX shell. */
export function quoted(text: string): string {
  return /^[A-Za-z0-9_@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

export function grpcurl(path: string, json: string): string {
  const security = tls ? "" : "-plaintext ";
  return `grpcurl ${security}-max-msg-sz 16777216 -d ${quoted(json)} ${location.host} ${path.slice(1)}`;
}

/** `protocol` is one of buf's: grpc, grpcweb, connect. Its reflection needs HTTP/2. */
export function bufCurl(protocol: string, path: string, json: string): string {
  const version = tls ? "" : "--http2-prior-knowledge ";
  return `buf curl --protocol ${protocol} ${version}-d ${quoted(json)} ${location.origin}${path}`;
}

/** A unary call as Connect has it: one JSON document to the RPC's path. */
export function connectCurl(path: string, json: string): string {
  return `curl -H 'Content-Type: application/json' -d ${quoted(json)} ${location.origin}${path}`;
}

/** What an HTTP call is made of. */
export interface HttpCall {
  method: string;
  /** With its query. */
  path: string;
  headers: [string, string][];
  json: string | undefined;
  /** The name of a file that is the body. */
  file: string | undefined;
  /** Whether the answer is a file. */
  saves: boolean;
}

export function curl(call: HttpCall): string {
  const words = ["curl"];
  if (call.saves) words.push("-OJ");
  if (call.method === "HEAD") words.push("-I");
  else if (call.file !== undefined && call.method === "PUT") words.push("-T", quoted(call.file));
  else if (call.file !== undefined) words.push("-F", quoted(`file=@${call.file}`));
  else if (call.method !== "GET") words.push("-X", call.method);
  for (const [name, value] of call.headers) words.push("-H", quoted(`${name}: ${value}`));
  if (call.json !== undefined) words.push("-H", "'Content-Type: application/json'", "-d", quoted(call.json));
  words.push(quoted(location.origin + call.path));
  return words.join(" ");
}
