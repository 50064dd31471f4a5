// The page /docs in a real browser, against a running server: WIREPHOTO_URL is its address, WIREPHOTO_PHOTO a photograph.
// Every line for a shell that it offers for reading is run too, with the tools on PATH.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, describe, it } from "node:test";
import { promisify } from "node:util";

import { launch, open } from "./browser.mjs";

function required(name) {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: see the head of tests/web/docs.test.mjs`);
  return value;
}

const server = required("WIREPHOTO_URL").replace(/\/$/, "");
const photo = required("WIREPHOTO_PHOTO");
const run = promisify(execFile);

describe("the page /docs", () => {
  let browser;
  let tab;
  let page;

  before(async () => {
    browser = await launch();
    const answer = await fetch(`${server}/i/docs.jpg`, { method: "PUT", body: await readFile(photo) });
    assert.ok(answer.ok, await answer.text());
  });
  after(async () => {
    await browser?.close();
    for (const id of ["docs.jpg", "dot"]) await fetch(`${server}/i/${id}`, { method: "DELETE" });
  });
  beforeEach(async () => {
    tab = await open(browser);
    page = tab.page;
    const answer = await page.goto(`${server}/docs`);
    assert.match(answer.headers()["content-security-policy"] ?? "", /default-src 'none'; script-src 'self'/);
    await page.getByRole("heading", { name: "Calls" }).waitFor();
  });
  afterEach(async () => {
    const elsewhere = tab.requests.map((request) => request.url()).filter((url) => !/^(blob:)?http:/.test(url));
    const foreign = tab.requests.map((request) => request.url()).filter((url) => !url.includes(new URL(server).host));
    await tab.close();
    assert.deepEqual([...elsewhere, ...foreign], [], "nothing comes from elsewhere");
    // A failure over Connect is an HTTP status, of which Chromium complains by itself.
    const complaints = tab.complaints.filter((words) => !words.includes("status of 404"));
    assert.deepEqual(complaints, [], "the browser has nothing to complain of");
  });

  const section = (name) => page.locator("section.rpc", { has: page.locator(`h2#${name}`) });

  /** A way to call, opened. */
  async function way(name, label) {
    const found = section(name).locator(`details[data-way="${label}"]`);
    await found.evaluate((element) => (element.open = true));
    return found;
  }

  /** Calls and waits for the end; gives the answer's first line and its text. */
  async function call(found) {
    await found.getByRole("button", { name: "Call" }).click();
    await found.locator(".answer[data-done]").waitFor();
    return [await found.locator(".answer-head").textContent(), await found.locator(".answer-text").textContent()];
  }

  it("has every RPC of the document, with its words, messages and lines for a shell", async () => {
    const { "x-rpcs": rpcs } = await (await fetch(`${server}/openapi.json`)).json();
    assert.equal(await page.locator("section.rpc").count(), rpcs.length);
    for (const rpc of rpcs) {
      const found = section(rpc.path.split("/").pop());
      const [first] = rpc.description.split(/[.\n]/);
      assert.ok((await found.textContent()).includes(first), rpc.path);
      const ways = await found
        .locator("details.way")
        .evaluateAll((elements) => elements.map((element) => element.dataset.way));
      assert.deepEqual(ways, ["RPC", ...rpc.routes]);
      const lines = (await found.locator(".copyable code").allTextContents()).map((line) => line.split(" ")[0]);
      for (const tool of ["grpcurl", "buf", ...rpc.routes.map(() => "curl")]) assert.ok(lines.includes(tool), rpc.path);
    }
  });

  for (const wire of ["gRPC-Web", "Connect"]) {
    it(`calls over ${wire}, streams and failures included`, () => callsOver(wire));
  }

  async function callsOver(wire) {
    await fetch(`${server}/i/dot`, { method: "DELETE" });
    for (const select of await page.locator('details[data-way="RPC"] select').all()) {
      await select.evaluate((element, value) => (element.value = value), wire);
    }
    const created = await call(await way("CreateImage", "RPC"));
    assert.deepEqual([created[0], JSON.parse(created[1]).image.name], ["OK", "images/dot"]);
    const [head, text] = await call(await way("DownloadImage", "RPC"));
    assert.equal(head, "OK, 2 messages");
    assert.match(text, /"mediaType": "image\/(jpeg|gif)"/);

    const get = await way("GetImage", "RPC");
    await get.locator("textarea").fill('{"name": "images/none"}');
    assert.equal((await call(get))[0], "NotFound");
    assert.match(await get.getByRole("alert").textContent(), /there is no image images\/none/);
    assert.ok((await get.locator(".copyable code").first().textContent()).includes("images/none"), "the line follows");
    await get.locator("textarea").fill("{");
    assert.equal((await call(get))[0], "It failed.");
    const types = tab.requests.map((request) => request.headers()["content-type"]);
    const spoken = wire === "Connect" ? "application/connect+proto" : "application/grpc-web+proto";
    assert.ok(types.includes(spoken), `${spoken} of ${types}`);
  }

  it("calls JSON and byte routes", async () => {
    const list = await way("ListImages", "GET /v1/images");
    await list.locator("input[name=pageSize]").fill("1");
    const [head, text] = await call(list);
    assert.equal(head, "200 OK");
    assert.match(text, /etag: "/);
    assert.match(await list.locator(".copyable code").textContent(), /\/v1\/images\?pageSize=1'?$/);

    const download = await way("DownloadImage", "GET /v1/images/{image}:download");
    await download.locator("select").selectOption("text/event-stream");
    await download.locator("input[name=image]").fill("docs.jpg");
    assert.match((await call(download))[1], /content-type: text\/event-stream[\s\S]*data: \{/);

    const bytes = await way("DownloadImage", "GET /i/{id}");
    await bytes.locator("input[name=id]").fill("docs.jpg");
    assert.equal((await call(bytes))[0], "200 OK");
    await bytes.locator("img").waitFor();

    const put = await way("UploadImage", "PUT /i/{id}");
    await put.locator("input[type=file]").setInputFiles(photo);
    assert.match((await call(put))[0], /^20[01] /);
  });

  it("offers lines that a shell runs", async () => {
    const folder = await mkdtemp(join(tmpdir(), "docs-"));
    const wanted = [
      ["ListImages", "RPC"],
      ["DownloadImages", "RPC"],
      ["ListImages", "GET /v1/images"],
      ["GetImage", "GET /v1/images/{image}"],
      ["DownloadImage", "GET /i/{id}"],
      ["DownloadImage", "HEAD /i/{id}"],
    ];
    for (const [rpc, label] of wanted) {
      const found = await way(rpc, label);
      for (const line of await found.locator(".copyable code").allTextContents()) {
        const { stdout } = await run("bash", ["-c", line.replace(/^curl /, "curl -f ")], { cwd: folder });
        assert.ok(stdout.length > 0 || line.includes("-OJ"), line);
      }
    }
    await rm(folder, { recursive: true });
  });
});
