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

// Show `children` in place of what was there. What was unfolded (data-key) stays so, the keyboard stays where it is,
// and what is the same is left alone, so that no button goes away under a finger.
export function redraw(container, ...children) {
  const fresh = fill(container.cloneNode(false), {}, children);
  const unfolded = [...container.querySelectorAll("details[data-key]")].map((each) => [each.dataset.key, each.open]);
  const folds = new Map(unfolded);
  for (const each of fresh.querySelectorAll("details[data-key]")) {
    each.open = folds.get(each.dataset.key) ?? each.open;
  }
  if (fresh.isEqualNode(container)) {
    return;
  }
  const { activeElement } = document;
  const holder = container.contains(activeElement) && activeElement.closest("[data-key]")?.dataset.key;
  container.replaceChildren(...fresh.childNodes);
  const found = holder && [...container.querySelectorAll("[data-key]")].find((each) => each.dataset.key === holder);
  if (found) {
    (found.querySelector("summary") || found).focus();
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
