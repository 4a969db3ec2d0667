import { useEffect, useState } from "react";

/** The server uses at most this much of a recording. */
export const MAX_SECONDS = 30;

/** What MediaRecorder writes: Chrome and Firefox record WebM, Safari MP4. */
const FORMATS = [
  { mimeType: "audio/webm;codecs=opus", filename: "voice.webm" },
  { mimeType: "audio/mp4", filename: "voice.mp4" },
];

/** Record the microphone into a file; stops by itself after `MAX_SECONDS`. */
export function useRecorder(onRecorded: (file: File) => void) {
  const [recorder, setRecorder] = useState<MediaRecorder>();
  const [asking, setAsking] = useState(false); // the visitor, for permission
  const [seconds, setSeconds] = useState(0);
  const [error, setError] = useState("");

  useEffect(() => {
    if (!recorder) return;
    const timer = setInterval(() => setSeconds((last) => last + 1), 1000);
    const limit = setTimeout(() => recorder.stop(), 1000 * MAX_SECONDS);
    return () => {
      clearInterval(timer);
      clearTimeout(limit);
      recorder.stream.getTracks().forEach((track) => track.stop());
    };
  }, [recorder]);

  async function start() {
    setAsking(true);
    setError("");
    setSeconds(0);
    try {
      // Made for calls, these filters change the voice.
      const audio = { echoCancellation: false, noiseSuppression: false };
      const stream = await navigator.mediaDevices.getUserMedia({ audio });
      const format = FORMATS.find(({ mimeType }) => MediaRecorder.isTypeSupported(mimeType));
      const next = new MediaRecorder(stream, { mimeType: format?.mimeType });
      next.ondataavailable = ({ data }) => onRecorded(new File([data], format?.filename ?? "voice", { type: data.type }));
      next.onstop = () => setRecorder(undefined);
      next.start();
      setRecorder(next);
    } catch (reason) {
      setError(explain(reason));
    }
    setAsking(false);
  }

  return { asking, recording: recorder !== undefined, seconds, error, start, stop: () => recorder?.stop() };
}

function explain(reason: unknown): string {
  const name = reason instanceof DOMException ? reason.name : "";
  if (name === "NotAllowedError") return "The browser blocks the microphone. Allow it for this site, or choose a file.";
  if (name === "NotFoundError") return "There is no microphone. Connect one, or choose a file.";
  return "The microphone cannot be used. Close other programs that use it, or choose a file.";
}
