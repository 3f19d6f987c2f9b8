// The service's routes, and its problems as sentences.

export const TOO_LARGE = 413;
const TEMPORARY = [429, 502, 503];

let key = "";

/** What went wrong, for people; the rest is for programs. Only problems of the service and of this page have a `code`. */
export class Problem extends Error {
  constructor(detail, { code = "", status = 0, retryAfterS = 0, files = null } = {}) {
    super(sentence(detail));
    Object.assign(this, { code, status, retryAfterS, files });
  }

  /** Whether it is one of this file, and not only of others in the same request. */
  isOf(file) {
    return !this.files || this.files.includes(file);
  }
}

/** Whether the same request may be answered later: the queue is full, or the service is being started again. */
export const isTemporary = ({ status }) => TEMPORARY.includes(status);

export function sentence(text) {
  const trimmed = text.trim();
  const start = trimmed.charAt(0).toUpperCase() + trimmed.slice(1);
  return /[.!?]$/.test(start) ? start : `${start}.`;
}

/** Send this key from now on. Throws a `Problem` if no service can have it. */
export function setKey(value) {
  const given = value.trim();
  if (!/^[!-~]*$/.test(given)) throw new Problem("a key has only ASCII letters, digits and signs, and no spaces", { code: "unauthorized" });
  key = given;
}
export const hasKey = () => key !== "";

export const address = (path) => new URL(path, document.baseURI).href;

/** Ask the service about `files`, if any, and `read` its answer. Aborting works until the whole body has been read. */
async function call(path, read, { files = [], ...options } = {}) {
  const headers = new Headers(options.headers);
  if (key) headers.set("X-API-Key", key);
  let answer, body;
  try {
    answer = await fetch(address(path), { ...options, headers });
    body = await (answer.ok ? read(answer) : refusal(answer));
  } catch (reason) {
    throw await unanswered(reason, files);
  }
  if (answer.ok) return body;
  const { status, statusText } = answer;
  throw new Problem(text(body.detail) ?? `not the service but something on the way to it, such as a proxy, answered ${status} ${statusText}`, {
    code: text(body.code) ?? (status === TOO_LARGE ? "body_too_large" : ""), // it means the same where a proxy says it
    status,
    retryAfterS: Number(answer.headers.get("Retry-After")) || 0, // a proxy may give a date
  });
}

const text = (value) => (typeof value === "string" ? value : null);

/** Why a question about files has no answer. What the browser says of it is the same for all reasons but two. */
async function unanswered(reason, files) {
  if (reason.name === "AbortError") return new Problem("cancelled", { code: "cancelled" });
  if (reason instanceof SyntaxError) return new Problem("this is not an answer of the service; is a login needed on the way to it?");
  const lost = await unreadable(files);
  if (!lost.length) return new Problem("the service does not answer; is it still running?", { code: "unreachable" });
  return new Problem("this file cannot be read; is it a folder, or was it changed or moved since it was chosen?", { code: "unreadable", files: lost });
}

/** Those of the files that cannot be read. */
async function unreadable(files) {
  const read = await Promise.allSettled(files.map((file) => file.slice(0, 1).arrayBuffer()));
  return files.filter((_, index) => read[index].status === "rejected");
}

/** The problem document of an answer; empty if something other than the service answered. */
async function refusal(answer) {
  const body = await answer.text();
  try {
    return JSON.parse(body) ?? {};
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

const raw = (file) => ({ method: "POST", body: file, files: [file], headers: { "Content-Type": typeOf(file) } });

/** What a network of this resolution, or else that of the default variant, sees of a photo, as a PNG. */
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
  return json(predictPath(explain), { method: "POST", body, files, signal });
}
