// Runs in the audio thread: plays samples from a queue that is filled while the audio is generated.

class Queue extends AudioWorkletProcessor {
  /** @param {{processorOptions: {startFrames: number, resumeFrames: number}}} options */
  constructor({ processorOptions }) {
    super();
    /** @type {Float32Array[]} */
    this.chunks = [];
    this.offset = 0; // of the next sample in the first chunk
    this.queued = 0;
    this.played = 0;
    this.underruns = 0;
    this.complete = false;
    this.isPlaying = false;
    this.needed = processorOptions.startFrames; // frames in the queue before it begins to play
    this.resumeFrames = processorOptions.resumeFrames;
    this.port.onmessage = ({ data }) => {
      if (data === "complete") {
        this.complete = true;
      } else {
        this.chunks.push(data);
        this.queued += data.length;
      }
    };
  }

  process(_inputs, [[output]]) {
    if (!this.isPlaying && (this.complete || this.queued >= this.needed)) this.isPlaying = true;
    if (!this.isPlaying) return true;
    this.fill(output);
    if (this.queued === 0 && !this.complete) {
      this.isPlaying = false;
      this.needed = this.resumeFrames;
      this.underruns += 1;
      this.report("waiting");
    } else if (this.queued === 0) {
      this.report("done");
      return false;
    } else if (currentFrame % 2048 === 0) {
      this.report("playing");
    }
    return true;
  }

  /** Copy as many samples as the queue has; the rest of the output is silent already. */
  fill(output) {
    let at = 0;
    while (at < output.length && this.chunks.length) {
      const part = this.chunks[0].subarray(this.offset, this.offset + output.length - at);
      output.set(part, at);
      at += part.length;
      this.offset += part.length;
      if (this.offset === this.chunks[0].length) {
        this.chunks.shift();
        this.offset = 0;
      }
    }
    this.queued -= at;
    this.played += at;
  }

  report(state) {
    this.port.postMessage({ state, played: this.played, underruns: this.underruns });
  }
}

registerProcessor("queue", Queue);
