// The form: what to say, in which voices, with which settings. Errors are shown beside their fields.

import { byId, show } from "./dom.js";
import { duration, estimate } from "./estimate.js";
import { randomSeed } from "./request.js";
import { parseScript } from "./script.js";
import { VoicePicker } from "./voice-picker.js";

const SETTINGS = ["temperature", "top_k", "speed"];
/** Fields of the API whose errors are shown at the voice. */
const OF_THE_VOICE = ["audio", "voice", "transcript", "consent"];

/** @typedef {import("./request.js").SpeechRequest} SpeechRequest */
/** @typedef {import("./voice-picker.js").ChosenVoice} ChosenVoice */

export class SpeechForm {
  /** @param {{limits: import("./server.js").Limits, voices: import("./stored-voices.js").StoredVoices,
   *   server: import("./server.js").Server}} options */
  constructor(options) {
    this.limits = options.limits;
    this.form = byId("speech-form");
    this.pickers = { A: new VoicePicker(byId("voice-a"), options), B: new VoicePicker(byId("voice-b"), options) };
    this.form.oninput = () => this.#count();
    this.form.onchange = () => this.#showMode();
    this.#showMode();
  }

  get #isConversation() {
    return this.form.elements.mode.value === "two";
  }

  get #text() {
    return byId(this.#isConversation ? "script" : "text");
  }

  get #speed() {
    return Number(this.form.elements.speed.value) || 1;
  }

  #showMode() {
    const isConversation = this.#isConversation;
    this.pickers.A.title = isConversation ? "Voice A" : "Voice";
    this.pickers.B.title = "Voice B";
    byId("voice-b").hidden = byId("for-two").hidden = !isConversation;
    byId("for-one").hidden = isConversation;
    if (!isConversation) this.pickers.B.recording.stop();
    this.#count();
  }

  #count() {
    const text = this.#text.value.trim();
    const seconds = text ? ` · about ${duration(Math.max(1, estimate(text, this.#speed)), 0)} of speech` : "";
    const count = byId("text-count");
    count.textContent = `${written(lengthOf(text))} of ${written(this.limits.max_text_chars)} characters${seconds}`;
    count.classList.toggle("error", lengthOf(text) > this.limits.max_text_chars);
  }

  /** Return the request that the form describes, or null if a field is wrong, which is then shown. */
  compose() {
    this.#clearErrors();
    const request = this.#isConversation ? this.#conversation() : this.#speech();
    const wrong = [...this.form.querySelectorAll("input[type=number]")].find((input) => !input.checkValidity());
    if (request && wrong) return this.#failSetting(wrong, wrong.validationMessage);
    return request;
  }

  /** @returns {SpeechRequest | null} */
  #speech() {
    const voice = this.pickers.A.choose();
    if (!voice) return null;
    const text = this.#text.value.trim();
    if (!text) return this.#failText("Write what to say.");
    const most = this.limits.max_text_chars;
    if (lengthOf(text) > most) return this.#failText(`This text is too long: at most ${written(most)} characters.`);
    const { id, file, transcript } = voice;
    const fields = file ? [["audio", file], ["transcript", transcript], ["consent", "true"]] : [["voice", id]];
    return this.#request("clone-voice", [...fields, ["text", text]], text, `Voice: ${voice.name}`);
  }

  /** @returns {SpeechRequest | null} */
  #conversation() {
    let parsed;
    try {
      parsed = parseScript(this.#text.value);
    } catch (error) {
      return this.#failText(error.message);
    }
    /** @type {[string, string | File][]} */
    const files = [];
    const voices = {};
    const names = [];
    for (const speaker of parsed.speakers) {
      const voice = this.pickers[speaker].choose();
      if (!voice) return null;
      names.push(`${speaker}: ${voice.name}`);
      const part = `audio_${speaker.toLowerCase()}`;
      if (voice.file) files.push([part, distinct(voice.file, files)]);
      voices[speaker] = voice.file ? { audio: part, transcript: voice.transcript || undefined } : { voice: voice.id };
    }
    const consent = files.length ? [["consent", "true"]] : [];
    const fields = [...files, ["voices", JSON.stringify(voices)], ...consent, ["script", parsed.script]];
    return this.#request("conversation", fields, parsed.script, names.join(" · "));
  }

  /** @returns {SpeechRequest} */
  #request(path, fields, title, voice) {
    const elements = this.form.elements;
    const settings = SETTINGS.map((name) => [name, elements[name].value]);
    const seed = ["seed", elements.seed.value || randomSeed()];
    const filled = [...fields, ...settings, seed].filter(([, value]) => value);
    return { path, fields: filled, title, voice, seconds: estimate(title, this.#speed) };
  }

  /** Show the words that the server recognised in the recording of a request, so that they can be corrected. */
  propose({ fields }, words) {
    this.pickers.A.recording.propose(Object.fromEntries(fields).audio, words);
  }

  /**
   * Show an error of the server beside the field that it is about.
   * @param {import("./server.js").ServerError} error
   */
  explain({ field, message, status }) {
    const input = this.form.elements[field];
    if (field === "text" || field === "script") this.#failText(message);
    else if (status === 415 || OF_THE_VOICE.includes(field)) this.#failVoice(message);
    else if (input instanceof HTMLInputElement) this.#failSetting(input, message);
    else show(byId("error"), message);
  }

  /** In a conversation, the answer does not say whose voice is wrong. */
  #failVoice(sentence) {
    if (this.#isConversation) return show(byId("error"), sentence);
    this.pickers.A.fail(sentence);
    this.pickers.A.focus();
  }

  /** @returns {null} */
  #failText(sentence) {
    show(byId("text-error"), sentence);
    this.#text.setAttribute("aria-invalid", "true");
    this.#text.focus();
    return null;
  }

  /** @param {HTMLInputElement} input one of the advanced settings @returns {null} */
  #failSetting(input, sentence) {
    input.closest("details").open = true;
    input.setAttribute("aria-invalid", "true");
    input.focus();
    show(byId("error"), `${input.parentElement.firstChild.textContent.trim()}: ${sentence}`);
    return null;
  }

  #clearErrors() {
    Object.values(this.pickers).forEach((picker) => picker.fail(""));
    for (const name of ["text-error", "error"]) show(byId(name), "");
    for (const field of this.form.querySelectorAll("[aria-invalid]")) field.removeAttribute("aria-invalid");
  }
}

/** Return the number of characters as the server counts them, not of UTF-16 units. */
function lengthOf(text) {
  return [...text].length;
}

function written(number) {
  return number.toLocaleString("en");
}

/** Return the file under a name that the others do not have: the code that repeats a request reads both. */
function distinct(file, others) {
  const isTaken = others.some(([, other]) => other.name === file.name);
  return isTaken ? new File([file], `b-${file.name}`, { type: file.type }) : file;
}
