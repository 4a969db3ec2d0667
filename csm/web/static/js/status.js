// Shows the state of the server.

import { byId, show } from "./dom.js";

const EVERY_MILLISECONDS = 5_000;
const UNTIL_READY_MILLISECONDS = 1_500;

/** @typedef {import("./server.js").Health} Health */

/**
 * Ask for the state again and again while the page is visible.
 * @param {import("./server.js").Server} server
 * @param {() => void} onready called whenever the server has become ready
 */
export async function watchStatus(server, onready) {
  const place = byId("status");
  if (!document.hidden) {
    const health = await server.health();
    if (health.status === "healthy" && place.dataset.state !== "healthy") onready();
    place.dataset.state = health.status;
    const sentence = describe(health);
    if (place.textContent !== sentence) place.textContent = sentence;
    show(byId("notice"), health.demo ? `${capitalised(health.notice)}.` : "");
  }
  const wait = place.dataset.state === "healthy" ? EVERY_MILLISECONDS : UNTIL_READY_MILLISECONDS;
  setTimeout(() => watchStatus(server, onready), wait);
}

/** @param {Health} health */
function describe({ status, model, device, reason, running = 0, waiting = 0, slots = 1 }) {
  if (status === "unreachable") return "The server does not answer. Trying again…";
  if (status === "loading") return `The server is starting: ${reason}`;
  if (status === "draining") return "The server is about to stop and takes no new requests.";
  if (status !== "healthy") return `The server cannot serve: ${reason}`;
  const place = `${model} on ${device}`;
  if (running < slots) return `Ready · ${place}`;
  return `Busy: ${running} in progress, ${waiting} waiting · ${place}`;
}

function capitalised(sentence) {
  return sentence.charAt(0).toUpperCase() + sentence.slice(1);
}
