// Plays Next.js for one request: calls the route's POST with a visitor's form and tells, line by line, what streams back.
// Arguments: the route's module, the audio file, the text. A line on standard input is the visitor going away.
import { readFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";

const [route, audio, text] = process.argv.slice(2);
const say = (event) => process.stdout.write(JSON.stringify(event) + "\n");

const { POST } = await import(pathToFileURL(route).href);
const visitor = new AbortController();
process.stdin.once("data", () => visitor.abort());

const form = new FormData();
form.set("audio", new File([await readFile(audio)], "voice.webm", { type: "audio/webm" }));
form.set("text", text);
// A browser sends the length of the form.
const encoded = new Response(form);
const body = await encoded.arrayBuffer();
const headers = { "content-type": encoded.headers.get("content-type"), "content-length": body.byteLength };
const request = new Request("http://localhost/api/voice-clone", { method: "POST", headers, body, signal: visitor.signal });
const response = await POST(request);
say({ status: response.status, headers: Object.fromEntries(response.headers) });
try {
  for await (const chunk of response.body) say({ chunk: Buffer.from(chunk).toString("base64") });
  say({ end: true });
} catch (error) {
  say({ error: error.name });
}
process.exit(0);
