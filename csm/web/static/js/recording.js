// A voice of one's own: records or takes a file, and shows its waveform, its faults, and its words.

import { announce, element, show } from "./dom.js";
import { duration } from "./estimate.js";
import { SAMPLE_RATE, decode, judge, measure } from "./measure.js";
import { Recorder, obstacle } from "./recorder.js";
import { sentenceOf } from "./server.js";
import { toPcm, wavFile } from "./wav.js";
import { Peaks, Waveform } from "./waveform.js";

/** What to read aloud: about ten seconds, with most sounds of English. */
const WORDS =
  "The morning train was late again, so I bought a cup of coffee, found a seat by the window, and watched the rain " +
  "run down the glass until the whole city was far behind us.";

const BEFORE = "Press Record and read this aloud in your usual voice, in a quiet room:";
const PRAISE = "The server finds no fault in this recording.";
const MEANWHILE = "Read this aloud, then press Stop. 5 to 15 seconds are best.";

const METER_MILLISECONDS = 50;
const METER_SECONDS = 15; // of room for the waveform
const PEAK_SAMPLES = SAMPLE_RATE / 100;

/** @typedef {import("./server.js").Limits} Limits */
/** @typedef {(name: string) => any} Parts finds an element of the picker by the name of its part */

export class Recording {
  /** @type {File | null} */
  file = null;
  #isUsable = false;
  #isLoading = false;
  #words = ""; // that were to be read aloud
  /** @type {Recorder | null} */
  #recorder = null;
  #timer = 0;
  #count = 0;
  #loads = 0;
  #url = "";
  /** @type {File | null} the last one that the server was asked about */
  #consulted = null;

