// Elements from names and text. Whatever stands in an event reaches the page as text and as nothing else.

const SVG = "http://www.w3.org/2000/svg";

// Controls, and what turns the direction of text round: shown by their number instead of obeyed.
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;

export function visible(text) {
  return String(text).replace(UNSEEN, (one) => `⟨U+${one.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`);
}

export function el(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

export function svg(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value === true) node.setAttribute(key, "");
    else if (value !== false && value != null) node.setAttribute(key, visible(value));
  }
  node.append(...children.flat(3).filter((child) => child != null && child !== false).map(asNode));
  return node;
}

function asNode(child) {
  return child instanceof Node ? child : document.createTextNode(visible(child));
}

export const byId = (id) => document.getElementById(id);

// Text of the outside world, which may run from right to left, without an effect on what stands beside it.
export const name = (text) => el("bdi", {}, text);

export function say(id, text) {
  const node = byId(id);
  if (node.textContent !== text) node.textContent = visible(text);
}

// New content in the place of the old one; what has the focus keeps it, found again by its data-key.
export function show(node, ...children) {
  const active = node.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  node.replaceChildren(...children.flat(4).filter(Boolean).map(asNode));
  if (active) for (const one of node.querySelectorAll("[data-key]")) if (one.dataset.key === active) one.focus();
}
