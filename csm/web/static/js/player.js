// Plays audio while it is generated.

import { toFloat } from "./wav.js";

const START_SECONDS = 0.15;
/** After the server fell behind, a longer pause is better than many. */
const RESUME_SECONDS = 1;
/** How long the device may take to play what the worklet has handed over, in addition to what it reports. */
const TAIL_SECONDS = 0.1;

/** Whether this page may play audio while it arrives: browsers allow it only over HTTPS and on localhost. */
export const canStream = isSecureContext && typeof AudioWorkletNode !== "undefined";

export class Player {
  /** @type {(state: "playing" | "waiting" | "done", played: number, underruns: number) => void} */
  onprogress = () => {};
  #context;
  #node;
  #finished = false;

  /**
   * Begin; call this in the handler of a click, because browsers keep a page silent until then.
   * @param {number} sampleRate in Hz
   */
  static async open(sampleRate) {
    const player = new Player();
    player.#context = new AudioContext({ sampleRate });
    await player.#context.audioWorklet.addModule(new URL("./queue-worklet.js", import.meta.url));
    player.#node = new AudioWorkletNode(player.#context, "queue", {
      numberOfInputs: 0,
      outputChannelCount: [1],
      processorOptions: { startFrames: START_SECONDS * sampleRate, resumeFrames: RESUME_SECONDS * sampleRate },
    });
    player.#node.port.onmessage = ({ data }) => player.#report(data);
    player.#node.connect(player.#context.destination);
    return player;
  }

  /** @param {Int16Array} pcm */
  push(pcm) {
    const samples = toFloat(pcm);
    this.#node.port.postMessage(samples, [samples.buffer]);
  }

  /** Say that there will be no more samples. */
  complete() {
    this.#node.port.postMessage("complete");
  }

  get isPaused() {
    return this.#context.state === "suspended";
  }

  pause() {
    return this.#context.suspend();
  }

  resume() {
    return this.#context.resume();
  }

  /** Fall silent at once. */
  stop() {
    if (this.#finished) return;
    this.#finished = true;
    this.#context.close();
  }

  get isStopped() {
    return this.#finished;
  }

  #report({ state, played, underruns }) {
    if (this.#finished) return;
    if (state !== "done") return this.onprogress(state, played, underruns);
    // The last samples are still on their way to the loudspeaker; closing the context now would cut them off.
    const { baseLatency = 0, outputLatency = 0 } = this.#context;
    setTimeout(() => {
      if (this.#finished) return;
      this.stop();
      this.onprogress("done", played, underruns);
    }, 1000 * (baseLatency + outputLatency + TAIL_SECONDS));
  }
}
