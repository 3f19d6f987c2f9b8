// A button that copies a text.

import { html } from "./dom.js";

/** The button, and whether it worked; `text` is called when it is pressed. */
export function copying(text) {
  const copied = html("span", { role: "status" });
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text());
      copied.textContent = "Copied";
    } catch {
      copied.textContent = "Select it and copy it by hand";
    }
  };
  return html("p", { class: "copying" }, html("button", { type: "button", class: "button small", onclick: copy }, "Copy"), copied);
}
