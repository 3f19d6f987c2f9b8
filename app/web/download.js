// The results as a file: CSV for spreadsheets, with the columns of `mobilenet classify --csv`, and JSON for programs.

const COLUMNS = ["path", "rank", "class_id", "wordnet_id", "label", "probability", "familiarity", "error", "detail"];

/** A row for each class of a photo, most probable first, or one row with its error. */
export function csv(photos) {
  const rows = photos.flatMap(({ name, outcome }) => {
    const { predictions, familiarity, error } = outcome ?? unasked;
    if (error) return [{ path: name, error: error.code, detail: error.detail }];
    return predictions.map((prediction, index) => ({ path: name, rank: index + 1, ...prediction, familiarity }));
  });
  return [COLUMNS, ...rows.map((row) => COLUMNS.map((column) => cell(row[column])))].map((cells) => `${cells.join()}\r\n`).join("");
}

/** What the service said of each photo, and which model and request that was. */
export const json = (photos) =>
  JSON.stringify(
    photos.map(({ name, outcome, request }) => ({
      path: name,
      ...(outcome ?? unasked),
      model: request?.answer.model,
      request_id: request?.answer.request_id,
    })),
    null,
    2,
  );

const unasked = { error: { code: "cancelled", detail: "the photo has no answer" } };

function cell(value) {
  const text = String(value ?? "");
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** Have the browser save a text as a file. */
export function save(name, type, text) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const link = document.createElement("a");
  Object.assign(link, { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000); // by then the browser has read it
}
