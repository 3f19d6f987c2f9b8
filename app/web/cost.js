// Where the multiplications are: the layers of any variant, beside standard convolutions, and the ablations.

import { modelInfo } from "./api.js";
import { bar, byId, choices, drawn, html, integer, percent, shape, short, svg, table, times, walkable } from "./dom.js";

const MEASURES = {
  macs: ["MACs", (layer) => layer.macs],
  parameters: ["Parameters", (layer) => layer.parameters.total],
  activation_bytes: ["Activations", (layer) => layer.activation_bytes],
};
const KINDS = ["convolution", "depthwise", "pointwise", "classifier"];
const HEIGHT = 240;
const FOOT = 26;
const HEAD = 18;

const state = { alpha: 0, resolution: 0, measure: "macs", standard: false };
let info = null;
let latest = null; // of two questions that are under way the later one counts
let redraw = () => {};

/** Show the costs of the served variant; others can be chosen from then on. `fail` is told of problems. */
export function costs(served, fail) {
  info = served;
  latest = null;
  Object.assign(state, { alpha: served.alpha, resolution: served.resolution });
  const load = () => {
    const mine = (latest = modelInfo({ alpha: state.alpha, resolution: state.resolution }));
    const unlessOutdated = (use) => (found) => mine === latest && use(found);
    const show = (found) => {
      info = found;
      render();
    };
    return mine.then(unlessOutdated(show), unlessOutdated(fail));
  };
  const controls = () => {
    const sides = [...new Set([224, 192, 160, 128, served.resolution])].sort((one, other) => other - one);
    const pick = (name, parse) => (value) => {
      state[name] = parse(value);
      load();
    };
    choices(byId("alphas"), "alpha", [1, 0.75, 0.5, 0.25].map((alpha) => [alpha, String(alpha)]), state.alpha, pick("alpha", Number));
    choices(byId("resolutions"), "resolution", sides.map((side) => [side, String(side)]), state.resolution, pick("resolution", Number));
  };
  choices(byId("measures"), "measure", Object.entries(MEASURES).map(([name, [text]]) => [name, text]), state.measure, (name) => {
    state.measure = name;
    render();
  });
  byId("standard").addEventListener("change", (event) => {
    state.standard = event.target.checked;
    render();
  });
  byId("controls").addEventListener("submit", (event) => event.preventDefault());
  controls();
  byId("cost").hidden = false;
  redraw = drawn(byId("cost-chart"), chart);
  render();
  return (alpha, resolution) => {
    Object.assign(state, { alpha, resolution });
    controls();
    return load();
  };
}

function render() {
  byId("standard").disabled = state.measure !== "macs";
  totals();
  redraw();
  ablations();
  byId("cost-table").replaceChildren(layerTable());
}

function totals() {
  const entry = (name, value, note) => html("div", {}, html("dt", {}, name), html("dd", {}, value, html("small", {}, note)));
  byId("totals").replaceChildren(
    entry("MACs", short(info.macs), integer(info.macs)),
    entry("Parameters", short(info.parameters.total), integer(info.parameters.total)),
    entry("Activations", `${short(info.activation_bytes)}B`, "in float32"),
    entry("α @ pixels", `${info.alpha} @ ${info.resolution}`, info.served ? "served now" : "not served"),
  );
}

/** The layers as columns: the first convolution, the thirteen separable ones with two parts each, the classifier. */
function columns() {
  const found = [];
  for (const layer of info.layers) {
    if (layer.kind === "pointwise") found.at(-1).parts.push(layer);
    else found.push({ parts: [layer] });
  }
  return found.map(({ parts }, index) => ({
    parts,
    name: { convolution: "in", classifier: "out" }[parts[0].kind] ?? String(index),
    value: parts.reduce((sum, layer) => sum + MEASURES[state.measure][1](layer), 0),
    standard: parts[0].standard_macs,
  }));
}

