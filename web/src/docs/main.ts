// Puts the page at /docs together: every RPC of /openapi.json, on every wire.

import { client, QUICK } from "../client";
import { idOf } from "../ids";
import { el } from "../ui/dom";
import { mountNotice } from "../ui/notice";
import { problem } from "../ui/problem";
import { load } from "./document";
import { rpcName, rpcSection } from "./rpc";

const main = document.querySelector("main") ?? document.body;
document.querySelector("#origin")?.append(location.host);
document.querySelector(".skip")?.addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
mountNotice(document.body);

/** An image there is, so that calls find one. */
async function anyImage(): Promise<string> {
  try {
    const { images } = await client.listImages({ pageSize: 1 }, { timeoutMs: QUICK });
    return images[0] === undefined ? "dot" : idOf(images[0].name);
  } catch {
    return "dot";
  }
}

try {
  const [api, id] = await Promise.all([load(), anyImage()]);
  const rpcs = api["x-rpcs"];
  const links = rpcs.map((rpc) => el("li", {}, el("a", { href: `#${rpcName(rpc)}` }, rpcName(rpc))));
  const intro = el(
    "p",
    {},
    `${api.info.title} ${api.info.version}. Each call on every wire: try it here, or copy the line for a shell. The JSON and byte routes are also an `,
    el("a", { href: "/openapi.json" }, "OpenAPI document"),
    ".",
  );
  main.replaceChildren(
    el("h1", {}, "Calls"),
    intro,
    el("nav", { "aria-label": "Calls" }, el("ul", { class: "rpc-links" }, ...links)),
    ...rpcs.map((rpc) => rpcSection(rpc, api, id)),
  );
  if (location.hash !== "") document.querySelector(location.hash)?.scrollIntoView();
} catch (error) {
  main.replaceChildren(problem(error));
}
