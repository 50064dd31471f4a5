// Makes elements. Text goes in as text, never as markup.

type Attributes = Record<string, string | number | boolean | undefined>;

/** `el("a", { href: "#/" }, "Back")`. An attribute that is false or undefined is left out, true is set empty. */
export function el<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children);
  return element;
}

/** A button that does `action`. */
export function button(label: string, look: "primary" | "quiet" | "danger", action: () => void): HTMLButtonElement {
  const element = el("button", { type: "button", class: `button ${look}` }, label);
  element.addEventListener("click", action);
  return element;
}
