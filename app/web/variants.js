// What a smaller network gives up: accuracy against cost of the sixteen variants.

import { byId, choices, drawn, html, integer, milliseconds, percent, short, svg, table, walkable } from "./dom.js";
import { advice } from "./faster.js";
import { setting } from "./setting.js";

const HEIGHT = 320;
const MARGIN = { left: 46, right: 24, top: 14, bottom: 40 };
const PRICES = {
  macs: ["MACs", (item) => item.macs, (item) => item.macs_frontier, short],
  latency: ["Latency", (item) => item.latency?.median_ms ?? null, (item) => item.latency_frontier, (ms) => `${ms} ms`],
};

let price = "macs";
let known = []; // the variants whose accuracy is known
let pick = () => {};

/** Show a catalogue of `/variants`; `choose` is called with the variant that someone picks. */
export function variants(catalogue, choose) {
  known = catalogue.variants.filter((item) => item.top1 !== null);
  pick = choose;
  byId("variants").hidden = false;
  lead(catalogue);
  byId("faster").replaceChildren(...advice(catalogue));
  byId("variants-table").replaceChildren(variantTable(catalogue));
  byId("prices").hidden = !known.some((item) => item.latency);
  byId("variants-chart").parentElement.hidden = known.length === 0;
  redraw();
}

function lead({ weights, machine, variants: all }) {
  const [first] = known;
  const measured = first?.accuracy.measured;
  const on = measured ? `measured on ${photos(measured)}` : "published for ImageNet";
  const missing = [...new Set(all.filter((item) => item.top1 === null).map((item) => item.alpha))];
  const parts = [
    first ? `Top-1 of the weights ${weights}, ${on}.` : `Nobody has measured how often the weights ${weights} are right.`,
    first && missing.length ? `There are none for α ${missing.join(", ")}.` : "",
    all.some((item) => item.latency) ? `Latency is of one photo on ${machine}, the network alone.` : "",
  ];
  byId("variants-lead").textContent = parts.filter(Boolean).join(" ");
}

/** The photos of a measurement. */
function photos({ images, data }) {
  return data === "val" ? `${integer(images)} validation photos` : `${integer(images)} photos of ${data}`;
}

function ticks(low, high) {
  const found = [];
  for (let power = 10 ** Math.floor(Math.log10(low)); power <= high; power *= 10) {
    for (const digit of [1, 2, 5]) {
      const value = Number((digit * power).toPrecision(1));
      if (value >= low && value <= high) found.push(value);
    }
  }
  return found;
}

/** Space the x axis by the logarithm of the price, the y axis evenly. */
function scales(points, width) {
  const [, cost] = PRICES[price];
  const costs = points.map(cost);
  const [low, high] = [Math.min(...costs) * 0.8, Math.max(...costs) * 1.25];
  const tops = points.map((item) => item.top1 * 100);
  const step = Math.max(...tops) - Math.min(...tops) > 12 ? 5 : 1;
  const [bottom, top] = [Math.floor(Math.min(...tops) / step) * step, Math.ceil((Math.max(...tops) + 0.01) / step) * step];
  const wide = width - MARGIN.left - MARGIN.right;
  const tall = HEIGHT - MARGIN.top - MARGIN.bottom;
  return {
    x: (value) => MARGIN.left + (Math.log(value / low) / Math.log(high / low)) * wide,
    y: (value) => MARGIN.top + ((top - value) / (top - bottom)) * tall,
    xs: ticks(low, high),
    ys: Array.from({ length: (top - bottom) / step + 1 }, (_, index) => bottom + index * step),
  };
}

function chart(width) {
  const [name, cost] = PRICES[price];
  const points = known.filter((item) => cost(item) !== null).sort((one, other) => other.alpha - one.alpha || cost(one) - cost(other));
  const scale = scales(points, width);
  const at = (item) => [scale.x(cost(item)), scale.y(item.top1 * 100)];
  const alphas = [...new Set(points.map((item) => item.alpha))];
  const lines = alphas.map((alpha) => line(points.filter((item) => item.alpha === alpha), at));
  const marks = points.map((item) => point(item, at(item)));
  const title = `Top-1 against ${name}`;
  byId("variants-chart").replaceChildren(
    svg(
      "svg",
      { viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, role: "group", "aria-label": title },
      axes(scale, width),
      lines,
      marks,
    ),
  );
  walkable(marks, (index) => {
    byId("variants-readout").textContent = words(points[index]);
  });
  byId("variants-readout").textContent = "Point at a variant, or walk through them with the arrow keys; choose one to see its layers above.";
}

