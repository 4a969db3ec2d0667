// Joins the parts of the page.

import { announce, byId, show } from "./dom.js";
import { duration, estimate } from "./estimate.js";
import { randomSeed } from "./request.js";
import { Result } from "./result.js";
import { Server, ServerError } from "./server.js";
import { watchStatus } from "./status.js";
import { VoicePicker } from "./voice-picker.js";

const REDUCED = matchMedia("(prefers-reduced-motion: reduce)");

const server = new Server();
const form = byId("speech-form");
const results = byId("results");
/** @type {AbortController | null} */
let running = null;
/** @type {Result | null} */
let latest = null;

watchStatus(server);
start(await reachable());

/** Return the server's limits once it answers. */
async function reachable() {
  for (;;) {
    try {
      return await server.limits();
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 1_500));
    }
  }
}

/** @param {import("./server.js").Limits} limits */
function start(limits) {
  const picker = new VoicePicker(byId("voice"), limits);
  if (limits.key_required) askForKey("");
  byId("key-form").onsubmit = (event) => {
    event.preventDefault();
    server.key = byId("key").value.trim();
    byId("key-form").hidden = true;
    announce("The key is used from now on.");
    byId("text").focus();
  };
  form.oninput = () => count(limits);
  count(limits);
  form.onsubmit = (event) => {
    event.preventDefault();
    if (!running) speak(picker, limits);
  };
  byId("cancel").onclick = () => running?.abort();
  // One at a time: what begins to play ends what plays.
  results.addEventListener("play", ({ target }) => {
    for (const audio of results.querySelectorAll("audio")) if (audio !== target) audio.pause();
  }, true);
}

function count({ max_text_chars: most }) {
  const text = byId("text").value.trim();
  const length = `${text.length.toLocaleString("en")} of ${most.toLocaleString("en")} characters`;
  byId("text-count").textContent = text ? `${length} · about ${duration(estimate(text, speed()))} of speech` : length;
}

function speed() {
  return Number(form.elements.speed.value) || 1;
}

/** @param {VoicePicker} picker */
async function speak(picker, limits) {
  const request = compose(picker, limits);
  if (!request) return;
  latest?.stop();
  running = new AbortController();
  setBusy(true);
  const result = new Result(request, { server, needsKey: limits.key_required, onremove: update });
  latest = result;
  results.prepend(result.root);
  result.root.scrollIntoView({ block: "nearest", behavior: REDUCED.matches ? "instant" : "smooth" });
  update();
  announce("Waiting for the first audio.");
  try {
    await result.run(running.signal);
  } catch (error) {
    result.root.remove();
    update();
    if (!running.signal.aborted) explain(error, picker);
    else announce("Cancelled.");
  } finally {
    running = null;
    setBusy(false);
  }
}

/** Return the request that the form describes; if a field is wrong, say so beside it and return null. */
function compose(picker, limits) {
  clearErrors(picker);
  const values = Object.fromEntries(new FormData(form));
  let voice;
  try {
    voice = picker.voice;
  } catch (error) {
    picker.fail(error.message);
    return null;
  }
  const text = values.text.trim();
  if (!text) return fail("text", "Write what to say.");
  if (text.length > limits.max_text_chars) return fail("text", "This text is too long: shorten it.");
  const wrong = [...form.querySelectorAll("input[type=number]")].find((input) => !input.checkValidity());
  if (wrong) return failSetting(wrong, wrong.validationMessage);
  if (!byId("consent").checked) return fail("consent", "Tick this box. Without the speaker's agreement, choose another voice.");
  const settings = ["temperature", "top_k", "speed"].filter((name) => values[name]).map((name) => [name, values[name]]);
  return {
    path: "clone-voice",
    fields: [
      ["audio", voice.file],
      ...(voice.transcript ? [["transcript", voice.transcript]] : []),
      ["text", text],
      ...settings,
      ["seed", values.seed || randomSeed()],
      ["consent", "true"],
    ],
    title: text,
    voice: voice.name,
    seconds: estimate(text, speed()),
  };
}

/** Show what is wrong with a field, and go there. @returns {null} */
function fail(name, sentence) {
  show(byId(`${name}-error`), sentence);
  byId(name).setAttribute("aria-invalid", "true");
  byId(name).focus();
  return null;
}

/** @param {HTMLInputElement} input one of the advanced settings @returns {null} */
function failSetting(input, sentence) {
  input.closest("details").open = true;
  input.setAttribute("aria-invalid", "true");
  input.focus();
  show(byId("error"), `${input.parentElement.firstChild.textContent.trim()}: ${sentence}`);
  return null;
}

function clearErrors(picker) {
  picker.fail("");
  for (const name of ["text-error", "consent-error", "error"]) show(byId(name), "");
  for (const field of form.querySelectorAll("[aria-invalid]")) field.removeAttribute("aria-invalid");
}

/** Show the server's sentence where it belongs. */
function explain(error, picker) {
  if (!(error instanceof ServerError)) return show(byId("error"), "The answer ended before the first audio. Try again.");
  if (error.status === 401) return askForKey(error.message);
  const input = form.elements[error.field];
  if (error.field === "text") return fail("text", error.message);
  if (error.field === "consent") return fail("consent", error.message);
  if (input) return failSetting(input, error.message);
  if (error.status === 415 || error.field === "audio" || error.field === "transcript") return picker.fail(error.message);
  show(byId("error"), error.message);
}

function askForKey(sentence) {
  byId("key-form").hidden = false;
  show(byId("key-error"), sentence);
  if (sentence) byId("key").select();
}

function setBusy(isBusy) {
  // Not `disabled`, which would take the keyboard's focus away.
  byId("speak").setAttribute("aria-disabled", String(isBusy));
  if (!isBusy && document.activeElement === byId("cancel")) byId("speak").focus();
  byId("cancel").hidden = !isBusy;
}

function update() {
  byId("no-results").hidden = results.childElementCount > 0;
}
