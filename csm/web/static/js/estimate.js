// Estimates how long speech takes, and writes durations.

/** Of English read aloud at a usual pace. */
const CHARACTERS_PER_SECOND = 15;

/** Return the expected seconds of speech. @param {string} text @param {number} [speed] */
export function estimate(text, speed = 1) {
  return text.trim().length / CHARACTERS_PER_SECOND / speed;
}

/** Return a duration as people write it: "4.2 s", "2 min 5 s". @param {number} seconds @param {number} [digits] of few seconds */
export function duration(seconds, digits = 1) {
  if (seconds < 9.95) return `${seconds.toFixed(digits)}\u00a0s`;
  const whole = Math.round(seconds);
  return whole < 60 ? `${whole}\u00a0s` : `${Math.floor(whole / 60)}\u00a0min ${whole % 60}\u00a0s`;
}
