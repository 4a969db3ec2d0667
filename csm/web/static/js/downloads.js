// Downloads of one result in any format.

import { button, download, element } from "./dom.js";
import { formOf } from "./request.js";
import { ServerError } from "./server.js";

/** The server's formats, by their names in its API. */
const FORMATS = { wav: "WAV", mp3: "MP3", opus: "Opus", aac: "AAC", flac: "FLAC", pcm: "PCM" };
const HEADER_BYTES = 44;

/**
 * Return a choice of formats, and a button that downloads. The browser has the samples, but no encoders: for a
 * compressed format the server generates the speech again, with the same seed.
 * @param {import("./request.js").SpeechRequest} request
 * @param {import("./server.js").Server} server
 * @param {Blob} wav
 * @param {HTMLButtonElement} remove stands at the end of the row
 */
export function downloads(request, server, wav, remove) {
  /** @type {Record<string, Blob>} */
  const files = { wav, pcm: wav.slice(HEADER_BYTES) };
  const options = Object.entries(FORMATS).map(([value, text]) => element("option", { value }, text));
  const format = element("select", { "aria-label": "Format of the download" }, ...options);
  const state = element("p", { className: "hint", role: "status" });
  format.onchange = () => {
    const isReady = format.value in files;
    state.textContent = isReady ? "" : "For this format, the server generates the speech again, with the same seed.";
  };

  async function save() {
    const name = format.value;
    try {
      if (!(name in files)) {
        state.textContent = `Generating ${FORMATS[name]}…`;
        const form = formOf(request);
        form.set("format", name);
        files[name] = await (await server.post(request.path, form)).blob();
        state.textContent = "";
      }
      download(files[name], `voice-clone.${name}`);
    } catch (error) {
      state.textContent = error instanceof ServerError ? error.message : "The download broke off. Try it again.";
    }
  }
  return element("div", {}, element("div", { className: "row" }, format, button("Download", save), remove), state);
}
