// Speaks a text with OpenAI's client for Node.js, streamed and as an error, and writes JSON to stdout.
// Arguments: the base URL of the API and a text.
const OpenAI = require("openai");

async function main(url, text) {
  const client = new OpenAI({ baseURL: url, apiKey: "secret", maxRetries: 0 });
  const speech = { model: "tts-1", input: text, voice: "alloy", response_format: "pcm" };

  const answer = await client.audio.speech.create(speech);
  let bytes = 0;
  let pieces = 0;
  for await (const piece of answer.body) {
    bytes += piece.length;
    pieces += 1;
  }

  const kinds = [];
  const events = await client.audio.speech.create({ ...speech, stream_format: "sse" });
  for (const line of (await events.text()).split("\n")) {
    if (line.startsWith("data: ")) kinds.push(JSON.parse(line.slice(6)).type);
  }

  const errors = [];
  for (const wrong of [{ model: "none" }, { speed: 9 }, { voice: "nobody" }]) {
    await client.audio.speech.create({ ...speech, ...wrong }).catch((error) => {
      errors.push([error.constructor.name, error.code, error.param]);
    });
  }

  const models = [];
  for await (const model of client.models.list()) models.push(model.id);
  console.log(JSON.stringify({ bytes, pieces, kinds, errors, models }));
}

main(...process.argv.slice(2));
