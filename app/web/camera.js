// A photo from the camera of a computer; a phone's own camera comes with the button beside it.

import { byId } from "./dom.js";

const REASONS = {
  NotAllowedError: "The camera may not be used: this browser, or whoever set up the service, forbids it to this page. Allow it in the site's settings, and try again.",
  NotFoundError: "No camera was found. Connect one, or choose a photo.",
  NotReadableError: "The camera is in use by another program, or does not work.",
};
const INSECURE = "Browsers lend the camera only to pages that come over HTTPS or from this computer.";

let stream = null;

/** Call `take` with every photo that is taken, as a list of one file, and `fail` with an error that is a sentence. */
export function camera(take, fail) {
  byId("open-camera").addEventListener("click", () => open().catch((error) => fail(sentence(error))));
  byId("shutter").addEventListener("click", async () => {
    const photo = await still();
    byId("finder").close();
    take([photo]);
  });
  byId("close-camera").addEventListener("click", () => byId("finder").close());
  byId("finder").addEventListener("close", release); // with Escape, too
  byId("view").addEventListener("loadeddata", ready);
}

async function open() {
  if (!navigator.mediaDevices) throw new Error(INSECURE);
  const lent = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1280 }, facingMode: "environment" } });
  release(); // the camera of an earlier press
  stream = byId("view").srcObject = lent;
  if (!byId("finder").open) byId("finder").showModal();
}

/** Let a photo be taken, now that there is a first picture. */
function ready() {
  byId("shutter").disabled = false;
  byId("shutter").focus();
}

function release() {
  byId("shutter").disabled = true;
  stream?.getTracks().forEach((track) => track.stop());
  stream = byId("view").srcObject = null;
}

async function still() {
  const view = byId("view");
  const canvas = new OffscreenCanvas(view.videoWidth, view.videoHeight);
  canvas.getContext("2d").drawImage(view, 0, 0);
  const blob = await canvas.convertToBlob({ type: "image/jpeg", quality: 0.92 });
  return new File([blob], "camera.jpg", { type: blob.type });
}

const sentence = ({ name, message }) => new Error(REASONS[name] ?? `The camera cannot be used: ${message}`);
