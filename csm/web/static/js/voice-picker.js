// Chooses the voice of a speaker: one that is stored on the server, or one's own recording.

import { announce, byId, element, show } from "./dom.js";
import { duration } from "./estimate.js";
import { Recording } from "./recording.js";

/** @typedef {import("./server.js").Limits} Limits */
/** @typedef {import("./stored-voices.js").StoredVoices} StoredVoices */

/**
 * A stored voice has an id; a recording has a file, and a transcript that may be empty.
 * @typedef {{name: string, id?: string, file?: File, transcript?: string}} ChosenVoice
 */

export class VoicePicker {
  /**
   * @param {HTMLElement} root is filled with the picker
   * @param {{limits: Limits, voices: StoredVoices, server: import("./server.js").Server}} options
   */
  constructor(root, { limits, voices, server }) {
    this.root = root;
    this.voices = voices;
    root.append(byId("voice-template").content.cloneNode(true));
    root.setAttribute("role", "group");
    this.recording = new Recording((name) => this.#part(name), limits, server, (sentence) => this.fail(sentence));
    this.#part("save").hidden = !limits.stores_voices;
    this.#part("save-hint").textContent =
      "Then you need not record it again. " +
      (limits.key_required ? "Nobody without your key can use it." : "Everybody who can open this page can use it.");
    this.#part("choice").onchange = () => this.#showChoice();
    this.#part("listen").onclick = () => this.#attempt(() => this.#listen());
    this.#part("delete").onclick = () => this.#attempt(() => this.#delete());
    this.#part("save-button").onclick = () => this.#attempt(() => this.#save());
    this.#part("save-name").onkeydown = (event) => {
      if (event.key !== "Enter") return;
      event.preventDefault(); // it would submit the form
      this.#part("save-button").click();
    };
    voices.addEventListener("change", () => this.#list());
    this.#list();
  }

  set title(title) {
    this.#part("title").textContent = title;
    this.root.setAttribute("aria-label", title);
  }

  /** Go to the first control. */
  focus() {
    this.#part(this.voices.list.length ? "choice" : this.recording.firstControl).focus();
  }

  /** Return the voice, or null if there is none; then an error is shown. @returns {ChosenVoice | null} */
  choose() {
    this.fail("");
    const stored = this.#stored;
    if (stored) return { id: stored.id, name: stored.name };
    if (this.recording.fault) return this.fail(this.recording.fault, this.recording.firstControl);
    const { file, transcript, name } = this.recording;
    return this.#hasConsent() ? { file, transcript, name } : null;
  }

  /**
   * Show what is wrong with the voice, or nothing.
   * @param {string} sentence
   * @param {string} [part] to go to
   * @returns {null}
   */
  fail(sentence, part) {
    show(this.#part("error"), sentence);
    show(this.#part("done"), "");
    show(this.#part("consent-error"), "");
    if (part) this.#part(part).focus();
    return null;
  }

  /** Show and say what was done. */
  #tell(sentence) {
    show(this.#part("done"), sentence);
    announce(sentence);
  }

  get #stored() {
    return this.voices.list.find(({ id }) => id === this.#part("choice").value);
  }

  #part(name) {
    return this.root.querySelector(`[data-part="${name}"]`);
  }

  #hasConsent() {
    const consent = this.#part("consent");
    consent.setAttribute("aria-invalid", String(!consent.checked));
    const sentence = consent.checked ? "" : "Tick this box. Without the speaker's agreement, choose another voice.";
    show(this.#part("consent-error"), sentence);
    if (sentence) consent.focus();
    return consent.checked;
  }

  #list() {
    const choice = this.#part("choice");
    const chosen = choice.value;
    const stored = this.voices.list.map(({ id, name, shared }) =>
      element("option", { value: id }, shared ? `${name} (for everybody)` : name),
    );
    choice.replaceChildren(element("option", { value: "" }, "Your own recording or file"), ...stored);
    choice.value = this.voices.list.some(({ id }) => id === chosen) ? chosen : "";
    choice.hidden = !stored.length;
    this.#showChoice();
  }

  #showChoice() {
    const stored = this.#stored;
    this.fail("");
    if (stored) this.recording.stop();
    this.#part("own").hidden = Boolean(stored);
    this.#part("chosen").hidden = !stored;
    this.#part("chosen-audio").hidden = true;
    this.#part("chosen-audio").pause();
    if (!stored) return;
    const words = stored.transcript && `“${stored.transcript}”`;
    this.#part("chosen-facts").textContent = [duration(stored.seconds), words].filter(Boolean).join(" · ");
    this.#part("listen").hidden = false;
    this.#part("delete").hidden = stored.shared;
  }

  /** Do something with the server, and show its sentence if it fails. @param {() => Promise<void>} action */
  async #attempt(action) {
    this.fail("");
    try {
      await action();
    } catch (error) {
      this.fail(error.message);
    }
  }

  async #listen() {
    const audio = this.#part("chosen-audio");
    const sample = await this.voices.sample(this.#stored.id);
    URL.revokeObjectURL(audio.src);
    audio.src = URL.createObjectURL(sample);
    audio.hidden = false;
    this.#part("listen").hidden = true;
    audio.focus();
    await audio.play();
  }

  async #delete() {
    const { id, name } = this.#stored;
    if (!confirm(`Delete the voice ${name} from the server? This cannot be undone.`)) return;
    await this.voices.delete(id);
    this.#tell(`The voice ${name} is deleted.`);
    this.focus();
  }

  async #save() {
    const name = this.#part("save-name").value.trim();
    if (this.recording.fault) return this.fail(this.recording.fault, this.recording.firstControl);
    if (!this.#hasConsent()) return;
    if (!name) return this.fail("Give the voice a name.", "save-name");
    const { file, transcript } = this.recording;
    const saved = await this.voices.save(name, file, transcript);
    // What the server recognised can be corrected there, and saved again under another name.
    if (saved.transcript_source === "recognized") this.#part("transcript").value = saved.transcript;
    this.#part("save-name").value = "";
    this.#part("choice").value = saved.id;
    this.#showChoice();
    this.#part("choice").focus();
    this.#tell([`The voice ${name} is saved.`, ...(saved.report.warnings ?? [])].join(" "));
  }
}