/** The numbers along both sides, and a line across the chart at each share of right answers. */
function axes({ x, y, xs, ys }, width) {
  const [, , , written] = PRICES[price];
  const unit = price === "macs" ? "MACs for one photo, logarithmic" : "milliseconds for one photo, logarithmic";
  return [
    ys.map((value) => [
      svg("line", { x1: MARGIN.left, x2: width - MARGIN.right, y1: y(value), y2: y(value), class: "gridline" }),
      svg("text", { x: MARGIN.left - 8, y: y(value) + 4, "text-anchor": "end" }, `${value} %`),
    ]),
    xs.map((value) => svg("text", { x: x(value), y: HEIGHT - MARGIN.bottom + 18, "text-anchor": "middle" }, written(value))),
    svg("text", { x: MARGIN.left, y: HEIGHT - 4, class: "unit" }, unit),
  ];
}

/** The line through the variants of one α, which are sorted by their price. */
function line(items, at) {
  const [{ alpha }] = items;
  const [x, y] = at(items.at(-1));
  return [
    svg("polyline", { points: items.map((item) => at(item).join()).join(" "), class: `line ${series(alpha)}` }),
    svg("text", { x, y: y + 22, "text-anchor": "middle", class: `series ${series(alpha)}` }, `α ${alpha}`),
  ];
}

/** The mark of a variant, a button that picks it. */
function point(item, [cx, cy]) {
  const [, , onFrontier] = PRICES[price];
  const onclick = () => pick(item.alpha, item.resolution);
  const onkeydown = (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    onclick();
  };
  return svg(
    "g",
    { class: "mark point", role: "button", "aria-label": words(item), onclick, onkeydown },
    svg("circle", { cx, cy, r: 14, class: "hit" }),
    item.served && svg("circle", { cx, cy, r: 10, class: "served-ring" }),
    svg("circle", { cx, cy, r: 5.5, class: `dot ${series(item.alpha)} ${onFrontier(item) ? "on" : "off"}` }),
  );
}

const series = (alpha) => `alpha-${String(alpha * 100)}`;

function words(item) {
  const [, , onFrontier] = PRICES[price];
  const time = item.latency ? `, ${milliseconds(item.latency.median_ms)}` : "";
  const tags = [item.served && "served now", onFrontier(item) && "on the frontier"].filter(Boolean);
  const size = `${short(item.macs)} MACs, ${short(item.size_bytes)}B`;
  return `α ${item.alpha} at ${item.resolution} pixels: ${percent(item.top1, 2)} right, ${size}${time}${tags.length ? `; ${tags.join(", ")}` : ""}.`;
}

const best = (fastest) => `${setting(fastest)}, ${milliseconds(fastest.median_ms)}${fastest.rivals.length ? " (not sure)" : ""}`;

function variantTable({ variants: all, precision }) {
  const headings = ["Variant", "MACs", "Parameters", `Size in ${precision}`, "Top-1", "Latency", "Fastest here", "Frontier"];
  const rows = all.map((item) => [
    `α ${item.alpha} @ ${item.resolution}${item.served ? " (served)" : ""}`,
    integer(item.macs),
    integer(item.parameters.total),
    `${short(item.size_bytes)}B`,
    item.top1 === null ? "not measured" : percent(item.top1, 2),
    item.latency ? milliseconds(item.latency.median_ms) : "not measured",
    item.fastest ? best(item.fastest) : "not measured",
    [item.macs_frontier && "MACs", item.latency_frontier && "latency"].filter(Boolean).join(", ") || "no",
  ]);
  return table(headings, rows, "The variants, what they cost and how often they are right");
}

const redraw = drawn(byId("variants-chart"), chart);
choices(byId("price"), "price", Object.entries(PRICES).map(([name, [text]]) => [name, text]), price, (name) => {
  price = name;
  redraw();
});
byId("variants-legend").replaceChildren(
  html("span", { class: "key-served" }, "served now"),
  html("span", { class: "key-on" }, "on the frontier: no cheaper variant is as accurate"),
  html("span", { class: "key-off" }, "not on it"),
);
