// One RPC: what it is, its messages, its errors, and every way to call it.

import { el } from "../ui/dom";
import { bufCurl, connectCurl, curl, grpcurl } from "./commands";
import { type ApiDocument, type Operation, type Parameter, refName, type Rpc, type Schema, typeName } from "./document";
import { callHttp } from "./http-call";
import { callRpc, methodAt, TRANSPORTS, type Wire } from "./rpc-call";
import { bodySample, sample } from "./samples";
import { type Way, wayElement } from "./way";

const KINDS = {
  unary: "one request, one answer",
  client_stream: "many requests, one answer",
  server_stream: "one request, many answers",
  bidi: "many requests, many answers",
};

export function rpcName(rpc: Rpc): string {
  return rpc.path.split("/").pop() ?? rpc.path;
}

export function rpcSection(rpc: Rpc, api: ApiDocument, id: string): HTMLElement {
  const name = rpcName(rpc);
  const heading = el("h2", { id: name }, name);
  const facts = el("p", { class: "muted" }, `${KINDS[rpc.kind]}${rpc.noSideEffects ? "; changes nothing" : ""}`);
  const section = el("section", { class: "rpc", "aria-labelledby": name }, heading, ...prose(rpc.description), facts);
  section.append(messageElement("Request", rpc.request, api), messageElement("Answer", rpc.response, api));
  if (rpc.errors.length > 0) {
    section.append(el("p", { class: "errors" }, "Can fail with ", ...rpc.errors.map((error) => el("code", {}, error))));
  }
  section.append(wayElement(rpcWay(rpc, id)));
  for (const route of rpc.routes) {
    const [method = "", path = ""] = route.split(" ");
    const operation = api.paths[path]?.[method.toLowerCase()];
    if (operation !== undefined) section.append(wayElement(httpWay(method, path, operation, api, rpc, id)));
  }
  return section;
}

/** Paragraphs of a comment; `code` between backticks. */
function prose(text: string): HTMLElement[] {
  return text.split("\n\n").map((paragraph) => {
    const parts = paragraph.replaceAll("\n", " ").split("`");
    return el("p", {}, ...parts.map((part, index) => (index % 2 === 1 ? el("code", {}, part) : part)));
  });
}

function messageElement(label: string, schema: Schema, api: ApiDocument, outer: string[] = []): HTMLElement {
  const name = refName(schema) ?? "";
  const fields = el("dl", { class: "fields" });
  for (const [field, type] of Object.entries(api.components.schemas[name]?.properties ?? {})) {
    const inner = type.items ?? type;
    const nested = refName(inner);
    const known = nested !== undefined && api.components.schemas[nested]?.properties !== undefined;
    const about = el("dd", {}, ...prose(type.description ?? ""));
    if (known && !outer.includes(nested)) about.append(messageElement("Fields", inner, api, [...outer, name]));
    fields.append(el("dt", {}, el("code", {}, field), " ", el("span", { class: "muted" }, typeName(type))), about);
  }
  if (fields.childElementCount === 0) fields.append(el("dt", { class: "muted" }, "no fields"));
  return el("details", { class: "message" }, el("summary", {}, `${label}: `, el("code", {}, name)), fields);
}

function labelled(label: string, hint: string, input: HTMLElement): HTMLElement {
  return el("label", { title: hint }, el("span", {}, label), input);
}

function rpcWay(rpc: Rpc, id: string): Way {
  const method = methodAt(rpc.path);
  const requests = sample(rpcName(rpc), id).map((request) => JSON.stringify(request));
  const area = el("textarea", { rows: requests.length + 1, spellcheck: "false" });
  area.value = requests.join("\n");
  const inBrowsers = rpc.kind === "unary" || rpc.kind === "server_stream";
  const wire = el("select", {}, ...Object.keys(TRANSPORTS).map((name) => el("option", {}, name)));
  const fields: Node[] = [labelled("Request, as JSON", "", area)];
  if (inBrowsers) fields.push(labelled("Wire", "What the button calls by", wire));
  const way: Way = {
    label: "RPC",
    fields,
    commands: () => {
      const lines: [string, string][] = [
        ["grpcurl", grpcurl(rpc.path, area.value)],
        ["gRPC", bufCurl("grpc", rpc.path, area.value)],
        ["Connect", bufCurl("connect", rpc.path, area.value)],
      ];
      // gRPC-Web has no streams of requests.
      if (inBrowsers) lines.push(["gRPC-Web", bufCurl("grpcweb", rpc.path, area.value)]);
      if (rpc.kind === "unary") lines.push(["curl", connectCurl(rpc.path, area.value)]);
      return lines;
    },
  };
  if (method !== undefined && inBrowsers) {
    way.call = (output, signal) => callRpc(wire.value as Wire, method, area.value, output, signal);
  }
  return way;
}

