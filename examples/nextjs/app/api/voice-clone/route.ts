/** Seconds that a hosting platform lets this route run; `next start` sets no limit. */
export const maxDuration = 300;

const FORWARDED = [
  "content-type",
  "content-length",
  "content-disposition",
  "retry-after",
  "x-request-id",
  "x-finish-reason",
  "x-transcript",
  "x-transcript-source",
  "x-reference-warnings",
  "x-text-language",
  "x-watermark",
];

export async function POST(request: Request): Promise<Response> {
  const headers = new Headers({
    authorization: `Bearer ${process.env.VOICE_SERVER_KEY}`,
    "accept-encoding": "identity", // a decoded answer would not match its content-length
  });
  for (const name of ["content-type", "content-length"]) {
    const value = request.headers.get(name);
    if (value) headers.set(name, value);
  }
  // The form goes through unread, so the server's own limits and messages apply. TypeScript's DOM types lack `duplex`.
  const init: RequestInit & { duplex: "half" } = {
    method: "POST",
    headers,
    body: request.body,
    duplex: "half",
    signal: request.signal, // ends the generation when the visitor leaves
  };
  try {
    const upstream = await fetch(`${process.env.VOICE_SERVER_URL}/clone-voice`, init);
    return new Response(upstream.body, { status: upstream.status, headers: forwarded(upstream.headers) });
  } catch (error) {
    if (!request.signal.aborted) console.error("The voice server cannot be reached:", error);
    return Response.json({ error: "The voice server cannot be reached. Try again later." }, { status: 502 });
  }
}

function forwarded(upstream: Headers): Headers {
  // nginx in front of this app would otherwise hold the audio back.
  const headers = new Headers({ "cache-control": "no-store", "x-accel-buffering": "no" });
  for (const name of FORWARDED) {
    const value = upstream.get(name);
    if (value) headers.set(name, value);
  }
  return headers;
}
