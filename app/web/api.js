// The service's routes, and its problems as sentences.

let key = "";

/** What went wrong, for people; `code` is for programs. */
export class Problem extends Error {
  constructor(detail, code = "", retryAfterS = 0) {
    super(sentence(detail));
    this.code = code;
    this.retryAfterS = retryAfterS;
  }
}

export function sentence(text) {
  const trimmed = text.trim();
  const start = trimmed.charAt(0).toUpperCase() + trimmed.slice(1);
  return /[.!?]$/.test(start) ? start : `${start}.`;
}

export const setKey = (value) => {
  key = value;
};
export const hasKey = () => key !== "";

export const address = (path) => new URL(path, document.baseURI).href;

/** Ask the service, and `read` what it answers; until all of it is there, either may be cancelled or fail. */
async function call(path, read, options = {}) {
  const headers = new Headers(options.headers);
  if (key) headers.set("X-API-Key", key);
  let answer, body;
  try {
    answer = await fetch(address(path), { ...options, headers });
    body = await (answer.ok ? read(answer) : refusal(answer));
  } catch (reason) {
    if (reason.name === "AbortError") throw new Problem("cancelled", "cancelled");
    throw new Problem("the service does not answer; is it still running?", "unreachable");
  }
  if (answer.ok) return body;
  throw new Problem(
    body.detail ?? `the service answered ${answer.status}`,
    body.code,
    Number(answer.headers.get("Retry-After") ?? 0),
  );
}

/** The problem document of an answer; empty where something else than the service answered. */
async function refusal(answer) {
  const text = await answer.text();
  try {
    return JSON.parse(text) ?? {};
  } catch {
    return {};
  }
}

const json = (path, options) => call(path, (answer) => answer.json(), options);

export const modelInfo = (variant) =>
  json(`model-info?${new URLSearchParams({ layers: true, ...variant })}`);
export const variants = () => json("variants");

/** The type that a file is sent as: what it says, or bytes of unknown kind. */
export const typeOf = (file) => (file.type.startsWith("image/") ? file.type : "application/octet-stream");

const raw = (file) => ({ method: "POST", body: file, headers: { "Content-Type": typeOf(file) } });

/** What a network of this resolution, or else the served one, sees of a photo, as a PNG. */
export const preview = (file, resolution) =>
  call(resolution ? `preview?resolution=${resolution}` : "preview", (answer) => answer.blob(), raw(file));

/** Where photos are classified; `explain` asks for the evidence of each class, too. */
export const predictPath = (explain) => (explain ? "predict?explain=true" : "predict");

/** Whether a problem is that the weights cannot explain. */
export const noFeatures = ({ code, message }) => code === "invalid_parameter" && message.includes("gives no features");

/** One photo in every variant that is loaded. */
export const compare = (file, explain) =>
  json(`predict?variants=all&top_k=1${explain ? "&explain=true" : ""}`, raw(file));

/** Classify one photo as the raw body, several in one multipart request; an aborted `signal` ends it. */
export function predict(files, explain, signal) {
  if (files.length === 1) return json(predictPath(explain), { ...raw(files[0]), signal });
  const body = new FormData();
  for (const file of files) body.append("image", file, file.name);
  return json(predictPath(explain), { method: "POST", body, signal });
}
