// The service's routes, and its problems as sentences.

export const TOO_LARGE = 413;
const TEMPORARY = [429, 502, 503];

let key = "";

/** What went wrong, for people; the rest is for programs. Only problems of the service and of this page have a `code`. */
export class Problem extends Error {
  constructor(detail, { code = "", status = 0, retryAfterS = 0 } = {}) {
    super(sentence(detail));
    Object.assign(this, { code, status, retryAfterS });
  }
}

/** Whether the same request may be answered later: the queue is full, or the service is being started again. */
export const isTemporary = ({ status }) => TEMPORARY.includes(status);

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

/** Ask the service, and `read` its answer. Aborting works until the whole body has been read. */
async function call(path, read, options = {}) {
  const headers = new Headers(options.headers);
  if (key) headers.set("X-API-Key", key);
  let answer, body;
  try {
    answer = await fetch(address(path), { ...options, headers });
    body = await (answer.ok ? read(answer) : refusal(answer));
  } catch (reason) {
    if (reason.name === "AbortError") throw new Problem("cancelled", { code: "cancelled" });
    if (reason instanceof SyntaxError) throw new Problem("this is not an answer of the service; is a login needed on the way to it?");
    throw new Problem("the service does not answer; is it still running?", { code: "unreachable" });
  }
  if (answer.ok) return body;
  const { status, statusText } = answer;
  throw new Problem(body.detail ?? `not the service but something on the way to it, such as a proxy, answered ${status} ${statusText}`, {
    code: body.code ?? (status === TOO_LARGE ? "body_too_large" : ""), // it means the same where a proxy says it
    status,
    retryAfterS: Number(answer.headers.get("Retry-After")) || 0, // a proxy may give a date
  });
}

/** The problem document of an answer; empty if something other than the service answered. */
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

const blob = (path, options) => call(path, (answer) => answer.blob(), options);

/** One of the drawings that come with the service. */
export const sample = (name) => blob(`samples/${name}`);

/** The content type that a file is sent with: its own if that is an image, or else that of unknown bytes. */
export const typeOf = (file) => (file.type.startsWith("image/") ? file.type : "application/octet-stream");

const raw = (file) => ({ method: "POST", body: file, headers: { "Content-Type": typeOf(file) } });

/** What a network of this resolution, or else the served one, sees of a photo, as a PNG. */
export const preview = (file, resolution) =>
  blob(resolution ? `preview?resolution=${resolution}` : "preview", raw(file));

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
