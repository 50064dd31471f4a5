// Chromium, watched: whatever the page complains of on its console, and whatever its
// Content-Security-Policy stops, is kept for the test to look at.

import { chromium } from "playwright-core";

const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

export async function launch() {
  return await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: FLAGS });
}

/** A page of a context of its own, its complaints, and the requests it made. */
export async function open(browser, options = {}) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  const complaints = [];
  const requests = [];
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(error.stack ?? String(error)));
  page.on("request", (request) => requests.push(request));
  await context.addInitScript(() => {
    addEventListener("securitypolicyviolation", (event) => {
      console.error(`Content-Security-Policy: ${event.violatedDirective} stopped ${event.blockedURI}`);
    });
  });
  return { page, complaints, requests, close: () => context.close() };
}

/** Makes transfers slow enough for a person, and a test, to stop them: bytes a second. */
export async function throttle(page, { download = -1, upload = -1 }) {
  const session = await page.context().newCDPSession(page);
  await session.send("Network.enable");
  await session.send("Network.emulateNetworkConditions", {
    offline: false,
    latency: 0,
    downloadThroughput: download,
    uploadThroughput: upload,
  });
  return () => session.detach();
}
