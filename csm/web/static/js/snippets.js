// Code that sends a request again. The key is never written into it: it is read from the environment.

const KEY_VARIABLE = "VOICE_SERVER_KEY";

/** @typedef {import("./request.js").SpeechRequest} SpeechRequest */

/**
 * Return the languages and their code.
 * @param {SpeechRequest} request
 * @param {{base: string, key: boolean, output: string}} options address of the server, whether it needs a key, and the
 *   name of the file to write
 * @returns {Record<string, string>}
 */
export function snippets(request, options) {
  return { curl: curl(request, options), Python: python(request, options), JavaScript: javascript(request, options) };
}

const isFile = ([, value]) => value instanceof File;

/** @param {SpeechRequest} request */
function curl({ path, fields }, { base, key, output }) {
  const quote = (word) => `'${word.replaceAll("'", "'\\''")}'`;
  const parts = fields.map(([name, value]) =>
    value instanceof File
      ? `-F ${quote(`${name}=@"${value.name.replace(/["\\]/g, "\\$&")}"`)}`
      : `--form-string ${quote(`${name}=${value}`)}`,
  );
  return [
    `curl --fail-with-body ${quote(base + path)}`,
    ...(key ? [`-H "Authorization: Bearer $${KEY_VARIABLE}"`] : []),
    ...parts,
    `-o ${output}`,
  ].join(" \\\n  ");
}

/** @param {SpeechRequest} request */
function python({ path, fields }, { base, key, output }) {
  // JSON's strings are valid Python.
  const text = JSON.stringify;
  const files = fields.filter(isFile).map(([name, file]) => `${text(name)}: open(${text(file.name)}, "rb")`);
  const data = fields.filter((field) => !isFile(field)).map(([name, value]) => `        ${text(name)}: ${text(value)},`);
  return `${key ? "import os\n\n" : ""}import requests

answer = requests.post(
    ${text(base + path)},
${key ? `    headers={"Authorization": f"Bearer {os.environ['${KEY_VARIABLE}']}"},\n` : ""}${
    files.length ? `    files={${files.join(", ")}},\n` : ""
  }    data={
${data.join("\n")}
    },
    stream=True,
    timeout=(5, 300),
)
if not answer.ok:
    raise SystemExit(answer.json()["error"])
with open("${output}", "wb") as file:
    for chunk in answer.iter_content(chunk_size=None):
        file.write(chunk)
`;
}

/** For Node.js 20 and later, as a module. @param {SpeechRequest} request */
function javascript({ path, fields }, { base, key, output }) {
  const text = JSON.stringify;
  const parts = fields.map(([name, value]) =>
    value instanceof File
      ? `form.append(${text(name)}, new Blob([await readFile(${text(value.name)})]), ${text(value.name)});`
      : `form.append(${text(name)}, ${text(value)});`,
  );
  return `import { ${fields.some(isFile) ? "readFile, " : ""}writeFile } from "node:fs/promises";

const form = new FormData();
${parts.join("\n")}
const answer = await fetch(${text(base + path)}, {
  method: "POST",
${key ? `  headers: { Authorization: \`Bearer \${process.env.${KEY_VARIABLE}}\` },\n` : ""}  body: form,
});
if (!answer.ok) throw new Error((await answer.json()).error);
await writeFile("${output}", answer.body);
`;
}