function httpWay(method: string, path: string, operation: Operation, api: ApiDocument, rpc: Rpc, id: string): Way {
  const inputs: [Parameter, HTMLInputElement][] = [];
  const fields: HTMLElement[] = [];
  const more = el("details", { class: "headers" }, el("summary", {}, "Header fields"));
  for (const given of operation.parameters) {
    const parameter = api.components.parameters[given.$ref?.split("/").pop() ?? ""] ?? given;
    const input = el("input", { type: "text", name: parameter.name, spellcheck: "false", autocomplete: "off" });
    if (parameter.in === "path") input.value = method === "PUT" ? "dot" : id;
    if (parameter.name === "names") input.value = `images/${id}`;
    inputs.push([parameter, input]);
    const row = labelled(parameter.name, parameter.description ?? "", input);
    if (parameter.in === "header") more.append(row);
    else fields.push(row);
  }
  const forms = Object.keys(operation.responses["200"]?.content ?? {});
  const accept = el("select", {}, ...forms.map((form) => el("option", {}, form)));
  if (forms.includes("text/event-stream")) fields.push(labelled("Accept", "The form of the stream", accept));

  const body = operation.requestBody?.content;
  const area = el("textarea", { rows: 3, spellcheck: "false" });
  const file = el("input", { type: "file", accept: "image/*" });
  const isJson = body?.["application/json"] !== undefined;
  if (isJson) {
    area.value = JSON.stringify(bodySample(rpcName(rpc)));
    fields.push(labelled("Body", "", area));
  } else if (body !== undefined) {
    fields.push(labelled("Image", "", file));
  }
  if (more.childElementCount > 1) fields.push(more);

  const target = () => {
    let filled = path;
    const query: string[] = [];
    const headers: [string, string][] = [];
    for (const [parameter, { value }] of inputs) {
      if (parameter.in === "path") filled = filled.replace(`{${parameter.name}}`, encodeURIComponent(value));
      else if (value === "") continue;
      else if (parameter.in === "header") headers.push([parameter.name, value]);
      else {
        const values = parameter.schema.type === "array" ? value.split(/\s+/) : [value];
        query.push(...values.map((one) => `${parameter.name}=${encodeURIComponent(one)}`));
      }
    }
    if (forms.includes("text/event-stream")) headers.push(["Accept", accept.value]);
    return { path: query.length > 0 ? `${filled}?${query.join("&")}` : filled, headers };
  };
  const isBytes = body !== undefined && !isJson;
  const saves = method === "GET" && forms.some((form) => form.startsWith("image/"));
  const fileName = () => file.files?.[0]?.name ?? "photo.jpg";
  return {
    label: `${method} ${path}`,
    fields: [...(operation.description === rpc.description ? [] : prose(operation.description)), ...fields],
    commands: () => [
      [
        "curl",
        curl({
          method,
          ...target(),
          json: isJson ? area.value : undefined,
          file: isBytes ? fileName() : undefined,
          saves,
        }),
      ],
    ],
    call: async (output, signal) => {
      const { path: filled, headers } = target();
      if (isBytes && file.files?.[0] === undefined) throw new Error("Choose an image to send.");
      if (isJson) headers.push(["Content-Type", "application/json"]);
      await callHttp({ method, path: filled, headers, body: isJson ? area.value : file.files?.[0] }, output, signal);
    },
  };
}
