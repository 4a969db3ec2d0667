import { useEffect, useRef, useState } from "react";
import { cloneVoice, type Progress } from "./clone-voice";

export type CloneState = { phase: "idle" } | { phase: "cancelled" } | { phase: "failed"; message: string } | Progress;

const BROKEN = "The connection broke off before the speech was complete. Try again.";

/** Run one request at a time; leaving the page ends it. */
export function useVoiceClone() {
  const [state, setState] = useState<CloneState>({ phase: "idle" });
  const controller = useRef<AbortController>(null);

  useEffect(() => () => controller.current?.abort(), []);

  async function start(form: FormData) {
    controller.current?.abort();
    const current = (controller.current = new AbortController());
    const report = (next: CloneState) => {
      if (!current.signal.aborted) setState(next);
    };
    try {
      await cloneVoice(form, current.signal, report);
    } catch (error) {
      // `fetch` and the reader of its body throw TypeErrors, whose messages differ from browser to browser.
      report({ phase: "failed", message: error instanceof TypeError ? BROKEN : (error as Error).message });
    }
  }

  /** Stop the request, or the sound if the request is complete. */
  function stop() {
    controller.current?.abort();
    setState((last) => (last.phase === "complete" ? { ...last, playing: false } : { phase: "cancelled" }));
  }

  return { state, start, stop };
}
