// The page: asks what is served, takes photos, and remembers the last ones if it was asked to.

import { isTemporary, modelInfo, setKey, variants as listVariants } from "./api.js";
import { camera } from "./camera.js";
import { known } from "./classes.js";
import { choose, costs } from "./cost.js";
import { byId } from "./dom.js";
import { describe } from "./gallery.js";
import { intake } from "./intake.js";
import { kept } from "./kept.js";
import { notice } from "./notice.js";
import { again, classify, remember } from "./question.js";
import { engineName } from "./setting.js";
import { variants } from "./variants.js";
import { onSwitch } from "./why.js";

function served(info, variants) {
  describe({ loaded: variants.length, labels: info.labels, limits: info.batching });
  const others = variants.filter((item) => !item.default).map((item) => `α ${item.alpha} @ ${item.resolution}`);
  const more = others.length ? ` On request also ${others.join(", ")}.` : "";
  byId("served").textContent = `Served now: MobileNetV1 α ${info.alpha} @ ${info.resolution} with the weights ${info.weights}, ${info.precision} on ${engineName(info.engine)}.${more}`;
  byId("classes").replaceChildren(...known(info.labels));
}

async function start() {
  try {
    const info = await modelInfo();
    notice(null);
    byId("key").hidden = true;
    costs(info);
    const catalogue = await listVariants();
    served(info, catalogue.variants.filter((item) => item.served));
    variants(catalogue, (alpha, resolution) => {
      choose({ alpha, resolution });
      byId("cost").scrollIntoView({ behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
    });
  } catch (problem) {
    byId("served").textContent = "";
    notice(problem);
    if (problem.code === "unreachable" || isTemporary(problem)) setTimeout(start, 1000 * Math.max(1, problem.retryAfterS));
  }
}

byId("key").addEventListener("submit", (event) => {
  event.preventDefault();
  try {
    setKey(byId("key-field").value);
    start();
  } catch (problem) {
    notice(problem);
  }
});
onSwitch(again);
intake(classify, notice);
camera(classify, notice);
start();
kept().then(remember, () => {}); // a browser that cannot keep anything has nothing to show
