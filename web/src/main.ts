// Puts the page together: the list with its uploads at `#/`, one image at `#/images/ID`.

import { List } from "./ui/list";
import { mountNotice, notice } from "./ui/notice";
import { Upload } from "./ui/upload";
import { Viewer } from "./ui/viewer";
import { el } from "./ui/dom";

const main = document.querySelector("main") ?? document.body;
const list = new List();
const upload = new Upload((image) => list.add(image));
const viewer = new Viewer((name) => {
  list.remove(name);
  notice(`${name} is deleted.`);
  if (location.hash === `#/${name}`) location.hash = "#/";
});
const home = el("div", { class: "home" }, upload.element, list.element);

let scrolled = 0;

function route(): void {
  const [, name] = /^#\/(images\/[A-Za-z0-9._-]+)$/.exec(location.hash) ?? [];
  const wasViewing = home.hidden;
  if (name !== undefined && !wasViewing) scrolled = scrollY;
  home.hidden = name !== undefined;
  viewer.element.hidden = name === undefined;
  if (name !== undefined) {
    scrollTo(0, 0);
    viewer.open(name);
    return;
  }
  viewer.close();
  document.title = "Wirephoto";
  if (wasViewing) {
    scrollTo(0, scrolled);
    if (!list.focus(viewer.name)) main.focus();
  }
}

main.replaceChildren(home, viewer.element);
mountNotice(document.body);
document.querySelector("#origin")?.append(location.host);
document.querySelector(".skip")?.addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && home.hidden && document.querySelector("dialog[open]") === null) location.hash = "#/";
});
addEventListener("hashchange", route);
route();
void list.reload();
