// The official grpc-web client in a real browser, in both its forms: WIREPHOTO_URL is the server's address,
// WIREPHOTO_PHOTO a photograph.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { after, before, describe, it } from "node:test";

import { launch, open } from "./browser.mjs";

const server = process.env.WIREPHOTO_URL.replace(/\/$/, "");
const photo = await readFile(process.env.WIREPHOTO_PHOTO);
const client = await readFile(createRequire(import.meta.url).resolve("grpc-web"), "utf8");
const id = "by-grpc-web";

/** Calls a method from the page, and gives all that the client was told. Messages are their bytes. */
async function call(page, { format, kind, method, name, metadata = {} }) {
  return await page.evaluate(
    async ({ format, kind, method, name, metadata, origin }) => {
      const { GrpcWebClientBase, MethodDescriptor, MethodType } = globalThis.grpcWeb;
      // Field 1, a string: all that these requests have.
      const text = new TextEncoder().encode(name);
      const request = Uint8Array.of(0x0a, text.length, ...text);
      const path = `/wirephoto.v1.ImageService/${method}`;
      const same = (bytes) => bytes;
      const descriptor = new MethodDescriptor(path, MethodType[kind], Uint8Array, Uint8Array, same, same);
      const base = new GrpcWebClientBase({ format });
      const told = { messages: [], statuses: [], metadata: {}, error: null };
      await new Promise((resolve) => {
        const failed = (error) => {
          told.error = { code: error.code, message: error.message, metadata: error.metadata };
          resolve();
        };
        const keep = (bytes) => told.messages.push(Array.from(bytes));
        const stream =
          kind === "UNARY"
            ? base.rpcCall(origin + path, request, metadata, descriptor, (error, message) => {
                if (error) return failed(error);
                keep(message);
                // The status follows the message.
                setTimeout(resolve, 100);
              })
            : base.serverStreaming(origin + path, request, metadata, descriptor);
        stream.on("metadata", (metadata) => Object.assign(told.metadata, metadata));
        stream.on("status", (status) => told.statuses.push(status.code));
        if (kind !== "UNARY") {
          stream.on("data", keep);
          stream.on("error", failed);
          stream.on("end", resolve);
        }
      });
      return told;
    },
    { format, kind, method, name, metadata, origin: server },
  );
}

/** The values of a length-delimited field of a message. */
function fields(message, wanted) {
  const found = [];
  let at = 0;
  const varint = () => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = message[at++];
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return Number(value);
    }
  };
  while (at < message.length) {
    const tag = varint();
    const type = tag & 7;
    if (type === 0) varint();
    else if (type === 2) {
      const end = varint() + at;
      if (tag >> 3 === wanted) found.push(message.slice(at, end));
      at = end;
    } else at += type === 5 ? 4 : 8;
  }
  return found;
}

const string = (bytes) => Buffer.from(bytes).toString();
const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");

for (const format of ["text", "binary"]) {
  describe(`the official client, ${format}`, () => {
    let browser;
    let page;
    let tab;

    before(async () => {
      const answer = await fetch(`${server}/i/${id}`, { method: "PUT", body: photo });
      assert.ok(answer.ok, await answer.text());
      browser = await launch();
      tab = await open(browser);
      page = tab.page;
      await page.goto(`${server}/livez`);
      await page.evaluate(
        `{ const exports = {}, module = { exports }; ${client}; globalThis.grpcWeb = module.exports; }`,
      );
    });
    after(async () => {
      await browser?.close();
      await fetch(`${server}/i/${id}`, { method: "DELETE" });
    });

    it("gets an answer and its metadata", async () => {
      const metadata = { "x-request-id": "from-the-browser" };
      const told = await call(page, { format, kind: "UNARY", method: "GetImage", name: `images/${id}`, metadata });
      assert.equal(told.error, null);
      assert.equal(told.messages.length, 1);
      const [image] = fields(told.messages[0], 1);
      assert.equal(string(fields(image, 1)[0]), `images/${id}`);
      assert.equal(told.metadata["x-request-id"], "from-the-browser");
      const sent = tab.requests.findLast((request) => request.url().endsWith("/GetImage"));
      const expected = format === "text" ? "application/grpc-web-text" : "application/grpc-web+proto";
      assert.equal(sent.headers()["content-type"], expected);
      assert.match((await sent.response()).headers()["content-type"], new RegExp(`^${expected.replace("+", ".")}`));
    });

    it("streams a photograph", async () => {
      const name = `images/${id}`;
      const told = await call(page, { format, kind: "SERVER_STREAMING", method: "DownloadImage", name });
      assert.equal(told.error, null);
      assert.ok(told.messages.length > 1);
      const chunks = told.messages.flatMap((message) => fields(message, 3)).flatMap((chunk) => fields(chunk, 1));
      const got = Buffer.concat(chunks.map((chunk) => Buffer.from(chunk)));
      assert.equal(sha256(got), sha256(photo));
    });

    it("is told what went wrong", async () => {
      for (const [kind, method] of [
        ["UNARY", "GetImage"],
        ["SERVER_STREAMING", "DownloadImage"],
      ]) {
        const told = await call(page, { format, kind, method, name: "images/nowhere" });
        assert.equal(told.error?.code, 5, `${method}: ${JSON.stringify(told)}`);
        assert.match(told.error.message, /images\/nowhere/);
        assert.ok(told.error.metadata["grpc-status-details-bin"], "typed details come too");
        assert.deepEqual(told.messages, []);
      }
    });
  });
}