  /**
   * @param {Parts} part
   * @param {Limits} limits
   * @param {import("./server.js").Server} server
   * @param {(sentence: string) => void} fail shows an error, or removes it
   */
  constructor(part, limits, server, fail) {
    this.part = part;
    this.limits = limits;
    this.server = server;
    this.fail = fail;
    this.wave = new Waveform(part("wave"), "Waveform of the recording");
    part("words").textContent = WORDS;
    part("prompt-hint").textContent = BEFORE;
    part("transcript-hint").textContent =
      "Write exactly what is said in the recording: the clone is then much more like it." +
      (limits.recognizes_transcripts ? " If you leave this empty, the server recognises them once you tick the box below." : "");
    show(part("obstacle"), obstacle());
    part("record").disabled = part("prompt").hidden = Boolean(obstacle());
    part("record").onclick = () => (this.#recorder ? this.stop() : this.#start());
    part("consent").addEventListener("change", () => this.consult());
    this.#takeFiles();
  }

  /** The words of the recording; empty if they are not known. */
  get transcript() {
    return this.part("transcript").value.trim();
  }

  /** Fill in the words that the server recognised in a file, unless others are there; return whether they were taken. */
  propose(file, words) {
    if (file !== this.file || this.transcript || !words) return false;
    this.part("transcript").value = words;
    return true;
  }

  get name() {
    return this.part("name").textContent;
  }

  /** The name of the part with which one begins. */
  get firstControl() {
    return obstacle() ? "choose" : "record";
  }

  /** Why this cannot be sent, or an empty string. */
  get fault() {
    if (this.#recorder) return "Stop the recording first.";
    if (this.#isLoading) return "The recording is still being read. Try again in a moment.";
    if (!this.file) return "Record a voice first, or choose a file.";
    return this.#isUsable ? "" : "This recording cannot be used: record again, or choose another file.";
  }

  #takeFiles() {
    const [drop, input] = [this.part("drop"), this.part("file")];
    this.part("choose").onclick = () => input.click();
    input.onchange = () => {
      if (input.files.length) this.#load(input.files[0]);
      input.value = ""; // so that the same file can be chosen again
    };
    drop.ondragover = (event) => {
      event.preventDefault();
      drop.classList.add("over");
    };
    drop.ondragleave = () => drop.classList.remove("over");
    drop.ondrop = (event) => {
      event.preventDefault();
      drop.classList.remove("over");
      if (event.dataTransfer.files.length && !this.#recorder) this.#load(event.dataTransfer.files[0]);
    };
  }

  async #start() {
    this.fail("");
    const record = this.part("record");
    const label = record.textContent;
    // What plays would be recorded.
    record.dispatchEvent(new Event("silence", { bubbles: true }));
    record.disabled = true;
    record.textContent = "Waiting for the microphone…";
    try {
      this.#recorder = await Recorder.start();
    } catch (error) {
      record.textContent = label;
      return this.fail(error.message);
    } finally {
      record.disabled = false;
      record.focus();
    }
    record.textContent = "Stop";
    record.classList.add("recording");
    this.part("prompt-hint").textContent = MEANWHILE;
    this.#show({ choose: false, "drop-hint": false, meter: true, wave: true, details: false, prompt: true });
    this.wave.clear((1000 * METER_SECONDS) / METER_MILLISECONDS);
    const began = performance.now();
    this.#timer = setInterval(() => this.#meter((performance.now() - began) / 1000), METER_MILLISECONDS);
    announce("Recording.");
  }

  #meter(seconds) {
    const { peak } = this.#recorder;
    this.wave.push(peak);
    this.part("level").value = peak;
    const [minutes, rest] = [Math.floor(seconds / 60), Math.floor(seconds % 60)];
    this.part("time").textContent = `${minutes}:${String(rest).padStart(2, "0")}`;
    if (seconds >= this.limits.max_reference_seconds) this.stop();
  }

  /** End the recording, if there is one, and take it. */
  async stop() {
    const recorder = this.#recorder;
    if (!recorder) return;
    clearInterval(this.#timer);
    this.#recorder = null;
    this.part("record").classList.remove("recording");
    this.part("record").textContent = "Record again";
    this.#show({ choose: true, "drop-hint": true, meter: false });
    this.#count += 1;
    this.#load(await recorder.stop(), `Recording ${this.#count}`, WORDS);
  }

  /**
   * Take a file, and show what it is like.
   * @param {File} file
   * @param {string} [name] to show
   * @param {string} [words] that it probably has
   */
  async #load(file, name = file.name, words = "") {
    this.fail("");
    const most = this.limits.max_upload_bytes;
    if (file.size > most) {
      return this.fail(`This file is too large: at most ${Math.floor(most / 1e6)} MB. Cut out 5 to 15 seconds of speech.`);
    }
    const load = ++this.#loads;
    this.#isLoading = true;
    const samples = await decode(file);
    if (load !== this.#loads) return; // another file was chosen meanwhile
    this.#isLoading = false;
    this.file = file;
    this.part("consent").checked = false; // it was given for another recording
    this.part("name").textContent = name;
    const transcript = this.part("transcript");
    // Whoever records again reads the same words again; another file has other words.
    const isSame = words && this.#words && transcript.value;
    if (!isSame) transcript.value = words;
    this.#words = words;
    this.#show({ details: true, prompt: false, wave: Boolean(samples), audio: Boolean(samples), facts: Boolean(samples) });
    const { usable, advice } = samples ? this.#examine(samples) : unknown(file);
    this.#isUsable = usable;
    this.#advise(usable ? "warning" : "error", advice, "Length and level are good.");
    announce([`${name} is ready.`, ...advice].join(" "));
  }

  /**
   * Ask the server what it hears in the recording, and show that. The recording leaves this page only once the speaker
   * has agreed to its use.
   */
  async consult() {
    const file = this.file;
    const isAllowed = this.part("consent").checked && (this.server.key || !this.limits.key_required);
    if (!file || !isAllowed || this.#consulted === file) return;
    this.#consulted = file;
    try {
      const { transcript, warnings } = await this.server.examine(file);
      if (file !== this.file) return;
      const advice = warnings.map(sentenceOf);
      this.#advise("warning", advice, PRAISE);
      const told = advice.length ? advice : [PRAISE];
      if (this.propose(file, transcript)) told.push("The server has recognised its words. Correct them if needed.");
      announce(told.join(" "));
    } catch (error) {
      // Unless the recording is to blame, the request for speech will show what is wrong.
      if (![415, 422].includes(error.status)) this.#consulted = null;
      else if (file === this.file) this.#refuse(error.message);
    }
  }

  #refuse(sentence) {
    this.#advise("error", [sentence]);
    announce(sentence);
  }

  /**
   * Show what is wrong with the recording.
   * @param {"warning" | "error"} kind
   * @param {string[]} advice
   * @param {string} [praise] shown if there is no advice
   */
  #advise(kind, advice, praise = "") {
    const items = advice.map((sentence) => element("li", { className: kind }, sentence));
    if (!items.length) items.push(element("li", { className: "hint" }, praise));
    this.part("advice").replaceChildren(...items);
  }

  /** @param {Float32Array} samples */
  #examine(samples) {
    const measured = measure(samples);
    this.part("facts").textContent = `${duration(measured.seconds)} · level ${measured.levelDb.toFixed(0).replace("-", "−")} dB`;
    this.wave.clear();
    const peaks = new Peaks(PEAK_SAMPLES);
    peaks.feed(samples, 1, (peak) => this.wave.push(peak));
    peaks.flush((peak) => this.wave.push(peak));
    // What browsers record has no length in its header, so that no player could seek in it.
    URL.revokeObjectURL(this.#url);
    this.#url = URL.createObjectURL(wavFile([toPcm(samples)], SAMPLE_RATE));
    this.part("audio").src = this.#url;
    return judge(measured, this.limits.max_reference_seconds);
  }

  /** @param {Record<string, boolean>} parts whether each is visible */
  #show(parts) {
    for (const [name, isVisible] of Object.entries(parts)) this.part(name).hidden = !isVisible;
  }
}

function unknown(file) {
  if (!file.size) return { usable: false, advice: ["This file is empty. Choose another one."] };
  return { usable: true, advice: ["This browser cannot show this file, but the server knows more formats: try it."] };
}
