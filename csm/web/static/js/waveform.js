// Draws a waveform that may still be growing.

const BAR_PIXELS = 3;
const GAP_PIXELS = 1;
const DARK = matchMedia("(prefers-color-scheme: dark)");

export class Waveform {
  /** @type {number[]} peak magnitudes, of intervals of equal length */
  #peaks = [];
  #expected = 0;
  #position = 0;
  #isScheduled = false;

  /**
   * @param {HTMLCanvasElement} canvas
   * @param {string} name for screen readers
   */
  constructor(canvas, name) {
    this.canvas = canvas;
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", name);
    new ResizeObserver(() => this.#schedule()).observe(canvas);
    DARK.addEventListener("change", () => this.#schedule());
  }

  /** Forget everything. @param {number} [expected] number of peaks that the width has room for */
  clear(expected = 0) {
    this.#peaks = [];
    this.#expected = expected;
    this.#position = 0;
    this.#schedule();
  }

  /** @param {number} peak from 0 to 1 */
  push(peak) {
    this.#peaks.push(peak);
    this.#schedule();
  }

  /** Say that no more peaks follow, so that these fill the width. */
  complete() {
    this.#expected = 0;
    this.#schedule();
  }

  /** Show what has been played. @param {number} position in peaks */
  set position(position) {
    this.#position = position;
    this.#schedule();
  }

  #schedule() {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    requestAnimationFrame(() => {
      this.#isScheduled = false;
      this.#draw();
    });
  }

  #draw() {
    const { canvas } = this;
    const scale = devicePixelRatio;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    const context = canvas.getContext("2d");
    context.scale(scale, scale);
    const style = getComputedStyle(canvas);
    const [played, rest] = [style.getPropertyValue("--wave-played"), style.getPropertyValue("--wave")];
    const bars = Math.floor(width / (BAR_PIXELS + GAP_PIXELS));
    const count = Math.max(this.#peaks.length, this.#expected, 1);
    for (let bar = 0; bar < bars; bar++) {
      const first = Math.floor((bar * count) / bars);
      const last = Math.max(first + 1, Math.floor(((bar + 1) * count) / bars));
      // Where nothing has arrived yet, a dotted line shows how much is expected.
      const hasArrived = first < this.#peaks.length;
      const size = hasArrived ? Math.max(2, Math.max(...this.#peaks.slice(first, last)) * height) : 1;
      context.fillStyle = first < this.#position ? played : rest;
      context.fillRect(bar * (BAR_PIXELS + GAP_PIXELS), (height - size) / 2, BAR_PIXELS, size);
    }
  }
}

/** Cuts samples into intervals of equal length, whatever the lengths of the chunks, and gives the peak of each. */
export class Peaks {
  #size;
  #peak = 0;
  #count = 0;

  /** @param {number} size of an interval, in samples */
  constructor(size) {
    this.#size = size;
  }

  /** @param {Float32Array | Int16Array} samples @param {number} full scale @param {(peak: number) => void} give */
  feed(samples, full, give) {
    for (const sample of samples) {
      this.#peak = Math.max(this.#peak, Math.abs(sample) / full);
      this.#count += 1;
      if (this.#count === this.#size) this.flush(give);
    }
  }

  /** Give the peak of the last interval, which may be shorter. */
  flush(give) {
    if (this.#count) give(this.#peak);
    this.#peak = this.#count = 0;
  }
}