function chart(width) {
  const all = columns();
  const ghosts = state.standard && state.measure === "macs";
  const most = Math.max(...all.map((column) => (ghosts ? column.standard : column.value)));
  const step = width / all.length;
  const thick = Math.min(44, step * 0.72);
  const scale = (value) => (value / most) * (HEIGHT - FOOT - HEAD);
  const marks = all.map((column, index) => {
    const left = index * step + (step - thick) / 2;
    let top = HEIGHT - FOOT;
    const stack = column.parts.map((layer) => {
      const tall = scale(MEASURES[state.measure][1](layer));
      top -= tall;
      return svg("rect", { x: left, y: top, width: thick, height: Math.max(0.75, tall), class: layer.kind });
    });
    const ghost = scale(column.standard);
    return svg(
      "g",
      { class: "mark", role: "img", "aria-label": words(column) },
      svg("rect", { x: index * step, y: 0, width: step, height: HEIGHT, class: "hit" }),
      ghosts && svg("rect", { x: left, y: HEIGHT - FOOT - ghost, width: thick, height: ghost, class: "ghost" }),
      stack,
      svg("text", { x: left + thick / 2, y: HEIGHT - 8, "text-anchor": "middle" }, column.name),
    );
  });
  const base = svg("line", { x1: 0, x2: width, y1: HEIGHT - FOOT, y2: HEIGHT - FOOT, class: "axis" });
  const top = [
    svg("line", { x1: 0, x2: width, y1: HEAD, y2: HEAD, class: "gridline" }),
    svg("text", { x: 0, y: HEAD - 6 }, `${short(most)}${unit()} ${MEASURES[state.measure][0]}`),
  ];
  byId("cost-chart").replaceChildren(
    svg(
      "svg",
      { viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, role: "group", "aria-label": `${MEASURES[state.measure][0]} of each layer` },
      top,
      marks,
      base,
    ),
  );
  const read = (index) => {
    byId("cost-readout").textContent = words(all[index]);
  };
  walkable(marks, read);
  byId("cost-readout").textContent = "Point at a column, or walk through them with the arrow keys.";
  byId("cost-legend").replaceChildren(
    ...KINDS.map((kind) => html("span", { class: `key-${kind}` }, kind)),
    ...(ghosts ? [html("span", { class: "key-ghost" }, "standard convolution")] : []),
  );
}

const unit = () => (state.measure === "activation_bytes" ? "B" : "");

function words({ parts, value, standard, name }) {
  const [first] = parts;
  const last = parts.at(-1);
  const [measure] = MEASURES[state.measure];
  const total = { macs: info.macs, parameters: info.parameters.total, activation_bytes: info.activation_bytes };
  const share = percent(value / total[state.measure]);
  const what = parts.length > 1 ? `Separable convolution ${name}, stride ${first.stride}` : `${first.name}, ${first.kind}`;
  const inside = parts.length > 1 ? `; depthwise ${short(MEASURES[state.measure][1](first))}${unit()} of it` : "";
  const saved =
    parts.length > 1 && state.measure === "macs" ? `. A standard convolution: ${short(standard)}, ${times(standard / value)} as many` : "";
  return `${what}: ${shape(first.input_shape)} to ${shape(last.output_shape)}, ${short(value)}${unit()} ${measure} (${share})${inside}${saved}.`;
}

function ablations() {
  const rows = [{ name: "this network", description: "depthwise separable convolutions", macs: info.macs, macs_ratio: 1 }, ...info.ablations];
  const most = Math.max(...rows.map(({ macs }) => macs));
  byId("ablations").replaceChildren(
    html("h3", {}, "Built otherwise"),
    html(
      "ul",
      { class: "ablations" },
      rows.map(({ name, description, macs, macs_ratio: ratio, paper_top1: top1 }) =>
        html(
          "li",
          {},
          html("b", {}, name),
          bar(macs / most, name === "this network" ? "best" : ""),
          html("span", { class: "bar-value" }, `${short(macs)} · ${times(ratio)}`),
          html("span", { class: "note" }, top1 ? `${description}; ${top1} % on ImageNet in the paper` : description),
        ),
      ),
    ),
  );
}

function layerTable() {
  const headings = ["Layer", "Type", "Stride", "Input", "Output", "MACs", "Share", "Parameters", "Activations", "As standard", "Ratio"];
  const rows = info.layers.map((layer) => [
    layer.name,
    layer.kind,
    layer.stride,
    shape(layer.input_shape),
    shape(layer.output_shape),
    integer(layer.macs),
    percent(layer.share),
    integer(layer.parameters.total),
    `${integer(layer.activation_bytes)} B`,
    integer(layer.standard_macs),
    layer.ratio.toFixed(4),
  ]);
  return table(headings, rows, `The layers of α ${info.alpha} at ${info.resolution} pixels`);
}
