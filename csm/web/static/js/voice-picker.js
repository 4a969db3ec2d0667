// Chooses the voice: a recording from the microphone or a file, its waveform, its faults, and its words.

import { announce, byId, show } from "./dom.js";
import { duration } from "./estimate.js";
import { SAMPLE_RATE, decode, judge, measure } from "./measure.js";
import { Recorder, obstacle } from "./recorder.js";
import { Peaks, Waveform } from "./waveform.js";
import { toPcm, wavFile } from "./wav.js";

/** What to read aloud: about ten seconds, with most sounds of English. */
const WORDS =
  "The morning train was late again, so I bought a cup of coffee, found a seat by the window, and watched the rain " +
  "run down the glass until the whole city was far behind us.";

const METER_MILLISECONDS = 50;
const PEAK_SAMPLES = SAMPLE_RATE / 100;

/** @typedef {import("./server.js").Limits} Limits */

export class VoicePicker {
  /** @type {File | null} */
  #file = null;
  #usable = false;
  /** @type {Recorder | null} */
  #recorder = null;
  #timer = 0;
  #recordings = 0;
  #loads = 0;
  #url = "";

  /**
   * @param {HTMLElement} root is filled with the picker
   * @param {Limits} limits
   */
  constructor(root, limits) {
    this.root = root;
    this.limits = limits;
    root.append(byId("voice-template").content.cloneNode(true));
    this.wave = new Waveform(this.#part("wave"), "Waveform of the recording");
    this.#part("words").textContent = WORDS;
    this.#part("transcript-hint").textContent =
      "The exact words make the voice much more alike." +
      (limits.recognizes_transcripts ? " If you leave this empty, the server recognises them." : "");
    this.#listen();
  }

  /**
   * The chosen file, its words, and its name.
   * @returns {{file: File, transcript: string, name: string}}
   * @throws {Error} if there is none
   */
  get voice() {
    if (this.#recorder) throw new Error("Stop the recording first.");
    if (!this.#file) throw new Error("Record a voice first, or choose a file.");
    if (!this.#usable) throw new Error("This recording cannot be used; see above.");
    const [name, transcript] = [this.#part("name").textContent, this.#part("transcript").value.trim()];
    return { file: this.#file, transcript, name };
  }

  /** Show what is wrong with the voice. @param {string} sentence */
  fail(sentence) {
    show(this.#part("error"), sentence);
    if (sentence) this.#part("record").focus();
  }

  #part(name) {
    return this.root.querySelector(`[data-part="${name}"]`);
  }

  #listen() {
    const [record, drop, file] = ["record", "drop", "file"].map((name) => this.#part(name));
    show(this.#part("obstacle"), obstacle());
    record.disabled = Boolean(obstacle());
    this.#part("prompt").hidden = record.disabled;
    record.onclick = () => (this.#recorder ? this.#stop() : this.#start());
    this.#part("choose").onclick = () => file.click();
    file.onchange = () => {
      if (file.files.length) this.#load(file.files[0]);
      file.value = ""; // so that the same file can be chosen again
    };
    drop.ondragover = (event) => {
      event.preventDefault();
      drop.classList.add("over");
    };
    drop.ondragleave = () => drop.classList.remove("over");
    drop.ondrop = (event) => {
      event.preventDefault();
      drop.classList.remove("over");
      if (event.dataTransfer.files.length) this.#load(event.dataTransfer.files[0]);
    };
  }

  async #start() {
    this.fail("");
    const record = this.#part("record");
    record.disabled = true;
    try {
      this.#recorder = await Recorder.start();
    } catch (error) {
      return this.fail(error.message);
    } finally {
      record.disabled = false;
      record.focus();
    }
    record.textContent = "Stop";
    record.classList.add("recording");
    this.#show({ recording: true, wave: true, details: false, prompt: true });
    const began = performance.now();
    const { max_reference_seconds: most } = this.limits;
    this.wave.clear(15_000 / METER_MILLISECONDS);
    this.#timer = setInterval(() => {
      const seconds = (performance.now() - began) / 1000;
      const { peak } = this.#recorder;
      this.wave.push(peak);
      this.#part("level").value = peak;
      this.#part("time").textContent = `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
      if (seconds >= most) this.#stop();
    }, METER_MILLISECONDS);
    announce("Recording.");
  }

  async #stop() {
    clearInterval(this.#timer);
    const recorder = this.#recorder;
    this.#recorder = null;
    const record = this.#part("record");
    record.classList.remove("recording");
    record.textContent = "Record again";
    this.#show({ recording: false });
    this.#recordings += 1;
    const transcript = this.#part("transcript");
    if (!transcript.value) transcript.value = WORDS;
    await this.#load(await recorder.stop(), `Recording ${this.#recordings}`);
  }

  /** Take a file as the voice, and show what it is like. @param {File} file @param {string} [name] */
  async #load(file, name = file.name) {
    const load = ++this.#loads;
    this.fail("");
    if (file.size > this.limits.max_upload_bytes) {
      const most = Math.floor(this.limits.max_upload_bytes / 1e6);
      return this.fail(`This file is too large: at most ${most} MB. Cut out 5 to 15 seconds of speech.`);
    }
    if (!name.startsWith("Recording ") && this.#part("transcript").value === WORDS) this.#part("transcript").value = "";
    const samples = await decode(file);
    if (load !== this.#loads) return; // another file was chosen meanwhile
    this.#file = file;
    this.#part("name").textContent = name;
    this.#show({ details: true, wave: Boolean(samples), prompt: false, audio: Boolean(samples) });
    const { usable, advice } = samples ? this.#examine(samples) : unknown(file);
    this.#usable = usable;
    this.#part("advice").replaceChildren(...advice.map((sentence) => item(sentence, usable)));
    announce([`${name} is ready.`, ...advice].join(" "));
  }

  /** @param {Float32Array} samples */
  #examine(samples) {
    const measured = measure(samples);
    this.#part("facts").textContent = `${duration(measured.seconds)} · level ${measured.levelDb.toFixed(0)} dB`;
    this.wave.clear();
    const peaks = new Peaks(PEAK_SAMPLES);
    peaks.feed(samples, 1, (peak) => this.wave.push(peak));
    peaks.flush((peak) => this.wave.push(peak));
    // What browsers record has no length in its header, so that no player could seek in it.
    URL.revokeObjectURL(this.#url);
    this.#url = URL.createObjectURL(wavFile([toPcm(samples)], SAMPLE_RATE));
    this.#part("audio").src = this.#url;
    return judge(measured, this.limits.max_reference_seconds);
  }

  /** @param {Record<string, boolean>} parts whether each is visible */
  #show(parts) {
    for (const [name, isVisible] of Object.entries(parts)) this.#part(name).hidden = !isVisible;
  }
}

function unknown(file) {
  if (!file.size) return { usable: false, advice: ["This file is empty. Choose another one."] };
  return { usable: true, advice: ["This browser cannot show this file, but the server knows more formats: try it."] };
}

function item(sentence, isWarning) {
  const made = document.createElement("li");
  made.className = isWarning ? "warning" : "error";
  made.textContent = sentence;
  return made;
}
