// The page: asks what is served, takes photos, shows what came of them.

import { modelInfo, noFeatures, predict, predictSingly, setKey, variants as listVariants } from "./api.js";
import { known } from "./classes.js";
import { costs } from "./cost.js";
import { byId } from "./dom.js";
import { intake } from "./intake.js";
import { clear, show, summary } from "./result.js";
import { variants } from "./variants.js";
import { onSwitch, refuse, wanted } from "./why.js";

const TOO_MUCH = ["body_too_large", "too_many_images"];
const ENGINES = { litert: "LiteRT", tensorflow: "TensorFlow" };
const LATER = ["starting", "draining", "unreachable"];

let latest = 0;
let asked = null; // the photos of the latest question and, once it is there, what came of it
let loaded = 1; // how many variants
let labels = []; // of the classes, in order

function alert(problem) {
  byId("alert").textContent = problem?.message ?? "";
  byId("alert").hidden = !problem;
  if (problem?.code === "unauthorized") {
    byId("key").hidden = false;
    byId("key-field").focus();
  }
}

async function classify(files, again = false) {
  const turn = ++latest; // of two that are under way the later one counts
  asked = { files };
  alert(null);
  byId("drop").setAttribute("aria-busy", "true");
  byId("status").textContent = files.length === 1 ? "Classifying …" : `Classifying ${files.length} photos …`;
  try {
    const question = await answered(files, wanted());
    if (turn !== latest) return;
    asked = question;
    show(asked, { loaded, labels }, again);
    byId("drop").classList.add("small");
    byId("status").textContent = asked.answer.results.map(summary).join("; ");
  } catch (problem) {
    if (turn !== latest) return;
    asked = null;
    clear();
    byId("status").textContent = "";
    alert(problem);
  } finally {
    if (turn === latest) byId("drop").removeAttribute("aria-busy");
  }
}

async function answered(files, explained) {
  try {
    const [answer, singly] = await togetherOrSingly(files, explained);
    return { files, answer, singly, explained };
  } catch (problem) {
    if (!explained || !noFeatures(problem)) throw problem;
    refuse(problem);
    return answered(files, false);
  }
}

async function togetherOrSingly(files, explained) {
  try {
    return [await predict(files, explained), false];
  } catch (problem) {
    if (files.length === 1 || !TOO_MUCH.includes(problem.code)) throw problem;
    return [await predictSingly(files, explained), true];
  }
}

/** Show maps or none of what is shown already; ask again only where the answer has none. */
function toggled() {
  if (!asked) return;
  if (asked.answer && (asked.explained || !wanted())) show(asked, { loaded, labels }, true);
  else classify(asked.files, true);
}

function served(info, variants) {
  loaded = variants.length;
  labels = info.labels;
  const others = variants.filter((item) => !item.default).map((item) => `α ${item.alpha} @ ${item.resolution}`);
  const more = others.length ? ` On request also ${others.join(", ")}.` : "";
  byId("served").textContent = `Served now: MobileNetV1 α ${info.alpha} @ ${info.resolution} with the weights ${info.weights}, ${info.precision} on ${ENGINES[info.engine] ?? info.engine}.${more}`;
  byId("classes").replaceChildren(...known(labels));
}

async function start() {
  try {
    const info = await modelInfo();
    alert(null);
    byId("key").hidden = true;
    const choose = costs(info, alert);
    const catalogue = await listVariants();
    served(info, catalogue.variants.filter((item) => item.served));
    variants(catalogue, (alpha, resolution) => {
      choose(alpha, resolution);
      byId("cost").scrollIntoView({ behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
    });
  } catch (problem) {
    byId("served").textContent = "";
    alert(problem);
    if (LATER.includes(problem.code)) setTimeout(start, 1000 * Math.max(1, problem.retryAfterS));
  }
}

byId("key").addEventListener("submit", (event) => {
  event.preventDefault();
  setKey(byId("key-field").value);
  start();
});
onSwitch(toggled);
intake(classify);
start();
