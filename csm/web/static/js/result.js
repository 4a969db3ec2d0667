// One result: plays while it is generated, and afterwards from a file in which one can seek.

import { codePanel } from "./code-panel.js";
import { announce, button, element } from "./dom.js";
import { downloads } from "./downloads.js";
import { duration } from "./estimate.js";
import { Player, canStream } from "./player.js";
import { formOf } from "./request.js";
import { sentenceOf } from "./server.js";
import { Peaks, Waveform } from "./waveform.js";
import { openWav, wavFile } from "./wav.js";

/** Of all audio that the server sends. */
const SAMPLE_RATE = 24_000;
const PEAK_SAMPLES = SAMPLE_RATE / 100;

/** @typedef {import("./request.js").SpeechRequest} SpeechRequest */
/** @typedef {import("./server.js").Server} Server */

export class Result {
  /** @type {Int16Array[]} */
  #chunks = [];
  #frames = 0;
  /** @type {Player | null} */
  #player = null;
  #peaks = new Peaks(PEAK_SAMPLES);
  #played = 0;
  #pauses = 0;

  /**
   * @param {SpeechRequest} request
   * @param {{server: Server, needsKey: boolean, onremove: () => void,
   *   onrecognized: (words: string) => void}} options
   */
  constructor(request, { server, needsKey, onremove, onrecognized }) {
    this.request = request;
    this.onrecognized = onrecognized;
    this.server = server;
    this.facts = element("p", { className: "facts hint" }, "Waiting for the first audio…");
    this.warnings = element("ul", { className: "advice" });
    this.audio = element("audio", { controls: true, hidden: true, preload: "auto" });
    this.pause = button("Pause", () => this.#togglePause(), { hidden: true });
    const canvas = element("canvas", { className: "wave" });
    this.wave = new Waveform(canvas, "Waveform of the result");
    this.wave.clear(request.seconds * (SAMPLE_RATE / PEAK_SAMPLES));
    canvas.onclick = (event) => this.#seek(event.offsetX / canvas.clientWidth);
    this.downloads = element("div");
    this.remove = button("Remove", () => this.#remove(onremove), { className: "last" });
    this.voice = element("p", { className: "hint" }, request.voice);
    this.root = element("li", { className: "card stack result" },
      element("h3", {}, request.title),
      this.voice,
      canvas, this.facts, this.pause, this.audio, this.warnings, this.downloads, codePanel(request, needsKey));
    this.#followAudio();
  }

  /**
   * Generate and play. Call this in the handler of a click, so that the browser lets the page play.
   * @param {AbortSignal} signal cancels it
   * @throws if there is no audio; if there is some, the result says what went wrong
   */
  async run(signal) {
    const began = performance.now();
    // Without a player, the result plays once it is complete.
    const opening = canStream ? Player.open(SAMPLE_RATE).catch(() => null) : null;
    signal.addEventListener("abort", () => this.stop());
    let firstAudio = 0;
    try {
      const answer = await this.server.post(this.request.path, formOf(this.request), signal);
      this.#showWarnings(answer.headers);
      this.#player = await opening;
      if (this.#player) this.#player.onprogress = (...progress) => this.#onprogress(...progress);
      this.pause.hidden = !this.#player;
      for await (const pcm of (await openWav(answer)).chunks) {
        firstAudio ||= performance.now() - began;
        this.#take(pcm);
        this.#tell(firstAudio, performance.now() - began);
      }
    } catch (error) {
      if (signal.aborted || !this.#frames) (await opening)?.stop();
      if (!this.#frames) throw error;
      this.#end(signal.aborted ? "Cancelled." : "Incomplete: the server or the connection broke off.");
      return;
    }
    this.#end("");
  }

  /** Fall silent, whichever way it plays. */
  stop() {
    this.#endStream();
    this.audio.pause();
  }

  /** @param {Int16Array} pcm */
  #take(pcm) {
    this.#chunks.push(pcm);
    this.#frames += pcm.length;
    this.#peaks.feed(pcm, 32768, (peak) => this.wave.push(peak));
    this.#player?.push(pcm);
  }

  #tell(firstAudio, elapsed) {
    const seconds = this.#frames / SAMPLE_RATE;
    const pace = (1000 * seconds) / elapsed;
    this.facts.textContent =
      `First audio after ${duration(firstAudio / 1000)} · ${duration(seconds)} of speech in ` +
      `${duration(elapsed / 1000)} · ${pace.toFixed(1)} × real time`;
  }

  /** The audio has arrived, or as much of it as will. @param {string} fault */
  #end(fault) {
    this.#player?.complete();
    this.#peaks.flush((peak) => this.wave.push(peak));
    this.wave.complete();
    this.file = wavFile(this.#chunks, SAMPLE_RATE);
    this.#chunks = [];
    this.audio.src = URL.createObjectURL(this.file);
    if (!this.#player || this.#player.isStopped) this.#endStream();
    this.downloads.append(downloads(this.request, this.server, this.file, this.remove));
    if (fault) this.#warn(fault);
    else if (!this.#player) this.audio.play().catch(() => {}); // refused if the visitor has left the page meanwhile
    announce(`${fault} ${this.facts.textContent}`);
  }

  #onprogress(state, played, underruns) {
    this.#played = played;
    this.wave.position = played / PEAK_SAMPLES;
    if (underruns > this.#pauses && state === "waiting") {
      this.#pauses = underruns;
      if (underruns === 1) this.#warn("There were pauses, because the server fell behind. Played again, it has none.");
    }
    if (state === "done") this.#endStream();
  }

  /** Stop the stream; from now on the file plays, if it is complete. */
  #endStream() {
    this.#player?.stop();
    const hadFocus = document.activeElement === this.pause;
    this.pause.hidden = true;
    this.audio.hidden = !this.file;
    if (hadFocus) this.audio.focus();
  }

  /** Where the file plays or is sought in, the stream stops. */
  #followAudio() {
    const follow = () => {
      if (!this.#player || this.#player.isStopped) this.wave.position = (this.audio.currentTime * SAMPLE_RATE) / PEAK_SAMPLES;
    };
    for (const type of ["play", "seeking"]) this.audio.addEventListener(type, () => this.#endStream());
    this.audio.addEventListener("timeupdate", follow);
  }

  /** @param {number} share of the duration, from 0 to 1 */
  #seek(share) {
    if (!this.file) return;
    this.audio.currentTime = share * this.audio.duration;
    this.audio.play();
  }

  /** Once there is a file, a pause goes on in it, so that one can seek. */
  async #togglePause() {
    if (this.file && !this.#player.isPaused) {
      this.audio.currentTime = this.#played / SAMPLE_RATE;
      return this.#endStream();
    }
    await (this.#player.isPaused ? this.#player.resume() : this.#player.pause());
    this.pause.textContent = this.#player.isPaused ? "Continue" : "Pause";
  }

  /** @param {Headers} headers */
  #showWarnings(headers) {
    const found = headers.get("X-Reference-Warnings")?.split("; ") ?? [];
    for (const line of found) this.#warn(sentenceOf(line));
    const words = headers.get("X-Transcript-Source");
    if (words === "none") this.#warn("The words of the recording were not given. With them, the clone would be much more like it.");
    const recognized = headers.get("X-Transcript");
    if (recognized) this.onrecognized(decodeURIComponent(recognized));
    if (recognized) this.#note("its words were recognised; you can correct them in the form");
    else if (words === "recognized") this.#note("its words were recognised");
    if (headers.get("X-Watermark")) this.#note("marked as synthetic by an inaudible watermark");
    const language = headers.get("X-Text-Language");
    if (language) this.#warn(`The text seems to be in another language (${language}). The model knows only English.`);
  }

  #note(fact) {
    this.voice.textContent += ` · ${fact}`;
  }

  #warn(sentence) {
    this.warnings.append(element("li", { className: "warning" }, sentence));
  }

  #remove(onremove) {
    this.stop();
    URL.revokeObjectURL(this.audio.src);
    this.root.remove();
    onremove();
  }
}
