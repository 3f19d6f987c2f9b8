// What went wrong with all of it, as a sentence; and the field for the key that is missing.

import { byId } from "./dom.js";

/** Show a problem; null takes away what is shown. */
export function notice(problem) {
  byId("alert").textContent = problem?.message ?? "";
  byId("alert").hidden = !problem;
  if (problem?.code === "unauthorized") {
    byId("key").hidden = false;
    byId("key-field").focus();
  }
}
