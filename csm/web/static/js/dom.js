// Small helpers for the document.

const ANNOUNCEMENTS = 20; // that are kept

/**
 * Return the element with an id.
 * @template {HTMLElement} [T=HTMLElement]
 * @param {string} id
 * @returns {T}
 */
export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`there is no element with the id ${id}`);
  return /** @type {T} */ (found);
}

/**
 * Return a new element. Children are text or nodes, so nothing is ever parsed as HTML.
 * @param {string} tag
 * @param {Record<string, unknown>} [properties] of the element; those with a hyphen, and `role`, are attributes
 * @param {...(Node | string)} children
 */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role") made.setAttribute(name, String(value));
    else Reflect.set(made, name, value);
  }
  made.append(...children);
  return made;
}

/** Return a button that does not submit a form. */
export function button(label, onclick, properties = {}) {
  return element("button", { type: "button", onclick, ...properties }, label);
}

/** Have a screen reader say a sentence, after those that it has not finished yet. */
export function announce(sentence) {
  const log = byId("live");
  log.append(element("p", {}, sentence));
  if (log.childElementCount > ANNOUNCEMENTS) log.firstElementChild.remove();
}

/**
 * Show a sentence in an element, or hide the element if there is none.
 * @param {HTMLElement} place
 * @param {string} sentence
 */
export function show(place, sentence) {
  place.textContent = sentence;
  place.hidden = !sentence;
}

/** Start the download of a blob under a file name. */
export function download(blob, name) {
  const url = URL.createObjectURL(blob);
  element("a", { href: url, download: name }).click();
  // The browser reads the blob after this function has returned.
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
