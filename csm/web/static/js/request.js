// What is sent to the server, for its form and for the code that repeats it.

/**
 * @typedef {object} SpeechRequest
 * @property {string} path of the API
 * @property {[string, string | File][]} fields of the form, in order
 * @property {string} title the text, as the result's title
 * @property {string} voice the name of the voice
 * @property {number} seconds expected length
 */

/** @param {SpeechRequest} request */
export function formOf({ fields }) {
  const form = new FormData();
  for (const [name, value] of fields) form.append(name, value);
  return form;
}

/** Return a seed to send, so that a result can be repeated. It is exact in a float, and short enough to type. */
export function randomSeed() {
  return String(crypto.getRandomValues(new Uint32Array(1))[0]);
}
