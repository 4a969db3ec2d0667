// The server's HTTP API. Addresses are relative to the page, which may be behind a proxy's path.

/** An answer that is an error, with the server's own sentence. */
export class ServerError extends Error {
  /**
   * @param {string} message
   * @param {number} [status] of the answer; 0 if there was none
   * @param {string} [field] that is wrong
   */
  constructor(message, status = 0, field = "") {
    super(message);
    this.status = status;
    this.field = field;
  }
}

/**
 * What the page must know before it sends a request; see `page` in csm/web/routes/page.py.
 * @typedef {{key_required: boolean, max_text_chars: number, max_upload_bytes: number,
 *   max_reference_seconds: number, recognizes_transcripts: boolean, stores_voices: boolean}} Limits
 */

/** @typedef {{status: string, model?: string, device?: string, reason?: string, running?: number, waiting?: number,
 *   slots?: number, demo?: boolean, notice?: string}} Health */

/** @typedef {{transcript: string, warnings: string[]}} Examination see csm/web/routes/reference.py */

/** Return the sentence for a line such as "short: only 2.0 s are used. Send …". @param {string} line */
export function sentenceOf(line) {
  return line.replace(/^(.)([^:]*):/, (_, first, rest) => `${first.toUpperCase()}${rest} recording:`);
}

export class Server {
  /** The API key: in memory only, so it is gone when the page is closed. */
  key = "";

  /** @returns {Promise<Limits>} */
  async limits() {
    return (await this.get("page.json")).json();
  }

  /** @param {string} path */
  get(path) {
    return this.#request(path);
  }

  /** @param {string} path */
  delete(path) {
    return this.#request(path, { method: "DELETE" });
  }

  /** Return the server's state; "unreachable" if it does not answer. @returns {Promise<Health>} */
  async health() {
    try {
      return await (await fetch("health", { cache: "no-store" })).json();
    } catch {
      return { status: "unreachable" };
    }
  }

  /**
   * Send a form and return the answer, whose body is still being generated.
   * @param {string} path
   * @param {FormData} form
   * @param {AbortSignal} [signal]
   */
  post(path, form, signal) {
    return this.#request(path, { method: "POST", body: form, signal });
  }

  /**
   * Return what the server hears in a recording: its words, and its faults.
   * @param {File} file
   * @returns {Promise<Examination>}
   */
  async examine(file) {
    const form = new FormData();
    form.append("audio", file);
    return (await this.post("reference", form)).json();
  }

  /**
   * @param {string} path
   * @param {RequestInit} [options]
   * @throws {ServerError} unless the answer has a status below 400
   */
  async #request(path, options = {}) {
    const headers = this.key ? { Authorization: `Bearer ${this.key}` } : undefined;
    let answer;
    try {
      answer = await fetch(path, { ...options, headers });
    } catch (error) {
      if (error instanceof DOMException && error.name === "AbortError") throw error;
      throw new ServerError("The server does not answer. Check that it is running, and your connection.");
    }
    if (!answer.ok) throw await problem(answer);
    return answer;
  }
}

/** Return the error that an answer describes: a problem document, or an error in the shape of OpenAI's API. */
async function problem(answer) {
  let document;
  try {
    document = await answer.json();
  } catch {
    return new ServerError(`The server answered with status ${answer.status}.`, answer.status);
  }
  const nested = document.error?.message ? document.error : {};
  const sentence = nested.message ?? document.error ?? `The server answered with status ${answer.status}.`;
  return new ServerError(sentence, answer.status, document.field ?? nested.param ?? "");
}
