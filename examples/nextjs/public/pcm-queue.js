// Runs on the audio thread and plays the 16-bit samples that PcmPlayer sends. The queue has no fixed size, unlike a ring
// buffer: the server closes the connection of a client that reads too slowly, so everything is read as it arrives.

const START_SECONDS = 0.2;

// Silence after the last sample, which still has to pass the buffers of the browser, the system and the headphones.
const END_SECONDS = 0.5;

class PcmQueue extends AudioWorkletProcessor {
  chunks = [];
  position = 0; // in the first chunk
  queued = 0; // samples
  needed = START_SECONDS * sampleRate; // samples to queue before playing
  playing = false;
  ended = false;
  silence = END_SECONDS * sampleRate; // samples left to play after the end

  constructor() {
    super();
    this.port.onmessage = ({ data }) => {
      if (data === "end") {
        this.ended = true;
      } else {
        this.chunks.push(data);
        this.queued += data.length;
      }
    };
  }

  process(_inputs, [[output]]) {
    this.playing ||= this.ended || this.queued >= this.needed;
    if (!this.playing) return true;
    for (let index = 0; index < output.length && this.queued; index++) {
      output[index] = this.chunks[0][this.position++] / 32768;
      this.queued--;
      if (this.position === this.chunks[0].length) {
        this.chunks.shift();
        this.position = 0;
      }
    }
    if (this.queued) return true;
    if (this.ended) {
      this.silence -= output.length;
      if (this.silence > 0) return true;
      this.port.postMessage("played");
      return false;
    }
    // The server is slower than real time: few long pauses are better than many short ones.
    this.playing = false;
    this.needed *= 2;
    return true;
  }
}

registerProcessor("pcm-queue", PcmQueue);
