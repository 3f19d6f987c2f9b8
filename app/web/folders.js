// What is dropped or pasted: files, and folders, of which the photos are taken.

import { Problem } from "./api.js";

const PHOTO = /\.(heic|heif|hif|avif)$/i; // browsers that cannot show these may give them no type
const inOrder = new Intl.Collator("en", { numeric: true }).compare;

/** The files of a drop or a paste, with the photos of each folder in its place. Throws a `Problem` if it has none. */
export async function filesOf({ items }) {
  // All are asked for at once: the list is emptied when the event has been handled.
  const given = [...items].filter(({ kind }) => kind === "file").map((item) => {
    const entry = item.webkitGetAsEntry();
    return entry?.isDirectory ? photosIn(entry) : item.getAsFile();
  });
  const files = (await Promise.all(given)).flat();
  if (given.length && !files.length) throw new Problem("there are no photos in the folder");
  return files;
}

/** The photos of a folder and those in it, by name; hidden files are none. */
async function photosIn(folder) {
  const entries = (await entriesOf(folder)).filter(({ name }) => !name.startsWith("."));
  entries.sort((one, other) => inOrder(one.name, other.name));
  const found = await Promise.all(entries.map((entry) => (entry.isDirectory ? photosIn(entry) : fileOf(entry))));
  return found.flat().filter(({ type, name }) => type.startsWith("image/") || PHOTO.test(name));
}

/** What is in a folder. A browser gives it in parts, of which the last is empty. */
async function entriesOf(folder) {
  const reader = folder.createReader();
  const part = () => new Promise((done, failed) => reader.readEntries(done, failed)).catch(() => unreadable(folder));
  const all = [];
  for (let some = await part(); some.length; some = await part()) all.push(...some);
  return all;
}

const fileOf = (entry) => new Promise((done, failed) => entry.file(done, failed)).catch(() => unreadable(entry));

function unreadable({ name }) {
  throw new Problem(`${name} cannot be read`);
}
