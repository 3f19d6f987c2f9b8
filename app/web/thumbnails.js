// Small pictures of photos, made one after the other as their places come into view.

import { preview } from "./api.js";
import { html } from "./dom.js";

const WIDTH = 320;

let busy = Promise.resolve();

const observer = new IntersectionObserver(
  (entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      observer.unobserve(target);
      fill(target);
    }
  },
  { rootMargin: "400px" },
);
const photos = new WeakMap();

/** A place for the small picture of a photo, filled once it is near the screen. */
export function thumbnail(photo) {
  const image = html("img", { alt: "", width: 4, height: 3 });
  photos.set(image, photo);
  observer.observe(image);
  return image;
}

async function fill(image) {
  const photo = photos.get(image);
  const blob = await small(photo);
  if (!blob) return image.replaceWith(html("span", { class: "no-picture" }, "No picture"));
  image.onload = () => URL.revokeObjectURL(image.src);
  image.src = URL.createObjectURL(blob);
}

/** The small picture of a photo, some kilobytes; the file itself if it is truncated; null where nothing can be shown. */
export function small(photo) {
  if (!photo.thumbnail) {
    photo.thumbnail = busy.then(() => drawn(photo.file)).catch(() => shown(photo.file)).catch(() => seen(photo));
    busy = photo.thumbnail;
  }
  return photo.thumbnail;
}

/** What the service makes of a photo of a format that this browser does not know; null where it could not read it. */
const seen = ({ file, outcome }) => (outcome?.error ? null : preview(file).catch(() => null));

async function drawn(file) {
  const bitmap = await createImageBitmap(file, { resizeWidth: WIDTH, resizeQuality: "medium" });
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff"; // the service, too, shows transparent parts on white
  context.fillRect(0, 0, bitmap.width, bitmap.height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return canvas.convertToBlob({ type: "image/jpeg", quality: 0.8 });
}

/** The file itself, if it can be shown: browsers show what there is of a truncated one, but make no small picture of it. */
async function shown(file) {
  const image = new Image();
  image.src = URL.createObjectURL(file);
  try {
    await new Promise((done, failed) => Object.assign(image, { onload: done, onerror: failed }));
    return file;
  } finally {
    URL.revokeObjectURL(image.src);
  }
}
