// Elements are made here and nowhere else: what a node or a person has written becomes text, never markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (typeof value === "function") {
      element.addEventListener(name, value);
    } else if (value === true) {
      element.setAttribute(name, "");
    } else if (value !== null && value !== undefined && value !== false) {
      element.setAttribute(name, String(value));
    }
  }
  const shown = children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
  // append() takes a string as text.
  element.append(...shown.map((child) => (child instanceof Node ? child : String(child))));
  return element;
}

export function html(name, attributes, ...children) {
  return fill(document.createElement(name), attributes, children);
}

export function svg(name, attributes, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

export const byId = (id) => document.getElementById(id);

// Show `children` in place of what was there. What was unfolded (data-key) stays so, and the keyboard stays where it is.
export function redraw(container, ...children) {
  const keyed = (where, more = "") => [...where.querySelectorAll(`[data-key]${more}`)];
  const open = new Set(keyed(container, "[open]").map((each) => each.dataset.key));
  const folded = new Set(keyed(container, ":not([open])").map((each) => each.dataset.key));
  const holder = document.activeElement && container.contains(document.activeElement)
    ? document.activeElement.closest("[data-key]")?.dataset.key : null;
  container.replaceChildren();
  fill(container, {}, children);
  for (const each of keyed(container)) {
    if (each.tagName === "DETAILS") {
      each.open = open.has(each.dataset.key) || (each.open && !folded.has(each.dataset.key));
    }
    if (holder === each.dataset.key) {
      (each.querySelector("summary") || each).focus();
    }
  }
}

// What an alert or a banner says; nothing hides it.
export function say(element, text) {
  // Said once: a reader would else say it again and again.
  if (element.textContent !== (text || "")) {
    element.textContent = text || "";
  }
  element.hidden = !text;
}
