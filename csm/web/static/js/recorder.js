// Records from the microphone.

/** Why this page cannot record, or an empty string. */
export function obstacle() {
  if (!window.isSecureContext) {
    return "Browsers allow the microphone only over HTTPS or on localhost. Open this page so, or choose a file.";
  }
  if (!navigator.mediaDevices || typeof MediaRecorder === "undefined") {
    return "This browser cannot record. Choose a file instead.";
  }
  return "";
}

/** What browsers record, the first that this one supports: Safari records MP4, the others WebM. */
const TYPES = ["audio/webm;codecs=opus", "audio/mp4", ""];

/** Effects for telephony change a voice. */
const UNALTERED = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };

export class Recorder {
  #stream;
  #context;
  #analyser;
  #recorder;
  #parts = [];
  #window;

  /**
   * Ask for the microphone and begin to record.
   * @throws {Error} with a sentence for the user
   */
  static async start() {
    const made = new Recorder();
    try {
      made.#stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1, ...UNALTERED } });
    } catch (error) {
      throw new Error(explain(error));
    }
    made.#context = new AudioContext();
    made.#analyser = new AnalyserNode(made.#context, { fftSize: 2048 });
    made.#window = new Float32Array(made.#analyser.fftSize);
    made.#context.createMediaStreamSource(made.#stream).connect(made.#analyser);
    const mimeType = TYPES.find((type) => MediaRecorder.isTypeSupported(type));
    made.#recorder = new MediaRecorder(made.#stream, { mimeType, audioBitsPerSecond: 128_000 });
    made.#recorder.ondataavailable = ({ data }) => made.#parts.push(data);
    made.#recorder.start();
    return made;
  }

  /** The highest magnitude of the last 2,048 samples, from 0 to 1. */
  get peak() {
    this.#analyser.getFloatTimeDomainData(this.#window);
    return Math.min(1, this.#window.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0));
  }

  /** End the recording. @returns {Promise<File>} */
  async stop() {
    const stopped = new Promise((resolve) => (this.#recorder.onstop = resolve));
    this.#recorder.stop();
    await stopped;
    this.#stream.getTracks().forEach((track) => track.stop());
    this.#context.close();
    const type = this.#recorder.mimeType.split(";")[0];
    return new File(this.#parts, `recording.${type === "audio/mp4" ? "m4a" : "webm"}`, { type });
  }
}

function explain(error) {
  if (error.name === "NotAllowedError") {
    return "The browser did not allow the microphone. Allow it in the address bar, or choose a file.";
  }
  if (error.name === "NotFoundError") return "There is no microphone. Connect one, or choose a file.";
  return "The microphone cannot be used; another program may be using it. Close that, or choose a file.";
}
