// The page in a real browser, against a running server: WIREPHOTO_URL is its address, WIREPHOTO_PHOTO a photograph,
// WIREPHOTO_LARGE a large image (60 MB). WIREPHOTO_SCREENSHOTS, if set, is a folder for a picture of the page.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdir, readFile } from "node:fs/promises";
import { basename, extname, join } from "node:path";
import { after, afterEach, before, beforeEach, describe, it } from "node:test";

import { launch, open, throttle } from "./browser.mjs";

const DOWNLOAD = "/wirephoto.v1.ImageService/DownloadImage";

function required(name) {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: see the head of tests/web/page.test.mjs`);
  return value;
}

const server = required("WIREPHOTO_URL").replace(/\/$/, "");
const photo = required("WIREPHOTO_PHOTO");
const large = required("WIREPHOTO_LARGE");
const shots = process.env.WIREPHOTO_SCREENSHOTS;

const sha256 = async (path) =>
  createHash("sha256")
    .update(await readFile(path))
    .digest("hex");
const photoNamed = async (name) => ({ name, mimeType: "application/octet-stream", buffer: await readFile(photo) });
const fileInput = (page) => page.locator("input[type=file]");
const cards = (page) => page.locator("[data-name]");
const cardNamed = (page, id) => page.locator(`[data-name="images/${id}"] a`);
const downloads = (requests) => requests.filter((request) => new URL(request.url()).pathname === DOWNLOAD);

/** Ids of the images these tests leave behind, to be deleted. */
const left = new Set();
const leave = (id) => {
  left.add(id);
  return id;
};

async function put(id, path) {
  const answer = await fetch(`${server}/i/${leave(id)}`, { method: "PUT", body: await readFile(path) });
  assert.ok(answer.ok, await answer.text());
}

/** What the page is opened with, and what its calls are then sent as. */
const WIRES = [
  { wire: "gRPC-Web", home: server, unary: "application/grpc-web+proto", stream: "application/grpc-web+proto" },
  { wire: "Connect", home: `${server}/?wire=connect`, unary: "application/proto", stream: "application/connect+proto" },
];

for (const { wire, home, unary, stream } of WIRES)
  describe(`the page over ${wire}`, () => {
    let browser;
    let tab;
    let page;

    before(async () => {
      browser = await launch();
    });
    after(async () => {
      await browser?.close();
      for (const id of left) await fetch(`${server}/i/${id}`, { method: "DELETE" });
    });
    beforeEach(async () => {
      tab = await open(browser);
      page = tab.page;
    });
    afterEach(async () => {
      await tab.close();
      // The console tells of every HTTP status that is an error; the failures of Connect have one.
      const told = (text) => wire === "Connect" && /^Failed to load resource: .* status of 4\d\d /.test(text);
      assert.deepEqual(
        tab.complaints.filter((text) => !told(text)),
        [],
        "the browser has nothing to complain of",
      );
    });

    it("comes whole under a policy that allows nothing inline", async () => {
      const answer = await page.goto(home);
      assert.equal(answer.status(), 200);
      const policy = answer.headers()["content-security-policy"] ?? "";
      assert.match(policy, /default-src 'none'/);
      assert.match(policy, /script-src 'self'(;|$)/);
      assert.match(policy, /style-src 'self'(;|$)/);
      await page.getByRole("heading", { name: "Images" }).waitFor();
      const elsewhere = tab.requests.map((request) => request.url()).filter((url) => !url.startsWith(server));
      assert.deepEqual(elsewhere, []);
    });

    it("takes a photograph, lists it, streams it in and deletes it", async () => {
      const id = `my-photo-2${extname(photo).toLowerCase()}`;
      await page.goto(home);
      await fileInput(page).setInputFiles(await photoNamed(`My Photo (2)${extname(photo)}`));
      await cardNamed(page, id).click();
      await page.getByText("SHA-256 verified").first().waitFor();

      assert.equal(await page.locator("[data-field=sha256]").textContent(), await sha256(photo));
      assert.equal(await page.locator("[data-field=name]").textContent(), `images/${id}`);
      assert.equal(await page.getByRole("heading", { level: 1 }).textContent(), `My Photo (2)${extname(photo)}`);
      assert.equal(new URL(page.url()).hash, `#/images/${id}`);
      const picture = page.getByRole("img", { name: "My Photo (2)" });
      await picture.waitFor();
      assert.match(await picture.getAttribute("src"), /^blob:/);
      assert.ok(await picture.evaluate((img) => img.decode().then(() => img.naturalWidth > 0)));

      const [request, ...others] = downloads(tab.requests);
      assert.equal(others.length, 0);
      assert.equal(request.method(), "POST");
      assert.equal((await request.allHeaders())["content-type"], stream);
      assert.equal((await (await request.response()).allHeaders())["content-type"], stream);
      const created = tab.requests.find((request) => request.url().endsWith("/CreateImage"));
      assert.equal((await created.allHeaders())["content-type"], unary);
      if (wire === "Connect") {
        const listed = tab.requests.find((request) => request.url().includes("/ListImages?"));
        assert.equal(listed.method(), "GET", "what has no side effects is asked for by GET");
      }
      if (shots) {
        await mkdir(shots, { recursive: true });
        await page.screenshot({ path: join(shots, "viewer.png"), fullPage: true });
      }

      await page.getByRole("button", { name: "Delete this image" }).click();
      await page.getByRole("dialog").getByRole("button", { name: "Delete", exact: true }).click();
      await page.getByText(`images/${id} is deleted.`).waitFor();
      assert.equal(await cardNamed(page, id).count(), 0);
      assert.equal((await fetch(`${server}/i/${id}`)).status, 404);
    });

    it("opens an image by its link, and says so when it is not there", async () => {
      await page.goto(`${home}#/images/never-was.jpg`);
      await page.getByRole("alert").getByText("images/never-was.jpg").waitFor();
      await page.getByRole("link", { name: "All images" }).click();
      await page.getByRole("heading", { name: "Images" }).waitFor();
    });

    it("offers another name when one is taken", async () => {
      const extension = extname(photo).toLowerCase();
      leave(`twice${extension}`);
      leave(`twice-2${extension}`);
      await page.goto(home);
      await fileInput(page).setInputFiles(await photoNamed(`twice${extension}`));
      await cardNamed(page, `twice${extension}`).waitFor();
      await fileInput(page).setInputFiles(await photoNamed(`twice${extension}`));
      await page.getByRole("alert").getByText("is taken").waitFor();
      const name = page.getByRole("textbox", { name: "Another name" });
      assert.equal(await name.inputValue(), `twice-2${extension}`);
      const before = tab.requests.length;
      for (const none of ["", "my twice", "-twice", "a..b"]) {
        await name.fill(none);
        await name.press("Enter");
        assert.ok(await name.evaluate((input) => !input.validity.valid && input === document.activeElement), none);
      }
      assert.equal(tab.requests.length, before);
      await name.fill(`twice-2${extension}`);
      await name.press("Enter");
      await cardNamed(page, `twice-2${extension}`).waitFor();
      assert.equal(await cardNamed(page, `twice${extension}`).count(), 1);
    });

    it("makes the ids that the command makes", async () => {
      await page.goto(home);
      for (const [name, id] of [
        ["Größe.PNG", "gr-e.png"],
        ["a. b .png", "a.b.png"],
        ["写真.jpg", "image-ef5873d6.jpg"],
        [".hidden", "hidden"],
      ]) {
        await fileInput(page).setInputFiles(await photoNamed(name));
        await cardNamed(page, leave(id)).waitFor();
        assert.equal(await cardNamed(page, id).locator(".card-title").textContent(), name);
      }
    });

    it("gives the server's own words for a file that is no image", async () => {
      await page.goto(home);
      const text = {
        name: "notes.jpg",
        mimeType: "image/jpeg",
        buffer: Buffer.from("Dear diary, this is no image at all.\n"),
      };
      const answered = page.waitForResponse((response) => response.url().endsWith("/CreateImage"));
      await fileInput(page).setInputFiles(text);
      const answer = await answered;
      const headers = await answer.allHeaders();
      // Of gRPC-Web: a refusal without a message has its trailers in the header, or as all there is of the body.
      const said =
        wire === "Connect"
          ? (await answer.json()).message
          : decodeURIComponent(headers["grpc-message"] ?? trailer(await answer.body(), "grpc-message"));
      assert.notEqual(said, "");
      await page.getByRole("alert").getByText(said).waitFor();
      assert.equal(await cardNamed(page, "notes.jpg").count(), 0);
      assert.equal((await fetch(`${server}/i/notes.jpg`)).status, 404);
    });

    it("shows more images than a page holds, each once", async () => {
      const ids = Array.from({ length: 30 }, (_, number) => `page-test-${number}`);
      for (const id of ids) await put(id, photo);
      await page.goto(home);
      await cardNamed(page, "page-test-29").waitFor();
      const before = await cards(page).count();
      assert.ok(before < ids.length, `${before} on the first page`);
      const more = page.getByRole("button", { name: "Show more" });
      while ((await more.count()) > 0) {
        await more.click();
        await page.locator(".list:not([aria-busy])").waitFor();
      }
      for (const id of ids) assert.equal(await cardNamed(page, id).count(), 1, id);
    });

    it("can be used by keyboard, and gives the focus back", async () => {
      const id = "keyboard-test";
      await put(id, photo);
      await page.goto(home);
      await cardNamed(page, id).focus();
      await page.keyboard.press("Enter");
      await page.getByText("SHA-256 verified").first().waitFor();
      await page.keyboard.press("Escape");
      await page.getByRole("heading", { name: "Images" }).waitFor();
      assert.ok(await cardNamed(page, id).evaluate((link) => link === document.activeElement));
    });

    it("fits a narrow screen", async () => {
      const id = "a-name-as-long-as-cameras-and-the-people-who-own-them-like-to-make-names-0123456789";
      await put(id, photo);
      await page.setViewportSize({ width: 360, height: 740 });
      const overflow = () => page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      await page.goto(home);
      await cardNamed(page, id).waitFor();
      assert.ok((await overflow()) <= 0, "the list");
      await cardNamed(page, id).click();
      await page.getByText("SHA-256 verified").first().waitFor();
      assert.ok((await overflow()) <= 0, "the viewer");
    });

    it("stops a large image in mid-stream and goes on from there", async () => {
      const id = `large-one${extname(large).toLowerCase()}`;
      await put(id, large);

      await page.goto(home);
      const endThrottle = await throttle(page, { download: 8_000_000 });
      await cardNamed(page, id).click();
      const bar = page.getByRole("progressbar", { name: "Download" });
      await page.waitForFunction((element) => element.value > 0.05, await bar.elementHandle());
      const broken = page.waitForEvent("requestfailed", (request) => new URL(request.url()).pathname === DOWNLOAD);
      await page.getByRole("button", { name: "Stop" }).click();
      assert.match((await broken).failure().errorText, /ERR_ABORTED/);
      await page
        .locator(".progress-figures")
        .getByText(/^Stopped at .+ of /)
        .waitFor();
      assert.ok((await bar.evaluate((element) => element.value)) < 1);

      await endThrottle();
      await page.getByRole("button", { name: "Continue" }).click();
      await page.locator(".progress-figures").getByText("SHA-256 verified").waitFor({ timeout: 120_000 });
      assert.equal(await page.locator("[data-field=sha256]").textContent(), await sha256(large));
      assert.equal(downloads(tab.requests).length, 2);
    });

    it("cancels an upload, and sends it again", async () => {
      await page.goto(home);
      const endThrottle = await throttle(page, { upload: 4_000_000 });
      await fileInput(page).setInputFiles(large);
      const bar = page.getByRole("progressbar", { name: `Upload of ${basename(large)}` });
      await page.waitForFunction((element) => element.value > 0.02, await bar.elementHandle());
      const broken = page.waitForEvent("requestfailed", (request) => request.method() === "PUT");
      await page.getByRole("button", { name: "Cancel" }).click();
      const id = leave(basename(new URL((await broken).url()).pathname));
      await page.getByText("Stopped before the server had all of it.").waitFor();
      assert.equal((await fetch(`${server}/i/${id}`)).status, 404);
      await endThrottle();
      await page.getByRole("button", { name: "Try again" }).click();
      await page.getByText(`${basename(large)} is kept as`).waitFor({ timeout: 120_000 });
      assert.equal((await fetch(`${server}/i/${id}`, { method: "DELETE" })).status, 204);
    });

    it("sends a large image as plain bytes, with its progress", async () => {
      await page.goto(home);
      await fileInput(page).setInputFiles(large);
      await page.getByRole("progressbar", { name: `Upload of ${basename(large)}` }).waitFor();
      await page.getByText(`${basename(large)} is kept as`).waitFor({ timeout: 120_000 });
      const puts = tab.requests.filter((request) => request.method() === "PUT");
      assert.equal(puts.length, 1);
      assert.equal((await puts[0].allHeaders())["if-none-match"], "*");
      const id = leave(basename(new URL(puts[0].url()).pathname));
      assert.equal(await cardNamed(page, id).locator(".card-title").textContent(), basename(large));
      const kept = await fetch(puts[0].url());
      const bytes = Buffer.from(await kept.arrayBuffer());
      assert.equal(createHash("sha256").update(bytes).digest("hex"), await sha256(large));
    });
  });

/** A field of a gRPC-Web body's trailers; empty when it is not there. */
function trailer(body, name) {
  for (let at = 0; at + 5 <= body.length;) {
    const length = body.readUInt32BE(at + 1);
    if (body[at] & 0x80) {
      const lines = body
        .subarray(at + 5, at + 5 + length)
        .toString("latin1")
        .split("\r\n");
      const line = lines.find((each) => each.toLowerCase().startsWith(`${name}:`)) ?? "";
      return line.slice(name.length + 1).trim();
    }
    at += 5 + length;
  }
  return "";
}
