// Shows and copies the code that sends a request again.

import { button, download, element } from "./dom.js";
import { snippets } from "./snippets.js";

/**
 * Return a folded panel with a button for each language.
 * @param {import("./request.js").SpeechRequest} request
 * @param {boolean} needsKey whether the server needs a key
 */
export function codePanel(request, needsKey) {
  const state = element("p", { className: "hint", role: "status" });
  const pre = element("pre", { tabIndex: 0, hidden: true, role: "region", "aria-label": "Code" });
  const base = new URL(".", document.baseURI).href;
  const codes = snippets(request, { base, key: needsKey, output: "voice-clone.wav" });

  async function copy(language) {
    pre.textContent = codes[language];
    pre.hidden = false;
    try {
      await navigator.clipboard.writeText(codes[language]);
      state.textContent = `The ${language} code is in the clipboard.`;
    } catch {
      getSelection().selectAllChildren(pre);
      state.textContent = "The browser does not allow the clipboard: copy the selected code by hand.";
    }
  }

  const buttons = Object.keys(codes).map((language) => button(`Copy as ${language}`, () => copy(language)));
  const files = request.fields.map(([, value]) => value).filter((value) => value instanceof File);
  const downloads = files.map((file) => button(`Download ${file.name}`, () => download(file, file.name)));
  const hints = [
    "This code sends the same request again.",
    needsKey ? "It reads the key from the variable VOICE_SERVER_KEY." : "",
    files.length ? `It needs the recording, ${files.map((file) => file.name).join(" and ")}, in its folder.` : "",
  ];
  return element("details", { className: "stack" }, element("summary", {}, "Copy as code"),
    element("p", { className: "hint" }, hints.filter(Boolean).join(" ")),
    element("div", { className: "row" }, ...buttons, ...downloads), state, pre);
}
