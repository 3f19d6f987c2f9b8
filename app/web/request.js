// The request that a photo was sent in, for programmers: the same with curl, and the answer as JSON.

import { copying } from "./copying.js";
import { curl } from "./curl.js";
import { html } from "./dom.js";

/** The curl command that sends the same request. */
export function command(request) {
  const text = curl(request);
  return html(
    "section",
    { class: "command", "aria-label": "The same with curl" },
    html("h4", {}, "The same with curl"),
    html("pre", { tabindex: "0" }, html("code", {}, text)),
    copying(() => text),
    raw(request),
  );
}

/** The answer as the service gave it; written only once somebody opens it, as maps are long. */
function raw({ answer }) {
  const written = () => JSON.stringify(answer, null, 2);
  const text = html("pre", { class: "json", tabindex: "0", role: "region", "aria-label": "The answer as JSON" });
  const details = html("details", {}, html("summary", {}, "The answer as JSON"), text, copying(written));
  details.addEventListener("toggle", () => {
    text.textContent ||= written();
  });
  return details;
}
