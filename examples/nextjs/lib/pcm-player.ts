/** CSM's sample rate. The audio context runs at this rate, so nothing is resampled in JavaScript. */
const SAMPLE_RATE = 24_000;

/** Plays samples while they arrive. Needs a secure context (HTTPS or localhost), as AudioWorklet does. */
export class PcmPlayer {
  private constructor(
    private readonly context: AudioContext,
    private readonly node: AudioWorkletNode,
  ) {}

  /** Open the audio output. Call this in the handler of a click: browsers play no sound before the visitor acts. */
  static async open(): Promise<PcmPlayer> {
    const context = new AudioContext({ sampleRate: SAMPLE_RATE });
    void context.resume(); // Safari starts contexts suspended
    await context.audioWorklet.addModule("/pcm-queue.js");
    const node = new AudioWorkletNode(context, "pcm-queue", { numberOfInputs: 0, outputChannelCount: [1] });
    node.connect(context.destination);
    return new PcmPlayer(context, node);
  }

  /** Append samples to what is played. */
  push(samples: Int16Array): void {
    this.node.port.postMessage(samples);
  }

  /** Resolve once everything has been heard, or the player was closed. */
  finish(): Promise<void> {
    return new Promise((resolve) => {
      this.context.addEventListener("statechange", () => {
        if (this.context.state === "closed") resolve();
      });
      this.node.port.onmessage = () => resolve();
      this.node.port.postMessage("end");
    });
  }

  /** Stop at once. */
  close(): void {
    if (this.context.state !== "closed") void this.context.close();
  }
}
